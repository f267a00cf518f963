//! The agent's accepting side: clients, their HTTP, and what becomes of each request.
//!
//! A client's bytes pass `client` (heads are checked), hyper, `Service` (routes), then `forward`, `connect` or
//! `websocket`. Every connection is a task of [`Inbound`]'s tracker and ends with it. Errors become statuses in
//! `reply` and nowhere else.

mod answer;
mod asked;
mod auth;
mod body;
mod client;
mod connect;
mod exchange;
mod forward;
mod frames;
mod framing;
mod greeting;
mod head;
mod headers;
mod login;
mod pool;
mod presence;
mod relay;
mod reply;
mod upstream;
mod websocket;

use crate::config::{Config, Limits};
use crate::metrics::Metrics;
use crate::refusals::Refused;
use crate::tunnel::{OpenError, Phase, Tunnel};
use asked::Asked;
use auth::Access;
use body::ReplyBody;
use client::ClientIo;
use exchange::{Arrival, SharedExchange};
use fluidity_daemon::shutdown::Shutdown;
use fluidity_trace::{Span, TraceParent};
use greeting::Foreign;
use head::{Form, HeadError, HeadLimits};
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use login::OwnSessions;
use pool::Pool;
use presence::Presence;
use reply::Refusal;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info_span, warn};
use upstream::OriginLimits;

/// The proxy's listener and everything that its connections share.
#[derive(Debug)]
pub struct Inbound {
    proxy: Arc<Proxy>,
    places: Arc<Semaphore>,
    /// For those that are told that there is no place.
    waiting_room: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// What all connections share.
#[derive(Debug)]
struct Proxy {
    tunnel: Tunnel,
    pool: Arc<Pool>,
    access: Access,
    limits: Limits,
    origins: OriginLimits,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    /// Nothing new is begun.
    draining: CancellationToken,
    /// Cuts everything.
    now: CancellationToken,
}

/// One client connection's requests.
#[derive(Clone, Debug)]
struct Service {
    proxy: Arc<Proxy>,
    exchange: SharedExchange,
    own: Arc<OwnSessions>,
    /// The client's connection; nothing where it was gone from the start.
    presence: Option<Presence>,
}

type Request = http::Request<Incoming>;

/// A request that was let in.
struct Admitted<'a> {
    request: Request,
    /// From the request to the answer's head.
    span: &'a Span,
}

impl Inbound {
    /// Prepares the proxy over a tunnel. `shutdown.draining` takes no new clients, `shutdown.now` cuts the old ones.
    pub fn new(config: &Config, tunnel: Tunnel, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        let limits = config.limits.clone();
        Self {
            places: Arc::new(Semaphore::new(limits.clients)),
            waiting_room: Arc::new(Semaphore::new(WAITING_ROOM)),
            proxy: Arc::new(Proxy {
                pool: Arc::new(Pool::new(tunnel.demand().clone())),
                tunnel,
                access: Access::new(config.proxy_auth.as_ref()),
                origins: OriginLimits {
                    head_size: limits.head_size,
                    idle: limits.session_idle,
                },
                limits,
                metrics,
                tasks: TaskTracker::new(),
                draining: shutdown.draining.clone(),
                now: shutdown.now.clone(),
            }),
            shutdown,
        }
    }

    /// Serves until it is told to drain, and then until every connection has ended.
    pub async fn serve(self, listener: TcpListener, phase: watch::Receiver<Phase>) {
        let Self {
            proxy,
            places,
            waiting_room,
            shutdown,
        } = self;
        let pool = proxy.pool.clone();
        let draining = shutdown.draining.clone();
        proxy.tasks.spawn(async move { pool.tend(phase, draining).await });
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.draining.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, say: those that end make room.
                    warn!(%error, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let client = Client {
                tcp,
                address,
                proxy: proxy.clone(),
            };
            if let Ok(place) = places.clone().try_acquire_owned() {
                proxy.tasks.spawn(client.serve(place));
            } else if let Ok(place) = waiting_room.clone().try_acquire_owned() {
                proxy.tasks.spawn(client.turn_away(place));
            }
        }
        drop(listener);
        proxy.tasks.close();
        proxy.tasks.wait().await;
    }
}

