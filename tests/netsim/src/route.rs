//! The way from a client to its target: straight, or through a proxy's CONNECT.

use crate::options::{Options, address};
use crate::response;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// A way that can be gone many times.
#[derive(Clone)]
pub struct Route {
    proxy: Option<SocketAddr>,
    target: SocketAddr,
    congestion: Option<String>,
    /// CONNECT's `User-Agent`; none if empty.
    agent: &'static str,
}

/// An open connection to the target.
pub type Connection = BufReader<TcpStream>;

impl Route {
    /// As the options have it.
    pub fn of(options: &Options) -> io::Result<Self> {
        let proxy = match options.text("proxy", "direct") {
            "direct" => None,
            proxy => Some(address(
                proxy.trim_start_matches("http://").trim_end_matches('/'),
            )?),
        };
        let congestion = options.text("congestion", "");
        Ok(Self {
            proxy,
            target: options.address("target")?,
            congestion: (!congestion.is_empty()).then(|| congestion.to_owned()),
            agent: "",
        })
    }

    /// The same way, by a client with a name.
    pub fn with_agent(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    /// The same way to another target.
    pub fn to(&self, target: SocketAddr) -> Self {
        Self {
            target,
            ..self.clone()
        }
    }

    /// Where it leads.
    pub const fn target(&self) -> SocketAddr {
        self.target
    }

    /// Opens it. The time is for each step, and stays on the connection.
    pub fn open(&self, patience: Duration) -> io::Result<Connection> {
        let first = self.proxy.unwrap_or(self.target);
        let stream = TcpStream::connect_timeout(&first, patience)?;
        if let Some(name) = &self.congestion {
            set_congestion(stream.as_raw_fd(), name)?;
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection = BufReader::with_capacity(READ, stream);
        if self.proxy.is_some() {
            self.connect(&mut connection)?;
        }
        Ok(connection)
    }

    fn connect(&self, connection: &mut Connection) -> io::Result<()> {
        let (target, agent) = (self.target, self.agent);
        let agent = if agent.is_empty() {
            String::new()
        } else {
            format!("User-Agent: {agent}\r\n")
        };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{agent}\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let head = response::read(connection)?;
        if head.status / 100 == 2 {
            return Ok(());
        }
        Err(io::Error::other(format!("CONNECT: status {}", head.status)))
    }
}

/// What is read from a socket at once, at most.
pub const READ: usize = 256 * 1024;

/// Chooses the congestion control of a socket.
pub fn set_congestion(socket: RawFd, name: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(name.len()).unwrap_or(0);
    // SAFETY: the name lives until after the call, and is as long as is said.
    let set = unsafe {
        libc::setsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            length,
        )
    };
    if set == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(io::Error::other(format!(
        "TCP congestion control {name}: {error}"
    )))
}

/// Whether a read or write only ran out of time.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
