//! An agent with good papers that keeps to nothing, and what it can make the server hold: less than the budget in
//! docs/security.md, whatever it sends or leaves unread, while another agent is served.

use bytes::Bytes;
use fluidity_tests::{
    Hostile, MIB, Origin, Peer, Served, Setup, Stack, Tamper, Untampered, get, open_message,
    raise_open_files, until, within,
};
use quinn::{ConnectionError, SendStream};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the server may hold in a test: the whole of docs/security.md's table is 400 MiB; these attacks are each a part of it.
const LIMIT: u64 = 220 * MIB;
/// How long an attack goes on at the least.
const ATTACK: Duration = Duration::from_secs(15);
/// As many connections as the attacker tries to have.
const CONNECTIONS: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
const MALLORY: &str = "mallory";

/// A server with a good agent, and the identity of a bad one; whatever listens on loopback may be reached.
async fn stack() -> Stack {
    raise_open_files(16384);
    let stack = Setup::new()
        .allow_rule(json!({ "cidr": "127.0.0.1/32" }))
        .start()
        .await;
    stack.pki.issue_agent(MALLORY);
    stack
}

async fn hostile(stack: &Stack, tamper: impl Tamper) -> Result<Hostile, ConnectionError> {
    Hostile::connect(&stack.pki, MALLORY, stack.server.quic(), tamper).await
}

/// A target that takes connections and reads nothing.
fn deaf(origin: Origin) -> Served {
    origin.serve(|peer| async move {
        let _peer = peer;
        std::future::pending::<()>().await;
    })
}

/// A target that says as much as it can.
fn loud(origin: Origin) -> Served {
    origin.serve(|mut peer| async move { while peer.try_write(vec![7; 64 << 10]).await.is_ok() {} })
}

/// While `attack` goes on, a well-behaved agent's requests are answered; returns the slowest.
///
/// They come from a thread of their own, and the attack leaves the processor to everybody else: in the field it does not run
/// on the server's machine, and what is looked at is the server.
async fn served_beside<F: Future<Output = ()>>(stack: &Stack, attack: F) -> Duration {
    let proxy = stack.proxy();
    let (tell, told) = tokio::sync::oneshot::channel();
    let good = std::thread::Builder::new().name("good".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.expect("a runtime").block_on(ask_for_a_while(proxy));
        // Nobody listens when the attack has ended, which is told of elsewhere.
        let _ = tell.send(served);
    });
    give_way(good.expect("a thread").thread());
    let (count, slowest) = tokio::select! {
        served = told => served.expect("a good request failed"),
        () = attack => panic!("the attack ended"),
    };
    let peak = stack.server.peak();
    println!("{count} requests, slowest {slowest:?}, peak {} MiB", peak / MIB);
    assert!(peak < LIMIT, "{} MiB", peak / MIB);
    slowest
}

async fn ask_for_a_while(proxy: SocketAddr) -> (u32, Duration) {
    let origin = Origin::bind().await.hello("here");
    let began = Instant::now();
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    while began.elapsed() < ATTACK || count < 20 {
        let asked = Instant::now();
        let answer = within(MINUTE, "an answer", get(proxy, origin.addr(), "/")).await;
        assert_eq!(answer, (200, "here".to_owned()));
        slowest = slowest.max(asked.elapsed());
        count += 1;
    }
    (count, slowest)
}

/// This process's threads run only where nobody else wants the processor, but the one that asks.
fn give_way(asks: &std::thread::Thread) {
    let name = |task: &std::path::Path| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").expect("this process's threads");
    let tasks = tasks.filter_map(|task| Some(task.ok()?.path()));
    let others = tasks.filter(|task| name(task).trim() != asks.name().unwrap_or_default());
    let ids = others.filter_map(|task| Some(task.file_name()?.to_owned()));
    let renice = std::process::Command::new("renice")
        .args(["-n", "19", "-p"])
        .args(ids)
        .output();
    assert!(renice.is_ok_and(|done| done.status.success()), "renice");
}

