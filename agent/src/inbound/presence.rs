//! Whether a client is still there while its request is held: one that has left holds nothing.
//!
//! A reset says so by itself. An end of its bytes does not: a client may end its direction and wait for the answer (RFC
//! 9293 §3.6, `nc -N`), and one that has closed its socket looks the same until something is written to it. Where the
//! client is on this machine, as it is behind a proxy on loopback, the kernel knows the difference: a socket that nobody
//! holds any more has no inode. Elsewhere, and on other systems than Linux, a client that has ended its direction counts
//! as one that waits.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presence {
    here: SocketAddr,
    there: SocketAddr,
}

impl Presence {
    /// Of this client; nothing for a socket that is gone.
    pub(super) fn of(tcp: &TcpStream) -> Option<Self> {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Some(Self {
            here: canonical(tcp.local_addr().ok()?),
            there: canonical(tcp.peer_addr().ok()?),
        })
    }

    /// Where the client found the proxy.
    pub(super) const fn here(&self) -> SocketAddr {
        self.here
    }

    /// Completes when the client has left; never where that cannot be told. Cancel safe.
    pub(super) async fn left(&self) {
        let mut seen = false;
        loop {
            sleep(LOOK_INTERVAL).await;
            match self.look() {
                Look::Gone if seen => return,
                Look::Left => return,
                Look::Here => seen = true,
                // The kernel does not say, not even of a connection that must be there.
                Look::Gone | Look::Unknown => std::future::pending().await,
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn look(&self) -> Look {
        use kernel::{Found, find};
        match find(self.here, self.there) {
            Ok(Found::Socket { ended: false, .. }) => Look::Here,
            Ok(Found::Socket { ended: true, .. }) => match find(self.there, self.here) {
                Ok(Found::Socket { held: false, .. }) => Look::Left,
                Ok(_) | Err(_) => Look::Here,
            },
            Ok(Found::Nothing) => Look::Gone,
            Err(_) => Look::Unknown,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn look(&self) -> Look {
        Look::Unknown
    }
}

/// What a look at a client's connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Here,
    /// The client has closed its socket.
    Left,
    /// There is no such connection.
    Gone,
    Unknown,
}

/// Between two looks: a request that is served at once costs none.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The kernel's list of sockets: sock_diag(7), which any user may ask.
#[cfg(target_os = "linux")]
mod kernel {
    use socket2::{Domain, Protocol, Socket, Type};
    use std::io::{self, Read};
    use std::net::{IpAddr, SocketAddr};

    /// What the kernel knows of a connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Found {
        Socket {
            /// A process has it open.
            held: bool,
            /// The other end has ended its direction.
            ended: bool,
        },
        Nothing,
    }

    /// Looks for the socket at `local` whose other end is `remote`.
    pub(super) fn find(local: SocketAddr, remote: SocketAddr) -> io::Result<Found> {
        let mut socket = Socket::new(
            Domain::from(AF_NETLINK),
            Type::DGRAM.nonblocking(),
            Some(Protocol::from(NETLINK_SOCK_DIAG)),
        )?;
        // The kernel answers before this returns.
        socket.send(&question(local, remote)?)?;
        let mut answer = [0; 512];
        let length = socket.read(&mut answer)?;
        read(answer.get(..length).unwrap_or_default())
    }

    fn question(local: SocketAddr, remote: SocketAddr) -> io::Result<Vec<u8>> {
        let family = match (local, remote) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) => AF_INET,
            (SocketAddr::V6(_), SocketAddr::V6(_)) => AF_INET6,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mut bytes = Vec::with_capacity(REQUEST_SIZE);
        // struct nlmsghdr: length, type, flags, sequence, port.
        bytes.extend(u32::try_from(REQUEST_SIZE).unwrap_or_default().to_ne_bytes());
        bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes.extend(NLM_F_REQUEST.to_ne_bytes());
        bytes.extend([0; 8]);
        // struct inet_diag_req_v2: family, protocol, extensions, padding, states, then the socket's id.
        bytes.extend([family, IPPROTO_TCP, 0, 0]);
        bytes.extend(u32::MAX.to_ne_bytes());
        bytes.extend(local.port().to_be_bytes());
        bytes.extend(remote.port().to_be_bytes());
        bytes.extend(padded(local.ip()));
        bytes.extend(padded(remote.ip()));
        // Any interface, and no cookie.
        bytes.extend([0; 4]);
        bytes.extend([0xff; 8]);
        Ok(bytes)
    }

    fn padded(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            IpAddr::V6(address) => address.octets(),
        }
    }

    fn read(answer: &[u8]) -> io::Result<Found> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
        let body = answer.get(HEADER_SIZE..).ok_or_else(malformed)?;
        let word = |at: usize| {
            let bytes = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_ne_bytes).ok_or_else(malformed)
        };
        match kind.map(u16::from_ne_bytes) {
            Some(SOCK_DIAG_BY_FAMILY) => {
                let state = body.get(1).copied().ok_or_else(malformed)?;
                // Where there is no connection, the kernel falls back to the listener of the port.
                if state == LISTEN {
                    return Ok(Found::Nothing);
                }
                Ok(Found::Socket {
                    held: word(INODE_AT)? != 0,
                    ended: state == CLOSE_WAIT,
                })
            }
            Some(NLMSG_ERROR) => match word(0)?.cast_signed().unsigned_abs() {
                ENOENT => Ok(Found::Nothing),
                error => Err(io::Error::from_raw_os_error(error.cast_signed())),
            },
            _ => Err(malformed()),
        }
    }

    const AF_NETLINK: i32 = 16;
    const NETLINK_SOCK_DIAG: i32 = 4;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const IPPROTO_TCP: u8 = 6;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const NLMSG_ERROR: u16 = 2;
    const ENOENT: u32 = 2;
    const CLOSE_WAIT: u8 = 8;
    const LISTEN: u8 = 10;
    const HEADER_SIZE: usize = 16;
    const REQUEST_SIZE: usize = HEADER_SIZE + 56;
    /// In struct inet_diag_msg.
    const INODE_AT: usize = 68;
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    async fn pair(bind: &str) -> (std::net::TcpStream, TcpStream) {
        let listener = TcpListener::bind(bind).await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    async fn until(presence: Presence, look: Look) {
        let looked = async {
            while presence.look() != look {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), looked).await.expect("in time");
    }

    #[tokio::test]
    async fn a_client_that_ended_its_direction_waits_and_one_that_closed_has_left() {
        for bind in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let (mut client, server) = pair(bind).await;
            let presence = Presence::of(&server).unwrap();
            client.write_all(b"GET").unwrap();
            until(presence, Look::Here).await;
            client.shutdown(std::net::Shutdown::Write).unwrap();
            until(presence, Look::Here).await;
            drop(client);
            until(presence, Look::Left).await;
        }
    }

    #[tokio::test]
    async fn a_client_that_reset_has_left() {
        let (client, server) = pair("127.0.0.1:0").await;
        let presence = Presence::of(&server).unwrap();
        until(presence, Look::Here).await;
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        until(presence, Look::Gone).await;
    }
}
