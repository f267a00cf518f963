//! WebSocket through the proxy: by CONNECT and in absolute form, verbatim, so that extensions survive.

use fluidity_tests::{Frame, Origin, Peer, Stack, within};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An absolute-form handshake that offers compression; returns both ends and the answer's head.
async fn upgrade(stack: &Stack, origin: &Origin, scheme: &str) -> (Peer, Peer) {
    let host = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET {scheme}://{host}/echo?x=1 HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: {OFFER}\r\nOrigin: http://x\r\n\
             Proxy-Authorization: Basic c2VjcmV0\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    let head = upstream.read_head().await;
    assert_eq!(head.line, "GET /echo?x=1 HTTP/1.1");
    assert_eq!(head.one("upgrade"), Some("websocket"));
    assert!(
        head.one("connection")
            .is_some_and(|value| value.to_lowercase().contains("upgrade")),
        "{head:?}"
    );
    assert_eq!(head.one("sec-websocket-extensions"), Some(OFFER));
    assert_eq!(head.one("sec-websocket-protocol"), Some("chat, superchat"));
    assert_eq!(head.one("sec-websocket-key"), Some(KEY));
    assert_eq!(head.one("origin"), Some("http://x"));
    assert_eq!(head.one("host"), Some(host.to_string().as_str()));
    assert_eq!(head.all("proxy-authorization"), Vec::<&str>::new());
    upstream
        .write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            derive_accept_key(KEY.as_bytes())
        ))
        .await;
    let head = client.read_head().await;
    assert_eq!(head.status(), 101, "{head:?}");
    assert_eq!(
        head.one("sec-websocket-accept"),
        Some(derive_accept_key(KEY.as_bytes()).as_str())
    );
    assert_eq!(head.one("sec-websocket-extensions"), Some("permessage-deflate"));
    assert_eq!(head.one("sec-websocket-protocol"), Some("chat"));
    (client, upstream)
}

#[tokio::test]
async fn compressed_frames_pass_verbatim_in_absolute_form() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for scheme in ["ws", "http"] {
        let (mut client, mut upstream) = upgrade(&stack, &origin, scheme).await;
        // RFC 7692 §7.2.3.1: "Hello", compressed; RSV1 is set. Masked with zeros towards the origin.
        let masked = *b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0";
        client.write(masked).await;
        assert_eq!(&upstream.read_exact(masked.len()).await[..], masked);
        let plain = *b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0";
        upstream.write(plain).await;
        assert_eq!(&client.read_exact(plain.len()).await[..], plain);
        // A ping is not answered on the way, an unknown opcode is nobody's business but the ends'.
        upstream.write(b"\x89\x00\x83\x01x").await;
        assert_eq!(&client.read_exact(5).await[..], b"\x89\x00\x83\x01x");
        client.finish().await;
        assert_eq!(upstream.discard().await.bytes, 0);
    }
}

#[tokio::test]
async fn bytes_sent_together_with_the_handshakes_answer_are_not_lost() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let host = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET ws://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}early",
        )
        .await;
    assert_eq!(client.read_head().await.status(), 101);
    assert_eq!(&client.read_exact(6).await[..], b"\x01early");
}

#[tokio::test]
async fn an_upgrade_that_the_origin_declines_is_an_ordinary_answer() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let host = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET ws://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let (head, body) = client.read_response().await;
    assert_eq!((head.status(), body.as_slice()), (401, b"no".as_slice()));
}

/// tokio-tungstenite in a CONNECT tunnel, offering compression that the origin sees and does not take.
#[tokio::test]
async fn tungstenite_echoes_by_connect() {
    let origin = Origin::bind().await;
    let addr = origin.addr();
    let stack = Stack::for_origin(addr).await;
    let served = origin.serve(|mut peer| async move {
        let head = peer.read_head().await;
        assert_eq!(head.one("sec-websocket-extensions"), Some(OFFER));
        let key = head.one("sec-websocket-key").expect("a key");
        peer.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        ))
        .await;
        let (tcp, early) = peer.into_parts();
        assert!(early.is_empty());
        echo(WebSocketStream::from_raw_socket(tcp, Role::Server, None).await).await;
    });
    let (tcp, early) = Peer::tunnel(stack.proxy(), addr).await.into_parts();
    assert!(early.is_empty());
    let mut request = format!("ws://{addr}/echo")
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("sec-websocket-extensions", OFFER.parse().expect("a value"));
    let handshake = client_async(request, tcp);
    let (client, _) = within(Duration::from_secs(10), "the handshake", handshake)
        .await
        .expect("101");
    exchange(client).await;
    assert_eq!(served.connections(), 1);
}

/// tokio-tungstenite after a handshake in absolute form.
#[tokio::test]
async fn tungstenite_echoes_in_absolute_form() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (client, upstream) = upgrade(&stack, &origin, "ws").await;
    let (tcp, _) = upstream.into_parts();
    let server = tokio::spawn(async move {
        echo(WebSocketStream::from_raw_socket(tcp, Role::Server, None).await).await;
    });
    let (tcp, early) = client.into_parts();
    assert!(early.is_empty());
    exchange(WebSocketStream::from_raw_socket(tcp, Role::Client, None).await).await;
    server.await.expect("the origin saw a clean end");
}

async fn echo(mut socket: WebSocketStream<tokio::net::TcpStream>) {
    while let Some(message) = socket.next().await {
        let message = message.expect("a message");
        if message.is_text() || message.is_binary() {
            socket.send(message).await.expect("send");
        }
    }
}

async fn exchange(mut socket: WebSocketStream<tokio::net::TcpStream>) {
    let large: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    for message in [
        Message::text("hi"),
        Message::binary(Bytes::from(large)),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.expect("send");
        let back = within(Duration::from_secs(20), "an echo", socket.next())
            .await
            .expect("open")
            .expect("a message");
        assert!(back == message, "another message");
    }
    socket.close(None).await.expect("close");
    let end = async {
        while let Some(message) = socket.next().await {
            assert!(message.expect("an orderly end").is_close());
        }
    };
    within(Duration::from_secs(10), "the closing handshake", end).await;
}

/// The helper that reads and writes frames by hand is right, or the tests above prove little.
#[tokio::test]
async fn frames_by_hand_round_trip() {
    let origin = Origin::bind().await;
    let mut one = Peer::dial(origin.addr()).await;
    let mut two = origin.accept().await;
    for length in [0, 1, 125, 126, 60_000] {
        let frame = Frame {
            first: 0x82,
            payload: vec![7; length],
        };
        one.write_frame(&frame).await;
        assert_eq!(two.read_frame().await, frame);
    }
}