/// Does the same on every connection that the attacker gets, and again on a new one when it loses one.
async fn on_every_connection<T, F, R>(stack: &Stack, tamper: T, attack: F)
where
    T: Tamper + Clone,
    F: Fn(Hostile) -> R,
    R: Future<Output = ()>,
{
    let attackers = (0..CONNECTIONS).map(|_| async {
        loop {
            if let Ok(connection) = hostile(stack, tamper.clone()).await {
                attack(connection).await;
            }
            // One too many, and it is told so, or cut off. The deaf target keeps what it has accepted: not too many in all.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    futures_util::future::join_all(attackers).await;
}

/// Sends without looking at credit until QUIC itself stops it.
async fn pour(mut send: SendStream, bytes: u64) {
    let chunk = Bytes::from(vec![7; 64 << 10]);
    for _ in 0..bytes / chunk.len() as u64 {
        if send.write_chunk(chunk.clone()).await.is_err() {
            return;
        }
    }
    // Kept open: an end would let the server forget it.
    let _ = send.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_sends_past_its_credit_is_cut_off_and_costs_bounded_memory() {
    let stack = stack().await;
    let target = deaf(Origin::bind().await);
    served_beside(
        &stack,
        on_every_connection(&stack, Untampered, |hostile| {
            let target = target.addr();
            async move {
                let mut streams = JoinSet::new();
                let mut kept = Vec::new();
                for _ in 0..56 {
                    let Ok((send, recv)) = hostile.open(target, 1 << 18).await else {
                        break;
                    };
                    kept.push(recv);
                    streams.spawn(pour(send, 8 * MIB));
                }
                hostile.connection.closed().await;
            }
        }),
    )
    .await;
    // Told why, once the connections of the attack are gone.
    until(
        Duration::from_secs(60),
        "a close for breaking the protocol",
        || async {
            let hostile = hostile(&stack, Untampered).await.map_err(|end| end.to_string())?;
            let (send, _recv) = hostile
                .open(target.addr(), 1 << 18)
                .await
                .map_err(|end| end.to_string())?;
            let pouring = tokio::spawn(pour(send, 64 * MIB));
            let end = within(Duration::from_secs(60), "a close", hostile.connection.closed()).await;
            pouring.abort();
            match &end {
                // The close code `protocol`.
                ConnectionError::ApplicationClosed(close) if u64::from(close.error_code) == 0x22 => Ok(()),
                end => Err(end.to_string()),
            }
        },
    )
    .await;
}

/// Leaves out one byte behind the `Open`, so that the server can take nothing of what follows.
#[derive(Clone, Copy, Debug)]
struct Gap;

impl Tamper for Gap {
    fn drops_stream(&self, stream: u64, offset: u64, length: u64) -> bool {
        stream.is_multiple_of(4) && offset == OPEN && length == 1
    }
}

const OPEN: u64 = 23;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_a_gap_are_bounded_by_quics_window_which_follows_credit() {
    let stack = stack().await;
    let target = deaf(Origin::bind().await);
    assert_eq!(open_message(target.addr(), 1 << 18).len() as u64, OPEN);
    served_beside(
        &stack,
        on_every_connection(&stack, Gap, |hostile| {
            let target = target.addr();
            async move {
                let mut streams = JoinSet::new();
                let mut kept = Vec::new();
                for _ in 0..56 {
                    let Ok((mut send, recv)) = hostile.open(target, 1 << 18).await else {
                        break;
                    };
                    kept.push(recv);
                    // By itself in its packet: what follows waits for the next one.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let _ = send.write_all(&[1]).await;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    streams.spawn(pour(send, 8 * MIB));
                }
                hostile.connection.closed().await;
            }
        }),
    )
    .await;
}

/// Leaves out every other byte behind the `Open`.
#[derive(Clone, Copy, Debug)]
struct Gaps;

impl Tamper for Gaps {
    fn drops_stream(&self, stream: u64, offset: u64, length: u64) -> bool {
        stream.is_multiple_of(4) && offset >= OPEN && length == 1 && !offset.is_multiple_of(2)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_fragments_with_gaps_cost_bounded_memory() {
    let stack = stack().await;
    let target = deaf(Origin::bind().await);
    served_beside(
        &stack,
        on_every_connection(&stack, Gaps, |hostile| {
            let target = target.addr();
            async move {
                let mut streams = Vec::new();
                for _ in 0..100 {
                    let Ok(stream) = hostile.open(target, 1 << 18).await else {
                        break;
                    };
                    streams.push(stream);
                }
                // Below the thousand gaps for which QUIC itself closes a connection.
                for _ in 0..1800 {
                    for (send, _) in &mut streams {
                        if send.write_all(&[1]).await.is_err() && hostile.connection.close_reason().is_some()
                        {
                            return;
                        }
                        // Each in a packet of its own.
                        tokio::task::yield_now().await;
                    }
                }
                hostile.connection.closed().await;
            }
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_opened_and_say_nothing_cost_bounded_memory() {
    let stack = stack().await;
    served_beside(
        &stack,
        on_every_connection(&stack, Untampered, |hostile| async move {
            let mut streams = Vec::new();
            // The last of so many that one connection may have; each says one byte of an `Open`.
            for _ in 0..4000 {
                let opened = tokio::time::timeout(Duration::from_secs(5), hostile.connection.open_bi()).await;
                let Ok(Ok((mut send, recv))) = opened else { break };
                let _ = send.write_all(&[1]).await;
                streams.push((send, recv));
            }
            let _ = tokio::time::timeout(Duration::from_secs(5), hostile.connection.closed()).await;
        }),
    )
    .await;
}

/// Acknowledges nothing.
#[derive(Clone, Copy, Debug)]
struct Mute;

impl Tamper for Mute {
    fn drops_stream(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }

    fn drops_acks(&self) -> bool {
        true
    }
}

/// Downloads whose bytes nobody takes, on every session that the attacker gets.
async fn downloads(stack: &Stack, tamper: impl Tamper + Clone, target: SocketAddr) -> Duration {
    let attack = on_every_connection(stack, tamper, |hostile| async move {
        let mut streams = Vec::new();
        for _ in 0..200 {
            let opened = tokio::time::timeout(Duration::from_secs(5), hostile.open(target, 1 << 23)).await;
            let Ok(Ok(stream)) = opened else { break };
            streams.push(stream);
        }
        let _ = tokio::time::timeout(Duration::from_secs(10), hostile.connection.closed()).await;
    });
    served_beside(stack, attack).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downloads_that_are_never_acknowledged_cost_bounded_memory() {
    let stack = stack().await;
    let target = loud(Origin::bind().await);
    downloads(&stack, Mute, target.addr()).await;
}

/// A target that says a byte at a time.
fn trickling(origin: Origin) -> Served {
    origin.serve(|mut peer: Peer| async move {
        while peer.try_write("x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_a_target_says_one_by_one_cost_bounded_memory() {
    let stack = stack().await;
    let target = trickling(Origin::bind().await);
    downloads(&stack, Mute, target.addr()).await;
}

/// Makes pieces with gaps of every byte behind the `Open`, as many as fit in a packet.
#[derive(Clone, Copy, Debug)]
struct Shredder;

impl Tamper for Shredder {
    fn drops_stream(&self, _: u64, _: u64, _: u64) -> bool {
        false
    }

    fn shreds(&self, stream: u64, offset: u64) -> bool {
        stream.is_multiple_of(4) && offset >= OPEN
    }
}

/// Pieces of as many sessions as it gets, streams that say nothing and answers that nobody takes, all at once.
async fn everything(hostile: Hostile, deaf: SocketAddr, loud: SocketAddr) {
    let mut kept = Vec::new();
    for number in 0..900 {
        let target = if number % 30 == 0 { loud } else { deaf };
        let opened = tokio::time::timeout(Duration::from_secs(5), hostile.open(target, 1 << 20)).await;
        let Ok(Ok(stream)) = opened else { break };
        kept.push(stream);
        if number % 3 == 0
            && let Ok(Ok((mut send, recv))) =
                tokio::time::timeout(Duration::from_secs(5), hostile.connection.open_bi()).await
        {
            let _ = send.write_all(&[1]).await;
            kept.push((send, recv));
        }
    }
    // By themselves in their packets, and below the thousand gaps for which QUIC closes a connection.
    let mut shredded = JoinSet::new();
    for (mut send, recv) in kept {
        shredded.spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(20), send.write_all(&[7; 8 << 10])).await;
            (send, recv)
        });
    }
    hostile.connection.closed().await;
}

/// Of which `limits.memory` is three quarters in a test.
const CONTAINER: u64 = 64 * MIB * 4 / 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_limits_memory_the_agent_that_costs_most_is_cut_off_told_of_once_and_shown_in_the_status() {
    raise_open_files(16384);
    let stack = Setup::new()
        .allow_rule(json!({ "cidr": "127.0.0.1/32" }))
        .server("limits.memory", "64MiB")
        .start()
        .await;
    stack.pki.issue_agent(MALLORY);
    let (silent, talking) = (deaf(Origin::bind().await), loud(Origin::bind().await));
    let began = Instant::now();
    let attack = on_every_connection(&stack, Shredder, |hostile| {
        everything(hostile, silent.addr(), talking.addr())
    });
    let origin = Origin::bind().await.hello("here");
    let good = async {
        loop {
            let answer = stack.get(origin.addr(), "/");
            let answer = within(Duration::from_secs(60), "an answer", answer).await;
            assert_eq!(answer, (200, "here".to_owned()));
            let status = stack.server.status().await;
            if status["memory"]["agents_cut_off"].as_u64() >= Some(3) {
                break status;
            }
            let peak = stack.server.peak();
            assert!(peak < CONTAINER, "{} MiB, {status}", peak / MIB);
            assert!(began.elapsed() < Duration::from_secs(100), "{status}");
        }
    };
    let status = tokio::select! {
        status = good => status,
        () = attack => panic!("the attack ended"),
    };
    let peak = stack.server.peak();
    println!(
        "{:?}, peak {} MiB, {}",
        began.elapsed(),
        peak / MIB,
        status["memory"]
    );
    assert!(peak < CONTAINER, "{} MiB", peak / MIB);
    assert_eq!(status["memory"]["limit"], 64 * MIB);
    assert_eq!(status["memory"]["last_cut_off"]["agent"], MALLORY);
    let told = stack.server.log().matches("takes too much memory").count() as u64;
    let minutes = 1 + began.elapsed().as_secs() / 60;
    assert!(
        (1..=minutes).contains(&told),
        "{told} lines\n{}",
        stack.server.log()
    );
    let (_, metrics) = stack.server.admin("/metrics").await;
    assert!(
        metrics.contains("fluidity_server_agents_cut_off_total"),
        "{metrics}"
    );
    // The good one was never cut off.
    assert_eq!(stack.agent.status().await["reconnects"], 0);
}
