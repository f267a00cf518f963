//! QUIC for both ends: transport tuning, endpoints, and what a restarted server owes its old peers.
//!
//! A server derives its stateless-reset and connection-id keys from its identity, so that after a restart it answers
//! packets of connections it no longer knows with a stateless reset (RFC 9000 §10.3), and agents notice at once.

use crate::backlog;
use crate::congestion::ModelConfig;
use crate::credit::MAX_WINDOW;
use crate::pool::GUARANTEED;
use crate::socket::Ungrouped;
use crate::tls::Identity;
use crate::unproven::Unproven;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Runtime, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;
use tracing::warn;

/// What the daemons may choose of the transport.
#[derive(Clone, Debug)]
pub struct QuicOptions {
    /// A connection from which nothing was heard for so long is lost.
    pub idle_timeout: Duration,
    /// How often a silent connection is probed; `None` on the side that leaves it to the other.
    pub keep_alive: Option<Duration>,
    /// How many sessions the peer may have open at once on a connection. 0 on an agent, which accepts none.
    ///
    /// A connection begins with some of them; its [`Link`](crate::Link), which is told the same, raises their number.
    pub max_sessions: u32,
}

/// Why an endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The UDP socket could not be bound.
    #[error("cannot bind UDP {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The identity's TLS configuration does not suit QUIC.
    #[error("the TLS configuration does not suit QUIC")]
    Tls(#[from] NoInitialCipherSuite),
    /// The idle timeout is beyond what QUIC can say.
    #[error("the idle timeout is too long")]
    IdleTimeout,
}

/// Binds a server's endpoint.
pub fn server_endpoint(
    bind: SocketAddr,
    identity: &Identity,
    options: &QuicOptions,
) -> Result<Endpoint, QuicError> {
    sparing_endpoint(bind, identity, options, Arc::default())
}

/// The same, which sends addresses that are watched as not proven no more than it may.
pub fn sparing_endpoint(
    bind: SocketAddr,
    identity: &Identity,
    options: &QuicOptions,
    unproven: Arc<Unproven>,
) -> Result<Endpoint, QuicError> {
    let config = server_config(identity, options)?;
    let seed = identity.derive_key(b"fluidity/1 stateless reset");
    let reset = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &seed);
    let mut endpoint = EndpointConfig::new(Arc::new(reset));
    let id = identity.derive_key(b"fluidity/1 connection id");
    let id = id
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    endpoint.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(id)));
    open(bind, endpoint, Some(config), unproven)
}

/// The part of a server's endpoint that changes with its identity.
pub fn server_config(identity: &Identity, options: &QuicOptions) -> Result<quinn::ServerConfig, QuicError> {
    let crypto = QuicServerConfig::try_from(identity.server_config())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(options)?)
        // As long as an attempt may take: what proved an address at its beginning still does at its end.
        .retry_token_lifetime(RETRY_TOKEN)
        .max_incoming(MAX_INCOMING);
    Ok(config)
}

/// Binds an agent's endpoint.
pub fn client_endpoint(bind: SocketAddr) -> Result<Endpoint, QuicError> {
    open(bind, EndpointConfig::default(), None, Arc::default())
}

/// What an agent connects with.
pub fn client_config(identity: &Identity, options: &QuicOptions) -> Result<quinn::ClientConfig, QuicError> {
    let crypto = QuicClientConfig::try_from(identity.client_config())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(options)?);
    Ok(config)
}

fn transport(options: &QuicOptions) -> Result<Arc<TransportConfig>, QuicError> {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(options.idle_timeout).map_err(|_| QuicError::IdleTimeout)?;
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(options.keep_alive)
        .max_concurrent_bidi_streams(VarInt::from_u32(options.max_sessions.min(FIRST_SESSIONS)))
        // The control stream; a second one breaks the protocol.
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(window(MAX_WINDOW))
        // Its link has it follow what was granted (`pool`).
        .receive_window(window(GUARANTEED))
        // `backlog` has a limit for each session.
        .send_window(backlog::OUT_OF_REACH)
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(ModelConfig));
    Ok(Arc::new(transport))
}

fn open(
    bind: SocketAddr,
    mut config: EndpointConfig,
    server: Option<quinn::ServerConfig>,
    unproven: Arc<Unproven>,
) -> Result<Endpoint, QuicError> {
    // `socket` knows packets by their first bits.
    config.grease_quic_bit(false);
    let bound = || -> io::Result<Endpoint> {
        let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
        if bind.is_ipv6() {
            // `[::]` serves both families, whatever the system's default is.
            socket.set_only_v6(false)?;
        }
        socket.bind(&bind.into())?;
        widen(&socket);
        let runtime = Arc::new(TokioRuntime);
        let socket = Ungrouped::new(runtime.wrap_udp_socket(socket.into())?, unproven);
        Endpoint::new_with_abstract_socket(config, server, socket, runtime)
    };
    bound().map_err(|source| QuicError::Bind {
        address: bind,
        source,
    })
}

/// Asks for socket buffers that outlast a scheduling gap; warns once where the kernel caps them.
fn widen(socket: &Socket) {
    static WARNED: Once = Once::new();
    let socket = SockRef::from(socket);
    // What came of it is looked at.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    let received = socket.recv_buffer_size().unwrap_or_default();
    let sent = socket.send_buffer_size().unwrap_or_default();
    if received.min(sent) < SOCKET_BUFFER {
        WARNED.call_once(|| {
            warn!(
                wanted = SOCKET_BUFFER,
                received,
                sent,
                "the kernel caps the UDP socket buffers, which costs packets on fast lines; {REMEDY}"
            );
        });
    }
}

fn window(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}

/// Streams that a connection's peer may open at first. quinn keeps a slot for each stream that is permitted, used or not.
pub(crate) const FIRST_SESSIONS: u32 = 128;
/// Handshakes that may wait for the accept loop.
const MAX_INCOMING: usize = 1024;
/// How long an address that was proven by a Retry stays so.
const RETRY_TOKEN: Duration = Duration::from_secs(60);
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
#[cfg(target_os = "linux")]
const REMEDY: &str = "raise net.core.rmem_max and net.core.wmem_max";
#[cfg(not(target_os = "linux"))]
const REMEDY: &str = "raise the system's limit";