/// A client that has connected.
struct Client {
    tcp: TcpStream,
    address: SocketAddr,
    proxy: Arc<Proxy>,
}

impl Client {
    async fn serve(self, place: OwnedSemaphorePermit) {
        let span = info_span!("inbound", client.addr = %self.address);
        let metrics = self.proxy.metrics.clone();
        metrics.client_came();
        self.talk(None).instrument(span).await;
        metrics.client_went();
        drop(place);
    }

    async fn turn_away(self, place: OwnedSemaphorePermit) {
        debug!(client.addr = %self.address, "no place for another client");
        self.talk(Some(HeadError::TooManyClients)).await;
        drop(place);
    }

    async fn talk(self, refusal: Option<HeadError>) {
        let Self { tcp, proxy, .. } = self;
        // Fails only on a socket that is gone.
        let _ = tcp.set_nodelay(true);
        let presence = Presence::of(&tcp);
        let greeted = tokio::select! {
            biased;
            () = proxy.now.cancelled() => return,
            // hyper closes a client that has said nothing.
            () = proxy.draining.cancelled() => None,
            // Who is turned away is told so, whatever it would say.
            () = std::future::ready(()), if refusal.is_some() => None,
            greeted = timeout(proxy.limits.head_timeout, greeting::listen(&tcp)) => match greeted {
                Ok(greeted) => greeted,
                // It said nothing: nothing is owed.
                Err(_) => return,
            },
        };
        if let Some(foreign) = greeted {
            proxy.note_foreign(foreign, presence);
            return tokio::select! {
                () = proxy.now.cancelled() => {}
                () = greeting::refuse(tcp, foreign) => {}
            };
        }
        let exchange = SharedExchange::default();
        let limits = HeadLimits {
            size: proxy.limits.head_size,
            fields: proxy.limits.headers,
        };
        let mut io = ClientIo::new(tcp, exchange.clone(), limits, proxy.limits.head_timeout);
        if let Some(refusal) = refusal {
            io = io.turn_away(refusal);
        }
        let service = Service {
            proxy: proxy.clone(),
            exchange: exchange.clone(),
            own: Arc::default(),
            presence,
        };
        let connection = http1::Builder::new()
            .half_close(true)
            .preserve_header_case(true)
            .title_case_headers(true)
            .auto_date_header(false)
            .header_read_timeout(None)
            .max_headers(limits.fields)
            .max_buf_size(limits.size + SPARE)
            .serve_connection(
                TokioIo::new(io),
                service_fn(move |request| {
                    let service = service.clone();
                    async move { Ok::<_, Infallible>(service.answer(request).await) }
                }),
            )
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut told = false;
        let served = loop {
            tokio::select! {
                biased;
                () = proxy.now.cancelled() => return,
                () = proxy.draining.cancelled(), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                served = connection.as_mut() => break served,
            }
        };
        if let Err(error) = served {
            // A client that goes away is not an error; a cut answer was told where it was cut.
            debug!(%error, "client connection ended");
            return;
        }
        if let Some(handover) = exchange.take_handover() {
            handover.run(proxy.limits.session_idle, proxy.now.clone()).await;
        } else if let Some(declined) = exchange.take_declined() {
            tokio::select! {
                () = proxy.now.cancelled() => {}
                () = relay::part(declined) => {}
            }
        }
    }
}

impl Proxy {
    /// A client that spoke something else than HTTP was refused.
    fn note_foreign(&self, foreign: Foreign, presence: Option<Presence>) {
        self.metrics.refused(foreign.name());
        let here = Asked::new(presence, None).proxy();
        self.metrics.refusals().note(Refused {
            kind: foreign.name(),
            host: None,
            status: None,
            reason: "not-http",
            said: foreign.advice(&here),
        });
    }
}

