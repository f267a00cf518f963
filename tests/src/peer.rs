//! One end of a TCP connection in the hands of a test: a client or an origin. Every operation has a deadline, and
//! an orderly end is never confused with a reset.

use crate::http::{BodyEnd, Head};
use crate::pattern::{Checker, Pattern};
use crate::wait::within;
use bytes::{Buf, BytesMut};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN: the sender says that this was all.
    Eof,
    /// RST: the transfer was cut.
    Reset,
}

/// What a read to the end saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Bytes read.
    pub bytes: u64,
    /// How it ended.
    pub end: Ending,
}

/// A TCP connection with a read buffer.
#[derive(Debug)]
pub struct Peer {
    tcp: TcpStream,
    buffer: BytesMut,
    deadline: Duration,
}

impl Peer {
    /// Takes an accepted or dialled socket.
    pub fn new(tcp: TcpStream) -> Self {
        let _ = tcp.set_nodelay(true);
        Self {
            tcp,
            buffer: BytesMut::new(),
            deadline: DEADLINE,
        }
    }

    /// Dials.
    pub async fn dial(to: SocketAddr) -> Self {
        Self::new(
            within(DEADLINE, "dial", TcpStream::connect(to))
                .await
                .expect("dial"),
        )
    }

    /// Dials `proxy` and asks for a tunnel to `target`; the answer must be 200.
    pub async fn tunnel(proxy: SocketAddr, target: impl ToString) -> Self {
        let (peer, head) = Self::try_tunnel(proxy, target).await;
        assert_eq!(head.status(), 200, "CONNECT: {head:?}");
        peer
    }

    /// Dials `proxy` and asks for a tunnel to `target`; returns the answer's head.
    pub async fn try_tunnel(proxy: SocketAddr, target: impl ToString) -> (Self, Head) {
        let target = target.to_string();
        let mut peer = Self::dial(proxy).await;
        peer.write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"))
            .await;
        let head = peer.read_head().await;
        (peer, head)
    }

