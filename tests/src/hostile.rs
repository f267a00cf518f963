//! An agent with good papers that keeps to nothing: plain QUIC in the hands of a test, whose packets can be tampered with.
//!
//! What a QUIC library would never send is made by changing packets between their making and their encryption: frames are
//! turned into padding of the same length, and the packet is acknowledged as if they had been sent.

use crate::pki::{SERVER_NAME, TestPki};
use crate::wait::within;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig as TlsConfig, RootCertStore};
use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a hostile agent's own packets, once its connection stands.
pub trait Tamper: Send + Sync + 'static {
    /// Whether a STREAM frame is left out: the stream's id, the offset and the length of its bytes.
    fn drops_stream(&self, stream: u64, offset: u64, length: u64) -> bool;

    /// Whether acknowledgements are left out.
    fn drops_acks(&self) -> bool {
        false
    }

    /// Whether a STREAM frame becomes as many frames of one byte each as fit in its place, with a gap before each.
    fn shreds(&self, _stream: u64, _offset: u64) -> bool {
        false
    }

    /// Which stream a STREAM frame is about instead; both ids are below 64.
    fn renames(&self, _stream: u64) -> Option<u8> {
        None
    }
}

/// Nothing is changed.
#[derive(Clone, Copy, Debug)]
pub struct Untampered;

impl Tamper for Untampered {
    fn drops_stream(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }
}

/// A connection to the server that said `Hello` and nothing else.
pub struct Hostile {
    /// The QUIC connection.
    pub connection: Connection,
    control: SendStream,
    _endpoint: Endpoint,
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl Hostile {
    /// Connects as `agent`, with windows as wide as they can be.
    pub async fn connect(
        pki: &TestPki,
        agent: &str,
        server: SocketAddr,
        tamper: impl Tamper,
    ) -> Result<Self, ConnectionError> {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a UDP socket");
        let crypto = Tampering {
            inner: Arc::new(QuicClientConfig::try_from(tls(pki, agent)).expect("TLS 1.3 for QUIC")),
            tamper: Arc::new(tamper),
        };
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(wide()));
        let connecting = endpoint
            .connect_with(config, server, SERVER_NAME)
            .expect("connect");
        let connection = within(Duration::from_secs(30), "the handshake ends", connecting).await?;
        let mut control = connection.open_uni().await?;
        // A Hello with an instance and no sessions.
        let hello = [0x11, 13, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 3, 1, 0];
        let _ = control.write_all(&hello).await;
        Ok(Self {
            connection,
            control,
            _endpoint: endpoint,
        })
    }

    /// Asks for a session to `target`, which may send `window` bytes. The answer is not waited for.
    pub async fn open(
        &self,
        target: SocketAddr,
        window: u32,
    ) -> Result<(SendStream, RecvStream), ConnectionError> {
        let (mut send, recv) = self.connection.open_bi().await?;
        let _ = send.write_all(&open_message(target, window)).await;
        Ok((send, recv))
    }

    /// Says something on the control stream.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.control.write_all(bytes).await;
    }
}

fn wide() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .send_window(1 << 30)
        .receive_window(VarInt::MAX)
        .stream_receive_window(VarInt::from_u32(1 << 24))
        .keep_alive_interval(Some(Duration::from_secs(1)));
    transport
}

/// The `Open` of a session of the kind `connect` to an IPv4 address (docs/protocol.md).
pub fn open_message(target: SocketAddr, window: u32) -> Vec<u8> {
    let IpAddr::V4(ip) = target.ip() else {
        panic!("an IPv4 address")
    };
    let mut fields = vec![1, 1, 1, 5, 4];
    fields.extend(ip.octets());
    fields.extend([9, 4]);
    fields.extend((0x8000_0000 | u32::from(target.port())).to_be_bytes());
    fields.extend([0x0b, 4]);
    fields.extend((0x8000_0000 | window).to_be_bytes());
    let mut message = vec![1, fields.len() as u8];
    message.extend(fields);
    message
}

/// The TLS side of an agent's connection, with its identity out of the CA's directory.
fn tls(pki: &TestPki, agent: &str) -> TlsConfig {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(pki.file("ca.pem")).expect("ca.pem");
    roots.add(ca).expect("a root");
    let chain = CertificateDer::pem_file_iter(pki.file(&format!("{agent}.pem"))).expect("certificate file");
    let chain = chain
        .map(|certificate| certificate.expect("a certificate"))
        .collect();
    let key = PrivateKeyDer::from_pem_file(pki.file(&format!("{agent}.key"))).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = TlsConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("matching papers");
    config.alpn_protocols = vec![b"fluidity/1".to_vec()];
    config
}

/// The TLS side of a server whose packets are tampered with in the same way.
pub(crate) fn tampering_server(tls: rustls::ServerConfig, tamper: impl Tamper) -> quinn::ServerConfig {
    quinn::ServerConfig::with_crypto(Arc::new(TamperingServer {
        inner: Arc::new(QuicServerConfig::try_from(tls).expect("TLS 1.3 for QUIC")),
        tamper: Arc::new(tamper),
    }))
}

