//! One agent's connection: who it is, its sessions, its end.
//!
//! Tasks: this future drives the link's control streams itself and owns every session's task; it ends after the last
//! of them. Order of an orderly stop: `Drain` is sent, sessions end or are cut, `Goodbye`, close. No connection outlives
//! the certificates that its agent showed. Where a new CA does not accept them, no session begins, and what runs is cut
//! after the drain's grace.

use crate::guard::Guard;
use crate::roster::{Full, Guest, Roster};
use crate::session::{self, Services};
use fluidity_wire::tls::term::{first_end, peer_certificates, reached};
use fluidity_wire::tls::{AgentId, Identity};
use fluidity_wire::{CloseCode, Ending, Link, LinkEnd, LinkOptions, PeerState, Reply, ReplyCode, Unproven};
use quinn::Connection;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};

/// What every connection needs.
#[derive(Debug)]
pub struct House {
    /// Who is here.
    pub roster: Arc<Roster>,
    /// What sessions need.
    pub services: Arc<Services>,
    /// Whom agents are checked against: replaced when the identity is.
    pub trust: watch::Sender<Identity>,
    /// What is said to every agent.
    pub link: LinkOptions,
    /// When the server started.
    pub started: Instant,
    /// How long sessions may go on after a stop was asked for.
    pub drain_grace: Duration,
    /// The last bound of memory.
    pub guard: Arc<Guard>,
    /// Whom the endpoint sends no more than three times what it got.
    pub unproven: Arc<Unproven>,
    /// How long two agents of one name may be a restart: the older one's connection may be a dead one.
    pub overlap: Duration,
}

impl House {
    /// The agents' names that several programs use at once.
    pub fn doubled(&self) -> Vec<AgentId> {
        self.roster.doubled(self.overlap).0
    }
}

/// Serves a connection whose handshake is over.
pub async fn serve(connection: Connection, house: Arc<House>) {
    let metrics = &house.services.metrics;
    let peer = seen_from(&connection);
    let guest = match admit(&connection, &house.roster) {
        Ok(guest) => guest,
        Err(rejected) => {
            let reason = rejected.reason;
            if house.services.notices.stranger(reason, peer.ip()) {
                warn!(peer.addr = %peer, reason, "connection rejected");
            } else {
                debug!(peer.addr = %peer, reason, "connection rejected");
            }
            metrics.connection_rejected(rejected.reason);
            let code = rejected.code;
            return connection.close(code.into(), code.name().as_bytes());
        }
    };
    metrics.connection_accepted();
    let span = info_span!("connection", id = guest.id(), peer.addr = %peer, agent = %guest.agent());
    attend(connection, Arc::new(guest), house).instrument(span).await;
}

