//! What `resolv.conf` says (resolv.conf(5)). Pure: whatever is in it, it is no error.

use super::NameServer;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// How the system wants names to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SystemOptions {
    /// Whom to ask, in this order; never empty.
    pub(super) servers: Vec<SocketAddr>,
    /// None was named: the servers are those of a machine that runs its own.
    pub(super) assumed: bool,
    /// Domains that short names are looked for in, in this order.
    pub(super) search: Vec<String>,
    /// Names with fewer dots are short.
    pub(super) ndots: usize,
    /// For one question, where it is said.
    pub(super) timeout: Option<Duration>,
    /// How often each server is asked.
    pub(super) attempts: usize,
    /// The servers take turns.
    pub(super) rotate: bool,
    /// By TCP from the start.
    pub(super) tcp: bool,
    /// With EDNS from the start.
    pub(super) edns: bool,
    /// IPv6 addresses are not asked for.
    pub(super) v4_only: bool,
    /// One family after the other.
    pub(super) single_request: bool,
}

impl Default for SystemOptions {
    fn default() -> Self {
        Self {
            // As glibc has it.
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, super::DNS))],
            assumed: true,
            search: Vec::new(),
            ndots: 1,
            timeout: None,
            attempts: super::ATTEMPTS,
            rotate: false,
            tcp: false,
            edns: false,
            v4_only: false,
            single_request: false,
        }
    }
}

impl SystemOptions {
    /// For configured servers: nothing of the system's.
    pub(super) fn configured(servers: &[NameServer]) -> Self {
        Self {
            servers: servers.iter().map(|server| server.0).collect(),
            assumed: false,
            ..Self::default()
        }
    }

    /// Reads the file. A line that makes no sense says nothing.
    pub(super) fn parse(text: &str) -> Self {
        let mut options = Self::default();
        let mut servers = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // A keyword begins its line, as glibc reads it; some editors indent it nevertheless.
                Some("nameserver") => {
                    let address = words.next().and_then(name_server);
                    servers.extend(address.filter(|_| servers.len() < MOST_SERVERS));
                }
                // The last of these lines counts.
                Some("search") => options.search = words.filter_map(domain).take(MOST_DOMAINS).collect(),
                Some("domain") => options.search = words.take(1).filter_map(domain).collect(),
                Some("options") => words.for_each(|word| options.set(word)),
                _ => {}
            }
        }
        if !servers.is_empty() {
            options.servers = servers;
            options.assumed = false;
        }
        options
    }

    fn set(&mut self, word: &str) {
        let (name, number) = word.split_once(':').unwrap_or((word, ""));
        let number = number.parse::<usize>().ok();
        match (name, number) {
            ("ndots", Some(dots)) => self.ndots = dots.min(15),
            ("timeout", Some(seconds)) => {
                let seconds = u64::try_from(seconds.clamp(1, 30)).unwrap_or(30);
                self.timeout = Some(Duration::from_secs(seconds));
            }
            ("attempts", Some(attempts)) => self.attempts = attempts.clamp(1, 5),
            ("rotate", _) => self.rotate = true,
            ("use-vc" | "usevc" | "tcp", _) => self.tcp = true,
            ("edns0", _) => self.edns = true,
            ("no-aaaa", _) => self.v4_only = true,
            ("single-request", _) => self.single_request = true,
            // What concerns other resolvers, or questions that are not asked here.
            _ => {}
        }
    }

    /// The names that a name stands for, each absolute, in the order in which they are looked for.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let inside = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let mut names: Vec<_> = inside.filter(|name| name.len() <= LONGEST_NAME).collect();
        let own = if dots < self.ndots { names.len() } else { 0 };
        names.insert(own, name.to_owned());
        names
    }
}

fn name_server(word: &str) -> Option<SocketAddr> {
    if let Ok(server) = NameServer::try_from(word.to_owned()) {
        return Some(server.0);
    }
    // fe80::1%eth0
    let (address, zone) = word.split_once('%')?;
    let IpAddr::V6(address) = address.parse().ok()? else {
        return None;
    };
    let index = || std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok();
    let is_name = !zone.is_empty() && !zone.contains(['/', '.']);
    let zone = zone
        .parse()
        .ok()
        .or_else(|| index().filter(|_| is_name)?.trim().parse().ok())?;
    Some(SocketAddr::V6(SocketAddrV6::new(address, super::DNS, 0, zone)))
}

/// A search domain, lower case, without its dots around; nothing for the root and for what is no domain.
fn domain(word: &str) -> Option<String> {
    let domain = word.trim_matches('.').to_ascii_lowercase();
    let fits = |label: &str| !label.is_empty() && label.len() <= 63;
    let is_one = domain.split('.').all(fits) && domain.bytes().all(|byte| byte.is_ascii_graphic());
    // `--` says that there is none (systemd).
    (is_one && domain != "--").then_some(domain)
}

/// As glibc has it.
const MOST_SERVERS: usize = 3;
const MOST_DOMAINS: usize = 16;
/// RFC 1035 §2.3.4.
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_system_reads_it() {
        let text = "# a comment\n; another\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # the second\n\
            nameserver fe80::1%7\nnameserver 192.0.2.9\ndomain first.example\nsearch Corp.Example. lan -- .\n\
            options ndots:3 timeout:9 attempts:99 rotate\noptions use-vc edns0 no-aaaa single-request trust-ad x:y\n";
        let options = SystemOptions::parse(text);
        let servers: Vec<_> = options.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]);
        assert_eq!(options.search, ["corp.example", "lan"]);
        assert_eq!(options.timeout, Some(Duration::from_secs(9)));
        assert_eq!((options.ndots, options.attempts), (3, 5));
        assert!(options.rotate && options.tcp && options.edns && options.v4_only && options.single_request);
    }

    #[test]
    fn nothing_in_a_file_is_an_error() {
        let quiet = SystemOptions::default();
        for text in [
            "",
            "\0\u{1b}[2J",
            "nameserver",
            "nameserver here",
            "nameserver 1.2.3",
            "options",
            "search",
        ] {
            assert_eq!(SystemOptions::parse(text), quiet, "{text:?}");
        }
        assert_eq!((quiet.assumed, quiet.servers.len()), (true, 1));
        for text in ["options ndots:x timeout:-1 attempts:", "options ndots"] {
            assert_eq!(SystemOptions::parse(text), quiet, "{text:?}");
        }
    }

    #[test]
    fn the_last_domain_or_search_counts() {
        let search = |text| SystemOptions::parse(text).search;
        assert_eq!(search("search a b\ndomain c"), ["c"]);
        assert_eq!(search("domain c\nsearch a b"), ["a", "b"]);
        assert_eq!(search("search a\nsearch ."), [""; 0]);
    }

    #[test]
    fn short_names_are_looked_for_in_the_domains_first_and_others_there_last() {
        let options = SystemOptions::parse("search corp.example lan\noptions ndots:2");
        assert_eq!(options.candidates("db"), ["db.corp.example", "db.lan", "db"]);
        assert_eq!(
            options.candidates("db.eu"),
            ["db.eu.corp.example", "db.eu.lan", "db.eu"]
        );
        assert_eq!(
            options.candidates("a.b.c"),
            ["a.b.c", "a.b.c.corp.example", "a.b.c.lan"]
        );
        let long = "a".repeat(60) + &".b".repeat(95);
        let all = SystemOptions { ndots: 99, ..options };
        assert_eq!(all.candidates(&long), [long], "longer than a name can be");
        assert_eq!(SystemOptions::configured(&[]).candidates("db"), ["db"]);
    }
}
