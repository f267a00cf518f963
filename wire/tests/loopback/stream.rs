//! The halves of a session: only an end on purpose looks like an end.

use crate::bench::{DEADLINE, Halves, Pair, Setup, pattern, read_all, stays_pending, within, write};
use bytes::Bytes;
use fluidity_wire::{CloseCode, ResetCode, SessionIo, SessionSend, StreamCut};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const SOME: usize = 200_000;

fn peer(code: ResetCode) -> StreamCut {
    StreamCut::Peer(Some(code))
}

/// A session of which some bytes were sent and read.
async fn begun(pair: &Pair) -> (Halves, Halves) {
    let (mut agent, mut server) = pair.session().await;
    write(&mut agent.0, "begun").await;
    let mut chunks = [Bytes::new()];
    within("bytes", server.1.read(&mut chunks)).await.unwrap();
    assert_eq!(chunks[0], "begun");
    server.1.delivered(5);
    (agent, server)
}

#[tokio::test]
async fn what_was_finished_ends_cleanly_with_every_byte() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    let bytes = pattern(3_000_000);
    let writing = async {
        write(&mut agent.0, bytes.clone()).await;
        agent.0.finish();
        assert!(agent.0.acknowledged(DEADLINE).await);
    };
    let ((), (read, end)) = within("an end", async { tokio::join!(writing, read_all(&mut server.1)) }).await;
    assert_eq!(end, Ok(()));
    assert!(read == bytes, "{} bytes of {}", read.len(), bytes.len());
    // An end is an end, also when what is left of it is dropped or reset.
    agent.0.reset(ResetCode::Internal);
    drop(agent);
    assert_eq!(
        within("the end again", server.1.read(&mut [Bytes::new()])).await,
        Ok(None)
    );
}

#[tokio::test]
async fn an_end_with_nothing_before_it_is_an_end() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    agent.0.finish();
    assert_eq!(read_all(&mut server.1).await, (vec![], Ok(())));
}

#[tokio::test]
async fn a_dropped_half_is_a_cut() {
    let pair = Pair::connect().await;
    let (agent, mut server) = begun(&pair).await;
    drop(agent.0);
    assert_eq!(
        read_all(&mut server.1).await,
        (vec![], Err(peer(ResetCode::Abandoned)))
    );
}

