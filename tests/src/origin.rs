//! An origin: a listening socket whose connections the test plays by hand, or serves with a closure.

use crate::peer::Peer;
use crate::wait::within;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A listener that the test accepts from.
#[derive(Debug)]
pub struct Origin {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Origin {
    /// Listens on 127.0.0.1.
    pub async fn bind() -> Self {
        Self::bind_on(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Listens on another loopback address.
    pub async fn bind_on(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("bind an origin");
        let addr = listener.local_addr().expect("a bound listener has an address");
        Self { listener, addr }
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection.
    pub async fn accept(&self) -> Peer {
        let (tcp, _) = within(ACCEPT, "a connection at the origin", self.listener.accept())
            .await
            .expect("accept");
        Peer::new(tcp)
    }

    /// Asserts that nobody has dialled. Call it after the answer that makes a dial pointless.
    pub async fn assert_never_dialled(&self) {
        let dialled = tokio::time::timeout(NEVER, self.listener.accept()).await;
        assert!(dialled.is_err(), "{} was dialled", self.addr);
    }

    /// Plays `play` on each connection, in tasks of its own.
    pub fn serve<P, F>(self, play: P) -> Served
    where
        P: Fn(Peer) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let addr = self.addr;
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = self.listener.accept() => {
                        let Ok((tcp, _)) = accepted else { continue };
                        counter.fetch_add(1, Ordering::SeqCst);
                        tasks.spawn(play(Peer::new(tcp)));
                    }
                    Some(_) = tasks.join_next() => {}
                }
            }
        });
        Served {
            addr,
            connections,
            task,
        }
    }

    /// Returns every byte until the client ends; then ends too.
    pub fn echo(self) -> Served {
        self.serve(|peer| async move {
            let (tcp, early) = peer.into_parts();
            debug_assert!(early.is_empty());
            let (mut read, mut write) = tcp.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
    }

    /// Answers each request with 200 and `body`, keep-alive.
    pub fn hello(self, body: &'static str) -> Served {
        self.serve(move |mut peer| async move {
            while let Some(head) = peer.next_request().await {
                let mut unused = 0_usize;
                crate::http::read_body(&mut peer, &head, |part| unused += part.len()).await;
                let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                if peer.try_write(response).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// An origin that serves by itself; stops on drop.
#[derive(Debug)]
pub struct Served {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Served {
    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const ACCEPT: Duration = Duration::from_secs(20);
/// A dial that was made has long arrived on loopback by then.
const NEVER: Duration = Duration::from_millis(50);
