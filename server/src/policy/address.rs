//! Addresses that are closed by default: whatever is not a public unicast address of the internet.
//!
//! From the IANA special-purpose registries (RFC 6890 and its successors), and the few addresses in public space behind
//! which a cloud keeps its metadata. IPv6 is judged the other way round: only 2000::/3 is public, and inside it a few
//! blocks are not.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of closed address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// This machine.
    Loopback,
    /// This machine, under an address that is public.
    Own,
    /// A cloud's metadata, in public space.
    Metadata,
    /// A private network (RFC 1918, RFC 4193), a carrier's (RFC 6598) among them.
    Private,
    /// One link only; where clouds keep their metadata and credentials.
    LinkLocal,
    /// Many receivers.
    Multicast,
    /// Reserved for documentation, tests, protocols or nothing yet.
    Reserved,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Own => "an address of the server's own machine",
            Self::Metadata => "an address of a cloud's metadata service",
            Self::Private => "an address of a private network",
            Self::LinkLocal => "a link-local address (cloud metadata is among them)",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// The kind of a closed address; nothing for a public one.
pub(super) fn special(address: IpAddr) -> Option<Special> {
    let blocks = match address {
        IpAddr::V4(_) => BLOCKS_V4,
        IpAddr::V6(_) => BLOCKS_V6,
    };
    let found = blocks.iter().find(|(block, _)| block.contains(&address));
    match (found, address) {
        (Some((_, special)), _) => *special,
        (None, IpAddr::V6(_)) => Some(Special::Reserved),
        (None, IpAddr::V4(_)) => None,
    }
}

/// An IPv4-mapped address (`::ffff:a.b.c.d`) as the IPv4 address that would be dialled.
pub(super) fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 address that a translator or tunnel would reach through this IPv6 address.
pub(super) fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, _, _, _, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    if NAT64.contains(&address) || COMPATIBLE.contains(&address) {
        v4(g, h)
    } else if a == 0x2002 {
        v4(b, c)
    } else if TEREDO.contains(&address) {
        // RFC 4380 §4: the client's address, every bit turned.
        v4(!g, !h)
    } else {
        None
    }
}

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

const fn net6(a: u16, b: u16, length: u8) -> IpNet {
    IpNet::V6(v6(a, b, 0, length))
}

/// RFC 6052: the well-known prefix of NAT64.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
/// RFC 4291 §2.5.5.1, deprecated.
const COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);

/// Closed blocks.
const BLOCKS_V4: &[(IpNet, Option<Special>)] = &[
    (v4([0, 0, 0, 0], 8), Some(Special::Loopback)),
    (v4([10, 0, 0, 0], 8), Some(Special::Private)),
    // Alibaba's 100.100.100.200 and Volcengine's 100.96.0.96 are in here.
    (v4([100, 64, 0, 0], 10), Some(Special::Private)),
    (v4([127, 0, 0, 0], 8), Some(Special::Loopback)),
    // Azure's WireServer: goal state, extensions' settings, certificates. Every Azure machine reaches it, nobody else.
    (v4([168, 63, 129, 16], 32), Some(Special::Metadata)),
    (v4([169, 254, 0, 0], 16), Some(Special::LinkLocal)),
    (v4([172, 16, 0, 0], 12), Some(Special::Private)),
    // Oracle's older clouds have theirs at 192.0.0.192.
    (v4([192, 0, 0, 0], 24), Some(Special::Reserved)),
    (v4([192, 0, 2, 0], 24), Some(Special::Reserved)),
    // Packet, then Equinix Metal.
    (v4([192, 80, 8, 124], 32), Some(Special::Metadata)),
    (v4([192, 88, 99, 0], 24), Some(Special::Reserved)),
    (v4([192, 168, 0, 0], 16), Some(Special::Private)),
    (v4([198, 18, 0, 0], 15), Some(Special::Reserved)),
    (v4([198, 51, 100, 0], 24), Some(Special::Reserved)),
    (v4([203, 0, 113, 0], 24), Some(Special::Reserved)),
    (v4([224, 0, 0, 0], 4), Some(Special::Multicast)),
    (v4([240, 0, 0, 0], 4), Some(Special::Reserved)),
];

/// The first block that holds an address decides; what is in none is closed.
const BLOCKS_V6: &[(IpNet, Option<Special>)] = &[
    (
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        Some(Special::Loopback),
    ),
    (
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
        Some(Special::Loopback),
    ),
    // Judged by the IPv4 address inside.
    (IpNet::V6(NAT64), None),
    (net6(0x2002, 0, 16), None),
    (IpNet::V6(TEREDO), None),
    // IETF protocol assignments, documentation.
    (net6(0x2001, 0, 23), Some(Special::Reserved)),
    (net6(0x2001, 0xdb8, 32), Some(Special::Reserved)),
    (net6(0x3fff, 0, 20), Some(Special::Reserved)),
    (net6(0x2000, 0, 3), None),
    (net6(0xfc00, 0, 7), Some(Special::Private)),
    (net6(0xfe80, 0, 10), Some(Special::LinkLocal)),
    (net6(0xfec0, 0, 10), Some(Special::Private)),
    (net6(0xff00, 0, 8), Some(Special::Multicast)),
];
