//! Files for an HTTPS origin on 127.0.0.1, with a CA of its own: nothing to do with the tunnel's CA.

use crate::scratch::Scratch;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// A CA certificate, and a certificate and key for 127.0.0.1.
#[derive(Debug)]
pub struct TlsFiles {
    /// What clients must trust.
    pub ca: PathBuf,
    /// The origin's certificate.
    pub certificate: PathBuf,
    /// The origin's key.
    pub key: PathBuf,
    _scratch: Scratch,
}

impl TlsFiles {
    /// Makes them.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let ca_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "test web CA");
        let ca = scratch.write("ca.pem", &params.self_signed(&ca_key).expect("a CA").pem());
        let issuer = Issuer::new(params, ca_key);

        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        let certificate = scratch.write("origin.pem", &leaf.pem());
        let key = scratch.write("origin.key", &key.serialize_pem());
        Self {
            ca,
            certificate,
            key,
            _scratch: scratch,
        }
    }
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self::new()
    }
}
