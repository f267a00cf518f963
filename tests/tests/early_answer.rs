//! Answers that come before the end of an upload, and a close behind them: a client gets through the proxy what it would
//! get from the origin itself. An answer that is cut never looks complete.

use fluidity_tests::{BodyEnd, Ending, Frame, Head, Origin, Pattern, Peer, Served, Stack};
use std::net::SocketAddr;

const ROUNDS: usize = 50;
const UPLOADS: [usize; 3] = [3_000, 300_000, 2_000_000];
const STATUSES: [&str; 3] = ["413 Content Too Large", "401 Unauthorized", "302 Found"];
const BODY: Pattern = Pattern::new(5);
const BODY_LENGTH: usize = 2_000;

/// How an origin leaves that has answered without reading the upload.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// Closes at once.
    Close,
    /// Ends its direction first, as Go's server does.
    End,
}

/// How the client speaks to the origin.
#[derive(Clone, Copy, Debug)]
enum Form {
    Direct,
    Plain,
    Connect,
    WebSocket,
}

fn status(round: usize) -> &'static str {
    STATUSES[round % STATUSES.len()]
}

fn answer(status: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {BODY_LENGTH}\r\nConnection: close\r\n\r\n");
    [head.into_bytes(), BODY.bytes(BODY_LENGTH)].concat()
}

/// Answers the head alone and leaves; a WebSocket gets its 101 first, and the answer in a frame.
fn hasty(origin: Origin, leave: Leave) -> Served {
    origin.serve(move |mut peer| async move {
        let Some(head) = peer.next_request().await else {
            return;
        };
        let status = head.one("x-answer").expect("the test says which").to_owned();
        if head.one("upgrade").is_some() {
            peer.write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )
            .await;
            peer.read_exact(1).await;
            let payload = answer(&status);
            peer.write_frame(&Frame { first: 0x82, payload }).await;
        } else {
            peer.write(answer(&status)).await;
        }
        if let Leave::End = leave {
            peer.finish().await;
        }
    })
}

/// Sends the whole upload, and reads only then: the answer's bytes, without the head's changes on the way.
async fn ask(
    form: Form,
    (proxy, origin): (SocketAddr, SocketAddr),
    upload: &[u8],
    status: &str,
) -> Option<u16> {
    let fields = format!("Host: {origin}\r\nX-Answer: {status}\r\n");
    let length = format!("Content-Length: {}\r\n", upload.len());
    let mut client = match form {
        Form::Direct => Peer::dial(origin).await,
        Form::Connect => Peer::tunnel(proxy, origin).await,
        Form::Plain | Form::WebSocket => Peer::dial(proxy).await,
    };
    match form {
        Form::Direct | Form::Connect => {
            client
                .write(format!("POST / HTTP/1.1\r\n{fields}{length}\r\n"))
                .await;
        }
        Form::Plain => {
            client
                .write(format!(
                    "POST http://{origin}/ HTTP/1.1\r\n{fields}{length}Connection: close\r\n\r\n"
                ))
                .await;
        }
        Form::WebSocket => {
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            client
                .write(format!("GET http://{origin}/ HTTP/1.1\r\n{fields}{upgrade}\r\n"))
                .await;
            assert_eq!(client.read_head().await.status(), 101);
        }
    }
    // Taken in the end, or refused with a reset.
    let _ = client.try_write(upload).await;
    let mut read = Vec::new();
    client.drain_with(|part| read.extend_from_slice(part)).await;
    if let Form::WebSocket = form {
        // The frame's own head. The proxy may say a Close behind it.
        read.drain(..read.len().min(4));
    }
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, body) = read.split_at(end);
    let (body, more) = body.split_at_checked(BODY_LENGTH)?;
    let whole = body == BODY.bytes(BODY_LENGTH) && matches!(more, [] | [0x88, ..]);
    whole.then(|| Head::parse(head).status())
}

async fn answers_arrive(form: Form, leave: Leave) {
    let origin = hasty(Origin::bind().await, leave);
    let stack = Stack::for_origin(origin.addr()).await;
    let ends = (stack.proxy(), origin.addr());
    for length in UPLOADS {
        let upload = vec![b'u'; length];
        let (mut lost, mut lost_directly) = (0, 0);
        for round in 0..ROUNDS {
            let status = status(round);
            let expected = status[..3].parse().ok();
            let direct = ask(Form::Direct, ends, &upload, status).await;
            lost_directly += usize::from(direct != expected);
            let got = ask(form, ends, &upload, status).await;
            lost += usize::from(got != expected);
        }
        assert!(
            lost <= lost_directly,
            "{form:?}, {leave:?}, {length} bytes: {lost} of {ROUNDS} answers lost, without the proxy {lost_directly}"
        );
    }
}

