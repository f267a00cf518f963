//! Heads, good and bad.

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    size: 64 * 1024,
    fields: 100,
};

fn read(text: &str) -> Result<Head, HeadError> {
    let parsed = parse(text.as_bytes(), LIMITS)?.expect("a whole head");
    assert_eq!(parsed.length, text.find("\r\n\r\n").unwrap() + 4);
    Ok(parsed.head)
}

fn for_hyper(text: &str) -> String {
    let parsed = parse(text.as_bytes(), LIMITS).unwrap().expect("a whole head");
    String::from_utf8(parsed.for_hyper.to_vec()).unwrap()
}

fn origin(target: &str, authority: &str, path: &str) -> Origin {
    Origin {
        target: Target::parse(target).unwrap(),
        authority: authority.into(),
        path: path.try_into().unwrap(),
    }
}

#[test]
fn every_form_of_a_target_is_told_apart() {
    for (line, form) in [
        (
            "CONNECT Example.com.:443",
            Form::Connect(Target::parse("example.com:443").unwrap()),
        ),
        (
            "CONNECT [::1]:443",
            Form::Connect(Target::parse("[::1]:443").unwrap()),
        ),
        (
            "GET http://example.com",
            Form::Http(origin("example.com:80", "example.com", "/")),
        ),
        (
            "GET http://example.com?q=1",
            Form::Http(origin("example.com:80", "example.com", "/?q=1")),
        ),
        (
            "GET HTTP://Example.com:8080/a//b?c",
            Form::Http(origin("example.com:8080", "Example.com:8080", "/a//b?c")),
        ),
        (
            "BREW http://[::1]:81/",
            Form::Http(origin("[::1]:81", "[::1]:81", "/")),
        ),
        (
            "OPTIONS http://example.com",
            Form::Http(origin("example.com:80", "example.com", "*")),
        ),
        (
            "OPTIONS http://example.com/",
            Form::Http(origin("example.com:80", "example.com", "/")),
        ),
        ("GET /", Form::Proxy),
        ("OPTIONS *", Form::Proxy),
        (
            "GET http://media_1.example:/a#b?c#d",
            Form::Http(origin("media_1.example:80", "media_1.example", "/a")),
        ),
        ("GET http://a#b", Form::Http(origin("a:80", "a", "/"))),
        (
            "GET http://a?<caf\u{e9}>",
            Form::Http(origin("a:80", "a", "/?%3Ccaf\u{e9}%3E")),
        ),
    ] {
        assert_eq!(
            read(&format!("{line} HTTP/1.1\r\n\r\n")).unwrap().form,
            form,
            "{line}"
        );
    }
}

