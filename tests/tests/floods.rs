//! Floods of handshakes, by whoever can send packets: an agent comes in all the same. Each flood is bounded in number, and
//! goes on until the test has seen what it wants.

use fluidity_tests::{
    Origin, Peer, RogueServer, Setup, Stack, TestAgent, TestPki, TestServer, until, within,
};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Makes packets that begin a handshake, each one of its own.
struct Initials {
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
    catcher: UdpSocket,
}

impl Initials {
    async fn new(pki: &TestPki) -> Self {
        let catcher = UdpSocket::bind("127.0.0.1:0").await.expect("a UDP socket");
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        Self {
            endpoint,
            config: stranger(pki),
            catcher,
        }
    }

    /// The first datagram of each of `count` handshakes that nobody has answered.
    async fn take(&self, count: usize) -> Vec<Vec<u8>> {
        let to = self.catcher.local_addr().expect("it is bound");
        let (mut attempts, mut packets) = (Vec::new(), HashMap::new());
        let mut packet = vec![0; 2048];
        while packets.len() < count {
            let connecting = self
                .endpoint
                .connect_with(self.config.clone(), to, "fluidity-server");
            // Kept until the end: an attempt that is let go of is closed by a packet that looks the same.
            attempts.push(connecting.expect("connect"));
            let length = within(DEADLINE, "a packet", self.catcher.recv(&mut packet));
            let length = length.await.expect("receive");
            assert!(length >= 1200, "RFC 9000 §14.1");
            // The connection id that the client chose is in the same place of all of them; a repeated packet has the same.
            packets.insert(packet[5..14].to_vec(), packet[..length].to_vec());
        }
        packets.into_values().collect()
    }
}

/// A client without a certificate, whose first flight is one datagram.
fn stranger(pki: &TestPki) -> quinn::ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(pki.file("ca.pem")).expect("ca.pem");
    roots.add(ca).expect("a root");
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"fluidity/1".to_vec()];
    quinn::ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(config).expect("TLS 1.3 for QUIC"),
    ))
}

/// Something that goes on until it is dropped.
struct Flood(Vec<JoinHandle<()>>);

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Sends beginnings of handshakes from 127.0.0.1 and never reads: the agent's address, seen from the server, spoofed.
async fn spoof(pki: &TestPki, server: SocketAddr, sent: Arc<AtomicU64>) -> Flood {
    let packets = Initials::new(pki).await.take(SPOOFED).await;
    Flood(vec![tokio::spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a UDP socket");
        let mut tick = interval(Duration::from_millis(2));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for packet in packets.iter().cycle().take(MOST_SPOOFED) {
            tick.tick().await;
            let _ = socket.send_to(packet, server).await;
            sent.fetch_add(1, Ordering::Relaxed);
        }
    })])
}