struct TamperingServer {
    inner: Arc<QuicServerConfig>,
    tamper: Arc<dyn Tamper>,
}

impl ServerConfig for TamperingServer {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.inner.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.inner.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(TamperedSession {
            inner: self.inner.clone().start_session(version, params),
            tamper: self.tamper.clone(),
            keys: 0,
        })
    }
}

struct Tampering {
    inner: Arc<QuicClientConfig>,
    tamper: Arc<dyn Tamper>,
}

impl ClientConfig for Tampering {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        Ok(Box::new(TamperedSession {
            inner: self.inner.clone().start_session(version, server_name, params)?,
            tamper: self.tamper.clone(),
            keys: 0,
        }))
    }
}

struct TamperedSession {
    inner: Box<dyn Session>,
    tamper: Arc<dyn Tamper>,
    /// Sets of keys that were handed out: the second one is for what follows the handshake.
    keys: u8,
}

impl Session for TamperedSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn quinn::crypto::HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let keys = self.inner.write_handshake(buf)?;
        self.keys += 1;
        if self.keys == 1 {
            return Some(keys);
        }
        let KeyPair { local, remote } = keys.packet;
        let local = Box::new(TamperedKey {
            inner: local,
            tamper: self.tamper.clone(),
        });
        Some(Keys {
            header: keys.header,
            packet: KeyPair { local, remote },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

struct TamperedKey {
    inner: Box<dyn PacketKey>,
    tamper: Arc<dyn Tamper>,
}

impl PacketKey for TamperedKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let end = buf.len() - self.inner.tag_len();
        tamper(&mut buf[header_len..end], &*self.tamper);
        self.inner.encrypt(packet, buf, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut bytes::BytesMut) -> Result<(), CryptoError> {
        self.inner.decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.inner.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.inner.integrity_limit()
    }
}

/// Walks through the frames of a packet (RFC 9000 §19), as far as an agent sends them.
fn tamper(payload: &mut [u8], tamper: &dyn Tamper) {
    let mut at = 0;
    while at < payload.len() {
        let start = at;
        let kind = payload[at];
        at += 1;
        let mut number = || varint(payload, &mut at);
        let drops = match kind {
            0 | 1 | 0x1e => false,
            2 | 3 => {
                number();
                number();
                let ranges = number();
                for _ in 0..1 + 2 * ranges + if kind == 3 { 3 } else { 0 } {
                    number();
                }
                tamper.drops_acks()
            }
            4 => {
                (0..3).for_each(|_| _ = number());
                false
            }
            5 | 0x11 | 0x15 => {
                (0..2).for_each(|_| _ = number());
                false
            }
            0x10 | 0x12..=0x14 | 0x16 | 0x17 | 0x19 => {
                number();
                false
            }
            6 => {
                number();
                let length = number();
                at += length as usize;
                false
            }
            8..=0x0f => {
                let stream = varint(payload, &mut at);
                if let Some(other) = tamper.renames(stream) {
                    payload[start + 1] = other;
                }
                let offset = if kind & 4 == 0 {
                    0
                } else {
                    varint(payload, &mut at)
                };
                let length = match kind & 2 {
                    0 => (payload.len() - at) as u64,
                    _ => varint(payload, &mut at),
                };
                at += length as usize;
                if tamper.shreds(stream, offset) {
                    shred(&mut payload[start..at], stream, offset, length);
                }
                tamper.drops_stream(stream, offset, length)
            }
            0x18 => {
                number();
                number();
                at += 1 + payload[at] as usize + 16;
                false
            }
            0x1a | 0x1b => {
                at += 8;
                false
            }
            _ => return,
        };
        if drops {
            payload[start..at].fill(0);
        }
    }
}

/// Writes frames of one byte over a frame, at every other offset of what it had from the second on.
fn shred(frame: &mut [u8], stream: u64, from: u64, length: u64) {
    let mut shreds = Vec::new();
    for offset in (from + 1..from + length).step_by(2) {
        // With an offset and a length, and two numbers of four bytes.
        let mut shred = vec![0x0e];
        shred.extend((0x8000_0000 | stream as u32).to_be_bytes());
        shred.extend((0x8000_0000 | offset as u32).to_be_bytes());
        shred.extend([1, 7]);
        if shreds.len() + shred.len() > frame.len() {
            break;
        }
        shreds.extend(shred);
    }
    frame.fill(0);
    frame[..shreds.len()].copy_from_slice(&shreds);
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let size = 1_usize << (bytes[*at] >> 6);
    let first = u64::from(bytes[*at] & 0x3f);
    let value = bytes[*at + 1..*at + size]
        .iter()
        .fold(first, |value, byte| value << 8 | u64::from(*byte));
    *at += size;
    value
}