#[tokio::test]
async fn an_aborted_task_is_a_cut() {
    let pair = Pair::connect().await;
    let (agent, mut server) = begun(&pair).await;
    let task = tokio::spawn(async move {
        let _agent = agent;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    task.abort();
    assert_eq!(
        read_all(&mut server.1).await,
        (vec![], Err(peer(ResetCode::Abandoned)))
    );
    assert_eq!(
        within("a stop", server.0.stopped()).await,
        peer(ResetCode::Cancelled)
    );
}

#[tokio::test]
async fn a_task_aborted_while_it_writes_is_a_cut() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = begun(&pair).await;
    let task = tokio::spawn(async move { agent.0.write_chunk(pattern(50_000_000)).await });
    let mut chunks = [Bytes::new()];
    within("bytes", server.1.read(&mut chunks)).await.unwrap();
    task.abort();
    assert_eq!(read_all(&mut server.1).await.1, Err(peer(ResetCode::Abandoned)));
}

#[tokio::test]
async fn a_panic_is_a_cut() {
    let pair = Pair::connect().await;
    let (agent, mut server) = begun(&pair).await;
    let task = tokio::spawn(async move {
        let _agent = agent;
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(
        read_all(&mut server.1).await,
        (vec![], Err(peer(ResetCode::Abandoned)))
    );
}

#[tokio::test]
async fn an_error_on_the_way_is_a_cut() {
    async fn fails(mut send: SessionSend) -> std::io::Result<()> {
        send.write_chunk(Bytes::from("half of it")).await?;
        Err(ErrorKind::Other.into())
    }
    let pair = Pair::connect().await;
    let (agent, mut server) = begun(&pair).await;
    fails(agent.0).await.unwrap_err();
    assert_eq!(read_all(&mut server.1).await.1, Err(peer(ResetCode::Abandoned)));
}

#[tokio::test]
async fn resets_and_stops_arrive_with_their_codes() {
    let pair = Pair::connect().await;
    for code in ResetCode::ALL {
        let (mut agent, mut server) = begun(&pair).await;
        agent.0.reset(*code);
        agent.1.stop(*code);
        assert_eq!(read_all(&mut server.1).await, (vec![], Err(peer(*code))));
        assert_eq!(within("a stop", server.0.stopped()).await, peer(*code));
        let written = within("an error", server.0.write_chunk(Bytes::from("x"))).await;
        assert_eq!(written, Err(peer(*code)));
        // Noticed as well by who does not read.
        let (mut agent, mut server) = begun(&pair).await;
        agent.0.reset(*code);
        assert_eq!(within("a reset", server.1.cut()).await, peer(*code));
    }
}

#[tokio::test]
async fn a_dropped_reader_stops_the_writer() {
    let pair = Pair::connect().await;
    let (mut agent, server) = begun(&pair).await;
    let writing = async { agent.0.write_chunk(pattern(50_000_000)).await };
    let drops = async { drop(server.1) };
    let (written, ()) = within("an error", async { tokio::join!(writing, drops) }).await;
    assert_eq!(written, Err(peer(ResetCode::Cancelled)));
}

#[tokio::test]
async fn abort_delivers_what_was_sent_and_then_cuts() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    let bytes = pattern(SOME);
    write(&mut agent.0, bytes.clone()).await;
    let abort = async {
        let began = Instant::now();
        agent.0.abort(ResetCode::ClientReset, DEADLINE * 2).await;
        assert!(
            began.elapsed() < DEADLINE,
            "it waits for no longer than the reader takes"
        );
    };
    let read = async {
        let (read, end) = read_all(&mut server.1).await;
        assert_eq!(end, Err(peer(ResetCode::ClientReset)));
        assert!(read == bytes, "{} bytes of {SOME}", read.len());
        // Who has it all says so by stopping.
        drop(server.1);
    };
    within("an end", async { tokio::join!(abort, read) }).await;
}

#[tokio::test]
async fn abort_wakes_a_reader_that_has_everything_already() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = begun(&pair).await;
    let abort = agent.0.abort(ResetCode::UpstreamReset, DEADLINE * 2);
    let read = async {
        assert_eq!(
            read_all(&mut server.1).await,
            (vec![], Err(peer(ResetCode::UpstreamReset)))
        );
        drop(server.1);
    };
    within("an end", async { tokio::join!(abort, read) }).await;
}

#[tokio::test]
async fn abort_of_what_nobody_reads_becomes_a_reset_after_its_grace() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    write(&mut agent.0, pattern(SOME)).await;
    agent
        .0
        .abort(ResetCode::UpstreamReset, Duration::from_millis(100))
        .await;
    assert_eq!(
        within("a reset", server.1.cut()).await,
        peer(ResetCode::UpstreamReset)
    );
}

#[tokio::test]
async fn what_arrived_while_nobody_read_is_there_even_when_the_connection_is_not() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    let bytes = pattern(SOME);
    write(&mut agent.0, bytes.clone()).await;
    agent.0.finish();
    assert!(agent.0.acknowledged(DEADLINE).await);
    stays_pending("a cut", server.1.cut()).await;
    pair.agent.link.close(CloseCode::Normal);
    assert_eq!(
        within("a close", server.0.stopped()).await,
        StreamCut::ConnectionLost
    );
    stays_pending("a cut behind an end", server.1.cut()).await;
    let (read, end) = read_all(&mut server.1).await;
    assert_eq!((read.len(), end), (bytes.len(), Ok(())));
    assert!(read == bytes);
}

#[tokio::test]
async fn as_one_byte_stream_what_waits_for_its_reader_comes_first() {
    let pair = Pair::connect().await;
    let (mut agent, (send, mut recv)) = pair.session().await;
    let bytes = pattern(SOME);
    write(&mut agent.0, bytes.slice(..SOME / 2)).await;
    stays_pending("a cut", recv.cut()).await;
    write(&mut agent.0, bytes.slice(SOME / 2..)).await;
    agent.0.finish();
    let mut read = Vec::new();
    within("an end", SessionIo::new(send, recv).read_to_end(&mut read))
        .await
        .unwrap();
    assert!(read == bytes, "{} bytes of {}", read.len(), bytes.len());
}

