//! The addresses of the server's own machine, as a value.
//!
//! What is sent to one of them never leaves the machine: it passes no firewall that stands before it, whatever the address
//! looks like from outside. `own_addresses` finds them; in here is no I/O.

use super::address::unmapped;
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::IpAddr;

/// Addresses and ranges that are delivered to this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    single: HashSet<IpAddr>,
    ranges: Vec<IpNet>,
}

impl OwnAddresses {
    /// Whether what is sent there stays on this machine.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.single.contains(&address) || self.ranges.iter().any(|range| range.contains(&address))
    }

    /// How many addresses and ranges there are.
    pub fn len(&self) -> usize {
        self.single.len() + self.ranges.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Extend<IpNet> for OwnAddresses {
    fn extend<T: IntoIterator<Item = IpNet>>(&mut self, nets: T) {
        for net in nets {
            if net.prefix_len() == net.max_prefix_len() {
                self.single.insert(unmapped(net.addr()));
            } else if !self.ranges.contains(&net) {
                self.ranges.push(net);
            }
        }
        self.ranges.sort_unstable();
    }
}

impl FromIterator<IpNet> for OwnAddresses {
    fn from_iter<T: IntoIterator<Item = IpNet>>(nets: T) -> Self {
        let mut own = Self::default();
        own.extend(nets);
        own
    }
}
