//! What is wrong with a certificate that one end did not accept, and what to do about it.
//!
//! TLS says why by its alert (RFC 8446 §6.2), which both ends see; decided on its number, never on its words.

/// Why a certificate was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// It comes from a CA that the other end does not know.
    Issuer,
    /// It is over, or not valid yet.
    Time,
    /// It is for the other role.
    Role,
    /// Its name is not the one that was expected, or anything else.
    Other,
}

impl CertificateFault {
    /// What a TLS alert says; nothing where it is about no certificate.
    pub(super) const fn from_alert(alert: u64) -> Option<Self> {
        match alert {
            43 => Some(Self::Role),
            45 => Some(Self::Time),
            // Where two CAs have one name, the signature shows that it is the other one.
            48 | 51 => Some(Self::Issuer),
            42 | 44 | 46 | 49 | 116 => Some(Self::Other),
            _ => None,
        }
    }

    /// What to do where the agent does not accept the server.
    pub(super) const fn server_remedy(self) -> &'static str {
        match self {
            Self::Issuer => {
                "its certificate comes from another CA; check identity.ca: it must hold the ca.pem of the CA that issued the \
                 server's certificate"
            }
            Self::Time => {
                "renew the server's certificate with `fluidity pki renew`, or set this machine's clock if it is wrong"
            }
            Self::Role => {
                "the server shows a certificate that is not a server's: give it server-NAME.pem and server-NAME.key \\
                 (`fluidity pki issue server`)"
            }
            Self::Other => "check identity.ca and server.name",
        }
    }

    /// What to do where the server does not accept the agent.
    pub(super) const fn agent_remedy(self) -> &'static str {
        match self {
            Self::Issuer => {
                "it comes from another CA than the server's: issue it with the CA whose ca.pem the server has as identity.ca"
            }
            Self::Time => "renew it with `fluidity pki renew`, or set the server's clock if that is wrong",
            Self::Role => {
                "it is not an agent's: take agent-NAME.pem and agent-NAME.key (`fluidity pki issue agent`)"
            }
            Self::Other => "issue a new one with `fluidity pki issue agent`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, CertificateError};

    #[test]
    fn alerts_mean_what_rustls_sends_them_for() {
        for (error, fault) in [
            (CertificateError::UnknownIssuer, CertificateFault::Issuer),
            (CertificateError::BadSignature, CertificateFault::Issuer),
            (CertificateError::Expired, CertificateFault::Time),
            (CertificateError::NotValidYet, CertificateFault::Time),
            (CertificateError::InvalidPurpose, CertificateFault::Role),
            (CertificateError::NotValidForName, CertificateFault::Other),
        ] {
            let alert = u8::from(AlertDescription::from(error.clone()));
            assert_eq!(
                CertificateFault::from_alert(alert.into()),
                Some(fault),
                "{error:?}"
            );
        }
        for other in [
            AlertDescription::NoApplicationProtocol,
            AlertDescription::UnrecognisedName,
        ] {
            assert_eq!(
                CertificateFault::from_alert(u8::from(other).into()),
                None,
                "{other:?}"
            );
        }
    }
}
