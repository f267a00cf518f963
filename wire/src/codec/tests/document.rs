//! `docs/protocol.md` and the code say the same: vectors, registries, tables and limits.

use super::{Message, Place};
use crate::code::{CloseCode, ReplyCode, ResetCode};
use crate::codec::*;
use crate::credit;
use std::collections::BTreeMap;
use std::fmt::Write;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md"));

/// One vector of the document.
#[derive(Debug, Default)]
struct Vector {
    name: &'static str,
    place: &'static str,
    bytes: Vec<u8>,
    /// What follows a keyword other than `bytes`.
    says: BTreeMap<&'static str, &'static str>,
}

fn vectors() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line {
            "```vectors" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ if line.starts_with("  ") => {
                let vector = vectors.last_mut().unwrap();
                let (word, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim(), ""));
                match word {
                    "bytes" => vector.bytes = from_hex(rest),
                    _ => assert_eq!(vector.says.insert(word, rest.trim_start()), None, "{line}"),
                }
            }
            _ => {
                let (name, place) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
                vectors.push(Vector {
                    name,
                    place,
                    ..Vector::default()
                });
            }
        }
    }
    vectors
}

#[test]
fn every_vector_of_the_document_holds() {
    let vectors = vectors();
    assert!(vectors.len() > 50, "only {} vectors were found", vectors.len());
    for vector in vectors {
        let says: Vec<_> = vector.says.iter().map(|(word, rest)| (*word, *rest)).collect();
        let place = match vector.place {
            "varint" => {
                check_varint(&vector);
                continue;
            }
            "open" => Place::Open,
            "reply" => Place::Reply,
            "control" => Place::Control,
            other => panic!("{}: nothing is read as {other}", vector.name),
        };
        let decoded = place.decode(&vector.bytes);
        match (says.as_slice(), decoded) {
            ([("is", expected)], Ok((message, consumed))) => {
                assert_eq!(describe(&message), *expected, "{}", vector.name);
                assert_eq!(consumed, vector.bytes.len(), "{}", vector.name);
                assert_eq!(hex(&message.encode()), hex(&vector.bytes), "{}", vector.name);
            }
            ([("reads", expected)], Ok((message, consumed))) => {
                assert_eq!(describe(&message), *expected, "{}", vector.name);
                assert_eq!(consumed, vector.bytes.len(), "{}", vector.name);
                assert_ne!(hex(&message.encode()), hex(&vector.bytes), "{}", vector.name);
            }
            ([("reads", expected), ("rest", rest)], Ok((message, consumed))) => {
                assert_eq!(describe(&message), *expected, "{}", vector.name);
                assert_eq!(hex(&vector.bytes[consumed..]), *rest, "{}", vector.name);
            }
            ([("error", expected)], Err(error)) => {
                assert_eq!(describe_error(error), *expected, "{}", vector.name);
            }
            (says, decoded) => panic!("{}: {says:?}, but it is {decoded:?}", vector.name),
        }
    }
}

#[test]
fn the_vectors_show_every_message_every_error_and_have_names_of_their_own() {
    let vectors = vectors();
    let shown = |word: &str| -> Vec<&str> {
        let with_word = vectors.iter().filter_map(|vector| vector.says.get(word).copied());
        with_word
            .map(|text| text.split([' ', '(']).next().unwrap())
            .collect()
    };
    for message in [
        "open", "reply", "hello", "drain", "goodbye", "others", "credit", "abort",
    ] {
        assert!(shown("is").contains(&message), "{message}");
    }
    let errors = [
        DecodeError::Incomplete,
        DecodeError::TooLong(0),
        DecodeError::UnexpectedType(0),
        DecodeError::BadField(0),
        DecodeError::FieldOrder(0),
        DecodeError::UnknownCritical(0),
        DecodeError::Missing(0),
        DecodeError::UnknownValue(0, 0),
    ];
    for error in errors.map(describe_error) {
        let error = error.split('(').next().unwrap();
        assert!(shown("error").contains(&error), "{error}");
    }
    let names: BTreeMap<_, _> = vectors.iter().map(|vector| (vector.name, ())).collect();
    assert_eq!(names.len(), vectors.len());
}

