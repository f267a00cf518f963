//! Agents that the server must not serve: no certificate, the wrong CA, expired, a server's certificate, another
//! protocol. And one with good papers that talks nonsense. The server serves on.

use fluidity_tests::{Origin, Stack, TestPki, within};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

const ALPN: &[u8] = b"fluidity/1";

struct Papers {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The CA that `fluidity pki` made, in the hands of the test.
fn real_ca(pki: &TestPki) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&fs::read_to_string(pki.file("ca.key")).expect("ca.key")).expect("a key");
    Issuer::from_ca_cert_pem(&fs::read_to_string(pki.file("ca.pem")).expect("ca.pem"), key).expect("a CA")
}

/// A CA of the same name with a key of its own.
fn forged_ca(pki: &TestPki) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().expect("a key");
    Issuer::from_ca_cert_pem(&fs::read_to_string(pki.file("ca.pem")).expect("ca.pem"), key).expect("a CA")
}

/// A CA that nobody here has heard of.
fn foreign_ca() -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().expect("a key"))
}

fn issue(ca: &Issuer<'_, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Papers {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "laptop");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI("fluidity://agent/laptop".try_into().expect("ASCII"))];
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(10);
    params.not_after = now + time::Duration::days(10);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, ca).expect("a certificate");
    Papers {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8"),
    }
}

fn papers_of(pki: &TestPki, name: &str) -> Papers {
    let chain = CertificateDer::pem_file_iter(pki.file(&format!("{name}.pem"))).expect("certificate file");
    Papers {
        chain: chain
            .map(|certificate| certificate.expect("a certificate"))
            .collect(),
        key: PrivateKeyDer::from_pem_file(pki.file(&format!("{name}.key"))).expect("a key"),
    }
}

fn tls(pki: &TestPki, papers: Option<Papers>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(pki.file("ca.pem")).expect("ca.pem");
    roots.add(ca).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match papers {
        Some(papers) => builder
            .with_client_auth_cert(papers.chain, papers.key)
            .expect("matching papers"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

async fn dial(stack: &Stack, config: ClientConfig) -> (Endpoint, Result<Connection, ConnectionError>) {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a UDP socket");
    let config = quinn::ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(config).expect("TLS 1.3 for QUIC"),
    ));
    let connecting = endpoint
        .connect_with(config, stack.server.quic(), "fluidity-server")
        .expect("connect");
    let connection = within(Duration::from_secs(10), "the handshake ends", connecting).await;
    (endpoint, connection)
}

/// In TLS 1.3 the client's side of the handshake is over before the server has seen the client's papers: then the
/// refusal comes as a close.
async fn assert_refused_by_tls(stack: &Stack, what: &str, config: ClientConfig) {
    let (_endpoint, connection) = dial(stack, config).await;
    let error = match connection {
        Err(error) => error,
        Ok(connection) => within(Duration::from_secs(5), what, connection.closed()).await,
    };
    let ConnectionError::ConnectionClosed(close) = &error else {
        panic!("{what}: {error:?}")
    };
    // RFC 9001 §4.8: a TLS alert is CRYPTO_ERROR, 0x0100 to 0x01ff.
    let code = u64::from(close.error_code);
    assert!((0x100..0x200).contains(&code), "{what}: {close:?}");
}

async fn assert_serves(stack: &Stack, origin: &Origin) {
    let (mut client, mut upstream) = stack.tunnel(origin).await;
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
}

#[tokio::test]
async fn papers_that_do_not_fit_are_refused_and_the_server_serves_on() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    let ca = real_ca(&stack.pki);
    let now = time::OffsetDateTime::now_utc();

    let expired = issue(&ca, |params| params.not_after = now - time::Duration::days(1));
    let not_yet = issue(&ca, |params| params.not_before = now + time::Duration::days(1));
    let no_usage = issue(&ca, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    });
    let cases = [
        ("no certificate", None),
        ("the wrong CA", Some(issue(&foreign_ca(), |_| ()))),
        (
            "the wrong CA under the right name",
            Some(issue(&forged_ca(&stack.pki), |_| ())),
        ),
        ("expired", Some(expired)),
        ("not yet valid", Some(not_yet)),
        (
            "the server's own certificate",
            Some(papers_of(&stack.pki, "fluidity-server")),
        ),
        ("an agent's name for server use", Some(no_usage)),
    ];
    for (what, papers) in cases {
        assert_refused_by_tls(&stack, what, tls(&stack.pki, papers)).await;
    }
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
    assert_serves(&stack, &origin).await;
}

#[tokio::test]
async fn papers_made_the_same_way_but_right_are_accepted() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let papers = issue(&real_ca(&stack.pki), |_| ());
    let (_endpoint, connection) = dial(&stack, tls(&stack.pki, Some(papers))).await;
    let connection = connection.expect("accepted");
    // The server opens its control stream only to an agent that it knows.
    within(
        Duration::from_secs(5),
        "the server's Hello",
        connection.accept_uni(),
    )
    .await
    .expect("a control stream");
}

#[tokio::test]
async fn an_agent_without_a_name_is_refused() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let nameless = issue(&real_ca(&stack.pki), |params| params.subject_alt_names.clear());
    let (_endpoint, connection) = dial(&stack, tls(&stack.pki, Some(nameless))).await;
    if let Ok(connection) = connection {
        let error = within(Duration::from_secs(5), "the refusal", connection.closed()).await;
        assert!(
            matches!(
                error,
                ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_)
            ),
            "{error:?}"
        );
    }
    assert_serves(&stack, &origin).await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for alpn in [b"h3".to_vec(), b"fluidity/2".to_vec()] {
        let mut config = tls(&stack.pki, Some(papers_of(&stack.pki, "laptop")));
        config.alpn_protocols = vec![alpn];
        assert_refused_by_tls(&stack, "ALPN", config).await;
    }
    assert_serves(&stack, &origin).await;
}

#[tokio::test]
async fn nonsense_from_a_known_agent_harms_nobody_else() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    let noise = [
        vec![0xff; 4096],
        vec![0; 4096],
        (0..=255).collect::<Vec<u8>>(),
        vec![0x40; 20_000],
    ];
    for bytes in noise {
        let (_endpoint, connection) =
            dial(&stack, tls(&stack.pki, Some(papers_of(&stack.pki, "laptop")))).await;
        let connection = connection.expect("a known agent");
        if let Ok(mut control) = connection.open_uni().await {
            let _ = control.write_all(&bytes).await;
        }
        if let Ok((mut send, mut recv)) = connection.open_bi().await {
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
            // An answer, a reset or a close: but no silence.
            let _ = within(
                Duration::from_secs(15),
                "an end to nonsense",
                recv.read_to_end(1 << 20),
            )
            .await;
        }
    }
    let junk = tokio::net::UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a UDP socket");
    for length in [1, 20, 500, 1200, 1400] {
        junk.send_to(&vec![0xc5; length], stack.server.quic())
            .await
            .expect("send");
    }
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
    assert_serves(&stack, &origin).await;
}
