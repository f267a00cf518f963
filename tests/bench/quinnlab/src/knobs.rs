//! The knobs, read from the environment, and the configurations that they make.

use quinn::congestion::{BbrConfig, CubicConfig, NewRenoConfig};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

pub fn text(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    let mut p = if text("PROVIDER", "aws") == "ring" {
        rustls::crypto::ring::default_provider()
    } else {
        rustls::crypto::aws_lc_rs::default_provider()
    };
    let want = match text("CIPHER", "aes128").as_str() {
        "aes256" => rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
        "chacha" => rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        _ => rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
    };
    // QUIC needs AES-128-GCM for Initial packets: keep it in the list, but prefer the wanted one.
    p.cipher_suites
        .retain(|c| c.suite() == want || c.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    p.cipher_suites.sort_by_key(|c| c.suite() != want);
    Arc::new(p)
}

pub fn transport() -> Arc<quinn::TransportConfig> {
    let mut t = quinn::TransportConfig::default();
    let w = number("WINDOW", 16 << 20);
    t.stream_receive_window((w as u32).into());
    t.receive_window(((w * 2).min(u32::MAX as u64) as u32).into());
    t.send_window(w);
    t.enable_segmentation_offload(number("GSO", 1) == 1);
    t.initial_mtu(number("INITIAL_MTU", 1200) as u16);
    let mut m = quinn::MtuDiscoveryConfig::default();
    m.upper_bound(number("MTU", 1452) as u16);
    t.mtu_discovery_config(Some(m));
    if number("ACKFREQ", 0) == 1 {
        t.ack_frequency_config(Some(quinn::AckFrequencyConfig::default()));
    }
    match text("CC", "cubic").as_str() {
        "bbr" => {
            t.congestion_controller_factory(Arc::new(BbrConfig::default()));
        }
        "newreno" => {
            t.congestion_controller_factory(Arc::new(NewRenoConfig::default()));
        }
        _ => {
            t.congestion_controller_factory(Arc::new(CubicConfig::default()));
        }
    }
    Arc::new(t)
}

pub fn socket(a: SocketAddr) -> UdpSocket {
    let s = UdpSocket::bind(a).unwrap();
    let n = number("SOCKBUF", 0) as usize;
    if n > 0 {
        let s2 = socket2::SockRef::from(&s);
        s2.set_recv_buffer_size(n).unwrap();
        s2.set_send_buffer_size(n).unwrap();
    }
    s
}

pub fn endpoint_config() -> quinn::EndpointConfig {
    let mut c = quinn::EndpointConfig::default();
    c.max_udp_payload_size(65527).unwrap();
    c
}