fn check_varint(vector: &Vector) {
    let mut rest = vector.bytes.as_slice();
    let number = varint(&mut rest).unwrap();
    assert!(rest.is_empty(), "{}", vector.name);
    assert_eq!(number.to_string(), vector.says["is"], "{}", vector.name);
    let mut bytes = Vec::new();
    put_varint(&mut bytes, number);
    assert_eq!(hex(&bytes), hex(&vector.bytes), "{}", vector.name);
}

/// A message as the document writes it.
fn describe(message: &Message) -> String {
    match message {
        Message::Open(open) => {
            let trace = open.trace.map(|trace| format!(" trace={}", hex(&trace.0)));
            format!(
                "open kind={} host={} port={} window={}{}",
                open.kind.name(),
                open.target.host,
                open.target.port,
                open.window,
                trace.unwrap_or_default()
            )
        }
        Message::Reply(reply) => format!(
            "reply code={} window={} detail={:?}",
            reply.code, reply.window, reply.detail
        ),
        Message::Control(Control::Hello(hello)) => format!(
            "hello instance={:016x} max-sessions={} uptime={}s software={:?}",
            hello.instance,
            hello.max_sessions,
            hello.uptime.as_secs(),
            hello.software
        ),
        Message::Control(Control::Drain { deadline }) => format!("drain deadline={}ms", deadline.as_millis()),
        Message::Control(Control::Goodbye) => "goodbye".into(),
        Message::Control(Control::Others(others)) => {
            let names: Vec<_> = others.names.iter().map(AgentId::as_str).collect();
            let (count, same_name) = (others.count, others.same_name);
            format!(
                "others count={count} names={:?} same-name={same_name}",
                names.join(" ")
            )
        }
        Message::Control(Control::Credit { stream, limit }) => {
            format!("credit stream={stream} limit={limit}")
        }
        Message::Control(Control::Abort { stream, offset, code }) => {
            format!("abort stream={stream} offset={offset} code={code}")
        }
        Message::Control(Control::Unknown) => "ignored".into(),
    }
}

fn describe_error(error: DecodeError) -> String {
    match error {
        DecodeError::Incomplete => "Incomplete".into(),
        DecodeError::TooLong(length) => format!("TooLong({length})"),
        DecodeError::UnexpectedType(kind) => format!("UnexpectedType({kind:#04x})"),
        DecodeError::BadField(tag) => format!("BadField({tag:#04x})"),
        DecodeError::FieldOrder(tag) => format!("FieldOrder({tag:#04x})"),
        DecodeError::UnknownCritical(tag) => format!("UnknownCritical({tag:#04x})"),
        DecodeError::Missing(tag) => format!("Missing({tag:#04x})"),
        DecodeError::UnknownValue(tag, value) => format!("UnknownValue({tag:#04x}, {value})"),
    }
}

/// The cells of the first table behind a heading, without its two head rows and without backquotes.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = DOCUMENT
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the document has no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    };
    rows.map(cells).collect()
}

/// The first cells of each row.
fn columns(heading: &str, count: usize) -> Vec<Vec<String>> {
    let rows = table(heading).into_iter();
    rows.map(|row| row.into_iter().take(count).collect()).collect()
}

fn row<const N: usize>(cells: [impl ToString; N]) -> Vec<String> {
    cells.map(|cell| cell.to_string()).into()
}

