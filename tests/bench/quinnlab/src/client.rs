//! The asking side: opens streams, and prints what came through in the window.

use crate::knobs::{endpoint_config, provider, socket, transport};
use crate::stream::{drain, pour};
use crate::usage::cpu;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub async fn run(addr: SocketAddr, streams: usize, secs: f64, up: bool) {
    let p = provider();
    let mut tls = rustls::ClientConfig::builder_with_provider(p.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(p)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"lab".to_vec()];
    let mut cc = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    cc.transport_config(transport());
    let ep = quinn::Endpoint::new(
        endpoint_config(),
        None,
        socket("0.0.0.0:0".parse().unwrap()),
        Arc::new(quinn::TokioRuntime),
    )
    .unwrap();
    let conn = ep.connect_with(cc, addr, "bench.local").unwrap().await.unwrap();
    let n = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs_f64(secs + 0.5);
    let mut tasks = vec![];
    for _ in 0..streams {
        let (mut send, recv) = conn.open_bi().await.unwrap();
        send.write_all(if up { b"u" } else { b"d" }).await.unwrap();
        let n = n.clone();
        tasks.push(tokio::spawn(async move {
            if up {
                pour(send, Some(until)).await;
            } else {
                drain(recv, n).await;
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (c0, b0, t0, s0) = (cpu(), n.load(Ordering::Relaxed), Instant::now(), conn.stats());
    tokio::time::sleep(Duration::from_secs_f64(secs)).await;
    let dt = t0.elapsed().as_secs_f64();
    let s = conn.stats();
    let bytes = if up {
        s.udp_tx.bytes - s0.udp_tx.bytes
    } else {
        n.load(Ordering::Relaxed) - b0
    };
    println!(
        "client {} MB/s={:.0} client_cpu={:.0}% cpu_s/GiB={:.2} tx dgrams={} ios={} rx dgrams={} ios={} lost={} rtt={:?} mtu={}",
        if up { "up(udp bytes)" } else { "down" },
        bytes as f64 / dt / 1e6,
        (cpu() - c0) / dt * 100.0,
        (cpu() - c0) / (bytes as f64 / (1u64 << 30) as f64),
        s.udp_tx.datagrams,
        s.udp_tx.ios,
        s.udp_rx.datagrams,
        s.udp_rx.ios,
        s.path.lost_packets,
        s.path.rtt,
        s.path.current_mtu
    );
    conn.close(0u32.into(), b"");
    ep.wait_idle().await;
}

#[derive(Debug)]
struct Any(Arc<rustls::crypto::CryptoProvider>);
impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &CertificateDer<'_>,
        d: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
