//! What the path reads of a packet, and the ICMP errors that it answers with. Packets come from the kernel of a namespace, and are
//! cut off where their fields say more than is there.

use std::time::Instant;

/// The protocol number of UDP.
const UDP: u8 = 17;
const HEAD: usize = 20;

/// What a line needs to know of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: Instant,
    pub size: usize,
    pub is_udp: bool,
}

/// A destination-unreachable message's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Port,
    /// With the MTU of the next link.
    TooLong(u16),
    Prohibited,
}

/// Whether it is IPv6.
pub fn is_ipv6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
}

/// Whether it is UDP, over either; a later fragment counts as well.
pub fn is_udp(packet: &[u8]) -> bool {
    let place = if is_ipv6(packet) { 6 } else { 9 };
    packet.get(place) == Some(&UDP)
}

/// Where the UDP head of an IPv4 packet begins; nothing where there is none.
pub fn udp_head(packet: &[u8]) -> Option<usize> {
    if is_ipv6(packet) || !is_udp(packet) {
        return None;
    }
    let head = usize::from(packet.first()? & 15) * 4;
    (head >= HEAD && packet.len() >= head + 8).then_some(head)
}

/// An ICMP error about an IPv4 packet, from where it was going, to its sender; nothing for IPv6.
pub fn unreachable(about: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    if is_ipv6(about) || about.len() < HEAD {
        return None;
    }
    // RFC 1812 §4.3.2.3: as much of the packet as fits into 576 bytes.
    let quoted = &about[..about.len().min(576 - HEAD - 8)];
    let (code, mtu) = match why {
        Unreachable::Port => (3, 0),
        Unreachable::TooLong(mtu) => (4, mtu),
        Unreachable::Prohibited => (13, 0),
    };
    let mut packet = vec![0; HEAD + 8];
    packet.extend_from_slice(quoted);
    let length = u16::try_from(packet.len()).ok()?;
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[8] = 64;
    packet[9] = 1;
    packet[12..16].copy_from_slice(&about[16..20]);
    packet[16..20].copy_from_slice(&about[12..16]);
    packet[20] = 3;
    packet[21] = code;
    packet[26..28].copy_from_slice(&mtu.to_be_bytes());
    let sum = checksum(&packet[HEAD..]);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    sum_head(&mut packet);
    Some(packet)
}

/// Writes the checksum of an IPv4 head without options.
pub fn sum_head(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..HEAD]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for two in bytes.chunks(2) {
        let low = two.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([two[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A UDP packet from 10.0.0.1:1000 to 10.0.0.2:53.
    pub fn udp(length: usize) -> Vec<u8> {
        let mut packet = vec![0; length.max(28)];
        packet[0] = 0x45;
        packet[9] = UDP;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        packet[20..22].copy_from_slice(&1000_u16.to_be_bytes());
        packet[22..24].copy_from_slice(&53_u16.to_be_bytes());
        sum_head(&mut packet);
        packet
    }

    #[test]
    fn a_head_with_its_checksum_sums_to_nothing() {
        assert_eq!(checksum(&udp(100)[..HEAD]), 0);
    }

    #[test]
    fn an_error_goes_to_the_sender_and_quotes_the_packet() {
        let about = udp(1400);
        let error = unreachable(&about, Unreachable::TooLong(1280)).expect("IPv4");
        assert_eq!(error.len(), 576);
        assert_eq!(error[16..20], about[12..16]);
        assert_eq!((error[9], error[20], error[21]), (1, 3, 4));
        assert_eq!(error[26..28], 1280_u16.to_be_bytes());
        assert_eq!(error[28..48], about[..20]);
        assert_eq!(checksum(&error[..HEAD]), 0);
        assert_eq!(checksum(&error[HEAD..]), 0);
    }

    #[test]
    fn what_is_too_short_has_no_head_and_no_error() {
        for length in 0..20 {
            let packet = vec![0x45; length];
            assert_eq!(udp_head(&packet), None);
            assert_eq!(unreachable(&packet, Unreachable::Port), None);
        }
        assert_eq!(udp_head(&udp(28)), Some(20));
    }
}