#[test]
fn the_registries_of_the_document_are_those_of_the_code() {
    let replies = ReplyCode::ALL.iter();
    let replies: Vec<_> = replies
        .map(|code| row([code.number().to_string(), code.to_string()]))
        .collect();
    assert_eq!(columns("### Reply codes", 2), replies);
    let resets = ResetCode::ALL.iter();
    let resets: Vec<_> = resets
        .map(|code| row([format!("{:#04x}", code.number()), code.to_string()]))
        .collect();
    assert_eq!(columns("### Reset codes", 2), resets);
    let closes = CloseCode::ALL.iter();
    let closes: Vec<_> = closes
        .map(|code| row([format!("{:#04x}", code.number()), code.to_string()]))
        .collect();
    assert_eq!(columns("### Close codes", 2), closes);
}

#[test]
fn the_kinds_of_the_document_are_those_of_the_code() {
    let (_, kinds) = DOCUMENT.split_once("| Kind | Name |").unwrap();
    let rows = kinds.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: Vec<_> = rows
        .map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let known = Kind::ALL.iter();
    let known: Vec<_> = known
        .map(|kind| format!("| {} `{}`", kind_number(*kind), kind.name()))
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn the_types_and_tags_of_the_document_are_those_of_the_code() {
    let types = [
        (
            TYPE_OPEN,
            "Open",
            vec![
                OPEN_KIND,
                OPEN_NAME,
                OPEN_V4,
                OPEN_V6,
                OPEN_PORT,
                OPEN_WINDOW,
                OPEN_TRACE,
            ],
        ),
        (TYPE_REPLY, "Reply", vec![REPLY_CODE, REPLY_DETAIL, REPLY_WINDOW]),
        (
            TYPE_HELLO,
            "Hello",
            vec![HELLO_INSTANCE, HELLO_SOFTWARE, HELLO_MAX_SESSIONS, HELLO_UPTIME],
        ),
        (TYPE_DRAIN, "Drain", vec![DRAIN_DEADLINE]),
        (TYPE_GOODBYE, "Goodbye", vec![]),
        (TYPE_CREDIT, "Credit", vec![CREDIT_STREAM, CREDIT_LIMIT]),
        (TYPE_ABORT, "Abort", vec![ABORT_STREAM, ABORT_OFFSET, ABORT_CODE]),
        (
            TYPE_OTHERS,
            "Others",
            vec![OTHERS_COUNT, OTHERS_NAMES, OTHERS_SAME_NAME],
        ),
    ];
    let listed: Vec<_> = types
        .iter()
        .map(|(kind, name, _)| row([format!("{kind:#04x}"), name.to_string()]))
        .collect();
    assert_eq!(columns("### Types", 2), listed);
    for (_, name, tags) in types.iter().filter(|(_, _, tags)| !tags.is_empty()) {
        let tags: Vec<_> = tags.iter().map(|tag| row([format!("{tag:#04x}")])).collect();
        assert_eq!(columns(&format!("### `{name}`"), 1), tags, "{name}");
    }
    assert!(DOCUMENT.contains("`Goodbye`\n\nIt has no fields."));
    assert_eq!(TYPE_LAST, TYPE_OTHERS);
}

#[test]
fn the_limits_of_the_document_are_those_of_the_code() {
    let limits: BTreeMap<_, _> = table("## Limits")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    for (limit, value) in [
        ("fields of one message", length(MAX_MESSAGE)),
        ("host as text", length(MAX_HOST)),
        ("detail of a Reply", length(MAX_DETAIL)),
        ("software of a Hello", length(MAX_SOFTWARE)),
        ("names of an Others", length(MAX_NAMES)),
        ("early bytes", credit::EARLY_WINDOW),
        ("window of one session", credit::MAX_WINDOW),
    ] {
        let text = limits[limit].split(' ').next().unwrap();
        assert_eq!(text, value.to_string(), "{limit}");
    }
    for window in [credit::BASE_WINDOW, credit::FLOOR_WINDOW, credit::MAX_WINDOW] {
        assert!(DOCUMENT.contains(&format!(" {window} ")), "{window}");
    }
}

fn length(bytes: usize) -> u64 {
    bytes.try_into().unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|char| *char != ' ').collect();
    assert_eq!(digits.len() % 2, 0, "{text}");
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
