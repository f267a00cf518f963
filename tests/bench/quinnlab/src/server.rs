//! The serving side: pours into or drains every stream that a client opens.

use crate::knobs::{endpoint_config, provider, socket, transport};
use crate::stream::{drain, pour};
use crate::usage::cpu;
use quinn::crypto::rustls::QuicServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub async fn run(addr: SocketAddr) {
    let ck = rcgen::generate_simple_self_signed(vec!["bench.local".into()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(ck.key_pair.serialize_der());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![ck.cert.der().clone()], key.into())
        .unwrap();
    tls.alpn_protocols = vec![b"lab".to_vec()];
    let mut sc = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    sc.transport_config(transport());
    let ep = quinn::Endpoint::new(
        endpoint_config(),
        Some(sc),
        socket(addr),
        Arc::new(quinn::TokioRuntime),
    )
    .unwrap();
    println!("ready");
    while let Some(inc) = ep.accept().await {
        tokio::spawn(async move {
            let c0 = cpu();
            let Ok(conn) = inc.await else { return };
            let n = Arc::new(AtomicU64::new(0));
            let t = Instant::now();
            while let Ok((send, mut recv)) = conn.accept_bi().await {
                let n = n.clone();
                tokio::spawn(async move {
                    let mut b = [0u8; 1];
                    if recv.read_exact(&mut b).await.is_err() {
                        return;
                    }
                    if b[0] == b'd' {
                        pour(send, None).await;
                    } else {
                        drain(recv, n).await;
                    }
                });
            }
            let s = conn.stats();
            println!(
                "server cpu_s={:.2} secs={:.2} up_MB={:.0} udp_tx dgrams={} ios={} rx dgrams={} ios={} lost={} mtu={} cwnd={}",
                cpu() - c0,
                t.elapsed().as_secs_f64(),
                n.load(Ordering::Relaxed) as f64 / 1e6,
                s.udp_tx.datagrams,
                s.udp_tx.ios,
                s.udp_rx.datagrams,
                s.udp_rx.ios,
                s.path.lost_packets,
                s.path.current_mtu,
                s.path.cwnd
            );
        });
    }
}
