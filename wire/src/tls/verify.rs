//! Whose certificates are good: rustls' own checks, and two that it leaves out.
//!
//! A certificate must say what it is for: one without an extended key usage would do for both ends. And a CA that signs
//! leaves only (path length 0, as `fluidity pki` makes them) vouches for nobody that an intermediate vouches for: to
//! rustls an anchor is a name and a key, whose other constraints it does not know.

use super::{IdentityError, Pem, certificates, crypto_provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The private CA, or several, with what each may sign.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    roots: Arc<RootCertStore>,
    /// As they are in `roots`: the certificate, and how many intermediates may stand below it.
    each: Arc<[(CertificateDer<'static>, Option<u32>)]>,
}

impl Authorities {
    pub(super) fn load(pem: &Pem) -> Result<Self, IdentityError> {
        let path = pem.name();
        let malformed = || IdentityError::Certificate { path: path.into() };
        let mut roots = RootCertStore::empty();
        let mut each = Vec::new();
        for certificate in certificates(pem)? {
            let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| malformed())?;
            let constraints = parsed.basic_constraints().map_err(|_| malformed())?;
            let Some(constraints) = constraints.filter(|constraints| constraints.value.ca) else {
                return Err(IdentityError::NotCa { path: path.into() });
            };
            let length = constraints.value.path_len_constraint;
            roots.add(certificate.clone()).map_err(|_| malformed())?;
            each.push((certificate, length));
        }
        Ok(Self {
            roots: Arc::new(roots),
            each: each.into(),
        })
    }

    #[cfg(test)]
    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// What a peer showed between its certificate and these: a CA's own certificate adds nothing.
    fn between(&self, shown: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
        let known = |shown: &CertificateDer<'_>| self.each.iter().any(|(own, _)| own == shown);
        let between = shown.iter().filter(|shown| !known(shown));
        between.map(|shown| shown.clone().into_owned()).collect()
    }

    /// Those below which so many intermediates may stand. One that is shown and not needed counts, too.
    fn with_room_for(&self, intermediates: usize) -> Arc<RootCertStore> {
        let room = |length: Option<u32>| {
            length.is_none_or(|length| usize::try_from(length).is_ok_and(|length| length >= intermediates))
        };
        let with_length = self.roots.roots.iter().zip(self.each.iter());
        let roots = with_length.filter(|(_, (_, length))| room(*length));
        Arc::new(roots.map(|(root, _)| root.clone()).collect())
    }
}

/// Fails where there is no CA.
fn of_clients(roots: Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    WebPkiClientVerifier::builder_with_provider(roots, crypto_provider()).build()
}

fn of_servers(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(roots, crypto_provider()).build()
}

/// Whether a certificate says that it is for this.
fn is_for(
    certificate: &CertificateDer<'_>,
    usage: impl Fn(&ExtendedKeyUsage<'_>) -> bool,
) -> Result<(), Error> {
    let malformed = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| malformed())?;
    let said = parsed.extended_key_usage().map_err(|_| malformed())?;
    match said {
        Some(said) if usage(said.value) => Ok(()),
        _ => Err(CertificateError::InvalidPurpose.into()),
    }
}

/// Agents, to a server.
#[derive(Debug)]
pub(super) struct Agents {
    authorities: Authorities,
    direct: Arc<dyn ClientCertVerifier>,
}

impl Agents {
    pub(super) fn of(authorities: &Authorities) -> Result<Self, VerifierBuilderError> {
        Ok(Self {
            direct: of_clients(authorities.roots.clone())?,
            authorities: authorities.clone(),
        })
    }
}

impl ClientCertVerifier for Agents {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.direct.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut verified = self.direct.verify_client_cert(end_entity, &[], now);
        let between = self.authorities.between(intermediates);
        if !between.is_empty()
            && is_unknown(&verified)
            && let Ok(others) = of_clients(self.authorities.with_room_for(between.len()))
        {
            verified = others.verify_client_cert(end_entity, &between, now);
        }
        let verified = verified?;
        is_for(end_entity, |usage| usage.client_auth)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.direct.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.direct.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.direct.supported_verify_schemes()
    }
}

/// Servers, to an agent.
#[derive(Debug)]
pub(super) struct Servers {
    authorities: Authorities,
    direct: Arc<WebPkiServerVerifier>,
}

impl Servers {
    pub(super) fn of(authorities: &Authorities) -> Result<Self, VerifierBuilderError> {
        Ok(Self {
            direct: of_servers(authorities.roots.clone())?,
            authorities: authorities.clone(),
        })
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut verified = self
            .direct
            .verify_server_cert(end_entity, &[], server_name, ocsp, now);
        let between = self.authorities.between(intermediates);
        if !between.is_empty()
            && is_unknown(&verified)
            && let Ok(others) = of_servers(self.authorities.with_room_for(between.len()))
        {
            verified = others.verify_server_cert(end_entity, &between, server_name, ocsp, now);
        }
        let verified = verified?;
        is_for(end_entity, |usage| usage.server_auth)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.direct.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.direct.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.direct.supported_verify_schemes()
    }
}

/// None of the CAs has signed it itself.
fn is_unknown<T>(verified: &Result<T, Error>) -> bool {
    matches!(
        verified,
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    )
}
