//! The Fluidity agent: a local HTTP proxy whose sessions go through the tunnel.
//!
//! One byte's way: [`inbound`] accepts the client and understands its request, [`tunnel`] opens a session to the
//! server, `fluidity_wire::relay` or hyper's client carries the bytes. Around it: [`config`], [`admin`], [`metrics`].

pub mod admin;
pub mod check;
pub mod cli;
pub mod config;
pub mod inbound;
pub mod lifecycle;
pub mod metrics;
pub mod notices;
pub mod pki;
pub mod refusals;
pub mod status;
pub mod tunnel;

use admin::Pages;
use anyhow::Context;
use config::Config;
use fluidity_daemon::admin::AdminServer;
use fluidity_daemon::listen::BindError;
use fluidity_daemon::shutdown::Shutdown;
use fluidity_daemon::{descriptors, hangup, logs, ports};
use fluidity_wire::tls::reload::{Looked, Reloader, follow};
use inbound::Inbound;
use lifecycle::{Accounts, Lifecycle};
use metrics::Metrics;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tunnel::{Dialer, Supervisor, Tunnel};

/// Runs the agent until it is told to stop: bind, serve, drain, close.
pub async fn run(
    mut config: Config,
    warnings: &[String],
    ports_file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    logs::init(&config.log.level.0, config.log.format)?;
    for warning in warnings {
        warn!("{warning}");
    }
    let spans = fluidity_trace::start("fluidity-agent", env!("CARGO_PKG_VERSION")).unwrap_or_else(|error| {
        warn!(%error, "spans are not exported");
        None
    });
    config.limits.clients = clients(config.limits.clients);
    // Looked at first: a change while it is loaded is not missed.
    let reloader = Reloader::new(config.identity.clone());
    let identity = config.identity.load()?;
    if !identity.is_of_its_ca() {
        warn!("{}", check::OTHER_CA);
    }
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| BindError::new(config.listen, "listen", error))?;
    let admin = AdminServer::bind(config.admin)
        .await
        .map_err(|error| BindError::new(config.admin, "admin", error))?;
    let shutdown = Shutdown::default();
    // Before anyone is told that the agent is there: a stop that comes early is orderly, too.
    let signals = tokio::spawn(shutdown.listen()?);
    let proxy = listener.local_addr()?;
    if let Some(path) = ports_file {
        let bound = json!({ "proxy": proxy, "admin": admin.local_addr() });
        ports::write(path, &bound).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !proxy.ip().is_loopback() && config.proxy_auth.is_none() {
        warn!(%proxy, "{}", check::OPEN);
    }

    let closing = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let dialer = Arc::new(Dialer::new(&config, &identity)?);
    metrics.identity(identity.not_after());
    let renew = renew(reloader, dialer.clone(), metrics.clone())?;
    let life = config
        .control_plane
        .clone()
        .map(Lifecycle::new)
        .transpose()?
        .map(Arc::new);
    let (supervisor, watched) = Supervisor::new(&config, dialer.clone(), life.clone(), closing.clone());
    let phase = watched.phase.clone();
    let tunnel = Tunnel::new(watched, &config, metrics.clone());
    let accounts = config.control_plane.as_ref().map(|plane| {
        let (prices, file) = (plane.prices.clone(), plane.state_file.clone());
        Arc::new(Accounts::open(
            prices,
            file,
            phase.clone(),
            metrics.moved().clone(),
        ))
    });
    let pages = Arc::new(Pages {
        dialer,
        server_name: config.server.name.clone(),
        phase: phase.clone(),
        metrics: metrics.clone(),
        life,
        accounts: accounts.clone(),
        shutdown: shutdown.clone(),
    });
    let notices = tunnel.notices().clone();
    let inbound = Inbound::new(&config, tunnel, metrics, shutdown.clone());

    let renew = tokio::spawn(renew);
    let summaries = {
        let notices = notices.clone();
        tokio::spawn(async move { notices.keep_summarizing().await })
    };
    let supervisor = tokio::spawn(supervisor.run());
    let admin_address = admin.local_addr();
    let admin = tokio::spawn(admin.serve(pages, closing.clone()));
    let accounts = accounts.map(|accounts| tokio::spawn(accounts.keep(closing.clone())));
    info!(%proxy, admin = %admin_address, subject = identity.subject(), "ready: proxy is listening");
    let grace = tokio::spawn(shutdown.clone().cut_after(config.drain_grace));
    tokio::select! {
        () = inbound.serve(listener, phase) => {}
        () = shutdown.overdue() => warn!("some sessions did not end in time"),
    }

    // Every session has ended, or was cut. Now the connection itself.
    grace.abort();
    renew.abort();
    summaries.abort();
    closing.cancel();
    let closed = async {
        // A task that panicked has said so.
        let _ = supervisor.await;
        let _ = admin.await;
        if let Some(accounts) = accounts {
            let _ = accounts.await;
        }
    };
    if timeout(CLOSE, closed).await.is_err() {
        warn!("the connection to the server did not close in time");
    }
    if let Some(spans) = spans {
        spans.shutdown().await;
    }
    signals.abort();
    notices.summarize();
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// How many clients there are descriptors for: all that the system gives are taken.
fn clients(limit: usize) -> usize {
    let descriptors = descriptors::raise();
    let room = descriptors.map_or(u64::MAX, |all| all.saturating_sub(descriptors::RESERVED).max(8));
    let clients = usize::try_from(room).unwrap_or(usize::MAX).min(limit);
    if clients < limit {
        warn!(
            descriptors,
            clients,
            limit,
            "fewer clients than limits.clients, for want of descriptors: raise the hard limit of open files (ulimit -Hn)"
        );
    }
    clients
}

/// Follows the identity's files: the next connection uses what is new.
fn renew(
    reloader: Reloader,
    dialer: Arc<Dialer>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let told = Arc::new(Notify::new());
    let hangups = hangup::listen(told.clone())?;
    let follow = follow(reloader, told, move |looked| {
        let applied = match looked {
            Looked::New(identity) => dialer.renew(&identity).map(|()| identity).map_err(Into::into),
            Looked::Bad(error) => Err(anyhow::Error::from(error)),
            Looked::Unchanged => return info!("the identity is unchanged"),
        };
        match applied {
            Ok(identity) => {
                metrics.identity(identity.not_after());
                info!(
                    subject = identity.subject(),
                    "new identity: connecting with it; running sessions go on"
                );
            }
            Err(error) => warn!(error = %format!("{error:#}"), "the new identity is bad: the old one stays"),
        }
    });
    Ok(async move {
        tokio::select! {
            () = hangups => {}
            () = follow => {}
        }
    })
}

/// How long closing the connection may take, and stopping the server where that is due.
const CLOSE: Duration = Duration::from_secs(3 + lifecycle::FAREWELL.as_secs());