#[tokio::test]
async fn a_reset_cuts_what_waits_for_its_reader() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = begun(&pair).await;
    write(&mut agent.0, pattern(SOME)).await;
    stays_pending("a cut", server.1.cut()).await;
    agent.0.reset(ResetCode::Internal);
    assert_eq!(within("a reset", server.1.cut()).await, peer(ResetCode::Internal));
}

#[tokio::test]
async fn an_abort_comes_behind_what_waits_for_its_reader() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = begun(&pair).await;
    let bytes = pattern(SOME);
    write(&mut agent.0, bytes.clone()).await;
    stays_pending("a cut", server.1.cut()).await;
    let abort = agent.0.abort(ResetCode::ClientReset, DEADLINE * 2);
    let read = async {
        stays_pending("a cut before the bytes", server.1.cut()).await;
        let (read, end) = read_all(&mut server.1).await;
        assert_eq!(end, Err(peer(ResetCode::ClientReset)));
        assert!(read == bytes, "{} bytes of {}", read.len(), bytes.len());
        server.1.stop(ResetCode::ClientReset);
    };
    within("an end", async { tokio::join!(abort, read) }).await;
}

#[tokio::test]
async fn an_abort_that_is_dropped_half_way_is_a_cut() {
    let pair = Pair::connect().await;
    let (mut agent, mut server) = pair.session().await;
    write(&mut agent.0, pattern(SOME)).await;
    stays_pending(
        "an end of the abort",
        agent.0.abort(ResetCode::UpstreamReset, DEADLINE),
    )
    .await;
    drop(agent);
    assert_eq!(
        within("a reset", server.1.cut()).await,
        peer(ResetCode::Abandoned)
    );
}

#[tokio::test]
async fn a_lost_connection_is_a_cut_for_whoever_waits() {
    let pair = Pair::connect().await;
    let (mut reads, mut other) = begun(&pair).await;
    let (mut writes, _unread) = pair.session().await;
    let (stands, _other) = begun(&pair).await;
    let writing = writes.0.write_chunk(pattern(50_000_000));
    let waiting = async { tokio::join!(read_all(&mut reads.1), writing, stands.0.stopped(), other.1.cut()) };
    let close = async {
        tokio::task::yield_now().await;
        pair.server.link.close(CloseCode::Normal);
    };
    let ((read, written, stopped, cut), ()) = within("cuts", async { tokio::join!(waiting, close) }).await;
    assert_eq!(read, (vec![], Err(StreamCut::ConnectionLost)));
    assert_eq!(written, Err(StreamCut::ConnectionLost));
    assert_eq!(
        (stopped, cut),
        (StreamCut::ConnectionLost, StreamCut::ConnectionLost)
    );
}