    /// Changes the deadline of each operation.
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.tcp.local_addr().expect("a connected socket has an address")
    }

    /// The socket, for what the helpers here do not do. Bytes already read stay behind.
    pub const fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// The socket and the bytes read from it but not used.
    pub fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.tcp, self.buffer)
    }

    /// Writes all of `bytes`.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).await.expect("write");
    }

    /// Writes all of `bytes`, or says how the other end stopped that.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(self.deadline, "write", self.tcp.write_all(bytes.as_ref())).await
    }

    /// Writes `len` bytes of `pattern`.
    pub async fn send(&mut self, pattern: Pattern, len: u64) {
        self.try_send(pattern, 0, len).await.expect("send the pattern");
    }

    /// Writes `len` bytes of `pattern` from `offset` on; stops at an error.
    pub async fn try_send(&mut self, pattern: Pattern, offset: u64, len: u64) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut at = offset;
        while at < offset + len {
            let n = CHUNK.min((offset + len - at) as usize);
            pattern.fill(at, &mut chunk[..n]);
            self.try_write(&chunk[..n]).await?;
            at += n as u64;
        }
        Ok(())
    }

    /// Writes `pattern` until no more is taken for `quiet`: every buffer on the way is full. Returns the bytes taken.
    pub async fn send_until_blocked(&mut self, pattern: Pattern, most: u64, quiet: Duration) -> u64 {
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < most {
            let n = CHUNK.min((most - at) as usize);
            pattern.fill(at, &mut chunk[..n]);
            match tokio::time::timeout(quiet, self.tcp.write(&chunk[..n])).await {
                Ok(taken) => at += taken.expect("write") as u64,
                Err(_) => break,
            }
        }
        at
    }

    /// Ends this end's direction (FIN).
    pub async fn finish(&mut self) {
        self.tcp.shutdown().await.expect("shutdown");
    }

    /// Cuts the connection (RST).
    pub fn reset(self) {
        SockRef::from(&self.tcp)
            .set_linger(Some(Duration::ZERO))
            .expect("SO_LINGER");
    }

    /// Reads something; `Ok(empty)` is the end.
    pub async fn read_some(&mut self) -> io::Result<BytesMut> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split())
    }

    /// Reads something, but not more than `most`; `Ok(empty)` is the end.
    pub async fn read_up_to(&mut self, most: u64) -> io::Result<BytesMut> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        let n = self.buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.buffer.split_to(n))
    }

    /// Reads exactly `len` bytes.
    pub async fn read_exact(&mut self, len: usize) -> BytesMut {
        while self.buffer.len() < len {
            let n = self.fill().await.expect("read");
            assert!(
                n > 0,
                "ended after {} of {len} bytes: {:?}",
                self.buffer.len(),
                self.buffer
            );
        }
        self.buffer.split_to(len)
    }

    /// Reads through the next `mark`; returns everything up to and with it.
    pub async fn read_through(&mut self, mark: &[u8]) -> BytesMut {
        let mut from = 0;
        loop {
            let hit = self.buffer[from..]
                .windows(mark.len())
                .position(|window| window == mark);
            if let Some(at) = hit {
                return self.buffer.split_to(from + at + mark.len());
            }
            from = (self.buffer.len() + 1).saturating_sub(mark.len());
            let n = self.fill().await.expect("read");
            assert!(n > 0, "ended before {mark:?}: {:?}", self.buffer);
        }
    }

    /// Reads one HTTP/1 head.
    pub async fn read_head(&mut self) -> Head {
        Head::parse(&self.read_through(b"\r\n\r\n").await)
    }

    /// Reads a head and the whole body of a small response.
    pub async fn read_response(&mut self) -> (Head, Vec<u8>) {
        let head = self.read_head().await;
        let mut body = Vec::new();
        let end = crate::http::read_body(self, &head, |part| body.extend_from_slice(part)).await;
        assert_eq!(end, BodyEnd::Complete, "{head:?}: the body was cut");
        (head, body)
    }

    /// Reads a body as its head frames it, and checks it against `pattern`. Returns the bytes and how it ended.
    pub async fn check_body(&mut self, head: &Head, pattern: Pattern) -> (u64, BodyEnd) {
        let mut checker = Checker::new(pattern);
        let end = crate::http::read_body(self, head, |part| checker.take(part)).await;
        (checker.received(), end)
    }

    /// Reads until the connection ends and checks each byte.
    pub async fn drain(&mut self, checker: &mut Checker) -> Drained {
        self.drain_with(|bytes| checker.take(bytes)).await
    }

    /// Reads until the connection ends and throws the bytes away.
    pub async fn discard(&mut self) -> Drained {
        self.drain_with(|_| ()).await
    }

    /// Reads until the connection ends and hands each part on.
    pub async fn drain_with(&mut self, mut sink: impl FnMut(&[u8])) -> Drained {
        let mut bytes = 0;
        loop {
            if self.buffer.is_empty() {
                match self.fill().await {
                    Ok(0) => {
                        return Drained {
                            bytes,
                            end: Ending::Eof,
                        };
                    }
                    Ok(_) => {}
                    Err(error) => {
                        return Drained {
                            bytes,
                            end: ending(&error),
                        };
                    }
                }
            }
            bytes += self.buffer.len() as u64;
            sink(&self.buffer);
            self.buffer.clear();
        }
    }

    /// Reads until `len` bytes were taken by `checker` in total.
    pub async fn check_exact(&mut self, checker: &mut Checker, len: u64) {
        while checker.received() < len {
            if self.buffer.is_empty() {
                let n = self.fill().await.expect("read");
                assert!(n > 0, "ended after {} of {len} bytes", checker.received());
            }
            let n = self.buffer.len().min((len - checker.received()) as usize);
            checker.take(&self.buffer[..n]);
            self.buffer.advance(n);
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(CHUNK);
        within(self.deadline, "read", self.tcp.read_buf(&mut self.buffer)).await
    }
}

fn ending(error: &io::Error) -> Ending {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ending::Reset,
        _ => panic!("neither an end nor a reset: {error}"),
    }
}

/// For each read and write, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 << 10;
