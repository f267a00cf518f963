//! Where bodies end, what is behind them, and what may not be an answer at all.

use super::super::AnswerError;
use super::super::reader::AnswerReader;
use super::super::turn::Turn;
use super::{End, LIMITS, Pieces, Silence, passes, refused, seen};
use std::sync::Arc;
use std::task::{Context, Waker};
use tokio::io::ReadBuf;

#[test]
fn a_length_is_one_number_however_often_it_is_said() {
    for (fields, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: 5,5 ,\t5\r\n", "hello"),
        ("Content-Length: 5\r\ncontent-LENGTH: 05, 5\r\n", "hello"),
        ("Content-Length:\r\n 5\r\n", "hello"),
        ("Content-Length : 5\r\n", "hello"),
        ("Content-Length: 00000000000000000000000000005\r\n", "hello"),
    ] {
        passes(
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}").as_bytes(),
            format!("HTTP/1.1 200 OK\r\nContent-Length:5\r\n\r\n{body}").as_bytes(),
        );
    }
    for (fields, reason) in [
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "there are two different Content-Length",
        ),
        (
            "Content-Length: 5, 6\r\n",
            "there are two different Content-Length",
        ),
        ("Content-Length:\r\n", "Content-Length is not a number"),
        ("Content-Length: ,\r\n", "Content-Length is not a number"),
        ("Content-Length: 5,\r\n", "Content-Length is not a number"),
        ("Content-Length: +5\r\n", "Content-Length is not a number"),
        ("Content-Length: -5\r\n", "Content-Length is not a number"),
        ("Content-Length: 0x5\r\n", "Content-Length is not a number"),
        ("Content-Length: 5 5\r\n", "Content-Length is not a number"),
        ("Content-Length: 5\r\n 5\r\n", "Content-Length is not a number"),
        ("Content-Length: 5.0\r\n", "Content-Length is not a number"),
        ("Content-Length: 5;\r\n", "Content-Length is not a number"),
        ("Content-Length: \"5\"\r\n", "Content-Length is not a number"),
        ("Content-Length: 5\0\r\n", "Content-Length is not a number"),
        ("Content-Length: 5\r\r\n", "Content-Length is not a number"),
        ("Content-Length: ５\r\n", "Content-Length is not a number"),
        (
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length is too large a number",
        ),
        (
            "Content-Length: 18446744073709551615\r\n",
            "Content-Length is too large a number",
        ),
        (
            "Content-Length: 9999999999999999999999999\r\n",
            "Content-Length is too large a number",
        ),
    ] {
        refused(
            format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello").as_bytes(),
            AnswerError::Length(reason),
        );
    }
}

#[test]
fn chunked_wins_over_a_length_and_no_other_coding_passes() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "Transfer-Encoding: ,chunked, ,\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: \r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ] {
        let becomes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding:chunked\r\n\r\n{chunks}");
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n{chunks}");
        passes(answer.as_bytes(), becomes.as_bytes());
    }
    for length in ["3", "500", "5, 6", "x", ""] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        let seen = seen(answer.as_bytes(), false);
        let becomes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding:chunked\r\n\r\n{chunks}");
        assert_eq!(String::from_utf8_lossy(&seen.bytes), becomes);
        assert_eq!(
            (seen.end, seen.fit),
            (End::Whole, false),
            "nothing more is asked on such a session"
        );
    }
    for (fields, reason) in [
        (
            "Transfer-Encoding: gzip\r\n",
            "its transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            "its transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: chunkedx\r\n",
            "its transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: chunked;q=1\r\n",
            "its transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: \"chunked\"\r\n",
            "its transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: chunked chunked\r\n",
            "its transfer coding is not chunked",
        ),
        ("Transfer-Encoding:\r\n", "its transfer coding is not chunked"),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
            "its transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            "it has more than one transfer coding",
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "it has more than one transfer coding",
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            "it has more than one transfer coding",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "it has more than one transfer coding",
        ),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            "it has more than one transfer coding",
        ),
        (
            "Transfer-Encoding: identity, chunked\r\n",
            "it has more than one transfer coding",
        ),
        (
            "Transfer-Encoding: chun\0ked\r\n",
            "Transfer-Encoding has control characters",
        ),
        (
            "Transfer-Encoding: \x0bchunked\r\n",
            "Transfer-Encoding has control characters",
        ),
    ] {
        refused(
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n{chunks}").as_bytes(),
            AnswerError::Coding(reason),
        );
    }
    refused(
        format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}")
            .as_bytes(),
        AnswerError::Coding("HTTP/1.0 has no Transfer-Encoding"),
    );
}