#[tokio::test]
async fn as_one_byte_stream_a_shutdown_is_an_end() {
    let pair = Pair::connect().await;
    let (agent, server) = pair.session().await;
    let (mut agent, mut server) = (
        SessionIo::new(agent.0, agent.1),
        SessionIo::new(server.0, server.1),
    );
    let bytes = pattern(1_000_000);
    let writing = async {
        agent.write_all(&bytes).await.unwrap();
        agent.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let ((), count) = within("an end", async {
        tokio::join!(writing, server.read_to_end(&mut read))
    })
    .await;
    assert_eq!(count.unwrap(), bytes.len());
    assert!(read == bytes);
    // One direction is over, the other lives.
    within("a write", server.write_all(b"back")).await.unwrap();
    server.shutdown().await.unwrap();
    let mut back = String::new();
    within("an end", agent.read_to_string(&mut back)).await.unwrap();
    assert_eq!(back, "back");
}

#[tokio::test]
async fn as_one_byte_stream_a_drop_is_an_error_behind_nothing_that_looks_like_an_end() {
    let pair = Pair::connect().await;
    let (agent, server) = begun(&pair).await;
    let mut server = SessionIo::new(server.0, server.1);
    drop(SessionIo::new(agent.0, agent.1));
    let error = within("an error", server.read_to_end(&mut Vec::new()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(error.to_string(), "the peer cut the session (abandoned)");
    let error = within("an error", server.write_all(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn as_one_byte_stream_an_abort_is_an_error_behind_every_byte() {
    let pair = Pair::connect().await;
    let (mut agent, server) = pair.session().await;
    let mut server = SessionIo::new(server.0, server.1);
    let bytes = pattern(SOME);
    write(&mut agent.0, bytes.clone()).await;
    let read = async {
        let mut read = Vec::new();
        let error = server.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(read == bytes, "{} bytes of {SOME}", read.len());
        drop(server);
    };
    let abort = agent.0.abort(ResetCode::UpstreamReset, DEADLINE * 2);
    within("an end", async { tokio::join!(abort, read) }).await;
}

/// Writes as one byte stream until there is no credit, then waits for the error that ends the waiting.
async fn blocked_write(agent: Halves, cut: impl Future<Output = ()>) -> ErrorKind {
    let mut agent = SessionIo::new(agent.0, agent.1);
    let bytes = pattern(1_000_000);
    let mut writing = std::pin::pin!(agent.write_all(&bytes));
    stays_pending("the end of a write without credit", writing.as_mut()).await;
    cut.await;
    within("an error", writing).await.unwrap_err().kind()
}

#[tokio::test]
async fn regression_a_byte_stream_without_credit_learns_that_its_peer_stopped() {
    let pair = Pair::connect().await;
    let (agent, mut server) = pair.session().await;
    let stop = async { server.1.stop(ResetCode::Cancelled) };
    assert_eq!(blocked_write(agent, stop).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn regression_a_byte_stream_without_credit_learns_that_the_connection_is_lost() {
    let pair = Pair::connect().await;
    let (agent, _server) = pair.session().await;
    let close = async { pair.server.link.close(CloseCode::Normal) };
    assert_eq!(blocked_write(agent, close).await, ErrorKind::ConnectionReset);
}

/// Stops a session whose writer has used up its stream's window, while others take all the room that this makes on the
/// connection; returns what the writer learns.
async fn stopped_in_a_crowd<W>(write: impl FnOnce(Halves, Bytes) -> W) -> W::Output
where
    W: Future<Output: Send> + Send + 'static,
{
    let pair = Pair::with(Setup {
        stream_window: Some(64 * 1024),
        connection_window: Some(96 * 1024),
        ..Setup::default()
    })
    .await;
    let (agent, mut server) = pair.session().await;
    let mut crowd = Vec::new();
    for _ in 0..4 {
        crowd.push(pair.session().await);
    }
    let mut writing = tokio::spawn(write(agent, pattern(SOME)));
    stays_pending("the end of a write beyond the stream's window", &mut writing).await;
    let mut others = JoinSet::new();
    for (agent, server) in crowd {
        others.spawn(async move {
            let (mut send, _recv) = agent;
            // Keeps the other end, which does not read.
            let _server = server;
            send.write_chunk(pattern(SOME)).await
        });
    }
    stays_pending("the end of a write beyond the connection's", others.join_next()).await;
    server.1.stop(ResetCode::Cancelled);
    within("a stop", writing).await.unwrap()
}

#[tokio::test]
async fn regression_a_writer_whom_others_leave_no_room_learns_that_its_peer_stopped() {
    let end = stopped_in_a_crowd(|mut agent, bytes| async move { agent.0.write_chunk(bytes).await }).await;
    assert_eq!(end, Err(peer(ResetCode::Cancelled)));
}

#[tokio::test]
async fn regression_a_byte_stream_whom_others_leave_no_room_learns_that_its_peer_stopped() {
    let end =
        stopped_in_a_crowd(
            |agent, bytes| async move { SessionIo::new(agent.0, agent.1).write_all(&bytes).await },
        );
    assert_eq!(end.await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
