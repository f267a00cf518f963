//! The least server: every agent of the CA is let in, every target is dialled. Loopback only.

use crate::certificates::Certificates;
use fluidity_wire::quic::{QuicOptions, server_endpoint};
use fluidity_wire::relay::{NoTap, RelayOptions, relay};
use fluidity_wire::{Budget, CloseCode, Hello, Incoming, Link, LinkOptions, Reply, ReplyCode, ResetCode};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// A running server, on a runtime of its own so that it can die like a process.
pub(crate) struct Server {
    runtime: Option<Runtime>,
    endpoint: quinn::Endpoint,
    dials: Arc<AtomicUsize>,
    links: Arc<Mutex<Vec<Arc<Link>>>>,
}

impl Server {
    pub(crate) fn start(certificates: &Certificates, bind: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = QuicOptions {
            idle_timeout: Duration::from_secs(3),
            keep_alive: None,
            max_sessions: 1000,
        };
        let entered = runtime.enter();
        let identity = certificates.identity("server");
        let started = Instant::now();
        let endpoint = loop {
            match server_endpoint(bind, &identity, &options) {
                Ok(endpoint) => break endpoint,
                // The socket of the one before is about to be closed.
                Err(error) => assert!(started.elapsed() < crate::bench::DEADLINE, "{error:?}"),
            }
            std::thread::yield_now();
        };
        let dials = Arc::default();
        let links = Arc::default();
        runtime.spawn(accept(endpoint.clone(), Arc::clone(&dials), Arc::clone(&links)));
        drop(entered);
        Self {
            runtime: Some(runtime),
            endpoint,
            dials,
            links,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    pub(crate) fn drain(&self) {
        for link in self.links.lock().unwrap().iter() {
            link.send_drain(Duration::from_secs(5));
        }
    }

    /// Gone without a word.
    pub(crate) fn kill(self) {}

    /// Gone, with a word to everyone.
    pub(crate) async fn stop(self) {
        self.endpoint
            .close(CloseCode::ShuttingDown.into(), b"shutting-down");
        self.endpoint.wait_idle().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(endpoint: quinn::Endpoint, dials: Arc<AtomicUsize>, links: Arc<Mutex<Vec<Arc<Link>>>>) {
    let hello = Hello {
        instance: rand::random(),
        software: "test".into(),
        max_sessions: 1000,
        uptime: Duration::ZERO,
    };
    let windows = Budget::for_one_peer(1 << 24);
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let options = LinkOptions {
            hello: hello.clone(),
            max_sessions: 1000,
        };
        let (link, driver) = Link::start(connection, options, windows.share());
        links.lock().unwrap().push(link.clone());
        tokio::spawn(driver);
        let dials = dials.clone();
        tokio::spawn(async move {
            while let Ok(incoming) = link.accept().await {
                tokio::spawn(session(incoming, dials.clone()));
            }
        });
    }
}

async fn session(mut incoming: Incoming, dials: Arc<AtomicUsize>) {
    let Ok(open) = incoming.read_open(Duration::from_secs(5)).await else {
        return;
    };
    dials.fetch_add(1, Ordering::SeqCst);
    if open.target.to_string() == DEAF {
        return deaf(incoming).await;
    }
    let tcp = match TcpStream::connect(open.target.to_string()).await {
        Ok(tcp) => tcp,
        Err(_) => {
            let reply = Reply::refusal(ReplyCode::ConnectRefused, "the target refused the connection");
            return incoming.refuse(reply, Duration::from_secs(1)).await;
        }
    };
    let Ok(session) = incoming.accept().await else {
        return;
    };
    let options = RelayOptions {
        idle_timeout: Duration::from_secs(60),
        cancel: CancellationToken::new(),
        counters: Arc::default(),
        tap: NoTap,
        reset: ResetCode::UpstreamReset,
        discard: 64 * 1024 * 1024,
    };
    relay(tcp, bytes::Bytes::new(), session, options).await;
}

/// An origin that answers without reading, and says so first.
async fn deaf(incoming: Incoming) {
    let Ok((mut send, mut recv)) = incoming.accept().await else {
        return;
    };
    // The request has begun; its end will find nobody.
    let mut chunks = [bytes::Bytes::new()];
    if recv.read(&mut chunks).await.is_err() {
        return;
    }
    recv.stop(ResetCode::UpstreamReset);
    // It thinks before it answers: time for the agent's writes to fail.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    if send.write_chunk(answer.into()).await.is_ok() {
        send.finish();
        send.acknowledged(crate::bench::DEADLINE).await;
    }
}

/// The target of that origin.
pub(crate) const DEAF: &str = "127.0.0.1:9";
