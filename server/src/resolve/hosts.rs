//! What the hosts file says (hosts(5)). Pure: whatever is in it, it is no error.

use std::collections::HashMap;
use std::net::IpAddr;

/// Names with their addresses, lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads the file. A line that makes no sense says nothing.
    pub(super) fn parse(text: &str) -> Self {
        let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let mut words = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_ascii_whitespace();
            // A zone is of no use to whoever dials.
            let Some(Ok(address)) = words.next().map(str::parse) else {
                continue;
            };
            for name in words {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                let addresses = hosts.entry(name).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(hosts)
    }

    /// The addresses of a name, where the file has it.
    pub(super) fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_adds_to_its_names_and_bad_ones_say_nothing() {
        let hosts = Hosts::parse(
            "\u{feff}192.0.2.1\tOne one.example. # both\n\n#192.0.2.2 two\nno-address two\nfe80::1%eth0 two\n\
             2001:db8::1 one\n192.0.2.1 one\n192.0.2.3",
        );
        let (v4, v6): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap());
        assert_eq!(hosts.get("one"), Some(&[v4, v6][..]));
        assert_eq!(hosts.get("one.example"), Some(&[v4][..]));
        assert_eq!(hosts.get("two"), None);
    }
}
