//! Who meets whom: real handshakes, in memory.

use super::*;
use rcgen::date_time_ymd;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error, ServerConnection};

/// Which end refused the other, and why.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    ByClient(Error),
    ByServer(Error),
}

/// What the server knows once both ends are content.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) chain: Vec<CertificateDer<'static>>,
    server: ServerConnection,
    pub(super) client: ClientConnection,
}

pub(super) fn meet(client: ClientConfig, server: ServerConfig, name: &'static str) -> Result<Met, Refused> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    // Both flights, and then what a server may send after the handshake, such as tickets.
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut &*bytes).unwrap();
        server.process_new_packets().map_err(Refused::ByServer)?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut &*bytes).unwrap();
        client.process_new_packets().map_err(Refused::ByClient)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let chain = server.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|c| c.clone().into_owned()).collect();
    Ok(Met {
        chain,
        server,
        client,
    })
}

#[test]
fn both_ends_of_one_ca_meet_and_the_server_knows_the_agent() {
    let ca = Authority::new();
    let met = meet(ca.agent().client_config(), ca.server().server_config(), SERVER).unwrap();
    assert_eq!(
        AgentId::from_peer_certificates(&met.chain).unwrap().as_str(),
        "laptop"
    );
    assert_eq!(met.server.alpn_protocol(), Some(ALPN));
    assert_eq!(
        met.client.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let suite = met.client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, crypto_provider().cipher_suites[0].suite());
    let group = met.client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn no_handshake_is_shortened_by_an_earlier_one() {
    let ca = Authority::new();
    let (client, server) = (ca.agent().client_config(), ca.server().server_config());
    for _ in 0..3 {
        let met = meet(client.clone(), server.clone(), SERVER).unwrap();
        assert_eq!(met.client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(met.client.tls13_tickets_received(), 0);
    }
    assert!(!client.enable_early_data);
    assert_eq!(server.max_early_data_size, 0);
}

#[test]
fn an_agent_of_another_ca_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let mut client = other.agent().client_config();
    // It trusts the server, but the server does not trust it.
    let authorities = Authorities::load(&Pem::File(ca.path("ca.pem"))).unwrap();
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(authorities.roots(), crypto_provider());
    client
        .dangerous()
        .set_certificate_verifier(verifier.build().unwrap());
    let refused = meet(client, ca.server().server_config(), SERVER).unwrap_err();
    let Refused::ByServer(Error::InvalidCertificate(_)) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn a_server_of_another_ca_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let refused = meet(ca.agent().client_config(), other.server().server_config(), SERVER).unwrap_err();
    let Refused::ByClient(Error::InvalidCertificate(_)) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn an_agent_without_a_certificate_is_refused() {
    let ca = Authority::new();
    let mut client = ca.agent().client_config();
    client.client_auth_cert_resolver = Arc::new(NoCertificate);
    let refused = meet(client, ca.server().server_config(), SERVER).unwrap_err();
    assert_eq!(refused, Refused::ByServer(Error::NoCertificatesPresented));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// What an identity's owner would never present: `load` refuses it, so it is forced into the configuration.
fn forced(ca: &Authority, name: &str) -> Arc<rustls::sign::SingleCertAndKey> {
    let key = private_keys(&Pem::File(ca.path(&format!("{name}.key"))))
        .unwrap()
        .remove(0);
    let key = provider::default_provider()
        .key_provider
        .load_private_key(key)
        .unwrap();
    let chain = certificates(&Pem::File(ca.path(&format!("{name}.pem")))).unwrap();
    Arc::new(rustls::sign::SingleCertAndKey::from(CertifiedKey::new(
        chain, key,
    )))
}

#[test]
fn expired_and_early_certificates_are_refused_by_either_end() {
    let ca = Authority::new();
    let (good_agent, good_server) = (ca.agent(), ca.server());
    for name in ["agent", "server"] {
        for early in [false, true] {
            ca.issue("bad", |params| {
                match name {
                    "agent" => agent(params),
                    _ => server(params),
                }
                if early {
                    params.not_before = date_time_ymd(2999, 1, 1);
                } else {
                    params.not_after = date_time_ymd(2001, 1, 1);
                }
            });
            let (mut client, mut server) = (good_agent.client_config(), good_server.server_config());
            match name {
                "agent" => client.client_auth_cert_resolver = forced(&ca, "bad"),
                _ => server.cert_resolver = forced(&ca, "bad"),
            }
            let refused = meet(client, server, SERVER).unwrap_err();
            let (Refused::ByClient(Error::InvalidCertificate(why))
            | Refused::ByServer(Error::InvalidCertificate(why))) = &refused
            else {
                panic!("{refused:?}")
            };
            let fits = match why {
                CertificateError::ExpiredContext { .. } => !early,
                CertificateError::NotValidYetContext { .. } => early,
                _ => false,
            };
            assert!(fits, "{name}, early {early}: {why:?}");
        }
    }
}

#[test]
fn a_server_certificate_does_not_make_an_agent() {
    let ca = Authority::new();
    let refused = meet(ca.server().client_config(), ca.server().server_config(), SERVER).unwrap_err();
    let Refused::ByServer(Error::InvalidCertificate(CertificateError::InvalidPurposeContext { .. })) =
        refused
    else {
        panic!("{refused:?}")
    };
}

#[test]
fn an_agent_certificate_does_not_make_a_server() {
    let ca = Authority::new();
    // Even one with the server's name in it: the usage alone is enough to refuse it.
    ca.issue("impostor", |params| {
        agent(params);
        params
            .subject_alt_names
            .push(SanType::DnsName(SERVER.try_into().unwrap()));
    });
    let impostor = ca.load("impostor").unwrap();
    let refused = meet(ca.agent().client_config(), impostor.server_config(), SERVER).unwrap_err();
    let Refused::ByClient(Error::InvalidCertificate(CertificateError::InvalidPurposeContext { .. })) =
        refused
    else {
        panic!("{refused:?}")
    };
    // And one without usages falls over the name.
    ca.issue("plain", |params| {
        params.subject_alt_names = vec![uri("fluidity://agent/laptop")]
    });
    let plain = ca.load("plain").unwrap();
    let refused = meet(ca.agent().client_config(), plain.server_config(), SERVER).unwrap_err();
    let Refused::ByClient(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) =
        refused
    else {
        panic!("{refused:?}")
    };
}

#[test]
fn a_server_of_another_name_is_refused() {
    let ca = Authority::new();
    let refused = meet(
        ca.agent().client_config(),
        ca.server().server_config(),
        "other-server",
    )
    .unwrap_err();
    let Refused::ByClient(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) =
        refused
    else {
        panic!("{refused:?}")
    };
}

#[test]
fn another_protocol_is_refused() {
    let ca = Authority::new();
    let mut client = ca.agent().client_config();
    client.alpn_protocols = vec![b"fluidity/2".to_vec()];
    let refused = meet(client, ca.server().server_config(), SERVER).unwrap_err();
    assert_eq!(refused, Refused::ByServer(Error::NoApplicationProtocol));
}

#[test]
fn a_bundle_of_cas_accepts_agents_of_each() {
    let (old, new) = (Authority::new(), Authority::new());
    old.issue("server", server);
    let both = [old.path("ca.pem"), new.path("ca.pem")].map(|path| fs::read_to_string(path).unwrap());
    fs::write(old.path("bundle.pem"), both.concat()).unwrap();
    let server = Identity::load(
        &old.path("server.pem"),
        &old.path("server.key"),
        &old.path("bundle.pem"),
    )
    .unwrap();
    new.issue("agent", agent);
    let moved = Identity::load(
        &new.path("agent.pem"),
        &new.path("agent.key"),
        &old.path("ca.pem"),
    )
    .unwrap();
    for client in [old.agent(), moved] {
        meet(client.client_config(), server.server_config(), SERVER).unwrap();
    }
}
