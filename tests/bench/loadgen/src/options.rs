//! The command line: a mode and `--name value` pairs.

use crate::pipe::{Pipe, Proxy};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

/// What was asked for.
pub struct Options {
    /// The first argument.
    pub mode: String,
    values: HashMap<String, String>,
}

impl Options {
    /// Reads arguments; `--absolute` alone has no value.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let mode = arguments.next().unwrap_or_default();
        let mut values = HashMap::new();
        while let Some(name) = arguments.next() {
            let name = name.trim_start_matches('-').to_string();
            let value = match name.as_str() {
                "absolute" => Some(String::new()),
                _ => arguments.next(),
            };
            let value = value.ok_or_else(|| io::Error::other(format!("--{name} wants a value")))?;
            values.insert(name, value);
        }
        Ok(Self { mode, values })
    }

    /// A value as text.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.values.get(name).map_or(default, String::as_str)
    }

    /// A value as a number.
    pub fn number<N: FromStr>(&self, name: &str, default: N) -> io::Result<N> {
        match self.values.get(name) {
            Some(value) => value
                .parse()
                .map_err(|_| io::Error::other(format!("--{name}: {value} is not a number"))),
            None => Ok(default),
        }
    }

    /// A value as an address.
    pub fn address(&self, name: &str, default: &str) -> io::Result<SocketAddr> {
        address(self.text(name, default))
    }

    /// The way to the target.
    pub fn pipe(&self) -> io::Result<Pipe> {
        let proxy = self.text("proxy", "direct");
        let proxy = if let Some(rest) = proxy.strip_prefix("http://") {
            Proxy::Http(address(rest.trim_end_matches('/'))?)
        } else if let Some(rest) = proxy.strip_prefix("socks5://") {
            Proxy::Socks5(address(rest.trim_end_matches('/'))?)
        } else {
            Proxy::Direct
        };
        Ok(Pipe {
            proxy,
            target: self.address("target", "127.0.0.1:18080")?,
            path: self.text("path", "/1k").to_string(),
            absolute: self.values.contains_key("absolute"),
        })
    }
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text} is not an address")))
}