#[tokio::test]
async fn regression_early_answers_arrive_over_plain_http() {
    answers_arrive(Form::Plain, Leave::Close).await;
}

#[tokio::test]
async fn regression_early_answers_arrive_over_connect() {
    answers_arrive(Form::Connect, Leave::Close).await;
}

#[tokio::test]
async fn regression_early_answers_arrive_over_websocket() {
    answers_arrive(Form::WebSocket, Leave::Close).await;
}

#[tokio::test]
async fn regression_early_answers_that_end_in_order_arrive_over_plain_http() {
    answers_arrive(Form::Plain, Leave::End).await;
}

#[tokio::test]
async fn regression_early_answers_that_end_in_order_arrive_over_connect() {
    answers_arrive(Form::Connect, Leave::End).await;
}

#[tokio::test]
async fn regression_early_answers_that_end_in_order_arrive_over_websocket() {
    answers_arrive(Form::WebSocket, Leave::End).await;
}

/// What a client says before it leaves in the middle of a download: the origin gets it.
#[tokio::test]
async fn regression_what_a_client_says_before_it_leaves_reaches_the_origin() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let words = Pattern::new(8).bytes(20_000);
    for _ in 0..ROUNDS {
        let (mut client, mut upstream) = stack.tunnel(&origin).await;
        let download = vec![b'd'; 3_000_000];
        let origin_side = async {
            // Refused with a reset once the client has left.
            let _ = upstream.try_write(&download).await;
            let mut read = Vec::new();
            upstream.drain_with(|part| read.extend_from_slice(part)).await;
            read
        };
        let client_side = async {
            client.read_exact(1_000).await;
            client.write(&words).await;
            drop(client);
        };
        let (read, ()) = tokio::join!(origin_side, client_side);
        assert!(read == words, "{} of {} bytes", read.len(), words.len());
    }
}

#[tokio::test]
async fn an_early_answer_that_is_cut_never_looks_complete() {
    for form in [Form::Plain, Form::Connect] {
        let origin = Origin::bind().await;
        let stack = Stack::for_origin(origin.addr()).await;
        for length in UPLOADS {
            let target = origin.addr();
            let head = format!("Host: {target}\r\nContent-Length: {length}\r\n\r\n");
            let mut client = match form {
                Form::Connect => {
                    let mut client = Peer::tunnel(stack.proxy(), target).await;
                    client.write(format!("POST / HTTP/1.1\r\n{head}")).await;
                    client
                }
                _ => {
                    let mut client = stack.client().await;
                    client
                        .write(format!("POST http://{target}/ HTTP/1.1\r\n{head}"))
                        .await;
                    client
                }
            };
            let mut upstream = origin.accept().await;
            upstream.next_request().await.expect("a request");
            let upload = vec![b'u'; length];
            let part = BODY.bytes(BODY_LENGTH / 2);
            let cut = async {
                upstream
                    .write(format!(
                        "HTTP/1.1 413 Content Too Large\r\nContent-Length: {BODY_LENGTH}\r\n\r\n"
                    ))
                    .await;
                upstream.write(part).await;
                upstream.reset();
            };
            let ask = async {
                // Whoever writes gets the error of a reset in place of whoever reads.
                let refused = client.try_write(&upload).await.is_err();
                let mut read = Vec::new();
                let end = client.drain_with(|part| read.extend_from_slice(part)).await.end;
                (refused, end, read.len())
            };
            let ((), (refused, end, read)) = tokio::join!(cut, ask);
            assert!(
                refused || end == Ending::Reset,
                "{form:?}, {length} bytes: {read} bytes and an end in order"
            );
        }
    }
}

#[tokio::test]
async fn an_early_answer_without_a_length_ends_where_the_origin_ends_it() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let target = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!(
            "POST http://{target}/ HTTP/1.1\r\nHost: {target}\r\nContent-Length: 3000000\r\n\r\n"
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.next_request().await.expect("a request");
    let upload = vec![b'u'; 3_000_000];
    let answer = async {
        upstream
            .write("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
            .await;
        upstream.send(BODY, BODY_LENGTH as u64).await;
        upstream.finish().await;
    };
    let ask = async {
        let _ = client.try_write(&upload).await;
        let head = client.read_head().await;
        (head.status(), client.check_body(&head, BODY).await)
    };
    let ((), got) = tokio::join!(answer, ask);
    assert_eq!(got, (413, (BODY_LENGTH as u64, BodyEnd::Complete)));
}
