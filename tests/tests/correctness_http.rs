//! The correctness matrix for plain HTTP: whatever delimits a body, a cut one never looks whole.

use fluidity_tests::{BodyEnd, Ending, Origin, Pattern, Peer, Setup, Stack};

const IN_FLIGHT: u64 = 10 * 1000 * 1000;
const SENT: Pattern = Pattern::new(11);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Agent,
    Server,
}

/// How a plain HTTP body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Close,
}

impl Framing {
    const ALL: [Self; 3] = [Self::Length, Self::Chunked, Self::Close];

    fn head(self, length: u64) -> String {
        match self {
            Self::Length => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
            Self::Chunked => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            Self::Close => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
        }
    }
}

/// Sends `length` bytes of the pattern in this framing, without the end.
async fn send_body(peer: &mut Peer, framing: Framing, length: u64) -> std::io::Result<()> {
    if framing != Framing::Chunked {
        return peer.try_send(SENT, 0, length).await;
    }
    let mut at = 0;
    while at < length {
        let n = (length - at).min(100_000);
        let mut chunk = format!("{n:x}\r\n").into_bytes();
        let start = chunk.len();
        chunk.resize(start + n as usize, 0);
        SENT.fill(at, &mut chunk[start..]);
        chunk.extend_from_slice(b"\r\n");
        peer.try_write(&chunk).await?;
        at += n;
    }
    Ok(())
}

