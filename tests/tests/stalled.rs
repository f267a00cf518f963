//! Readers that are slow or asleep: they cost bounded memory, and nobody else notices them.

use fluidity_tests::{Checker, MIB, Origin, Pattern, Peer, Stack, raise_open_files, within};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const STALLED: usize = 100;
const LIMIT: u64 = 128 * MIB;
const TEN_MB: u64 = 10 * 1000 * 1000;
/// Nothing taken for so long: every buffer on the way is full.
const QUIET: Duration = Duration::from_millis(500);

/// 10 MB through a session of their own; returns how long that took.
async fn ten_megabytes(stack: &Stack, origin: &Origin, upload: bool) -> Duration {
    let (client, upstream) = stack.tunnel(origin).await;
    let (mut writer, mut reader) = if upload {
        (client, upstream)
    } else {
        (upstream, client)
    };
    let started = Instant::now();
    let mut checker = Checker::new(Pattern::new(3));
    let transfer = async {
        tokio::join!(
            writer.send(Pattern::new(3), TEN_MB),
            reader.check_exact(&mut checker, TEN_MB)
        );
    };
    within(Duration::from_secs(15), "10 MB beside stalled readers", transfer).await;
    started.elapsed()
}

async fn stalled(upload: bool) {
    raise_open_files(4096);
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut sleepers = Vec::new();
    let mut writers = JoinSet::new();
    for number in 0..STALLED as u64 {
        let (client, upstream) = stack.tunnel(&origin).await;
        let (mut writer, reader) = if upload {
            (client, upstream)
        } else {
            (upstream, client)
        };
        sleepers.push((number, reader));
        writers.spawn(async move {
            // A gigabyte would be taken only if somebody buffered without bound.
            let taken = writer
                .send_until_blocked(Pattern::new(number), 1 << 30, QUIET)
                .await;
            (number, taken, writer)
        });
    }
    let mut blocked: Vec<(u64, u64, Peer)> = Vec::new();
    while let Some(writer) = writers.join_next().await {
        blocked.push(writer.expect("a writer"));
    }
    let (agent, server) = (stack.agent.rss(), stack.server.rss());
    println!(
        "100 stalled: RSS agent {} KiB, server {} KiB",
        agent >> 10,
        server >> 10
    );
    assert!(agent < LIMIT, "agent: {} KiB", agent >> 10);
    assert!(server < LIMIT, "server: {} KiB", server >> 10);
    let largest = blocked
        .iter()
        .map(|(_, taken, _)| *taken)
        .max()
        .unwrap_or_default();
    assert!(largest < 1 << 30, "a stalled reader's writer was never stopped");

    let took = ten_megabytes(&stack, &origin, upload).await;
    println!("10 MB beside 100 stalled: {took:?}");
    assert!(
        stack.agent.rss() < LIMIT && stack.server.rss() < LIMIT,
        "after another transfer"
    );

    // They wake up: everything that was taken arrives.
    blocked.sort_by_key(|(number, ..)| *number);
    for ((number, mut reader), (_, taken, mut writer)) in sleepers.into_iter().zip(blocked).take(10) {
        let mut checker = Checker::new(Pattern::new(number));
        tokio::join!(writer.finish(), reader.drain(&mut checker));
        assert_eq!(checker.received(), taken, "session {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_stalled_clients_cost_bounded_memory_and_starve_nobody() {
    stalled(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_stalled_origins_cost_bounded_memory_and_starve_nobody() {
    stalled(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_reader_never_slows_the_others() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut alone = Duration::MAX;
    for _ in 0..3 {
        alone = alone.min(ten_megabytes(&stack, &origin, false).await);
    }
    let (mut slow, mut source) = stack.tunnel(&origin).await;
    let feed = tokio::spawn(async move { source.try_send(Pattern::new(9), 0, 1 << 40).await });
    let sip = tokio::spawn(async move {
        let mut checker = Checker::new(Pattern::new(9));
        loop {
            let Ok(part) = slow.read_up_to(8 << 10).await else {
                return;
            };
            checker.take(&part);
            // Slow on purpose.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // By then the slow session has filled whatever it can fill.
    tokio::time::sleep(QUIET).await;
    let mut beside = Duration::MAX;
    for _ in 0..3 {
        beside = beside.min(ten_megabytes(&stack, &origin, false).await);
    }
    println!("10 MB alone {alone:?}, beside a slow reader {beside:?}");
    assert!(
        !feed.is_finished() && !sip.is_finished(),
        "the slow session still runs"
    );
    assert!(
        beside < alone * 3 + Duration::from_millis(500),
        "alone {alone:?}, beside a slow reader {beside:?}"
    );
    feed.abort();
    sip.abort();
}
