//! Basic authentication towards the proxy (RFC 7617), compared in constant time.

use crate::config::ProxyAuth;
use http::HeaderMap;
use http::header::PROXY_AUTHORIZATION;
use std::fmt;
use subtle::ConstantTimeEq;

/// Who may use the proxy.
#[derive(Clone)]
pub(super) enum Access {
    /// Everyone who reaches it.
    Open,
    /// Who sends these credentials, as they stand in the field after the scheme.
    Basic(String),
}

impl Access {
    pub(super) fn new(auth: Option<&ProxyAuth>) -> Self {
        auth.map_or(Self::Open, |auth| {
            Self::Basic(base64(
                format!("{}:{}", auth.username, auth.password.expose()).as_bytes(),
            ))
        })
    }

    /// Lets a request with these fields use the proxy, or says why it may not.
    pub(super) fn admit(&self, fields: &HeaderMap) -> Result<(), AccessError> {
        let Self::Basic(expected) = self else {
            return Ok(());
        };
        let sent = fields.get(PROXY_AUTHORIZATION).ok_or(AccessError::Missing)?;
        let (_, credentials) = sent
            .as_bytes()
            .split_first_chunk::<6>()
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic "))
            .ok_or(AccessError::Scheme)?;
        match credentials.trim_ascii().ct_eq(expected.as_bytes()).into() {
            true => Ok(()),
            false => Err(AccessError::Wrong),
        }
    }
}

/// Why a request may not use the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessError {
    /// It has no credentials; clients often try without them first.
    #[error("the proxy asks for a user name and a password")]
    Missing,
    /// It has credentials of another kind.
    #[error("the proxy takes credentials of the kind Basic only")]
    Scheme,
    /// It has others than the proxy's.
    #[error("the proxy does not accept this user name and password")]
    Wrong,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Basic(_) => "Basic",
        })
    }
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_usize, |bits, byte| (bits << 8) | usize::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * place)) & 63).copied();
            text.push(match letter {
                Some(letter) if place <= group.len() => char::from(letter),
                _ => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluidity_daemon::secret::Secret;

    #[test]
    fn base64_is_as_the_rfc_has_it() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("ann:s3cret", "YW5uOnMzY3JldA=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfb]), "//77");
    }

    #[test]
    fn only_the_right_credentials_are_admitted() {
        let access = Access::new(Some(&ProxyAuth {
            username: "ann".into(),
            password: Secret::new("s3cret"),
        }));
        let admit = |value: &str| {
            access.admit(&HeaderMap::from_iter([(
                PROXY_AUTHORIZATION,
                value.parse().unwrap(),
            )]))
        };
        assert_eq!(admit("Basic YW5uOnMzY3JldA=="), Ok(()));
        assert_eq!(admit("bAsIc  YW5uOnMzY3JldA== "), Ok(()));
        for (wrong, error) in [
            ("Basic YW5uOndyb25n", AccessError::Wrong),
            ("Basic ", AccessError::Wrong),
            ("Bearer YW5uOnMzY3JldA==", AccessError::Scheme),
            ("Basic", AccessError::Scheme),
            ("", AccessError::Scheme),
            ("BasicYW5uOnMzY3JldA==", AccessError::Scheme),
        ] {
            assert_eq!(admit(wrong), Err(error), "{wrong}");
        }
        assert_eq!(access.admit(&HeaderMap::new()), Err(AccessError::Missing));
        assert_eq!(Access::new(None).admit(&HeaderMap::new()), Ok(()));
        assert!(!format!("{access:?}").contains("YW5u"));
    }
}
