//! The admin listener: `/healthz`, `/readyz`, `/metrics` and `/api/status` over HTTP/1.1 on loopback.
//!
//! Pages are read only. A request must name the listener by a loopback name or address (no DNS rebinding) and must
//! not come from another page, as far as browsers tell. There is no login, so the listener binds to loopback only. Connections, heads
//! and waits are bounded.

mod client;

pub use client::{FetchError, fetch};

use crate::exposition::Exposition;
use crate::process;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// Why the admin pages are not where others reach them.
pub const NO_LOGIN: &str =
    "the admin pages have no login: they listen on loopback only, such as 127.0.0.1 or [::1]";

/// Whether a daemon is well, and what it says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// 200.
    Well(Value),
    /// 503.
    Unwell(Value),
}

/// What a daemon shows.
pub trait AdminPages: Send + Sync + 'static {
    /// `/healthz`: the process works.
    fn health(&self) -> Health;
    /// `/readyz`: it can serve now.
    fn ready(&self) -> Health;
    /// `/metrics`, in the OpenMetrics text format; what every process has is added.
    fn metrics(&self) -> String;
    /// `/api/status`.
    fn status(&self) -> Value;
}

/// A bound admin listener.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds the listener; an address that others can reach is refused.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, NO_LOGIN));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; connections under way are cut then.
    pub async fn serve(self, pages: Arc<dyn AdminPages>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "cannot accept on the admin listener");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Over the limit, a connection is closed at once: nobody waits.
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (pages, stop, address) = (pages.clone(), stop.clone(), self.address);
            tasks.spawn(async move {
                tokio::select! {
                    () = serve_connection(stream, pages, address) => {}
                    () = stop.cancelled() => {}
                }
                drop(place);
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

async fn serve_connection(stream: TcpStream, pages: Arc<dyn AdminPages>, address: SocketAddr) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, pages.as_ref(), address);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, "admin connection failed"),
    }
}

fn answer<B>(request: &Request<B>, pages: &dyn AdminPages, address: SocketAddr) -> Response<Full<Bytes>> {
    if !names_this_listener(request, address) {
        let why = "this listener answers only to its own address, localhost, 127.0.0.1 or [::1]\n";
        return text(StatusCode::MISDIRECTED_REQUEST, why);
    }
    let origin = request.headers().get(ORIGIN);
    if origin.is_some_and(|origin| !same_site(origin, address)) || is_of_another_page(request) {
        return text(StatusCode::FORBIDDEN, "requests from other pages are refused\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/healthz" => health(pages.health()),
        "/readyz" => health(pages.ready()),
        "/metrics" => {
            let format = Exposition::asked(request.headers());
            let metrics = format.page(&pages.metrics(), &process::metrics());
            let mut page = page(StatusCode::OK, format.content_type(), metrics);
            page.headers_mut().insert(VARY, ACCEPT.into());
            page
        }
        "/api/status" => page(StatusCode::OK, JSON, pages.status().to_string()),
        _ => text(
            StatusCode::NOT_FOUND,
            "pages: /healthz /readyz /metrics /api/status\n",
        ),
    }
}

fn health(health: Health) -> Response<Full<Bytes>> {
    match health {
        Health::Well(value) => page(StatusCode::OK, JSON, value.to_string()),
        Health::Unwell(value) => page(StatusCode::SERVICE_UNAVAILABLE, JSON, value.to_string()),
    }
}

fn names_this_listener<B>(request: &Request<B>, address: SocketAddr) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    // A target in absolute form goes over Host (RFC 9112 section 3.2.2): both must be right.
    let target = request
        .uri()
        .authority()
        .is_none_or(|authority| allowed(authority.as_str(), address));
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => target && allowed(host, address),
        _ => false,
    }
}

fn same_site(origin: &HeaderValue, address: SocketAddr) -> bool {
    let host = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://"));
    host.is_some_and(|host| allowed(host, address) && port(host) == Some(address.port()))
}

/// What browsers tell of every request, one without an origin too. "same-site" is another port of this machine.
fn is_of_another_page<B>(request: &Request<B>) -> bool {
    let mut told = request.headers().get_all(SEC_FETCH_SITE).iter();
    told.any(|site| site != "same-origin" && site != "none")
}

fn allowed(authority: &str, address: SocketAddr) -> bool {
    let host = authority
        .strip_suffix(&format!(":{}", address.port()))
        .unwrap_or(authority);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == address.ip(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

fn port(authority: &str) -> Option<u16> {
    authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", body.to_owned())
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const JSON: &str = "application/json";
/// Connections at once.
const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const LARGEST_HEAD: usize = 16 * 1024;
/// After a failed accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
