//! What Linux itself says by rtnetlink: the routes that end on this machine, and that addresses or routes have changed.
//!
//! Of the routing tables only `local` counts. A transparent proxy has a table of its own in which the whole internet is
//! local, for the packets that it marks.

use ipnet::IpNet;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recv, sendto, socket_with};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::UnixDatagram;

/// Every destination that the table `local` delivers here.
pub(super) fn local_routes() -> io::Result<Vec<IpNet>> {
    let mut routes = Vec::new();
    for family in [FAMILY_V4, FAMILY_V6] {
        dump(family, &mut routes)?;
    }
    Ok(routes)
}

fn dump(family: u8, routes: &mut Vec<IpNet>) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    sendto(
        &socket,
        &request(family),
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut buffer = vec![0; LARGEST];
    for _ in 0..MOST_PARTS {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return Err(io::Error::other("the kernel refuses to list its routes")),
                NEW_ROUTE => routes.extend(local_route(body)),
                _ => {}
            }
            rest = next;
        }
    }
    Err(io::Error::other("there are too many routes"))
}

/// A header (`struct nlmsghdr`) and a route that asks for all of a family (`struct rtmsg`).
fn request(family: u8) -> Vec<u8> {
    let mut request = Vec::with_capacity(28);
    request.extend(28_u32.to_ne_bytes());
    request.extend(GET_ROUTE.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.push(family);
    request.extend([0; 11]);
    request
}

/// The first message: its kind, its body, and what comes behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let body = bytes.get(16..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes(*kind), body, next))
}

/// The destination of a route, where it is one of the table `local` that ends here.
fn local_route(body: &[u8]) -> Option<IpNet> {
    let ([family, length, _, _, table, _, _, kind, _, _, _, _], mut rest) = body.split_first_chunk()?;
    if *table != TABLE_LOCAL || !matches!(*kind, LOCAL | ANYCAST) || *length == 0 {
        return None;
    }
    while let Some((size, kind)) = attribute(rest) {
        if kind == DESTINATION {
            let address = rest.get(4..size)?;
            let address = match *family {
                FAMILY_V4 => IpAddr::from(*address.first_chunk::<4>()?),
                _ => IpAddr::from(*address.first_chunk::<16>()?),
            };
            return IpNet::new(address, *length).ok();
        }
        rest = rest.get(size.next_multiple_of(4)..)?;
    }
    None
}

/// The size and kind of the first attribute.
fn attribute(bytes: &[u8]) -> Option<(usize, u16)> {
    let (size, rest) = bytes.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let size = usize::from(u16::from_ne_bytes(*size));
    (size >= 4).then_some((size, u16::from_ne_bytes(*kind)))
}

/// Tells that addresses or routes have changed, not which.
pub(super) struct Notices(UnixDatagram);

impl Notices {
    pub(super) fn subscribe() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        // Not of that family, but received from in the same way; tokio has no type for any socket.
        UnixDatagram::from_std(socket.into()).map(Self)
    }

    /// Completes after a change; what else was told by then is one change with it. Cancel safe.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.0.readable().await?;
        let mut buffer = [0; 8192];
        for _ in 0..MOST_PARTS {
            match self.0.try_recv(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // More changes than the kernel keeps: a change, too.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

// From linux/netlink.h and linux/rtnetlink.h.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const TABLE_LOCAL: u8 = 255;
const LOCAL: u8 = 2;
const ANYCAST: u8 = 4;
const DESTINATION: u16 = 1;
/// Addresses and routes of IPv4 and IPv6.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;

const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel sends no larger part.
const LARGEST: usize = 64 * 1024;
/// On a router with the routes of the whole internet it gives up, and the interfaces' addresses have to do.
const MOST_PARTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_cut_or_lie_about_their_length_are_no_routes() {
        let mut route = vec![FAMILY_V4, 32, 0, 0, TABLE_LOCAL, 0, 0, LOCAL, 0, 0, 0, 0];
        route.extend(8_u16.to_ne_bytes());
        route.extend(DESTINATION.to_ne_bytes());
        route.extend([11, 0, 0, 1]);
        assert_eq!(local_route(&route), Some("11.0.0.1/32".parse().unwrap()));
        for cut in 0..route.len() {
            assert_eq!(local_route(&route[..cut]), None, "{cut}");
        }
        let mut of_another_table = route.clone();
        of_another_table[4] = 100;
        assert_eq!(local_route(&of_another_table), None);
        for size in [0_u16, 3, 4, 7, 9, 60000] {
            route[12..14].copy_from_slice(&size.to_ne_bytes());
            assert_eq!(local_route(&route), None, "{size}");
        }
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend([0; 16]);
        assert!(message(&bytes).is_some());
        for (length, cut) in [(20_u32, 19), (0, 20), (15, 20), (21, 20), (u32::MAX, 20)] {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(message(&bytes[..cut]).is_none(), "{length} {cut}");
        }
    }
}
