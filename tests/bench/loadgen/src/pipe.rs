//! A byte pipe to a target: direct, through HTTP CONNECT, or through SOCKS5.

use crate::head;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Who carries the bytes.
#[derive(Clone)]
pub enum Proxy {
    Direct,
    Http(SocketAddr),
    Socks5(SocketAddr),
}

/// Where a pipe leads, and what is asked for there.
#[derive(Clone)]
pub struct Pipe {
    pub proxy: Proxy,
    pub target: SocketAddr,
    pub path: String,
    /// Requests in absolute form to the proxy, and no CONNECT.
    pub absolute: bool,
}

impl Pipe {
    /// Opens the pipe; nothing of the target is read yet.
    pub async fn open(&self) -> io::Result<TcpStream> {
        match self.proxy {
            Proxy::Direct => connect(self.target).await,
            Proxy::Http(proxy) if self.absolute => connect(proxy).await,
            Proxy::Http(proxy) => self.through_http(proxy).await,
            Proxy::Socks5(proxy) => self.through_socks5(proxy).await,
        }
    }

    /// A GET of the path, with further fields.
    pub fn request(&self, fields: &str) -> Vec<u8> {
        let Self { target, path, .. } = self;
        let place = if self.absolute {
            format!("http://{target}{path}")
        } else {
            path.clone()
        };
        format!("GET {place} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: loadgen\r\n{fields}\r\n").into_bytes()
    }

    async fn through_http(&self, proxy: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = connect(proxy).await?;
        let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", self.target);
        stream.write_all(connect.as_bytes()).await?;
        let mut buffer = [0; 4096];
        let (end, have) = head::read(&mut stream, &mut buffer).await?;
        let status = head::status(&buffer[..end]);
        if status != 200 || have != end {
            return Err(io::Error::other(format!(
                "CONNECT: status {status}, {} extra bytes",
                have - end
            )));
        }
        Ok(stream)
    }

    async fn through_socks5(&self, proxy: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = connect(proxy).await?;
        stream.write_all(&[5, 1, 0]).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        if chosen != [5, 0] {
            return Err(io::Error::other("SOCKS5 wants a login"));
        }
        let mut request = vec![5, 1, 0];
        match self.target {
            SocketAddr::V4(target) => {
                request.push(1);
                request.extend_from_slice(&target.ip().octets());
            }
            SocketAddr::V6(target) => {
                request.push(4);
                request.extend_from_slice(&target.ip().octets());
            }
        }
        request.extend_from_slice(&self.target.port().to_be_bytes());
        stream.write_all(&request).await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await?;
        if reply[1] != 0 {
            return Err(io::Error::other(format!("SOCKS5 reply {}", reply[1])));
        }
        // The bound address, which nobody needs.
        let rest = match reply[3] {
            1 => 4 + 2,
            4 => 16 + 2,
            3 => usize::from(stream.read_u8().await?) + 2,
            kind => return Err(io::Error::other(format!("SOCKS5 address of kind {kind}"))),
        };
        stream.read_exact(&mut vec![0; rest]).await?;
        Ok(stream)
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
