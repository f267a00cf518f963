//! Encodes arbitrary sessions, answers and control messages one behind the other, and reads them back.

#![no_main]

use fluidity_wire::codec::{self, MAX_DETAIL, split_message};
use fluidity_wire::message::Control;
use fluidity_wire::tls::AgentId;
use fluidity_wire::{
    Hello, Host, Kind, Open, Others, Port, Reply, ReplyCode, ResetCode, Target, TraceContext, plain,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kind: u8,
    name: &'a str,
    address: IpAddr,
    port: u16,
    code: u8,
    detail: &'a str,
    reset: u8,
    numbers: [u64; 4],
    trace: Option<[u8; 25]>,
}

fuzz_target!(|input: Input<'_>| {
    let [window, stream, limit, millis] = input.numbers.map(|number| number >> 2);
    let host = Host::parse(input.name).unwrap_or_else(|_| Host::from(input.address));
    let port = Port::new(input.port).unwrap_or(Port::HTTPS);
    let target = Target { host, port };
    let mut open = Open::new(pick(Kind::ALL, input.kind), target);
    open.window = window;
    open.trace = input.trace.map(TraceContext);
    let mut reply = Reply::refusal(pick(ReplyCode::ALL, input.code), plain(input.detail, usize::MAX));
    let code = pick(ResetCode::ALL, input.reset);
    let deadline = Duration::from_millis(millis);
    let (credit, offset) = (Control::Credit { stream, limit }, limit);
    let hello = Hello {
        instance: stream,
        software: "fuzz".into(),
        max_sessions: u32::from(input.port),
        uptime: Duration::from_secs(window),
    };
    let others = Others {
        count: u32::from(input.port),
        names: AgentId::parse(input.name).into_iter().collect(),
        same_name: u32::from(input.port) / 2,
    };
    let controls = [
        Control::Hello(hello),
        Control::Others(others),
        credit,
        Control::Abort { stream, offset, code },
        Control::Drain { deadline },
        Control::Goodbye,
    ];

    let mut bytes = Vec::new();
    codec::encode_open(&open, &mut bytes);
    codec::encode_reply(&reply, &mut bytes);
    controls
        .iter()
        .for_each(|control| codec::encode_control(control, &mut bytes));

    let mut rest = bytes.as_slice();
    let mut next = || {
        let raw = split_message(rest).expect("every message is whole");
        rest = &rest[raw.consumed..];
        (raw.kind, raw.body)
    };
    let (kind, body) = next();
    assert_eq!(codec::decode_open(kind, body), Ok(open));
    let (kind, body) = next();
    let decoded = codec::decode_reply(kind, body).expect("a reply comes back");
    assert!(decoded.detail.len() <= MAX_DETAIL && reply.detail.starts_with(&decoded.detail));
    reply.detail.truncate(decoded.detail.len());
    assert_eq!(decoded, reply);
    for control in controls {
        let (kind, body) = next();
        assert_eq!(codec::decode_control(kind, body), Ok(control));
    }
    assert!(rest.is_empty());
});

fn pick<T: Copy>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()]
}
