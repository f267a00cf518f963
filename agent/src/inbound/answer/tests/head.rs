//! Status lines and fields.

use super::super::{AnswerError, AnswerHead, Content};
use super::{End, passes, refused, seen};

#[test]
fn status_lines_are_read_as_they_are_written_in_the_wild() {
    for (line, becomes) in [
        ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
        ("HTTP/1.1 200 OK\n", "HTTP/1.1 200 OK\r\n"),
        ("\r\n\n\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
        ("HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n"),
        ("HTTP/1.1 200 \r\n", "HTTP/1.1 200 \r\n"),
        ("HTTP/1.1 200 \t Fine  \r\n", "HTTP/1.1 200 Fine\r\n"),
        ("HTTP/1.1  \t200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
        ("HTTP/1.1 200 a\0b\rc\x1bd\x7f\r\n", "HTTP/1.1 200 a b c d \r\n"),
        ("HTTP/1.1 200 Grüße\r\n", "HTTP/1.1 200 Grüße\r\n"),
        ("HTTP/1.2 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
        ("HTTP/1.9 200 OK\r\n", "HTTP/1.1 200 OK\r\n"),
        ("HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK\r\n"),
        ("HTTP/1.1 299 Odd\r\n", "HTTP/1.1 299 Odd\r\n"),
        ("HTTP/1.1 999 Odder\r\n", "HTTP/1.1 999 Odder\r\n"),
    ] {
        passes(
            format!("{line}Content-Length: 0\r\n\r\n").as_bytes(),
            format!("{becomes}Content-Length:0\r\n\r\n").as_bytes(),
        );
    }
}

#[test]
fn what_is_no_status_line_is_refused_at_once() {
    for (bytes, error) in [
        (&b"<html>hello</html>"[..], AnswerError::NotHttp),
        (b"SSH-2.0-OpenSSH_9.9\r\n", AnswerError::NotHttp),
        (b"\x15\x03\x01\x00\x02\x02\x50", AnswerError::NotHttp),
        (b"ICY 200 OK\r\n\r\n", AnswerError::NotHttp),
        (b"http/1.1 200 OK\r\n\r\n", AnswerError::NotHttp),
        (b" HTTP/1.1 200 OK\r\n\r\n", AnswerError::NotHttp),
        (b"xHTTP/1.1 200 OK\r\n\r\n", AnswerError::NotHttp),
        (b"HTTPS/1.1 200 OK\r\n\r\n", AnswerError::NotHttp),
        (b"HTTP/2.0 200 OK\r\n", AnswerError::Version),
        (b"HTTP/0.9 200 OK\r\n", AnswerError::Version),
        (b"HTTP/1 200 OK\r\n", AnswerError::Version),
        (b"HTTP/1.x 200 OK\r\n", AnswerError::Version),
        (b"HTTP/ 1.1 200 OK\r\n", AnswerError::Version),
        (b"HTTP/11.1 200 OK\r\n", AnswerError::Version),
        (b"HTTP/1.10 200 OK\r\n", AnswerError::Status),
        (b"HTTP/1.1200 OK\r\n", AnswerError::Status),
        (b"HTTP/1.1 20 OK\r\n", AnswerError::Status),
        (b"HTTP/1.1 2000 OK\r\n", AnswerError::Status),
        (b"HTTP/1.1 2xx OK\r\n", AnswerError::Status),
        (b"HTTP/1.1 +20 OK\r\n", AnswerError::Status),
        (b"HTTP/1.1 099 OK\r\n", AnswerError::Status),
        (b"HTTP/1.1 200OK\r\n", AnswerError::Status),
        (b"HTTP/1.1\r\n", AnswerError::Status),
        (b"HTTP/1.1 OK 200\r\n", AnswerError::Status),
        (b"HTTP/1.1 \xff00 OK\r\n", AnswerError::Status),
    ] {
        refused(bytes, error);
    }
}

#[test]
fn fields_are_mended_as_the_rfc_says() {
    for (fields, becomes) in [
        ("A: 1\r\nB:2\r\n", "A:1\r\nB:2\r\n"),
        ("A: 1\nB: 2\n", "A:1\r\nB:2\r\n"),
        ("A : 1\r\nB \t: 2\r\n", "A:1\r\nB:2\r\n"),
        ("A:\r\nB: \r\n", "A:\r\nB:\r\n"),
        ("A: \t 1 \t \r\n", "A:1\r\n"),
        ("A: 1\r\n 2\r\n\t 3\r\nB: 4\r\n", "A:1 2 3\r\nB:4\r\n"),
        ("A:\r\n 1\r\n", "A:1\r\n"),
        ("A: 1\r\n \r\nB: 2\r\n", "A:1\r\nB:2\r\n"),
        ("A: a\0b\rc\x01d\x7fe\tf\r\n", "A:a b c d e\tf\r\n"),
        ("A: 1\r\r\nB: 2\r\n", "A:1\r\nB:2\r\n"),
        ("A: \0\r\n", "A:\r\n"),
        ("A: ä\u{ff}:;,\"\\\r\n", "A:ä\u{ff}:;,\"\\\r\n"),
        ("!#$%&'*+-.^_`|~09aZ: 1\r\n", "!#$%&'*+-.^_`|~09aZ:1\r\n"),
        ("A: 1\r\nA: 1\r\na: 2\r\n", "A:1\r\nA:1\r\na:2\r\n"),
    ] {
        passes(
            format!("HTTP/1.1 204 No\r\n{fields}\r\n").as_bytes(),
            format!("HTTP/1.1 204 No\r\n{becomes}\r\n").as_bytes(),
        );
    }
    // What is no UTF-8 passes byte for byte.
    passes(
        b"HTTP/1.1 204 \xfcber\r\nA: \xe4\xff\r\n\r\n",
        b"HTTP/1.1 204 \xfcber\r\nA:\xe4\xff\r\n\r\n",
    );
}

#[test]
fn fields_that_could_be_read_in_two_ways_are_refused() {
    for (field, reason) in [
        (&b" A: 1\r\n"[..], "there is whitespace before its first field"),
        (b"\tA: 1\r\n", "there is whitespace before its first field"),
        (b"\rA: 1\r\n", "there is whitespace before its first field"),
        (b"A 1\r\n", "a line among its fields has no colon"),
        (b"HTTP/1.1 200 OK\r\n", "a line among its fields has no colon"),
        (b": 1\r\n", "a field's name is malformed"),
        (b"A: 1\r\n : 2\r\n: 3\r\n", "a field's name is malformed"),
        (b"A B: 1\r\n", "a field's name is malformed"),
        (b"A\0: 1\r\n", "a field's name is malformed"),
        (b"A\x0b: 1\r\n", "a field's name is malformed"),
        (b"A\rB: 1\r\n", "a field's name is malformed"),
        (b"A(B): 1\r\n", "a field's name is malformed"),
        (b"\"A\": 1\r\n", "a field's name is malformed"),
        (b"\xc3\xa4: 1\r\n", "a field's name is malformed"),
    ] {
        let answer = [&b"HTTP/1.1 200 OK\r\n"[..], field, b"\r\n"].concat();
        refused(&answer, AnswerError::Field(reason));
    }
}

#[test]
fn informational_answers_lead_to_another_and_a_101_to_something_else() {
    passes(
        b"HTTP/1.1 100 Go\r\nContent-Length: 5\r\n\r\nHTTP/1.1 103 Hints\r\nLink : a\r\n\r\n\r\n\
          HTTP/1.1 199\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink:a\r\n\r\n\
          HTTP/1.1 199 \r\n\r\nHTTP/1.1 200 OK\r\nContent-Length:2\r\n\r\nok",
    );
    let seen = seen(
        b"HTTP/1.1 101 Go\r\nUpgrade : x\r\nContent-Length: 0\r\n\r\n\x81\x00\r\n\r\nx",
        false,
    );
    assert_eq!(
        seen.bytes,
        b"HTTP/1.1 101 Go\r\nUpgrade:x\r\n\r\n\x81\x00\r\n\r\nx"
    );
    assert_eq!(seen.end, End::Closed);
}

#[test]
fn an_origin_does_not_ask_for_the_credentials_of_a_proxy() {
    refused(
        b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        AnswerError::ProxyLogin,
    );
}

#[test]
fn heads_are_limited_in_size_and_fields() {
    let head = |pad: usize| {
        let head = format!("HTTP/1.1 204 No\r\nA: {}\r\n\r\n", "x".repeat(pad));
        assert_eq!(head.len(), pad + 24);
        head
    };
    assert_eq!(seen(head(512 - 24).as_bytes(), false).end, End::Whole);
    refused(head(513 - 24).as_bytes(), AnswerError::TooLarge(512));
    refused(
        format!("HTTP/1.1 200 {}", "x".repeat(5000)).as_bytes(),
        AnswerError::TooLarge(512),
    );
    refused("\r\n".repeat(400).as_bytes(), AnswerError::TooLarge(512));
    refused(
        format!("{}{}", "\r\n".repeat(10), head(500 - 24)).as_bytes(),
        AnswerError::TooLarge(512),
    );
    let many = |count: usize| format!("HTTP/1.1 204 No\r\n{}\r\n", "a:\n".repeat(count));
    assert_eq!(seen(many(20).as_bytes(), false).end, End::Whole);
    refused(many(21).as_bytes(), AnswerError::TooManyFields(20));
}

#[test]
fn framing_says_what_follows() {
    for (head, to_head, content) in [
        ("HTTP/1.1 200 OK\r\n\r\n", false, Content::UntilClose),
        ("HTTP/1.1 200 OK\r\n\r\n", true, Content::None),
        (
            "HTTP/1.1 205 Reset\r\nContent-Length: 5\r\n\r\n",
            false,
            Content::Length(5),
        ),
        ("HTTP/1.1 101 Go\r\n\r\n", true, Content::Upgrade),
        ("HTTP/1.1 102 Wait\r\n\r\n", false, Content::AnotherHead),
    ] {
        let head = AnswerHead::parse(head.as_bytes(), to_head, 20).unwrap();
        assert_eq!(head.content, content);
    }
}
