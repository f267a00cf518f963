//! The command line: a mode and `--name value` pairs.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// What can be asked for.
pub const USAGE: &str = "usage:
  netsim path    --ns-a NAMESPACE --ns-b NAMESPACE --control SOCKET [--set 'WORDS'] [--seed N]
  netsim control --control SOCKET --send 'WORDS'
  netsim origin  --listen ADDRESS[=CONGESTION],…
  netsim down    ROUTE [--duration S] [--size BYTES]
  netsim up      ROUTE [--duration S] [--size BYTES] [--patience S] [--name NAME]
  netsim small   ROUTE [--interval MS] [--duration S] [--timeout S] [--tunnel new|open] [--after S]
  netsim page    ROUTE [--timeout S] [--distinct 0|1]
ROUTE is --target H:P [--proxy direct|http://H:P] [--congestion NAME]. WORDS are `ab.loss=3 rate=20 nat=1 stats`.";

/// What was asked for.
pub struct Options {
    /// The first argument.
    pub mode: String,
    values: HashMap<String, String>,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let mode = arguments.next().unwrap_or_default();
        let mut values = HashMap::new();
        while let Some(name) = arguments.next() {
            let value = arguments.next();
            let value = value.ok_or_else(|| io::Error::other(format!("{name} wants a value")))?;
            values.insert(name.trim_start_matches('-').to_owned(), value);
        }
        Ok(Self { mode, values })
    }

    /// A value as text.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.values.get(name).map_or(default, String::as_str)
    }

    /// A value that must be there.
    pub fn needed(&self, name: &str) -> io::Result<&str> {
        let value = self.values.get(name).map(String::as_str);
        value.ok_or_else(|| io::Error::other(format!("--{name} is missing")))
    }

    /// A value as a number.
    pub fn number<N: FromStr>(&self, name: &str, default: N) -> io::Result<N> {
        self.values.get(name).map_or(Ok(default), |value| {
            value
                .parse()
                .map_err(|_| io::Error::other(format!("--{name}: {value} is not a number")))
        })
    }

    /// A value in seconds.
    pub fn seconds(&self, name: &str, default: f64) -> io::Result<Duration> {
        let seconds = self.number(name, default)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| io::Error::other(format!("--{name}: {seconds} is no time")))
    }

    /// A value as an address.
    pub fn address(&self, name: &str) -> io::Result<SocketAddr> {
        address(self.needed(name)?)
    }
}

/// An address with its port.
pub fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text} is not an address")))
}
