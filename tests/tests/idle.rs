//! Many tunnels that do nothing cost little, and more than QUIC's default of 100 streams are no problem.

use fluidity_tests::{MIB, Origin, Peer, Stack, raise_open_files, within};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const LIMIT: u64 = 64 * MIB;

/// Opens `count` tunnels, some at a time.
async fn open_tunnels(stack: &Stack, origin: &Origin, count: usize) -> Vec<(Peer, Peer)> {
    let mut tunnels = Vec::with_capacity(count);
    while tunnels.len() < count {
        let batch = 50.min(count - tunnels.len());
        let (proxy, addr) = (stack.proxy(), origin.addr());
        let mut clients = JoinSet::new();
        for _ in 0..batch {
            clients.spawn(async move { Peer::tunnel(proxy, addr).await });
        }
        for _ in 0..batch {
            // Which client this is, the first exchange will tell.
            let upstream = origin.accept().await;
            let client = clients
                .join_next()
                .await
                .expect("as many as were spawned")
                .expect("a tunnel");
            tunnels.push((client, upstream));
        }
    }
    tunnels
}

#[tokio::test]
async fn a_thousand_idle_tunnels_stay_open_for_a_minute_under_64_mib() {
    raise_open_files(16_384);
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut tunnels = open_tunnels(&stack, &origin, 1000).await;

    let opened = Instant::now();
    let (mut agent, mut server) = (0, 0);
    while opened.elapsed() < Duration::from_secs(60) {
        agent = agent.max(stack.agent.rss());
        server = server.max(stack.server.rss());
        // The minute is the subject of this test.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!(
        "highest RSS: agent {} KiB, server {} KiB",
        agent >> 10,
        server >> 10
    );
    assert!(agent < LIMIT, "agent: {} KiB", agent >> 10);
    assert!(server < LIMIT, "server: {} KiB", server >> 10);

    // Every one of them still carries bytes, both ways, to its own other end.
    for (number, (client, _)) in tunnels.iter_mut().enumerate() {
        client.write(format!("{number:04}")).await;
    }
    let mut seen = vec![false; tunnels.len()];
    for (_, upstream) in &mut tunnels {
        let bytes = upstream.read_exact(4).await;
        let number: usize = std::str::from_utf8(&bytes)
            .expect("digits")
            .parse()
            .expect("a number");
        assert!(!std::mem::replace(&mut seen[number], true), "{number} came twice");
        upstream.write(format!("{number:04}")).await;
    }
    for (number, (client, _)) in tunnels.iter_mut().enumerate() {
        assert_eq!(client.read_exact(4).await, format!("{number:04}").as_bytes());
    }
    assert!(
        stack.agent.rss() < LIMIT && stack.server.rss() < LIMIT,
        "after the exchange"
    );
}

#[tokio::test]
async fn the_101st_concurrent_stream_does_not_hang() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let open = async {
        let mut tunnels = Vec::new();
        for _ in 0..150 {
            tunnels.push(stack.tunnel(&origin).await);
        }
        tunnels
    };
    let mut tunnels = within(Duration::from_secs(20), "150 tunnels at once", open).await;
    for (client, upstream) in &mut tunnels {
        client.write("ping").await;
        assert_eq!(upstream.read_exact(4).await, "ping");
    }
    let status = stack.agent.status().await;
    assert_eq!(status["sessions"]["active"], 150, "{status}");
}