#[test]
fn only_a_whole_websocket_handshake_is_an_upgrade() {
    let ask = |line: &str, fields: &str| read(&format!("{line} HTTP/1.1\r\n{fields}\r\n")).unwrap().form;
    let both = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    assert!(matches!(ask("GET ws://a/", both), Form::WebSocket(_)));
    assert!(matches!(ask("GET http://a/", both), Form::WebSocket(_)));
    assert!(matches!(ask("POST http://a/", both), Form::Http(_)));
    assert!(matches!(
        ask("GET http://a/", "Upgrade: websocket\r\n"),
        Form::Http(_)
    ));
    assert!(matches!(
        ask("GET http://a/", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
        Form::Http(_)
    ));
}

#[test]
fn framing_is_read_and_what_is_ambiguous_refused() {
    let ask =
        |fields: &str| read(&format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n")).map(|head| head.framing);
    assert_eq!(ask(""), Ok(Framing::None));
    assert_eq!(ask("Content-Length: 0\r\n"), Ok(Framing::None));
    assert_eq!(ask("content-length: 12\r\n"), Ok(Framing::Length(12)));
    assert_eq!(ask("Transfer-Encoding: Chunked\r\n"), Ok(Framing::chunked()));
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 ,5\r\nX: y\r\ncontent-length: 5\r\n",
    ] {
        assert_eq!(ask(fields), Ok(Framing::Length(5)), "{fields}");
    }
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: 5,,5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert!(matches!(ask(fields), Err(HeadError::Ambiguous(_))), "{fields}");
    }
    assert_eq!(
        ask("Transfer-Encoding: gzip, chunked\r\n"),
        Err(HeadError::Coding)
    );
    let old = read("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(matches!(old, Err(HeadError::Ambiguous(_))));
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let connect = read(&format!("CONNECT a:443 HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(connect, Err(HeadError::ConnectBody));
    }
}

#[test]
fn hyper_gets_a_head_in_which_nothing_is_odd() {
    for (text, passed) in [
        (
            "\r\nGET http://a:/<\u{e9}>#f HTTP/1.1\r\nHost: a\r\nX:\ty \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX:\ty \r\n\r\n",
        ),
        ("CONNECT a_b.:1 HTTP/1.0\n\n", "CONNECT target:1 HTTP/1.0\r\n\n"),
        (
            "POST http://a/ HTTP/1.1\r\nA: 1\r\ncontent-Length: 5\r\nB: \u{e9}\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nA: 1\r\ncontent-Length: 5\r\nB: \u{e9}\r\n\r\n",
        ),
        (
            "POST http://a/ HTTP/1.9\r\nContent-Length: 0, 0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        assert_eq!(for_hyper(text), passed);
    }
}

#[test]
fn a_url_is_as_long_as_it_can_be_sent_and_no_longer() {
    let limits = HeadLimits {
        size: 1 << 20,
        fields: 100,
    };
    let ask = |length: usize| {
        let text = format!("GET http://a/{} HTTP/1.1\r\n\r\n", "b".repeat(length));
        parse(text.as_bytes(), limits).map(|parsed| parsed.is_some())
    };
    assert_eq!(ask(LONGEST_PATH - 1), Ok(true));
    assert_eq!(ask(LONGEST_PATH), Err(HeadError::UrlTooLong(LONGEST_PATH)));
}

#[test]
fn what_is_no_request_is_refused() {
    for text in [
        "GET http://a/ HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nX : a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nX: a\0b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nX: a\rb\r\n\r\n",
        "GET http://a\t/ HTTP/1.1\r\n\r\n",
        "GET http://a/b c HTTP/1.1\r\n\r\n",
        "GET http://a/\0 HTTP/1.1\r\n\r\n",
        "GET http://a/\rb HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}",
    ] {
        let parsed = parse(text.as_bytes(), LIMITS);
        assert!(
            matches!(parsed, Err(HeadError::Malformed(_))),
            "{text:?}: {parsed:?}"
        );
    }
    for (line, error) in [
        ("GET https://a/", HeadError::NeedsConnect),
        ("GET wss://a/", HeadError::NeedsConnect),
        ("GET ftp://a/", HeadError::Scheme),
        (
            "GET http://u:p@a/",
            HeadError::Url("a user name or password does not belong into it"),
        ),
        ("GET a:80", HeadError::Url("write it as http://host/path")),
        ("CONNECT a", HeadError::Target(TargetError::MissingPort)),
        ("CONNECT u@a:1", HeadError::Target(TargetError::BadCharacter)),
        ("GET http://a:65617/", HeadError::Target(TargetError::BadPort)),
        ("GET http:///", HeadError::Target(TargetError::EmptyHost)),
    ] {
        assert_eq!(read(&format!("{line} HTTP/1.1\r\n\r\n")), Err(error), "{line}");
    }
}

#[test]
fn a_head_beyond_a_limit_is_refused_before_it_is_whole() {
    let start = "GET http://a/ HTTP/1.1\r\n";
    let large = format!("{start}X: {}", "v".repeat(LIMITS.size));
    assert_eq!(
        parse(large.as_bytes(), LIMITS),
        Err(HeadError::TooLarge(LIMITS.size))
    );
    let many = format!("{start}{}", "X: 1\r\n".repeat(101));
    assert_eq!(parse(many.as_bytes(), LIMITS), Err(HeadError::TooManyFields(100)));
    let whole = format!("{start}X: {}\r\n\r\n", "v".repeat(60_000));
    for length in (0..whole.len()).step_by(997) {
        assert_eq!(parse(&whole.as_bytes()[..length], LIMITS), Ok(None));
    }
    assert!(parse(whole.as_bytes(), LIMITS).unwrap().is_some());
}

#[test]
fn waiting_for_a_100_needs_a_body_and_http_1_1() {
    let ask = |version: &str, length: u32| {
        let text = format!(
            "PUT http://a/ HTTP/{version}\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n\r\n"
        );
        read(&text).unwrap().expects_continue
    };
    assert!(ask("1.1", 4));
    assert!(!ask("1.1", 0));
    assert!(!ask("1.0", 4));
}

#[test]
fn no_bytes_make_it_panic_or_read_past_their_end() {
    let good = b"POST http://[::1]:80/a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello";
    for _ in 0..20_000 {
        let mut bytes = good.to_vec();
        for _ in 0..rand::random_range(1..4) {
            let at = rand::random_range(0..bytes.len());
            bytes[at] = rand::random();
        }
        bytes.truncate(rand::random_range(0..=bytes.len()));
        if let Ok(Some(Parsed { length, head, .. })) = parse(&bytes, LIMITS) {
            let mut framing = head.framing;
            assert!(length <= bytes.len());
            assert!(framing.take(&bytes[length..]) <= bytes.len() - length);
        }
    }
}
