//! The relay at both ends of the tunnel: what one side says before it closes reaches the other, also when the other is
//! still writing and its bytes are not wanted any more.

use crate::bench::{pattern, until, within};
use crate::relay::{Chain, Plan, put, reset, rest, sockets};
use fluidity_wire::relay::{RelayEnd, linger_zero};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROUNDS: usize = 8;
const UPLOADS: [usize; 4] = [2_000, 100_000, 1_000_000, 6_000_000];

/// How whoever answers early leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// Closes at once: the kernel sends an RST in place of the FIN where bytes are unread.
    Close,
    /// Ends its direction and closes a moment later, as Go does: FIN, then RST.
    End,
}

/// Reads some, answers, and leaves with the rest unread.
async fn answer_early(mut tcp: TcpStream, answer: &[u8], leave: Leave) {
    let mut some = [0; 1000];
    within("the start", tcp.read_exact(&mut some)).await.unwrap();
    tcp.write_all(answer).await.unwrap();
    if let Leave::End = leave {
        tcp.shutdown().await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// Writes all or as much as is taken, and only then reads.
async fn upload_then_read(tcp: &mut TcpStream, upload: &[u8]) -> Vec<u8> {
    // Taken in the end, or refused with a reset: never stuck.
    let _ = within("the upload", tcp.write_all(upload)).await;
    rest(tcp).await.0
}

/// Whether the answer was lost.
async fn lost(mut first: TcpStream, last: TcpStream, upload: &[u8], leave: Leave) -> bool {
    let answer = pattern(3_000);
    let ((), read) = tokio::join!(
        answer_early(last, &answer, leave),
        upload_then_read(&mut first, upload)
    );
    read != answer
}

async fn through_the_tunnel(leave: Leave, backwards: bool) {
    for size in UPLOADS {
        answers_arrive(size, leave, backwards).await;
    }
}

async fn answers_arrive(size: usize, leave: Leave, backwards: bool) {
    let upload = pattern(size);
    let (mut direct, mut tunnelled) = (0, 0);
    for _ in 0..ROUNDS {
        let (first, last) = sockets(false).await;
        direct += usize::from(lost(first, last, &upload, leave).await);
        let Chain {
            client,
            origin,
            agent,
            server,
            pair,
        } = Chain::new().await;
        let (first, last) = if backwards {
            (origin, client)
        } else {
            (client, origin)
        };
        tunnelled += usize::from(lost(first, last, &upload, leave).await);
        agent.summary().await;
        server.summary().await;
        drop(pair);
    }
    assert!(
        tunnelled <= direct,
        "{size} bytes sent: {tunnelled} of {ROUNDS} answers lost, without a tunnel {direct}"
    );
}

#[tokio::test]
async fn regression_an_answer_before_the_end_of_an_upload_and_a_close_arrives() {
    through_the_tunnel(Leave::Close, false).await;
}

#[tokio::test]
async fn regression_an_answer_before_the_end_of_an_upload_and_an_end_arrives() {
    through_the_tunnel(Leave::End, false).await;
}

#[tokio::test]
async fn regression_what_a_client_said_before_it_left_in_a_download_arrives() {
    through_the_tunnel(Leave::Close, true).await;
}

#[tokio::test]
async fn regression_what_a_client_said_before_it_ended_in_a_download_arrives() {
    through_the_tunnel(Leave::End, true).await;
}

#[tokio::test]
async fn an_early_answer_that_is_cut_never_looks_complete() {
    for size in UPLOADS {
        let mut chain = Chain::new().await;
        let (upload, answer) = (pattern(size), pattern(300_000));
        let cut = async {
            let mut some = [0; 1000];
            within("the start", chain.origin.read_exact(&mut some))
                .await
                .unwrap();
            put(&mut chain.origin, &answer).await;
            linger_zero(&chain.origin, true);
            drop(chain.origin);
        };
        let client = async {
            // A write that is refused takes the error that the read would have had.
            let refused = within("the upload", chain.client.write_all(&upload))
                .await
                .is_err();
            let (read, end) = rest(&mut chain.client).await;
            (refused, read, end)
        };
        let ((), (refused, read, end)) = tokio::join!(cut, client);
        assert!(answer.starts_with(&read), "{} bytes", read.len());
        assert!(
            refused || end == Err(ErrorKind::ConnectionReset),
            "{size}: {} of {} bytes and an end in order",
            read.len(),
            answer.len()
        );
        assert_ne!(chain.agent.summary().await.end, RelayEnd::Finished);
    }
}

#[tokio::test]
async fn an_early_answer_larger_than_any_buffer_arrives_at_a_client_that_reads_late() {
    let mut chain = Chain::with(Plan {
        small_sockets: true,
        ..Plan::default()
    })
    .await;
    let (upload, answer) = (pattern(3_000_000), pattern(2_000_000));
    let origin = async {
        let mut tcp = chain.origin;
        let mut some = [0; 1000];
        within("the start", tcp.read_exact(&mut some)).await.unwrap();
        within("the answer", tcp.write_all(&answer)).await.unwrap();
        tcp.shutdown().await.unwrap();
        // Not read, but left open until all was said.
        tcp
    };
    let client = async {
        let (mut reads, mut writes) = chain.client.split();
        let mut read = Vec::new();
        let (_, end) = tokio::join!(
            async { writes.write_all(&upload).await },
            within("the answer", reads.read_to_end(&mut read))
        );
        (read, end.is_ok())
    };
    let (tcp, (read, whole)) = tokio::join!(
        async {
            let tcp = origin.await;
            drop(tcp);
        },
        client
    );
    let () = tcp;
    assert!(whole && read == answer, "{} bytes", read.len());
}

#[tokio::test]
async fn regression_a_reset_overtakes_nothing_that_the_tunnel_has() {
    for _ in 0..ROUNDS {
        let mut chain = Chain::new().await;
        chain.greet().await;
        // More than the client's socket takes at once.
        let answer = pattern(2_000_000);
        let origin = async {
            put(&mut chain.origin, &answer).await;
            until("the server has read it all", || {
                chain.server.outward() == 2_000_005
            })
            .await;
            reset(chain.origin);
        };
        let ((), (read, end)) = tokio::join!(origin, rest(&mut chain.client));
        assert_eq!((read.len(), end), (answer.len(), Err(ErrorKind::ConnectionReset)));
        assert!(read == answer);
    }
}
