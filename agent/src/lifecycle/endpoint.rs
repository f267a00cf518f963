//! An address of the control plane: `https://…`, or `http://…` on this machine alone.

use fluidity_wire::Host;
use http::Uri;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// A URL that requests with the API key may go to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(Uri);

/// Why a text is no endpoint. The texts are meant for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL with a host.
    #[error("`{0}` is not a URL; write https://HOST/PATH, as the control plane's stack shows it")]
    NotUrl(String),
    /// Not even like one: perhaps the API key, which is not shown.
    #[error(
        "the value is not a URL (it is not shown: is it the API key? That goes into api-key); write https://HOST/PATH, as \
         the control plane's stack shows it"
    )]
    NotLikeOne,
    /// A user name or password is in it.
    #[error("the URL has a user name or password in it, which end up where they are read; leave them out")]
    Credentials,
    /// The API key would travel in the clear.
    #[error(
        "`{0}` is not encrypted: the API key goes over https only (http is for this machine's own addresses)"
    )]
    NotEncrypted(String),
}

impl Endpoint {
    /// The URL.
    pub const fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_url = || match text.is_empty() || text.contains(['.', '/', ':']) {
            true => EndpointError::NotUrl(text.into()),
            false => EndpointError::NotLikeOne,
        };
        let start = text.split_once("://").map_or(text, |(_, rest)| rest);
        if start
            .split('/')
            .next()
            .is_some_and(|authority| authority.contains('@'))
        {
            return Err(EndpointError::Credentials);
        }
        let uri: Uri = text.parse().map_err(|_| not_url())?;
        let authority = uri.authority().ok_or_else(not_url)?;
        let host = Host::parse(authority.host()).map_err(|_| not_url())?;
        let own = match &host {
            Host::Name(name) => name == "localhost",
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => address.is_loopback(),
        };
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if own => Ok(Self(uri)),
            Some("http") => Err(EndpointError::NotEncrypted(text.into())),
            _ => Err(not_url()),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_travels_encrypted_or_not_at_all() {
        for good in [
            "https://abc.execute-api.eu-central-1.amazonaws.com/live/wake",
            "http://127.0.0.1:4566/wake",
            "http://localhost:1/wake",
            "http://[::1]:1/wake",
        ] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for bad in [
            "http://192.0.2.1/wake",
            "http://api.example/wake",
            "http://localhost.example/",
        ] {
            assert_eq!(
                bad.parse::<Endpoint>(),
                Err(EndpointError::NotEncrypted(bad.into()))
            );
        }
        for bad in ["", "api.example/wake", "/wake", "ftp://api.example/"] {
            assert_eq!(
                bad.parse::<Endpoint>(),
                Err(EndpointError::NotUrl(bad.into())),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_may_be_secret_is_not_in_the_words_of_an_error() {
        for (bad, error) in [
            ("https://user:pw@api.example/", EndpointError::Credentials),
            ("user:pw@api.example", EndpointError::Credentials),
            ("Ab12Cd34Ef56Gh78Ij90", EndpointError::NotLikeOne),
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(error.clone()), "{bad}");
            assert!(!error.to_string().contains("pw") && !error.to_string().contains(bad));
        }
    }
}