/// The peer's address; an IPv4 one as such, though the socket serves both families.
fn seen_from(connection: &Connection) -> SocketAddr {
    let peer = connection.remote_address();
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

struct Rejected {
    code: CloseCode,
    reason: &'static str,
}

fn admit(connection: &Connection, roster: &Arc<Roster>) -> Result<Guest, Rejected> {
    let agent = AgentId::from_peer_certificates(&peer_certificates(connection)).map_err(|error| {
        debug!(%error, "no agent");
        Rejected {
            code: CloseCode::Refused,
            reason: "no-agent-name",
        }
    })?;
    let peer = seen_from(connection);
    roster.admit(&agent, peer).map_err(|full| Rejected {
        code: CloseCode::TooManyConnections,
        reason: match full {
            Full::Server => "too-many-connections",
            Full::Agent => "too-many-connections-of-the-agent",
        },
    })
}

async fn attend(connection: Connection, guest: Arc<Guest>, house: Arc<House>) {
    // Told of once it is more than one of an agent's attempts, the others of which it lets go of.
    let mut news = News::new(guest.agent(), &house);
    let mut settled = pin!(sleep(SETTLED));
    let shutdown = &house.services.shutdown;
    let mut options = house.link.clone();
    options.hello.uptime = house.started.elapsed();
    let certificates = peer_certificates(&connection);
    let end_of_term = first_end(&certificates);
    let mut trust = house.trust.subscribe();
    // It may have been replaced during the handshake.
    trust.mark_changed();
    let mut suspended: Option<Instant> = None;
    let _path = house.services.metrics.paths().enter(&connection);
    let (link, driver) = Link::start(connection, options, guest.share().clone());
    guest.linked(&link);
    let mut driver = pin!(driver);
    let sessions = TaskTracker::new();
    // Of this connection alone: when it is gone, no session of it may go on dialling.
    let cut = shutdown.now.child_token();
    let _cut_at_the_end = cut.clone().drop_guard();
    let mut draining = false;
    let mut agents = house.roster.agents();
    agents.mark_changed();
    let mut peer = link.peer();
    let mut unknown = true;
    let end = loop {
        tokio::select! {
            biased;
            end = &mut driver => break end,
            () = shutdown.draining.cancelled(), if !draining => {
                draining = true;
                link.send_drain(house.drain_grace);
                sessions.close();
            }
            () = reached(end_of_term) => {
                info!("the agent's certificate has ended: its connection is closed");
                cut.cancel();
                link.close(CloseCode::Expired);
                break driver.as_mut().await;
            }
            Ok(()) = trust.changed(), if suspended.is_none() => {
                if let Err(error) = trust.borrow_and_update().accepts_agent(&certificates) {
                    info!(%error, "the agent's certificate is not accepted any more: its sessions may end");
                    link.send_drain(house.drain_grace);
                    suspended = Some(Instant::now() + house.drain_grace);
                }
            }
            () = at(suspended) => {
                cut.cancel();
                link.close(CloseCode::Refused);
                break driver.as_mut().await;
            }
            // Closed, and the last session ended. An agent that knows of the drain closes by itself then.
            () = sessions.wait(), if draining => break close(&link, driver.as_mut(), &sessions).await,
            () = &mut settled, if !news.told => news.connected(),
            instance = introduction(&mut peer), if unknown => {
                unknown = false;
                debug!(instance = %format_args!("{instance:016x}"), "the agent introduced itself");
                guest.introduce(instance);
                agents.mark_changed();
            }
            // The roster outlives every connection. Before it has introduced itself, an agent's other connection would count as
            // another agent.
            Ok(()) = agents.changed(), if !unknown => link.send_others(house.roster.others(&guest)),
            accepted = link.accept() => match accepted {
                Ok(incoming) if suspended.is_some() => {
                    let reply = Reply::refusal(ReplyCode::Draining, "the agent's certificate is not accepted any more");
                    sessions.spawn(incoming.refuse(reply, LINGER));
                }
                Ok(incoming) => {
                    news.connected();
                    let span = info_span!("session", id = incoming.id());
                    let (guest, services) = (guest.clone(), house.services.clone());
                    let serve = session::serve(incoming, guest, services, cut.clone());
                    sessions.spawn(serve.instrument(span));
                }
                // The driver says why.
                Err(_) => break driver.as_mut().await,
            },
        }
    };
    news.ended(&end);
    cut.cancel();
    sessions.close();
    sessions.wait().await;
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What is told of a connection: both that it began and that it ended, or nothing.
struct News {
    allowed: bool,
    told: bool,
}

impl News {
    fn new(agent: &AgentId, house: &House) -> Self {
        Self {
            allowed: house.services.notices.connection(agent),
            told: false,
        }
    }

    fn connected(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            match self.allowed {
                true => info!("agent connected"),
                false => debug!("agent connected"),
            }
        }
    }

    fn ended(&mut self, end: &LinkEnd) {
        let abandoned = match end {
            LinkEnd::Connection(error) => Ending(error).is_abandoned(),
            LinkEnd::Protocol(_) => false,
        };
        self.allowed &= self.told || !abandoned;
        self.connected();
        match (end, self.allowed) {
            (LinkEnd::Protocol(reason), true) => warn!(reason, "the agent broke the protocol"),
            (LinkEnd::Protocol(reason), false) => debug!(reason, "the agent broke the protocol"),
            (LinkEnd::Connection(error), true) => info!(reason = %Ending(error), "agent disconnected"),
            (LinkEnd::Connection(error), false) => debug!(reason = %Ending(error), "agent disconnected"),
        }
    }
}

/// Completes when the agent has said which process it is. Cancel safe.
async fn introduction(peer: &mut watch::Receiver<PeerState>) -> u64 {
    let said = peer.wait_for(|peer| peer.hello.is_some()).await;
    match said
        .ok()
        .and_then(|peer| peer.hello.as_ref().map(|hello| hello.instance))
    {
        Some(instance) => instance,
        // The connection is over: its driver tells.
        None => std::future::pending().await,
    }
}

/// Gives the agent a moment to close, refusing what it still asks for, then closes.
async fn close(
    link: &Link,
    mut driver: Pin<&mut (impl Future<Output = LinkEnd> + Send)>,
    sessions: &TaskTracker,
) -> LinkEnd {
    let late = async {
        while let Ok(incoming) = link.accept().await {
            let reply = Reply::refusal(ReplyCode::Draining, "the server is stopping");
            sessions.spawn(incoming.refuse(reply, LINGER));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        end = &mut driver => return end,
        () = late => {}
        () = sleep(LINGER) => {}
    }
    link.send_goodbye();
    if let Ok(end) = timeout(FLUSH, &mut driver).await {
        return end;
    }
    link.close(CloseCode::ShuttingDown);
    driver.await
}

/// How long an agent has to close a connection that drained.
const LINGER: Duration = Duration::from_millis(500);
/// A connection that is that old is in use, or will be.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the last message has to be sent.
const FLUSH: Duration = Duration::from_millis(50);