#[test]
fn a_body_without_a_length_ends_with_the_session() {
    for (fields, becomes) in [
        ("", ""),
        ("Transfer-Encoding: identity\r\n", ""),
        ("Connection: close\r\n", "Connection:close\r\n"),
    ] {
        let answer = format!("HTTP/1.0 200 OK\r\n{fields}\r\nhello\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        let answer = answer.replace("1.0", if fields.starts_with('T') { "1.1" } else { "1.0" });
        let seen = seen(answer.as_bytes(), false);
        assert_eq!(
            (String::from_utf8_lossy(&seen.bytes).into_owned(), seen.end),
            (answer.replace(fields, becomes), End::Closed)
        );
    }
}

#[test]
fn answers_without_a_body_have_none_whatever_they_say() {
    for (status, fields, becomes) in [
        (
            "204 No",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "",
        ),
        ("304 Same", "Content-Length: 5, 5\r\n", "Content-Length:5\r\n"),
        (
            "304 Same",
            "Content-Length: 5, 6\r\nTransfer-Encoding: gzip\r\n",
            "",
        ),
        ("304 Same", "Content-Length: \r\n", ""),
    ] {
        let head = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
        let becomes = format!("HTTP/1.1 {status}\r\n{becomes}\r\n");
        passes(head.as_bytes(), becomes.as_bytes());
        let seen = seen(format!("{head}hello").as_bytes(), false);
        assert_eq!(String::from_utf8_lossy(&seen.bytes), becomes);
        assert_eq!(
            (seen.end, seen.fit),
            (End::Whole, false),
            "bytes that nobody asked for"
        );
    }
    for (fields, becomes) in [
        ("Content-Length: 5\r\n", "Content-Length:5\r\n"),
        ("Content-Length: 5, 5\r\n", "Content-Length:5\r\n"),
        ("Content-Length: -\r\n", ""),
        ("Transfer-Encoding: gzip, chunked\r\n", ""),
        ("", ""),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let becomes = format!("HTTP/1.1 200 OK\r\n{becomes}\r\n");
        for (body, fit) in [("", true), ("hello", false)] {
            let seen = seen(format!("{head}{body}").as_bytes(), true);
            assert_eq!(
                (
                    String::from_utf8_lossy(&seen.bytes).into_owned(),
                    seen.end,
                    seen.fit
                ),
                (becomes.clone(), End::Whole, fit)
            );
        }
    }
}

#[test]
fn a_cut_is_a_cut_wherever_it_is() {
    let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n";
    let head = 17 + 28 + 2;
    for length in 0..whole.len() {
        let seen = seen(&whole[..length], false);
        let expected = match length {
            0 => End::Closed,
            length if length < head => End::Error(AnswerError::Cut),
            // hyper knows that it is in the middle of a body.
            _ => End::Closed,
        };
        assert_eq!(seen.end, expected, "after {length} bytes");
        assert!(
            !seen.bytes.ends_with(b"\r\n\r\n") || length == head,
            "after {length} bytes"
        );
    }
    assert_eq!(seen(whole, false).end, End::Whole);
}

#[test]
fn chunks_that_make_no_sense_end_the_answer_behind_what_did() {
    let seen = seen(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz",
        false,
    );
    assert!(seen.bytes.ends_with(b"5\r\nhello\r\n"), "{seen:?}");
    assert_eq!(seen.end, End::Error(AnswerError::Chunks("a size is missing")));
}

#[test]
fn trailers_pass_without_those_that_may_not_be_there() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    let became = "HTTP/1.1 200 OK\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n";
    let long = format!("X: {}\r\n", "x".repeat(600));
    for (section, becomes) in [
        ("", ""),
        (
            "X-Sum: 1\r\nY : 2\r\n 3\nZ:\x014\r\n",
            "X-Sum:1\r\nY:2 3\r\nZ:4\r\n",
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: a\r\nSet-Cookie: a\r\n\
             Proxy-Status: fluidity\r\nConnection: X\r\nX-Sum: 1\r\n",
            "X-Sum:1\r\n",
        ),
        ("no colon\r\nX-Sum: 1\r\n", ""),
        (" X: 1\r\n", ""),
    ] {
        passes(
            format!("{head}{section}\r\n").as_bytes(),
            format!("{became}{becomes}\r\n").as_bytes(),
        );
    }
    let seen = seen(format!("{head}{long}\r\n").as_bytes(), false);
    assert_eq!(seen.end, End::Error(AnswerError::Trailers(512)));
    assert_eq!(String::from_utf8_lossy(&seen.bytes), became);
}

