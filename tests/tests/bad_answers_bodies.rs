//! Bodies of old, odd and hostile origins (RFC 9112 §6, §7): each answer has one right outcome, a cut never looks like an
//! end, and the next request to the same origin, by another client, gets its own answer.

use fluidity_tests::odd::{Right, Then, cut, raw, refused, torture, whole};
use fluidity_tests::{Origin, Stack};

const LENGTH: &str = "Content-Length: 5\r\n\r\nhello";
const CHUNKS: &str = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[tokio::test]
async fn lengths_and_codings_of_every_kind() {
    let number = "Content-Length is not a number";
    let large = "Content-Length is too large a number";
    let two = "there are two different Content-Length";
    let codings = "it has more than one transfer coding";
    let coding = "its transfer coding is not chunked";
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    torture(vec![
        whole("a coding and a shorter length", both, "hello").lacks("content-length"),
        whole("a coding and a longer length", both.replace('3', "500"), "hello").lacks("content-length"),
        whole(
            "a coding and a length that is none",
            both.replace(": 3", ": x"),
            "hello",
        )
        .lacks("content-length"),
        whole(
            "a coding before a length",
            format!(
                "Transfer-Encoding: chunked\r\n{}",
                both.replace("Transfer-Encoding: chunked\r\n", "")
            ),
            "hello",
        )
        .lacks("content-length"),
        whole(
            "CHUNKED",
            "Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        whole(
            "a list with nothing else",
            "Transfer-Encoding: , chunked,\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        whole(
            "identity up to its close",
            "Transfer-Encoding: identity\r\n\r\nhello",
            "hello",
        )
        .then(Then::Closes),
        whole(
            "a length twice",
            format!("Content-Length: 5\r\n{LENGTH}"),
            "hello",
        )
        .has("ontent-Length: 5\r\n"),
        whole(
            "a list of equal lengths",
            "Content-Length: 5, 5\r\n\r\nhello",
            "hello",
        )
        .has("Content-Length: 5\r\n"),
        whole(
            "zeros before a length",
            "Content-Length: 0000000000000000000000005\r\n\r\nhello",
            "hello",
        )
        .has("Content-Length: 5\r\n"),
        whole("no body", "Content-Length: 0\r\n\r\n", ""),
        raw(
            "205 with a body",
            format!("HTTP/1.1 205 Reset\r\n{LENGTH}"),
            Right::Whole(205, b"hello".to_vec()),
        ),
        refused("two lengths", format!("Content-Length: 9\r\n{LENGTH}"), two),
        refused("a list of lengths", "Content-Length: 5, 6\r\n\r\nhello", two),
        refused("an empty length", "Content-Length:\r\n\r\nhello", number),
        refused("a signed length", "Content-Length: +5\r\n\r\nhello", number),
        refused("a negative length", "Content-Length: -5\r\n\r\nhello", number),
        refused("a hexadecimal length", "Content-Length: 0x5\r\n\r\nhello", number),
        refused("two numbers", "Content-Length: 5 5\r\n\r\nhello", number),
        refused("a fraction", "Content-Length: 5.0\r\n\r\nhello", number),
        refused(
            "a length with a control byte",
            "Content-Length: 5\0\r\n\r\nhello",
            number,
        ),
        refused("2^64", "Content-Length: 18446744073709551616\r\n\r\nhello", large),
        refused(
            "2^64 - 1",
            "Content-Length: 18446744073709551615\r\n\r\nhello",
            large,
        ),
        refused("gzip", "Transfer-Encoding: gzip\r\n\r\nhello", coding),
        refused(
            "xchunked",
            "Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            coding,
        ),
        refused(
            "chunked with a parameter",
            "Transfer-Encoding: chunked;a=b\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            coding,
        ),
        refused(
            "an empty coding",
            format!("Transfer-Encoding:\r\n{LENGTH}"),
            coding,
        ),
        refused(
            "identity and a length",
            format!("Transfer-Encoding: identity\r\n{LENGTH}"),
            coding,
        ),
        refused(
            "gzip, chunked",
            "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            codings,
        ),
        refused(
            "gzip and chunked in two fields",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            codings,
        ),
        refused(
            "chunked, chunked",
            "Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            codings,
        ),
        refused(
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            codings,
        ),
        refused(
            "chunked, identity",
            "Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            codings,
        ),
        refused(
            "a coding with a control byte",
            "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding has control characters",
        ),
        raw(
            "a coding in HTTP/1.0",
            format!("HTTP/1.0 200 OK\r\n{CHUNKS}"),
            Right::Refused("HTTP/1.0 has no Transfer-Encoding"),
        ),
        raw(
            "204 with a body",
            format!("HTTP/1.1 204 No\r\n{LENGTH}"),
            Right::Whole(204, Vec::new()),
        )
        .lacks("content-length"),
        raw(
            "204 with chunks",
            format!("HTTP/1.1 204 No\r\n{CHUNKS}"),
            Right::Whole(204, Vec::new()),
        )
        .lacks("transfer-encoding"),
        raw(
            "304 with a body",
            format!("HTTP/1.1 304 Same\r\n{LENGTH}"),
            Right::Whole(304, Vec::new()),
        ),
        raw(
            "304 with a list of lengths",
            "HTTP/1.1 304 Same\r\nContent-Length: 5, 5\r\n\r\n",
            Right::Whole(304, Vec::new()),
        ),
        whole("HEAD with a body", LENGTH, "")
            .to("HEAD")
            .has("Content-Length: 5\r\n"),
        whole("HEAD with chunks", CHUNKS, "").to("HEAD"),
        whole("HEAD with lengths", "Content-Length: 5, 6\r\n\r\n", "")
            .to("HEAD")
            .lacks("content-length"),
        whole(
            "HEAD with a coding",
            "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "",
        )
        .to("HEAD")
        .lacks("gzip"),
        raw(
            "HEAD, refused",
            "HTTP/2.0 200 OK\r\n\r\n",
            Right::Refused("its version"),
        )
        .to("HEAD"),
        whole("more than its length", format!("{LENGTH}, and more"), "hello"),
        whole(
            "two answers",
            format!("{LENGTH}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
            "hello",
        ),
        whole(
            "an answer behind none",
            "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
            "",
        ),
        whole("a line end behind its length", format!("{LENGTH}\r\n"), "hello"),
        cut(
            "less than its length, closed",
            "Content-Length: 9\r\n\r\nhello",
            "hello",
        )
        .then(Then::Closes),
        cut(
            "less than its length, reset",
            "Content-Length: 9\r\n\r\nhello",
            "hello",
        )
        .then(Then::Resets),
    ])
    .await;
}

#[tokio::test]
async fn chunks_and_trailers_of_every_kind() {
    let chunked = |rest: &str| format!("Transfer-Encoding: chunked\r\n\r\n{rest}");
    let extension = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(4000));
    let extensions = format!(
        "{}0\r\n\r\n",
        format!("5;chunk-signature={}\r\nhello\r\n", "0".repeat(64)).repeat(400)
    );
    torture(vec![
        whole(
            "extensions",
            chunked("5;a=b;c=\"d;e\"\r\nhello\r\n0;f\r\n\r\n"),
            "hello",
        ),
        whole("a long extension", chunked(&extension), "hello"),
        whole(
            "an extension at each of many chunks",
            chunked(&extensions),
            "hello".repeat(400),
        ),
        whole(
            "space behind the size",
            chunked("5 \t\r\nhello\r\n0 \r\n\r\n"),
            "hello",
        ),
        whole(
            "zeros before the size",
            chunked(&format!(
                "{}5\r\nhello\r\n{}\r\n\r\n",
                "0".repeat(400),
                "0".repeat(400)
            )),
            "hello",
        ),
        whole(
            "sizes in both cases",
            chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            "01234567890123456789",
        ),
        whole(
            "a trailer that is announced",
            format!(
                "Trailer: X-Sum\r\n{}",
                chunked("5\r\nhello\r\n0\r\nX-Sum : 1\r\n\r\n")
            ),
            "hello",
        ),
        whole(
            "trailers that may not be there",
            format!(
                "Trailer: Content-Length, Set-Cookie\r\n{}",
                chunked("5\r\nhello\r\n0\r\nContent-Length: 3\r\nSet-Cookie: a\r\n\r\n")
            ),
            "hello",
        )
        .lacks("set-cookie: a"),
        whole(
            "a trailer without a colon",
            chunked("5\r\nhello\r\n0\r\nnonsense\r\n\r\n"),
            "hello",
        ),
        whole(
            "trailers with bare line feeds",
            chunked("5\r\nhello\r\n0\r\nX-Sum: 1\n\n"),
            "hello",
        ),
        whole(
            "more than its chunks",
            chunked("5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"),
            "hello",
        ),
        cut("no size", chunked("5\r\nhello\r\n\r\n"), "hello"),
        cut(
            "a size that is none",
            chunked("5\r\nhello\r\nxyz\r\n\r\n"),
            "hello",
        ),
        cut("a negative size", chunked("5\r\nhello\r\n-1\r\n\r\n"), "hello"),
        cut("0x", chunked("5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n"), "hello"),
        cut(
            "a size of 2^64",
            chunked("5\r\nhello\r\n10000000000000000\r\nhello\r\n0\r\n\r\n"),
            "hello",
        ),
        cut(
            "a size that comes round to 5",
            chunked("5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
            "hello",
        ),
        cut(
            "a chunk longer than its size",
            chunked("5\r\nhello, and more\r\n0\r\n\r\n"),
            "hello",
        ),
        cut(
            "a bare line feed behind a size",
            chunked("5\r\nhello\r\n5\nhello\r\n0\r\n\r\n"),
            "hello",
        ),
        cut(
            "a bare line feed in an extension",
            chunked("5\r\nhello\r\n5;a\nhello\r\n0\r\n\r\n"),
            "hello",
        ),
        cut(
            "a bare line feed behind a chunk",
            chunked("5\r\nhello\n0\r\n\r\n"),
            "hello",
        ),
        cut(
            "an extension of 10 KB",
            chunked(&format!(
                "5\r\nhello\r\n5;{}\r\nhello\r\n0\r\n\r\n",
                "x".repeat(10_000)
            )),
            "hello",
        ),
        cut(
            "trailers of 100 KB",
            chunked(&format!(
                "5\r\nhello\r\n0\r\nX-Sum: {}\r\n\r\n",
                "x".repeat(100_000)
            )),
            "hello",
        ),
        cut("closed in a size", chunked("5\r\nhello\r\n5"), "hello").then(Then::Closes),
        cut("closed in a chunk", chunked("9\r\nhello"), "hello").then(Then::Closes),
        cut("closed behind a chunk", chunked("5\r\nhello\r\n"), "hello").then(Then::Closes),
        cut(
            "closed behind the last chunk",
            chunked("5\r\nhello\r\n0\r\n"),
            "hello",
        )
        .then(Then::Closes),
        cut(
            "closed in the trailers",
            chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n"),
            "hello",
        )
        .then(Then::Closes),
        cut("reset behind a chunk", chunked("5\r\nhello\r\n"), "hello").then(Then::Resets),
    ])
    .await;
}

#[tokio::test]
async fn forbidden_trailers_do_not_reach_the_client_and_the_others_do() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let mut client = stack.client().await;
    client
        .write(format!(
            "GET http://{}/ HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
            origin.addr()
        ))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Sum, Content-Length, Transfer-Encoding, Host, Set-Cookie, Proxy-Status, Location, Connection\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Sum : 1\r\n 2\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\nHost: a\r\n\
             Set-Cookie: a=b\r\nProxy-Status: fluidity\r\nLocation: /\r\nConnection: close\r\n\r\n",
        )
        .await;
    let head = client.read_head().await;
    assert!(head.chunked(), "{head:?}");
    let (body, trailers) = client.read_chunked().await;
    assert_eq!(body, b"hello");
    let trailers: Vec<_> = trailers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()))
        .collect();
    assert_eq!(trailers, [("x-sum".to_owned(), "1 2")]);
}
