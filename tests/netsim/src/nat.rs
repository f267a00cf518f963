//! A NAT for UDP over IPv4 between the first namespace and the second. Each new generation forgets its bindings, so that every
//! flow comes from another port, as after a router's restart.

use crate::packet;
use std::collections::HashMap;

type Inside = ([u8; 4], u16);

/// Off until its first generation.
#[derive(Default)]
pub struct Nat {
    generation: u64,
    next: u16,
    ports: HashMap<Inside, u16>,
    insides: HashMap<u16, Inside>,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
}

/// The address that the outside sees.
pub const PUBLIC: [u8; 4] = [10, 98, 0, 1];
const FIRST_PORT: u16 = 30_000;

impl Nat {
    /// Switches to a generation; 0 is off.
    pub fn switch(&mut self, generation: u64) {
        self.generation = generation;
        self.ports.clear();
        self.insides.clear();
    }

    /// Writes the packet's addresses anew. False where it belongs to no binding and is dropped.
    pub fn translate(&mut self, packet: &mut [u8], way: Way) -> bool {
        if self.generation == 0 {
            return true;
        }
        let Some(head) = packet::udp_head(packet) else {
            return true;
        };
        match way {
            Way::Out => {
                let port = self.bind((address(packet, 12), port(packet, head)));
                packet[12..16].copy_from_slice(&PUBLIC);
                packet[head..head + 2].copy_from_slice(&port.to_be_bytes());
            }
            Way::In => {
                if address(packet, 16) != PUBLIC {
                    return true;
                }
                let Some((inside, number)) = self.insides.get(&port(packet, head + 2)) else {
                    return false;
                };
                packet[16..20].copy_from_slice(inside);
                packet[head + 2..head + 4].copy_from_slice(&number.to_be_bytes());
            }
        }
        // No checksum is one that always holds over IPv4: RFC 768.
        packet[head + 6..head + 8].fill(0);
        packet::sum_head(packet);
        true
    }

    fn bind(&mut self, inside: Inside) -> u16 {
        if let Some(port) = self.ports.get(&inside) {
            return *port;
        }
        // Bindings of a port that is used again are lost, as a NAT's are.
        self.next = self.next.wrapping_add(1) % 30_000;
        let port = FIRST_PORT + self.next;
        if let Some(before) = self.insides.insert(port, inside) {
            self.ports.remove(&before);
        }
        self.ports.insert(inside, port);
        port
    }
}

fn address(packet: &[u8], at: usize) -> [u8; 4] {
    std::array::from_fn(|index| packet[at + index])
}

fn port(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::udp;

    /// An answer to a packet that went out.
    fn answer(sent: &[u8]) -> Vec<u8> {
        let mut packet = sent.to_vec();
        packet[12..16].copy_from_slice(&sent[16..20]);
        packet[16..20].copy_from_slice(&sent[12..16]);
        packet[20..22].copy_from_slice(&sent[22..24]);
        packet[22..24].copy_from_slice(&sent[20..22]);
        packet
    }

    #[test]
    fn an_answer_finds_its_way_back() {
        let mut nat = Nat::default();
        nat.switch(1);
        let mut packet = udp(60);
        assert!(nat.translate(&mut packet, Way::Out));
        assert_eq!(packet[12..16], PUBLIC);
        let mut back = answer(&packet);
        assert!(nat.translate(&mut back, Way::In));
        assert_eq!((address(&back, 16), port(&back, 22)), ([10, 0, 0, 1], 1000));
    }

    #[test]
    fn a_new_generation_is_another_port_and_old_answers_are_lost() {
        let mut nat = Nat::default();
        nat.switch(1);
        let (mut first, mut second) = (udp(60), udp(60));
        nat.translate(&mut first, Way::Out);
        nat.switch(2);
        nat.translate(&mut second, Way::Out);
        assert_ne!(port(&first, 20), port(&second, 20));
        assert!(!nat.translate(&mut answer(&first), Way::In));
        assert!(nat.translate(&mut answer(&second), Way::In));
    }

    #[test]
    fn without_a_generation_packets_are_left_alone() {
        let mut packet = udp(60);
        assert!(Nat::default().translate(&mut packet, Way::Out));
        assert_eq!(packet, udp(60));
    }
}