#[test]
fn nothing_behind_an_answer_reaches_hyper_and_the_session_is_used_up() {
    let next = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (answer, becomes) in [
        ("Content-Length: 2\r\n\r\nok", "Content-Length:2\r\n\r\nok"),
        ("Content-Length: 0\r\n\r\n", "Content-Length:0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding:chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        for surplus in ["\r\n", "x", next] {
            let seen = seen(format!("HTTP/1.1 200 OK\r\n{answer}{surplus}").as_bytes(), false);
            assert_eq!(
                String::from_utf8_lossy(&seen.bytes),
                format!("HTTP/1.1 200 OK\r\n{becomes}")
            );
            assert_eq!((seen.end, seen.fit), (End::Whole, false));
        }
    }
}

#[test]
fn what_waits_before_a_request_is_no_answer_to_it() {
    let mut context = Context::from_waker(Waker::noop());
    let mut room = [0; 100];
    let answer = b"HTTP/1.1 204 No\r\n\r\n";
    let turn = Arc::new(Turn::default());
    let mut reader = AnswerReader::new(LIMITS, turn.clone());
    let mut origin = Pieces::of(answer, 100);
    // Unasked, it is not even read.
    let read = reader.poll_read(&mut origin, &mut context, &mut ReadBuf::new(&mut room));
    assert!(read.is_pending() && !origin.0.is_empty());
    turn.begin(false);
    reader.await_answer(&mut origin, &mut context).unwrap();
    assert!(turn.is_unfit(), "it spoke first");
    let mut out = ReadBuf::new(&mut room);
    assert!(reader.poll_read(&mut origin, &mut context, &mut out).is_ready());
    assert_eq!(out.filled(), answer);

    let turn = Arc::new(Turn::default());
    let mut reader = AnswerReader::new(LIMITS, turn.clone());
    turn.begin(false);
    reader.await_answer(&mut Silence, &mut context).unwrap();
    let mut out = ReadBuf::new(&mut room);
    assert!(
        reader
            .poll_read(&mut Pieces::of(answer, 100), &mut context, &mut out)
            .is_ready()
    );
    turn.rest();
    assert!(!turn.is_unfit());
    reader.take_moved();
    turn.begin(false);
    assert!(
        reader
            .await_answer(&mut Pieces::of(answer, 100), &mut context)
            .is_err()
    );
    assert_eq!(
        (turn.is_unfit(), reader.take_moved()),
        (true, 0),
        "the request can be repeated elsewhere"
    );
}
