//! A client on a real socket, and hyper's part played by hand.

use super::super::exchange::Exchange;
use super::*;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

const LIMITS: HeadLimits = HeadLimits {
    size: 8 * 1024,
    fields: 20,
};

async fn pair(head_timeout: Duration) -> (TcpStream, ClientIo, SharedExchange) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let exchange = Arc::new(Exchange::default());
    (
        client,
        ClientIo::new(tcp, exchange.clone(), LIMITS, head_timeout),
        exchange,
    )
}

async fn read(io: &mut ClientIo) -> String {
    let mut buffer = [0; 4096];
    let read = timeout(Duration::from_secs(5), io.read(&mut buffer))
        .await
        .expect("in time")
        .unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

const ONE: &str = "POST http://a/1 HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
const TWO: &str = "GET http://a/2 HTTP/1.1\r\n\r\n";
/// The same two as hyper gets them.
const ONE_PASSED: &str = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
const TWO_PASSED: &str = "GET / HTTP/1.1\r\n\r\n";

#[tokio::test]
async fn hyper_gets_one_request_at_a_time_with_nothing_of_the_next() {
    let (mut client, mut io, exchange) = pair(Duration::from_secs(5)).await;
    client
        .write_all(format!("{ONE}hello{TWO}").as_bytes())
        .await
        .unwrap();
    assert_eq!(read(&mut io).await, ONE_PASSED);
    assert!(exchange.take().unwrap().is_ok());
    assert_eq!(read(&mut io).await, "hello");
    assert_eq!(read(&mut io).await, TWO_PASSED);
    assert!(exchange.take().unwrap().is_ok());
}

#[tokio::test]
async fn a_bad_second_head_is_refused_in_its_turn() {
    let (mut client, mut io, exchange) = pair(Duration::from_secs(5)).await;
    client
        .write_all(
            format!("{TWO}GET http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    assert_eq!(read(&mut io).await, TWO_PASSED);
    assert!(exchange.take().unwrap().is_ok());
    assert_eq!(read(&mut io).await.as_bytes(), STAND_IN);
    assert!(matches!(exchange.take(), Some(Err(HeadError::Ambiguous(_)))));
}

#[tokio::test]
async fn a_slow_head_is_refused_and_a_silent_client_let_go() {
    let (mut client, mut io, exchange) = pair(Duration::from_millis(50)).await;
    client.write_all(b"GET http").await.unwrap();
    assert_eq!(read(&mut io).await.as_bytes(), STAND_IN);
    assert!(matches!(exchange.take(), Some(Err(HeadError::Timeout))));
    let (_client, mut io, exchange) = pair(Duration::from_millis(50)).await;
    assert_eq!(read(&mut io).await, "");
    assert!(exchange.take().is_none());
}

#[tokio::test]
async fn what_follows_a_connect_is_held_back_until_it_is_known_what_it_is() {
    let (mut client, mut io, exchange) = pair(Duration::from_secs(5)).await;
    let connect = "CONNECT a:443 HTTP/1.1\r\n\r\n";
    client
        .write_all(format!("{connect}early").as_bytes())
        .await
        .unwrap();
    assert_eq!(read(&mut io).await, "CONNECT target:1 HTTP/1.1\r\n\r\n");
    let arrival = exchange.take().unwrap().unwrap();
    assert_eq!(arrival.early, "early");
    client.write_all(TWO.as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    assert!(
        timeout(Duration::from_millis(50), io.read(&mut byte))
            .await
            .is_err()
    );
    exchange.release();
    assert_eq!(read(&mut io).await, TWO_PASSED);
}

#[tokio::test]
async fn a_dropped_socket_is_reset_and_a_shut_down_one_ends() {
    let (mut client, io, _) = pair(Duration::from_secs(5)).await;
    drop(io);
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let (mut client, mut io, _) = pair(Duration::from_secs(5)).await;
    // Unread bytes would make the kernel reset the connection, and the answer with it.
    client.write_all(&[b'x'; 100_000]).await.unwrap();
    io.write_all(b"answer").await.unwrap();
    let closing = tokio::spawn(async move {
        io.shutdown().await.unwrap();
        drop(io);
    });
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    drop(client);
    timeout(Duration::from_secs(1), closing)
        .await
        .expect("the client's end ends it")
        .unwrap();
}

#[tokio::test]
async fn a_client_that_resets_while_nobody_reads_is_noticed() {
    let (client, mut io, _) = pair(Duration::from_secs(5)).await;
    linger_zero(&client, true);
    drop(client);
    let flushed = async {
        loop {
            if let Err(error) = io.flush().await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = timeout(Duration::from_secs(5), flushed).await.expect("noticed");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
