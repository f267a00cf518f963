//! Much data: 1 GiB each way by its hash, and many sessions at once.

use aws_lc_rs::digest;
use fluidity_tests::{Checker, Drained, Ending, MIB, Origin, Pattern, Peer, Stack, within};
use std::time::Duration;

const SENT: Pattern = Pattern::new(11);

const GIB: u64 = 1 << 30;

/// SHA-256 of the first `length` bytes of the pattern.
fn digest_of(pattern: Pattern, length: u64) -> digest::Digest {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut chunk = vec![0; MIB as usize];
    let mut at = 0;
    while at < length {
        pattern.fill(at, &mut chunk);
        hash.update(&chunk);
        at += MIB;
    }
    hash.finish()
}

async fn one_gib(mut writer: Peer, mut reader: Peer) {
    let send = tokio::spawn(async move {
        writer.send(SENT, GIB).await;
        writer.finish().await;
        writer
    });
    let read = tokio::spawn(async move {
        let mut hash = digest::Context::new(&digest::SHA256);
        let drained = reader.drain_with(|part| hash.update(part)).await;
        (drained, hash.finish())
    });
    let (drained, hash) = within(Duration::from_secs(120), "1 GiB", read)
        .await
        .expect("reader");
    send.await.expect("writer");
    assert_eq!(
        drained,
        Drained {
            bytes: GIB,
            end: Ending::Eof
        }
    );
    assert_eq!(hash.as_ref(), digest_of(SENT, GIB).as_ref());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gib_up_has_the_same_hash() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (client, upstream) = stack.tunnel(&origin).await;
    one_gib(client, upstream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gib_down_has_the_same_hash() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (client, upstream) = stack.tunnel(&origin).await;
    one_gib(upstream, client).await;
}

/// 200 sessions at once, from no byte to 4 MiB, both directions of each at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_concurrent_sessions_of_mixed_sizes_are_intact() {
    const SIZES: [u64; 8] = [0, 1, 100, 16_383, 65_537, 300_001, MIB, 4 * MIB];
    let origin = Origin::bind().await;
    let addr = origin.addr();
    let stack = Stack::for_origin(addr).await;
    let proxy = stack.proxy();
    // The client says which session it is: "NNN\n". The origin returns as many bytes, of its own pattern.
    let served = origin.serve(|mut peer| async move {
        let line = peer.read_through(b"\n").await;
        let number: u64 = std::str::from_utf8(&line)
            .expect("ASCII")
            .trim()
            .parse()
            .expect("a number");
        exchange(
            peer,
            Pattern::new(1000 + number),
            Pattern::new(2000 + number),
            SIZES[number as usize % 8],
        )
        .await;
    });
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..200_u64 {
        sessions.spawn(async move {
            let mut client = Peer::tunnel(proxy, addr)
                .await
                .with_deadline(Duration::from_secs(60));
            client.write(format!("{number}\n")).await;
            exchange(
                client,
                Pattern::new(2000 + number),
                Pattern::new(1000 + number),
                SIZES[number as usize % 8],
            )
            .await;
        });
    }
    let all = async {
        while let Some(session) = sessions.join_next().await {
            session.expect("a session");
        }
    };
    within(Duration::from_secs(100), "200 sessions", all).await;
    assert_eq!(served.connections(), 200);
}

/// Sends `length` bytes of `send` and FIN while it checks as many of `expect` and FIN.
async fn exchange(peer: Peer, send: Pattern, expect: Pattern, length: u64) {
    let (tcp, early) = peer.into_parts();
    let (mut read, mut write) = tcp.into_split();
    let sender = async move {
        let mut chunk = vec![0; 64 << 10];
        let mut at = 0;
        while at < length {
            let n = chunk.len().min((length - at) as usize);
            send.fill(at, &mut chunk[..n]);
            tokio::io::AsyncWriteExt::write_all(&mut write, &chunk[..n])
                .await
                .expect("write");
            at += n as u64;
        }
        tokio::io::AsyncWriteExt::shutdown(&mut write)
            .await
            .expect("shutdown");
        write
    };
    let receiver = async move {
        let mut checker = Checker::new(expect);
        checker.take(&early);
        let mut chunk = vec![0; 64 << 10];
        loop {
            let n = tokio::io::AsyncReadExt::read(&mut read, &mut chunk)
                .await
                .expect("read");
            if n == 0 {
                break checker.received();
            }
            checker.take(&chunk[..n]);
        }
    };
    let (_write, received) = tokio::join!(sender, receiver);
    assert_eq!(received, length);
}