/// Begins handshakes from `from`, obeys a Retry, and leaves each handshake there: what comes after that is kept from its
/// client.
async fn begin_and_leave(
    config: quinn::ClientConfig,
    from: Ipv4Addr,
    server: SocketAddr,
    begun: Arc<AtomicU64>,
) {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    for _ in 0..MOST_BEGUN {
        let (inner, outer) = (
            UdpSocket::bind("127.0.0.1:0").await,
            UdpSocket::bind((from, 0)).await,
        );
        let (inner, outer) = (inner.expect("a socket"), outer.expect("a socket"));
        let to = inner.local_addr().expect("it is bound");
        let connecting = endpoint
            .connect_with(config.clone(), to, "fluidity-server")
            .expect("connect");
        let mut packet = vec![0; 2048];
        let Ok(Ok((length, client))) = timeout(PATIENCE, inner.recv_from(&mut packet)).await else {
            continue;
        };
        let _ = outer.send_to(&packet[..length], server).await;
        if let Ok(Ok(length)) = timeout(PATIENCE, outer.recv(&mut packet)).await
            && packet[0] & 0xf0 == RETRY
        {
            let _ = inner.send_to(&packet[..length], client).await;
            if let Ok(Ok(length)) = timeout(PATIENCE, inner.recv(&mut packet)).await {
                let _ = outer.send_to(&packet[..length], server).await;
            }
        }
        begun.fetch_add(1, Ordering::Relaxed);
        // Its close goes nowhere: the sockets are gone.
        drop((inner, outer, connecting));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_many(count: &AtomicU64, enough: u64) {
    until(DEADLINE, "the flood stands", || async {
        let count = count.load(Ordering::Relaxed);
        if count >= enough { Ok(()) } else { Err(count) }
    })
    .await;
}

async fn assert_served(agent: &TestAgent, origin: &Origin) {
    agent.ready(DEADLINE).await;
    let mut client = Peer::tunnel(agent.proxy(), origin.addr()).await;
    let mut upstream = origin.accept().await;
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
}

async fn server_for(origin: &Origin) -> (TestPki, TestServer) {
    let pki = TestPki::new();
    let mut settings = TestServer::settings(&pki);
    let rule = serde_json::json!([{ "cidr": "127.0.0.1/32", "ports": [origin.addr().port()] }]);
    settings.set("policy.allow", rule);
    let server = TestServer::start(&settings).await;
    (pki, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_packets_spoofed_in_an_agents_name_do_not_lock_it_out() {
    let origin = Origin::bind().await;
    let (pki, server) = server_for(&origin).await;
    let sent = Arc::new(AtomicU64::new(0));
    let _flood = spoof(&pki, server.quic(), sent.clone()).await;
    until_many(&sent, 200).await;
    for _ in 0..AGENTS {
        let agent = TestAgent::start(&TestAgent::settings(&pki, server.quic())).await;
        assert_served(&agent, &origin).await;
    }
    // Somebody from elsewhere gets as far as its certificate, of which it has none.
    let endpoint = quinn::Endpoint::client("127.0.9.1:0".parse().expect("an address")).expect("a socket");
    let connecting = endpoint.connect_with(stranger(&pki), server.quic(), "fluidity-server");
    let connection = within(DEADLINE, "a handshake", connecting.expect("connect")).await;
    if let Ok(connection) = connection {
        within(DEADLINE, "the refusal", connection.closed()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regression_many_sources_that_prove_their_addresses_do_not_starve_an_agent() {
    let origin = Origin::bind().await;
    let (pki, server) = server_for(&origin).await;
    let config = stranger(&pki);
    let begun = Arc::new(AtomicU64::new(0));
    let flood = (1..=9)
        .flat_map(|source| std::iter::repeat_n(source, 4))
        .map(|source| {
            let from = Ipv4Addr::new(127, 0, 7, source);
            tokio::spawn(begin_and_leave(
                config.clone(),
                from,
                server.quic(),
                begun.clone(),
            ))
        });
    let _flood = Flood(flood.collect());
    until_many(&begun, 300).await;
    for _ in 0..AGENTS {
        let agent = TestAgent::start(&TestAgent::settings(&pki, server.quic())).await;
        assert_served(&agent, &origin).await;
    }
}

/// Sends `datagrams` from a socket of its own and says how many bytes went in, and the sizes of what came out until nothing
/// came for longer than the server gives any handshake.
async fn echo(server: SocketAddr, datagrams: &[Vec<u8>]) -> (usize, Vec<usize>) {
    let any: SocketAddr = match server.is_ipv4() {
        true => "127.0.0.1:0".parse().expect("an address"),
        false => "[::1]:0".parse().expect("an address"),
    };
    let socket = UdpSocket::bind(any).await.expect("a UDP socket");
    for datagram in datagrams {
        socket.send_to(datagram, server).await.expect("send");
    }
    let mut sizes = Vec::new();
    let mut answer = vec![0; 2048];
    while let Ok(Ok(length)) = timeout(Duration::from_secs(9), socket.recv(&mut answer)).await {
        sizes.push(length);
    }
    (datagrams.iter().map(Vec::len).sum(), sizes)
}

/// RFC 9000 §8.1: an address that is not proven is sent at most three times what came from it, the close at the end of the
/// server's patience included.
#[tokio::test]
async fn regression_a_source_that_proves_nothing_is_sent_no_more_than_three_times_what_came_from_it() {
    let pki = TestPki::new();
    let packets = Initials::new(&pki).await.take(8).await;
    // One packet, the same one again and again, another behind which no packet stands, and several handshakes of one source.
    let repeated = vec![packets[1].clone(); 3];
    let noise = vec![
        packets[2].clone(),
        vec![0xc1; 25],
        vec![0x41; 25],
        vec![0xe1; 400],
    ];
    let floods = [packets[..1].to_vec(), repeated, noise, packets[3..].to_vec()];
    for listen in ["127.0.0.1:0", "[::]:0"] {
        let mut settings = TestServer::settings(&pki);
        settings.set("listen", listen);
        let server = TestServer::start(&settings).await;
        // Also as the server sees an IPv4 address on a socket of both families.
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, server.quic().port()));
        let echoes = floods.iter().map(|flood| echo(at, flood));
        for (sent, sizes) in futures_util::future::join_all(echoes).await {
            let got: usize = sizes.iter().sum();
            println!("{listen}: {got} for {sent}: {sizes:?}");
            assert!(got > 0, "no answer");
            assert!(got <= 3 * sent, "{got} for {sent}: {sizes:?}");
        }
        let (_, metrics) = server.admin("/metrics").await;
        assert!(metrics.contains("handshake-timeout"), "{metrics}");
        // Who proves its address comes in as before.
        let agent = TestAgent::start(&TestAgent::settings(&pki, at)).await;
        agent.ready(DEADLINE).await;
    }
}

/// One line a minute and source, and a number: whoever can send packets cannot fill a disk.
#[tokio::test]
async fn regression_failed_handshakes_of_one_source_are_told_once_and_then_as_a_number() {
    let pki = TestPki::new();
    let server = TestServer::start(&TestServer::settings(&pki)).await;
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let failures = 40;
    for _ in 0..failures {
        let connecting = endpoint.connect_with(stranger(&pki), server.quic(), "fluidity-server");
        // In TLS 1.3 the client is done before the server has missed its certificate.
        if let Ok(connection) = within(DEADLINE, "a handshake", connecting.expect("connect")).await {
            within(DEADLINE, "the refusal", connection.closed()).await;
        }
    }
    server.signal("TERM");
    let (_, log) = server.exit(DEADLINE).await;
    let told = log.matches("handshake failed").count();
    let left_out: usize = log
        .lines()
        .filter(|line| line.contains("not told one by one"))
        .filter_map(|line| line.split("count=").nth(1)?.trim().parse::<usize>().ok())
        .sum();
    // A minute may pass while it runs.
    assert!((1..=2).contains(&told), "{told} lines\n{log}");
    assert_eq!(told + left_out, failures, "{log}");
}

/// As many sessions as nobody opens by hand: none without a line or a place in a number.
#[tokio::test(flavor = "multi_thread")]
async fn regression_a_flood_of_sessions_is_told_as_a_number_and_no_session_is_left_out_of_it() {
    let stack: Stack = Setup::new().start().await;
    let sessions = 3000;
    let proxy = stack.proxy();
    // Loopback is closed by default: each is a session that is refused.
    let clients = (0..20).map(|_| {
        tokio::spawn(async move {
            for _ in 0..sessions / 20 {
                let (_, head) = Peer::try_tunnel(proxy, "127.0.0.1:9").await;
                assert_eq!(head.status(), 403);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    stack.server.signal("TERM");
    let (_, log) = stack.server.exit(DEADLINE).await;
    let told = log
        .lines()
        .filter(|line| line.contains("session ended") && line.contains("denied-address"));
    let told = told.count();
    let left_out: usize = log
        .lines()
        .filter(|line| line.contains("more sessions ended"))
        .filter_map(|line| line.split("count=").nth(1)?.trim().parse::<usize>().ok())
        .sum();
    assert!(
        told >= 2000 && told < sessions,
        "{told} of {sessions} have a line"
    );
    assert_eq!(told + left_out, sessions);
}

/// A server that sends every agent away as it comes is not asked again and again without a pause.
#[tokio::test]
async fn regression_a_server_that_drains_at_once_is_not_reconnected_to_without_a_pause() {
    let pki = TestPki::new();
    let server = RogueServer::bind(&pki);
    let agent = TestAgent::start(&TestAgent::settings(&pki, server.addr())).await;
    let mut connections = 0;
    let watched = async {
        loop {
            let (link, driver) = server.serve("draining/1").await;
            link.send_drain(Duration::from_secs(30));
            connections += 1;
            drop(driver);
        }
    };
    // Without a pause it is more than a hundred a second.
    let _ = timeout(Duration::from_secs(6), watched).await;
    assert!(
        (2..=20).contains(&connections),
        "{connections} connections in 6 s"
    );
    assert!(agent.log().contains("do not last"), "{}", agent.log());
}

const DEADLINE: Duration = Duration::from_secs(30);
/// One after the other: one alone may be lucky.
const AGENTS: usize = 6;
const PATIENCE: Duration = Duration::from_millis(500);
/// Different packets that a spoofed flood has, and how many it sends at the most: over two minutes' worth.
const SPOOFED: usize = 1000;
const MOST_SPOOFED: usize = 60_000;
/// Handshakes that one of a flood's senders begins at the most.
const MOST_BEGUN: usize = 5000;
/// RFC 9000 §17.2.5: the first byte of a Retry, but for four bits that say nothing.
const RETRY: u8 = 0xf0;
