//! The Fluidity server: it takes sessions from agents, decides whether they may, dials their targets and relays.
//!
//! One byte's way: [`accept`] takes the connection, [`connection`] knows whose it is, [`session`] reads what is wanted,
//! [`policy`] permits it, [`dial`] reaches it, `fluidity_wire::relay` carries the bytes. Around it: [`config`],
//! [`roster`] (who is here), [`admin`], [`metrics`]. It never parses HTTP.

pub mod accept;
pub mod activity;
pub mod admin;
pub mod admission;
pub mod breaker;
pub mod check;
pub mod cli;
pub mod config;
pub mod connection;
pub mod dial;
pub mod doubled;
pub mod guard;
pub mod health;
pub mod metrics;
pub mod notices;
pub mod own_addresses;
pub mod policy;
pub mod resolve;
pub mod roster;
pub mod session;
pub mod sockets;
pub mod traffic;

use activity::Activity;
use admin::Pages;
use anyhow::Context;
use breaker::Breakers;
use config::{Config, Limits};
use connection::House;
use dial::Dialer;
use fluidity_daemon::admin::AdminServer;
use fluidity_daemon::listen::BindError;
use fluidity_daemon::shutdown::Shutdown;
use fluidity_daemon::{descriptors, hangup, logs, ports};
use fluidity_wire::quic::{QuicError, QuicOptions, server_config, sparing_endpoint};
use fluidity_wire::tls::Identity;
use fluidity_wire::tls::reload::{Looked, Reloader, follow};
use fluidity_wire::{CloseCode, Hello, LinkOptions, Unproven};
use guard::Guard;
use metrics::Metrics;
use notices::Notices;
use quinn::Endpoint;
use resolve::Resolver;
use roster::Roster;
use serde_json::json;
use session::Services;
use sockets::{Places, Room};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Runs the server until it is told to stop: bind, serve, drain, close.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(
    mut config: Config,
    warnings: &[String],
    ports_file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    logs::init(&config.log.level.0, config.log.format)?;
    for warning in warnings {
        warn!("{warning}");
    }
    let spans = fluidity_trace::start("fluidity-server", env!("CARGO_PKG_VERSION")).unwrap_or_else(|error| {
        warn!(%error, "spans are not exported");
        None
    });
    let room = room(&config.limits);
    // Looked at first: a change while it is loaded is not missed.
    let reloader = Reloader::new(config.identity.clone());
    let identity = config.identity.load()?;
    if !identity.is_of_its_ca() {
        warn!("{}", check::OTHER_CA);
    }
    let admin = AdminServer::bind(config.admin)
        .await
        .map_err(|error| BindError::new(config.admin, "admin", error))?;
    let options = quic_options(&config);
    let unproven = Arc::<Unproven>::default();
    let endpoint = bind(&config, &identity, &options, &unproven)?;
    let shutdown = Shutdown::default();
    // Before anyone is told that the server is there: a stop that comes early is orderly, too.
    let signals = tokio::spawn(shutdown.listen()?);
    let (own, follow_own) = own_addresses::follow().await;
    let follow_own = tokio::spawn(follow_own);
    config.policy = config.policy.knowing(own);
    let house = Arc::new(House {
        unproven,
        ..house(&config, &identity, room, shutdown.clone())
    });
    let quic = endpoint.local_addr()?;
    let health = match config.health {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|error| BindError::new(address, "health.listen", error))?,
        ),
        None => None,
    };
    if let Some(path) = ports_file {
        let health = health.as_ref().and_then(|health| health.local_addr().ok());
        let bound = json!({ "quic": quic, "admin": admin.local_addr(), "health": health });
        ports::write(path, &bound).with_context(|| format!("cannot write {}", path.display()))?;
    }

    let closing = CancellationToken::new();
    let admin_address = admin.local_addr();
    let pages = Arc::new(Pages::new(house.clone()));
    let admin = tokio::spawn(admin.serve(pages, closing.clone()));
    info!(%quic, admin = %admin_address, subject = identity.subject(), "ready: serving agents");
    house.services.metrics.identity(identity.not_after());
    let health = health.map(|listener| tokio::spawn(health::answer(listener, shutdown.draining.clone())));
    let renew = tokio::spawn(renew(reloader, endpoint.clone(), options, &house)?);
    let doubled = tokio::spawn(doubled::watch(house.roster.clone(), house.overlap));
    let activity = config.activity.clone().map(|options| {
        let (roster, metrics) = (house.roster.clone(), house.services.metrics.clone());
        let activity = Activity::new(options, roster, metrics);
        tokio::spawn(activity.publish(shutdown.draining.clone()))
    });
    let grace = tokio::spawn(shutdown.clone().cut_after(config.drain_grace));
    let notices = house.services.notices.clone();
    let guard = {
        let (guard, roster, notices) = (house.guard.clone(), house.roster.clone(), notices.clone());
        tokio::spawn(async move { guard.watch(&roster, &notices).await })
    };
    let summaries = {
        let notices = notices.clone();
        tokio::spawn(async move { notices.keep_summarizing().await })
    };
    let accept = accept::accept(endpoint.clone(), house, shutdown.draining.clone());
    tokio::select! {
        () = accept => {}
        () = shutdown.overdue() => warn!("some sessions did not end in time"),
    }

    grace.abort();
    guard.abort();
    renew.abort();
    follow_own.abort();
    summaries.abort();
    doubled.abort();
    endpoint.close(
        CloseCode::ShuttingDown.into(),
        CloseCode::ShuttingDown.name().as_bytes(),
    );
    closing.cancel();
    let closed = async {
        // Peers that are there know by then; for one that is gone, nothing more can be done.
        let _ = timeout(GOODBYE, endpoint.wait_idle()).await;
        for task in [activity, health].into_iter().flatten() {
            let _ = task.await;
        }
        // A task that panicked has said so.
        let _ = admin.await;
    };
    if timeout(CLOSE, closed).await.is_err() {
        warn!("the last word to CloudWatch took too long");
    }
    if let Some(spans) = spans {
        spans.shutdown().await;
    }
    signals.abort();
    notices.summarize();
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Takes all the descriptors that the system gives, and tells what they are enough for.
fn room(limits: &Limits) -> Room {
    let descriptors = descriptors::raise();
    let room = Room::in_descriptors(descriptors);
    let (descriptors, sessions) = (descriptors.unwrap_or(u64::MAX), room.sessions);
    if sessions < limits.sessions {
        warn!(
            descriptors,
            sessions,
            limit = limits.sessions,
            "fewer sessions than limits.sessions, for want of descriptors: raise the hard limit of open files (ulimit -Hn)"
        );
    } else {
        info!(descriptors, sessions, "enough descriptors for every session");
    }
    room
}

