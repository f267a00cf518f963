//! Logins that count for a TCP connection instead of a request (NTLM, Negotiate: RFC 4559 §6): which messages carry one,
//! and the sessions that belong to a single client connection because of it.
//!
//! Invariant: a session that carried such a login is never used for another client connection. It ends with its own.

use super::upstream::Upstream;
use fluidity_wire::Target;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The sessions of one client connection that no other may use.
#[derive(Debug, Default)]
pub(super) struct OwnSessions(Mutex<Vec<(Target, Upstream)>>);

impl OwnSessions {
    /// The session to this target, if the origin has not closed it.
    pub(super) async fn take(&self, target: &Target) -> Option<Upstream> {
        let mut upstream = {
            let mut sessions = self.lock();
            let at = sessions.iter().position(|(known, _)| known == target)?;
            sessions.swap_remove(at).1
        };
        if !upstream.is_usable(TURN).await {
            return None;
        }
        upstream.rest();
        Some(upstream)
    }

    /// Keeps a session for the client connection's next request, also while the last one is still being sent.
    pub(super) fn put(&self, target: Target, upstream: Upstream) {
        if upstream.is_closed() {
            return;
        }
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            // The oldest: a login that is in use comes back to the end with each request.
            sessions.remove(0);
        }
        sessions.push((target, upstream));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Target, Upstream)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request logs its connection in.
pub(super) fn in_request(fields: &HeaderMap) -> bool {
    fields
        .get_all(AUTHORIZATION)
        .iter()
        .any(|value| !is_for_one_request(scheme(value.as_bytes())))
}

/// Whether an answer asks for such a login, or confirms one.
pub(super) fn in_answer(fields: &HeaderMap) -> bool {
    fields.contains_key(PERSISTENT_AUTH)
        || fields
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .any(|value| challenges(value.as_bytes()).any(|scheme| !is_for_one_request(scheme)))
}

/// The schemes of a list of challenges (RFC 9110 §11.6.1). A comma also separates the parameters of one challenge.
fn challenges(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    value
        .split(move |byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                _ => {}
            }
            *byte == b',' && !quoted
        })
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty() && !is_parameter(element))
        .map(scheme)
}

/// Whether an element of the list is `name=value`, with or without spaces around the sign.
fn is_parameter(element: &[u8]) -> bool {
    let name = element
        .iter()
        .position(|byte| matches!(byte, b'=' | b' ' | b'\t'))
        .and_then(|end| element.get(end..));
    name.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
}

/// The first word.
fn scheme(credentials: &[u8]) -> &[u8] {
    let credentials = credentials.trim_ascii();
    let end = credentials.iter().position(u8::is_ascii_whitespace);
    credentials
        .get(..end.unwrap_or(credentials.len()))
        .unwrap_or_default()
}

/// Schemes that authenticate each request by itself. An unknown one may log the connection in: its sessions are only
/// shared less.
fn is_for_one_request(scheme: &[u8]) -> bool {
    PER_REQUEST
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
}

/// The registered schemes (RFC 9110 §16.4.1) but for Negotiate, and what large services use besides.
const PER_REQUEST: [&str; 22] = [
    "apikey",
    "aws",
    "aws4-ecdsa-p256-sha256",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "concealed",
    "digest",
    "dpop",
    "gnap",
    "googlelogin",
    "hmac",
    "hoba",
    "mutual",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "sharedkey",
    "signature",
    "token",
    "vapid",
];
/// Said by Microsoft's servers about a login: whether it lasts for the connection.
const PERSISTENT_AUTH: HeaderName = HeaderName::from_static("persistent-auth");
/// For the last of a request to be sent, behind which the client has already sent the next one.
const TURN: Duration = Duration::from_secs(1);
/// Sessions of one client connection: it may log in at several targets.
const MAX_SESSIONS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn asks(values: &[&str]) -> bool {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        in_answer(&fields)
    }

    #[test]
    fn a_challenge_for_the_connection_is_found_wherever_it_is_in_the_list() {
        for values in [
            &["NTLM"][..],
            &["ntlm TlRMTVNTUAACAAAA=="],
            &["Negotiate"],
            &["Kerberos"],
            &["Basic realm=\"a, b\", Negotiate"],
            &["Digest realm=\"x\", nonce=\"n\", qop=\"auth\", NTLM"],
            &["Basic realm=\"say \\\"x\\\", Basic\", NTLM"],
            &["Basic realm=x", "NEGOTIATE oYG2MIGzoAMKAQE="],
            &[",, NTLM ,"],
            &["SomethingNew a=b"],
        ] {
            assert!(asks(values), "{values:?}");
        }
    }

    #[test]
    fn a_challenge_for_each_request_leaves_the_session_free() {
        for values in [
            &["Basic realm=\"Negotiate, NTLM\""][..],
            &["Basic realm = \"x\" , charset = \"UTF-8\""],
            &["Digest realm=\"x\", nonce=\"NTLM\", qop=\"auth, auth-int\""],
            &["Bearer", "DPoP algs=\"ES256\""],
            &[],
        ] {
            assert!(!asks(values), "{values:?}");
        }
    }

    #[test]
    fn credentials_for_the_connection_are_told_from_those_for_a_request() {
        for (value, expected) in [
            ("NTLM TlRMTVNTUAABAAAA", true),
            ("negotiate YII=", true),
            ("Kerberos x", true),
            ("Basic TlRMTQ==", false),
            ("bearer NTLM", false),
            ("AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            assert_eq!(in_request(&fields), expected, "{value}");
        }
    }
}