/// A GET by an HTTP/1.1 or HTTP/1.0 client, up to where the origin has read the request.
async fn get(stack: &Stack, origin: &Origin, version: &str) -> (Peer, Peer) {
    let mut client = stack.client().await;
    let host = origin.addr();
    client
        .write(format!(
            "GET http://{host}/file HTTP/{version}\r\nHost: {host}\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    (client, upstream)
}

async fn http_download_is_whole(version: &str) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for framing in Framing::ALL {
        let (mut client, mut upstream) = get(&stack, &origin, version).await;
        let send = async {
            upstream.write(framing.head(IN_FLIGHT)).await;
            send_body(&mut upstream, framing, IN_FLIGHT).await.expect("send");
            match framing {
                Framing::Length => {}
                Framing::Chunked => upstream.write("0\r\n\r\n").await,
                Framing::Close => upstream.finish().await,
            }
        };
        let read = async {
            let head = client.read_head().await;
            assert!(
                version != "1.0" || !head.chunked(),
                "HTTP/1.0 knows no chunks: {head:?}"
            );
            client.check_body(&head, SENT).await
        };
        let ((), body) = tokio::join!(send, read);
        assert_eq!(body, (IN_FLIGHT, BodyEnd::Complete), "{framing:?}");
    }
}

#[tokio::test]
async fn http_downloads_are_whole() {
    http_download_is_whole("1.1").await;
}

#[tokio::test]
async fn http_downloads_are_whole_for_http_1_0_clients() {
    http_download_is_whole("1.0").await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OriginCut {
    Fin,
    Rst,
}

/// The origin breaks off inside the body: the client must see that, whatever the framing.
async fn http_download_cut_by_the_origin(version: &str) {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for framing in Framing::ALL {
        for cut in [OriginCut::Fin, OriginCut::Rst] {
            if (framing, cut) == (Framing::Close, OriginCut::Fin) {
                continue; // That is the regular end.
            }
            let (mut client, mut upstream) = get(&stack, &origin, version).await;
            let send = async move {
                upstream.write(framing.head(2 * IN_FLIGHT)).await;
                send_body(&mut upstream, framing, IN_FLIGHT).await.expect("send");
                match cut {
                    OriginCut::Fin => upstream.finish().await,
                    OriginCut::Rst => upstream.reset(),
                }
            };
            let read = async {
                let head = client.read_head().await;
                client.check_body(&head, SENT).await
            };
            let ((), (bytes, end)) = tokio::join!(send, read);
            assert!(
                matches!(end, BodyEnd::Cut(_)),
                "{framing:?} cut by {cut:?} looks whole after {bytes} bytes"
            );
            assert!(bytes <= IN_FLIGHT);
        }
    }
}

#[tokio::test]
async fn http_downloads_cut_by_the_origin_never_look_whole() {
    http_download_cut_by_the_origin("1.1").await;
}

#[tokio::test]
async fn http_downloads_cut_by_the_origin_never_look_whole_to_http_1_0_clients() {
    http_download_cut_by_the_origin("1.0").await;
}

/// A daemon dies inside the body: the client must see that, whatever the framing.
async fn http_download_cut_by_death(victim: Victim, version: &str) {
    let origin = Origin::bind().await;
    for framing in Framing::ALL {
        let stack = Setup::new()
            .allow(origin.addr())
            .short_idle_timeout()
            .start()
            .await;
        let (mut client, mut upstream) = get(&stack, &origin, version).await;
        upstream.write(framing.head(1 << 40)).await;
        let head = client.read_head().await;
        let send = async {
            let _ = send_body(&mut upstream, framing, 1 << 40).await;
        };
        let read = async {
            client.read_exact(1 << 20).await;
            let _kept = match victim {
                Victim::Agent => {
                    stack.agent.kill().await;
                    (None, Some(stack.server))
                }
                Victim::Server => {
                    stack.server.kill().await;
                    (Some(stack.agent), None)
                }
            };
            let mut tail = Vec::new();
            let drained = client
                .drain_with(|part| {
                    tail.extend_from_slice(part);
                    let excess = tail.len().saturating_sub(64);
                    tail.drain(..excess);
                })
                .await;
            (drained.end, tail.ends_with(b"\r\n0\r\n\r\n"))
        };
        let ((), (end, terminated)) = tokio::join!(send, read);
        assert!(
            !(head.chunked() && terminated),
            "{victim:?} killed: the last chunk was sent"
        );
        let framed = head.chunked() || head.content_length().is_some();
        assert!(
            framed || end == Ending::Reset,
            "{victim:?} killed: a body delimited by close ended with FIN"
        );
    }
}

#[tokio::test]
async fn http_downloads_cut_by_the_agents_death_never_look_whole() {
    http_download_cut_by_death(Victim::Agent, "1.1").await;
}

#[tokio::test]
async fn http_downloads_cut_by_the_servers_death_never_look_whole() {
    http_download_cut_by_death(Victim::Server, "1.1").await;
}

#[tokio::test]
async fn http_downloads_cut_by_the_agents_death_never_look_whole_to_http_1_0_clients() {
    http_download_cut_by_death(Victim::Agent, "1.0").await;
}

#[tokio::test]
async fn http_downloads_cut_by_the_servers_death_never_look_whole_to_http_1_0_clients() {
    http_download_cut_by_death(Victim::Server, "1.0").await;
}

fn post(origin: &Origin, framing: Framing, length: u64) -> String {
    let host = origin.addr();
    let field = match framing {
        Framing::Length => format!("Content-Length: {length}"),
        Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
        Framing::Close => unreachable!("requests are never delimited by close"),
    };
    format!("POST http://{host}/upload HTTP/1.1\r\nHost: {host}\r\n{field}\r\n\r\n")
}

#[tokio::test]
async fn http_uploads_are_whole() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for framing in [Framing::Length, Framing::Chunked] {
        let mut client = stack.client().await;
        client.write(post(&origin, framing, IN_FLIGHT)).await;
        let mut upstream = origin.accept().await;
        let send = async {
            send_body(&mut client, framing, IN_FLIGHT).await.expect("send");
            if framing == Framing::Chunked {
                client.write("0\r\n\r\n").await;
            }
        };
        let read = async {
            let head = upstream.read_head().await;
            let body = upstream.check_body(&head, SENT).await;
            upstream
                .write("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                .await;
            body
        };
        let ((), body) = tokio::join!(send, read);
        assert_eq!(body, (IN_FLIGHT, BodyEnd::Complete), "{framing:?}");
        assert_eq!(client.read_head().await.status(), 201);
    }
}

#[tokio::test]
async fn http_uploads_cut_by_the_client_never_look_whole() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    for framing in [Framing::Length, Framing::Chunked] {
        for cut in [OriginCut::Fin, OriginCut::Rst] {
            let mut client = stack.client().await;
            client.write(post(&origin, framing, 2 * IN_FLIGHT)).await;
            let mut upstream = origin.accept().await;
            let send = async move {
                send_body(&mut client, framing, IN_FLIGHT).await.expect("send");
                match cut {
                    OriginCut::Fin => client.finish().await,
                    OriginCut::Rst => client.reset(),
                }
            };
            let read = async {
                let head = upstream.read_head().await;
                upstream.check_body(&head, SENT).await
            };
            let ((), (bytes, end)) = tokio::join!(send, read);
            assert!(
                matches!(end, BodyEnd::Cut(_)),
                "{framing:?} cut by {cut:?} looks whole after {bytes} bytes"
            );
        }
    }
}

async fn http_upload_cut_by_death(victim: Victim) {
    let origin = Origin::bind().await;
    for framing in [Framing::Length, Framing::Chunked] {
        let stack = Setup::new()
            .allow(origin.addr())
            .short_idle_timeout()
            .start()
            .await;
        let mut client = stack.client().await;
        client.write(post(&origin, framing, 1 << 40)).await;
        let mut upstream = origin.accept().await;
        let send = async {
            let _ = send_body(&mut client, framing, 1 << 40).await;
        };
        let read = async {
            upstream.read_head().await;
            upstream.read_exact(1 << 20).await;
            let _kept = match victim {
                Victim::Agent => {
                    stack.agent.kill().await;
                    (None, Some(stack.server))
                }
                Victim::Server => {
                    stack.server.kill().await;
                    (Some(stack.agent), None)
                }
            };
            upstream.discard().await.end
        };
        let ((), end) = tokio::join!(send, read);
        assert_eq!(end, Ending::Reset, "{victim:?} killed, {framing:?}");
    }
}

#[tokio::test]
async fn http_uploads_cut_by_the_agents_death_are_reset() {
    http_upload_cut_by_death(Victim::Agent).await;
}

#[tokio::test]
async fn http_uploads_cut_by_the_servers_death_are_reset() {
    http_upload_cut_by_death(Victim::Server).await;
}