/// Follows the identity's files: new handshakes use what is new, until the server takes no more of them.
fn renew(
    reloader: Reloader,
    endpoint: Endpoint,
    options: QuicOptions,
    house: &House,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let (heard, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hangups = hangup::listen(heard.clone())?;
    let services = house.services.clone();
    let follower = told.clone();
    let pass_on = async move {
        loop {
            heard.notified().await;
            services.dialer.resolver().look_again().await;
            follower.notify_one();
        }
    };
    let (metrics, trust) = (house.services.metrics.clone(), house.trust.clone());
    let follow = follow(reloader, told, move |looked| {
        let applied = match looked {
            Looked::New(identity) => server_config(&identity, &options)
                .map(|config| {
                    endpoint.set_server_config(Some(config));
                    identity
                })
                .map_err(anyhow::Error::from),
            Looked::Bad(error) => Err(error.into()),
            Looked::Unchanged => return info!("the identity is unchanged"),
        };
        match applied {
            Ok(identity) => {
                metrics.identity(identity.not_after());
                info!(
                    subject = identity.subject(),
                    "new identity: new handshakes use it, live sessions go on"
                );
                trust.send_replace(identity);
            }
            Err(error) => warn!(error = %format!("{error:#}"), "the new identity is bad: the old one stays"),
        }
    });
    let draining = house.services.shutdown.draining.clone();
    Ok(async move {
        tokio::select! {
            () = draining.cancelled() => {}
            () = hangups => {}
            () = pass_on => {}
            () = follow => {}
        }
    })
}

/// A session too many is told so, and does not wait for a stream.
fn streams(limits: &Limits) -> u32 {
    limits.sessions_per_agent.saturating_add(SPARE_STREAMS)
}

fn quic_options(config: &Config) -> QuicOptions {
    QuicOptions {
        idle_timeout: config.idle_timeout,
        // The agents' part: a server that asks would keep connections of sleeping laptops.
        keep_alive: None,
        max_sessions: streams(&config.limits),
    }
}

fn bind(
    config: &Config,
    identity: &Identity,
    options: &QuicOptions,
    unproven: &Arc<Unproven>,
) -> anyhow::Result<Endpoint> {
    let open = |listen| sparing_endpoint(listen, identity, options, unproven.clone());
    let refused = match open(config.listen) {
        Ok(endpoint) => return Ok(endpoint),
        Err(refused) => refused,
    };
    // `[::]` is the default, and not every machine has IPv6.
    if config.listen.ip() == Ipv6Addr::UNSPECIFIED {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.listen.port()));
        if let Ok(endpoint) = open(listen) {
            warn!(%listen, "no IPv6 here: serving IPv4 only");
            return Ok(endpoint);
        }
    }
    match refused {
        QuicError::Bind { address, source } => Err(BindError::new(address, "listen", source).into()),
        refused => Err(refused).with_context(|| format!("cannot serve QUIC on {} (listen)", config.listen)),
    }
}

fn house(config: &Config, identity: &Identity, room: Room, shutdown: Shutdown) -> House {
    let resolver = Resolver::new(&config.resolver);
    let dialer =
        Dialer::new(resolver, config.dial, Breakers::new(config.breaker)).sharing(Places::new(room.dials));
    let hello = Hello {
        instance: rand::random(),
        software: concat!("fluidity-server/", env!("CARGO_PKG_VERSION")).to_owned(),
        max_sessions: config.limits.sessions_per_agent,
        // Each connection says how long it is by then.
        uptime: Duration::ZERO,
    };
    House {
        started: Instant::now(),
        roster: Roster::new(config.limits, room.sessions),
        trust: watch::Sender::new(identity.clone()),
        services: Arc::new(Services {
            policy: config.policy.clone(),
            dialer,
            metrics: Arc::new(Metrics::default()),
            notices: Arc::new(Notices::default()),
            open_timeout: config.limits.open_timeout,
            session_idle: config.limits.session_idle,
            shutdown,
        }),
        link: LinkOptions {
            hello,
            max_sessions: streams(&config.limits),
        },
        drain_grace: config.drain_grace,
        guard: Arc::new(Guard::new(config.limits.memory)),
        unproven: Arc::default(),
        overlap: config.idle_timeout + OVERLAP_MARGIN,
    }
}

/// Beyond the idle timeout, for a connection to be noticed as lost.
const OVERLAP_MARGIN: Duration = Duration::from_secs(2);
/// Streams beyond an agent's sessions.
const SPARE_STREAMS: u32 = 64;
/// How long it may take until agents know that their connections are closed.
const GOODBYE: Duration = Duration::from_secs(2);
/// The same, and the last word to CloudWatch.
const CLOSE: Duration = Duration::from_secs(10);