impl Service {
    /// Answers one request, whatever it is.
    async fn answer(&self, request: Request) -> Response<ReplyBody> {
        self.proxy.metrics.request();
        let connect = request.method() == Method::CONNECT;
        let mut span = traced(&request);
        let arrival = match self.exchange.take() {
            Some(arrival) => arrival,
            None => Err(HeadError::Malformed("it came out of turn")),
        };
        let early = arrival.as_ref().is_ok_and(|arrival| !arrival.early.is_empty());
        let upgrade = request.extensions().get::<OnUpgrade>().cloned();
        let asked = Asked::new(self.presence, arrival.as_ref().ok().map(|arrival| &arrival.head));
        let answered = match arrival {
            Ok(arrival) => self.route(request, arrival, &mut span).await,
            Err(error) => Err(error.into()),
        };
        let mut response = answered.unwrap_or_else(|refusal| {
            debug!(%refusal, "refused");
            span.fail(refusal.name());
            self.proxy.metrics.refused(refusal.name());
            let response = refusal.response(&asked);
            if refusal.is_of_interest() {
                self.proxy.metrics.refusals().note(Refused {
                    kind: asked.kind,
                    host: asked.target.as_ref().map(|target| target.host.clone()),
                    status: Some(response.status().as_u16()),
                    reason: refusal.cause(),
                    said: refusal.on_one_line(&asked),
                });
            }
            response
        });
        let upgraded =
            response.status() == StatusCode::SWITCHING_PROTOCOLS || connect && response.status().is_success();
        if !upgraded {
            if let Some(upgrade) = upgrade {
                self.exchange.decline(upgrade);
            }
            if early {
                // What the client sent ahead was for a tunnel that is not there.
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            self.exchange.release();
        }
        self.exchange.answer();
        span.set("http.response.status_code", || {
            i64::from(response.status().as_u16())
        });
        response
    }

    /// Waits for a session while the client waits for it, too. A stop begins nothing: without a connection to the server
    /// there is nothing to wait for.
    async fn held<T>(&self, opening: impl Future<Output = Result<T, OpenError>>) -> Result<T, Refusal> {
        let left = async {
            match &self.presence {
                Some(presence) => presence.left().await,
                None => std::future::pending().await,
            }
        };
        let stopping = async {
            self.proxy.draining.cancelled().await;
            while self.proxy.tunnel.is_connected() {
                sleep(STOPPING_INTERVAL).await;
            }
        };
        tokio::select! {
            biased;
            opened = opening => Ok(opened?),
            () = left => Err(Refusal::ClientLeft),
            () = stopping => Err(Refusal::Stopping),
        }
    }

    async fn route(
        &self,
        request: Request,
        arrival: Arrival,
        span: &mut Span,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let Arrival { head, early } = arrival;
        if head.form == Form::Proxy {
            return Err(Refusal::NotForProxies);
        }
        self.proxy.access.admit(request.headers())?;
        if let Some(target) = head.form.target() {
            span.set("server.address", || target.host.to_string());
            span.set("server.port", || i64::from(target.port.get()));
        }
        let admitted = Admitted { request, span };
        match head.form.clone() {
            Form::Connect(target) => self.connect(admitted, target, early).await,
            Form::Http(origin) => self.forward(admitted, head, origin).await,
            Form::WebSocket(origin) => self.websocket(admitted, head, origin).await,
            Form::Proxy => Err(Refusal::NotForProxies),
        }
    }
}

/// From a request to its answer's head; a part of the client's own trace, where it says so.
fn traced(request: &Request) -> Span {
    // An unknown method would be a name of the client's choice.
    let known = KNOWN_METHODS
        .iter()
        .find(|method| **method == request.method().as_str());
    let name = known.copied().unwrap_or("HTTP");
    let mut span = Span::server(name, || TraceParent::from_headers(request.headers()));
    span.set("http.request.method", || known.copied().unwrap_or("_OTHER"));
    span
}

/// RFC 9110 §9, and RFC 5789.
const KNOWN_METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];
/// Clients that are told that there is no place.
const WAITING_ROOM: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a stopping agent looks whether the sessions that are being opened can still come.
const STOPPING_INTERVAL: Duration = Duration::from_millis(250);
/// Beside a head, in hyper's buffers.
const SPARE: usize = 8 * 1024;
