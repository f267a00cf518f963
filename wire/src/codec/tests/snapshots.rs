//! The exact bytes of every kind of message: what was once sent must be understood for ever.

use super::{Message, others};
use crate::codec::*;

/// Both ways: the value has these bytes, and the bytes have this value.
fn is(message: Message, bytes: &[u8]) {
    assert_eq!(message.encode(), bytes, "{message:?}");
    assert_eq!(message.place().decode(bytes), Ok((message, bytes.len())));
}

fn open(kind: Kind, target: &str, window: u64) -> Message {
    let target = Target::parse(target).unwrap();
    Message::Open(Open {
        window,
        ..Open::new(kind, target)
    })
}

#[test]
fn open_with_a_trace() {
    let mut context = [0; 25];
    context[0] = 0xff;
    context[24] = 1;
    let Message::Open(open) = open(Kind::Http, "192.0.2.255:1", 0x3f) else {
        unreachable!("an open was made")
    };
    is(
        Message::Open(Open {
            trace: Some(TraceContext(context)),
            ..open
        }),
        b"\x01\x2a\x01\x01\x02\x05\x04\xc0\x00\x02\xff\x09\x01\x01\x0b\x01\x3f\
          \x0c\x19\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
    );
}

#[test]
fn open_with_each_form_of_host() {
    is(
        open(Kind::Connect, "a.example:443", 0x40),
        b"\x01\x16\x01\x01\x01\x03\x09a.example\x09\x02\x41\xbb\x0b\x02\x40\x40",
    );
    is(
        open(Kind::Http, "192.0.2.255:1", 0x3f),
        b"\x01\x0f\x01\x01\x02\x05\x04\xc0\x00\x02\xff\x09\x01\x01\x0b\x01\x3f",
    );
    is(
        open(Kind::WebSocket, "[2001:db8::ff00]:65535", 0x4000_0000),
        b"\x01\x25\x01\x01\x03\x07\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\xff\0\
          \x09\x04\x80\x00\xff\xff\x0b\x08\xc0\0\0\0\x40\0\0\0",
    );
}

#[test]
fn reply_with_and_without_detail() {
    let reply = |code, detail: &str, window| {
        Message::Reply(Reply {
            code,
            detail: detail.into(),
            window,
        })
    };
    is(
        reply(ReplyCode::Ok, "", 16_384),
        b"\x03\x09\x01\x01\x00\x0b\x04\x80\x00\x40\x00",
    );
    is(
        reply(ReplyCode::Internal, "é", 0),
        b"\x03\x0a\x01\x01\x0d\x02\x02\xc3\xa9\x0b\x01\x00",
    );
}

#[test]
fn hello() {
    let hello = Hello {
        instance: 0xff00_0000_0000_0001,
        software: "x/1".into(),
        max_sessions: 100,
        uptime: Duration::ZERO,
    };
    is(
        Message::Control(Control::Hello(hello.clone())),
        b"\x11\x13\x01\x08\xff\0\0\0\0\0\0\x01\x02\x03x/1\x03\x02\x40\x64",
    );
    let with_uptime = |millis| {
        let uptime = Duration::from_millis(millis);
        let hello = hello.clone();
        Message::Control(Control::Hello(Hello { uptime, ..hello }))
    };
    is(
        with_uptime(300_000),
        b"\x11\x17\x01\x08\xff\0\0\0\0\0\0\x01\x02\x03x/1\x03\x02\x40\x64\x04\x02\x41\x2c",
    );
    assert_eq!(with_uptime(300_999).encode(), with_uptime(300_000).encode());
}

#[test]
fn the_others() {
    is(
        Message::Control(Control::Others(others(0, &[]))),
        b"\x18\x03\x01\x01\0",
    );
    is(
        Message::Control(Control::Others(others(2, &["a", "b-1"]))),
        b"\x18\x0a\x01\x01\x02\x02\x05a b-1",
    );
    let doubled = Others {
        same_name: 1,
        ..others(1, &["a"])
    };
    is(
        Message::Control(Control::Others(doubled)),
        b"\x18\x09\x01\x01\x01\x02\x01a\x04\x01\x01",
    );
}

#[test]
fn the_other_control_messages() {
    let deadline = Duration::from_secs(30);
    is(
        Message::Control(Control::Drain { deadline }),
        b"\x12\x06\x01\x04\x80\x00\x75\x30",
    );
    is(Message::Control(Control::Goodbye), b"\x14\x00");
    let (stream, limit) = (0, 262_144);
    is(
        Message::Control(Control::Credit { stream, limit }),
        b"\x15\x09\x01\x01\x00\x03\x04\x80\x04\x00\x00",
    );
    let (stream, offset, code) = (400, 7, ResetCode::ClientReset);
    is(
        Message::Control(Control::Abort { stream, offset, code }),
        b"\x17\x0a\x01\x02\x41\x90\x03\x01\x07\x05\x01\x12",
    );
}

#[test]
fn what_is_to_be_ignored_has_no_bytes() {
    assert_eq!(Message::Control(Control::Unknown).encode(), b"");
}
