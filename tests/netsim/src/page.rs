//! A model of a web page: 71 objects of 2.4 MB on 13 hosts, each host's over one connection as HTTP/2 has it, behind something as
//! long as a TLS handshake. The document names the style sheets and scripts, which name the rest. Prints one JSON object.

use crate::clock::escaped;
use crate::options::Options;
use crate::origin::{HANDSHAKE, SERVER_FLIGHT};
use crate::response;
use crate::route::{Connection, Route};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Loads the page once.
pub fn run(options: &Options) -> io::Result<()> {
    let route = Route::of(options)?.with_agent(BROWSER);
    let page = Page {
        hosts: hosts(route.target(), options.text("distinct", "1") == "1"),
        route,
        timeout: options.seconds("timeout", 60.0)?,
        open: Mutex::default(),
    };
    let began = Instant::now();
    let loaded = page.load();
    let ms = began.elapsed().as_secs_f64() * 1e3;
    match loaded {
        Ok(()) => println!("{{\"ms\":{ms:.1}}}"),
        Err(error) => println!("{{\"ms\":{ms:.1},\"error\":\"{}\"}}", escaped(&error.to_string())),
    }
    Ok(())
}

const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
const HOSTS: usize = 13;
/// Objects of the second wave and of the third, beside the document.
const WAVES: [usize; 2] = [30, 40];
const DOCUMENT: usize = 80_000;

/// Bytes of an object: from 2 to 100 KB, 2.4 MB in all with the document.
const SIZES: [usize; 10] = [
    2_000, 5_000, 8_000, 12_000, 18_000, 25_000, 32_000, 45_000, 85_000, 99_000,
];

struct Page {
    route: Route,
    hosts: Vec<SocketAddr>,
    timeout: Duration,
    /// Connections that are kept for the next wave, by their host's number.
    open: Mutex<HashMap<usize, Connection>>,
}

/// The target itself, and the addresses behind it: each a host that a tunnel may know or not.
fn hosts(first: SocketAddr, distinct: bool) -> Vec<SocketAddr> {
    let host = |number: u32| match first.ip() {
        IpAddr::V4(ip) if distinct => SocketAddr::new(
            Ipv4Addr::from(u32::from(ip).wrapping_add(number)).into(),
            first.port(),
        ),
        _ => first,
    };
    (0..HOSTS as u32).map(host).collect()
}

impl Page {
    fn load(&self) -> io::Result<()> {
        self.fetch(0, &[DOCUMENT])?;
        let mut from = 0;
        for wave in WAVES {
            self.wave(from..from + wave)?;
            from += wave;
        }
        Ok(())
    }

    /// Objects that are known of at once. Half of the hosts come in the second wave, the others in the third.
    fn wave(&self, objects: std::ops::Range<usize>) -> io::Result<()> {
        let reach = if objects.start == 0 { HOSTS / 2 + 1 } else { HOSTS };
        let mut wanted = vec![Vec::new(); HOSTS];
        for object in objects {
            wanted[object % reach].push(SIZES[object % SIZES.len()]);
        }
        thread::scope(|scope| {
            let fetching: Vec<_> = wanted
                .iter()
                .enumerate()
                .filter(|(_, sizes)| !sizes.is_empty())
                .map(|(host, sizes)| scope.spawn(move || self.fetch(host, sizes)))
                .collect();
            let mut ended = fetching.into_iter().map(|fetch| fetch.join());
            ended.try_for_each(|fetch| fetch.unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
        })
    }

    /// Everything of one host, asked for at once.
    fn fetch(&self, host: usize, sizes: &[usize]) -> io::Result<()> {
        let address = self.hosts[host];
        let kept = self.open.lock().ok().and_then(|mut open| open.remove(&host));
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect(address)?,
        };
        let requests: String = sizes
            .iter()
            .map(|size| format!("GET /bytes/{size} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
            .collect();
        connection.get_mut().write_all(requests.as_bytes())?;
        for _ in sizes {
            response::finish(&mut connection)?;
        }
        if let Ok(mut open) = self.open.lock() {
            open.insert(host, connection);
        }
        Ok(())
    }

    fn connect(&self, host: SocketAddr) -> io::Result<Connection> {
        let mut connection = self.route.to(host).open(self.timeout)?;
        let mut hello = [0; 517];
        hello[..5].copy_from_slice(&[HANDSHAKE, 3, 1, 2, 0]);
        connection.get_mut().write_all(&hello)?;
        connection.read_exact(&mut [0; SERVER_FLIGHT])?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_as_large_as_it_says() {
        let objects: usize = WAVES.iter().sum();
        assert_eq!(objects + 1, 71);
        let bytes: usize = DOCUMENT
            + (0..objects)
                .map(|object| SIZES[object % SIZES.len()])
                .sum::<usize>();
        assert!((2_350_000..2_450_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn hosts_are_neighbours_or_one() {
        let first = "127.0.7.1:443".parse().expect("an address");
        assert_eq!(
            hosts(first, true)[12],
            "127.0.7.13:443".parse().expect("an address")
        );
        assert_eq!(hosts(first, false)[12], first);
    }
}
