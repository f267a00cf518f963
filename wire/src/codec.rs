//! Bytes of the messages: pure functions over slices and buffers, no I/O, no panic on any input.
//!
//! A message is `type · length · fields`, a field is `tag · length · value`, every number a QUIC varint (RFC 9000
//! §16), written as short as can be. Tags rise strictly, so a message has one encoding and no field twice. An odd tag
//! is critical: who does not know it must refuse the message; an even one may be ignored. `docs/protocol.md` has the
//! tables and test vectors.

mod fields;

pub(crate) use fields::{varint, varint_len};

use crate::code::{ReplyCode, ResetCode};
use crate::message::{Control, Hello, Kind, Open, Others, Reply, TraceContext};
use crate::target::{Host, Port, Target};
use crate::tls::AgentId;
use bytes::BufMut;
use fields::{cut, fields, fixed, message, number, text, unknown};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The longest message, its type and length left out: 16 KiB.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// The longest host, as text: 255 bytes.
pub const MAX_HOST: usize = 255;
/// The longest detail of a [`Reply`]: 1 KiB. Encoding cuts a longer one at a character.
pub const MAX_DETAIL: usize = 1024;
/// The longest software name of a [`Hello`]. Encoding cuts a longer one at a character.
pub const MAX_SOFTWARE: usize = 128;
/// The longest list of names of an [`Others`], as text: 4 KiB. Encoding leaves out what does not fit.
pub const MAX_NAMES: usize = 4 * 1024;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a message: more may make it whole.
    #[error("the message is not whole")]
    Incomplete,
    /// The length is over [`MAX_MESSAGE`].
    #[error("the message is {0} bytes long, over the limit of {MAX_MESSAGE}")]
    TooLong(u64),
    /// Another message was due here.
    #[error("unexpected message type {0:#x}")]
    UnexpectedType(u64),
    /// A field reaches past its message, or a value is of the wrong size.
    #[error("field {0:#x} is malformed")]
    BadField(u64),
    /// Tags do not rise strictly.
    #[error("field {0:#x} stands out of order or twice")]
    FieldOrder(u64),
    /// A field that must be understood is not known.
    #[error("field {0:#x} is critical and not known")]
    UnknownCritical(u64),
    /// A field that the message needs is not there.
    #[error("field {0:#x} is missing")]
    Missing(u64),
    /// A number in a field is none that this version knows.
    #[error("field {0:#x} has the unknown value {1}")]
    UnknownValue(u64, u64),
}

/// Appends an [`Open`].
pub fn encode_open(open: &Open, out: &mut impl BufMut) {
    message(out, TYPE_OPEN, |fields| {
        fields.number(OPEN_KIND, kind_number(open.kind));
        match &open.target.host {
            Host::Name(name) => fields.bytes(OPEN_NAME, name.as_bytes()),
            Host::V4(address) => fields.bytes(OPEN_V4, &address.octets()),
            Host::V6(address) => fields.bytes(OPEN_V6, &address.octets()),
        }
        fields.number(OPEN_PORT, u64::from(open.target.port.get()));
        fields.number(OPEN_WINDOW, open.window);
        if let Some(TraceContext(context)) = &open.trace {
            fields.bytes(OPEN_TRACE, context);
        }
    });
}

/// Decodes the fields of an [`Open`] from a message's body, as [`split_message`] gives it.
pub fn decode_open(kind: u64, body: &[u8]) -> Result<Open, DecodeError> {
    if kind != TYPE_OPEN {
        return Err(DecodeError::UnexpectedType(kind));
    }
    let (mut session, mut host, mut port, mut window, mut trace) = (None, None, None, None, None);
    for field in fields(body) {
        let (tag, value) = field?;
        match tag {
            OPEN_KIND => session = Some(kind_from(number(tag, value)?)?),
            OPEN_NAME | OPEN_V4 | OPEN_V6 if host.is_some() => return Err(DecodeError::BadField(tag)),
            OPEN_NAME => host = Some(name(value)?),
            OPEN_V4 => host = Some(Host::V4(Ipv4Addr::from(fixed::<4>(tag, value)?))),
            OPEN_V6 => host = Some(Host::V6(Ipv6Addr::from(fixed::<16>(tag, value)?))),
            OPEN_PORT => {
                let number = number(tag, value)?;
                let known = u16::try_from(number).ok().and_then(Port::new);
                port = Some(known.ok_or(DecodeError::UnknownValue(tag, number))?);
            }
            OPEN_WINDOW => window = Some(number(tag, value)?),
            OPEN_TRACE => trace = Some(TraceContext(fixed::<25>(tag, value)?)),
            _ => unknown(tag)?,
        }
    }
    Ok(Open {
        kind: session.ok_or(DecodeError::Missing(OPEN_KIND))?,
        target: Target {
            host: host.ok_or(DecodeError::Missing(OPEN_NAME))?,
            port: port.ok_or(DecodeError::Missing(OPEN_PORT))?,
        },
        window: window.ok_or(DecodeError::Missing(OPEN_WINDOW))?,
        trace,
    })
}

/// Appends a [`Reply`].
pub fn encode_reply(reply: &Reply, out: &mut impl BufMut) {
    message(out, TYPE_REPLY, |fields| {
        fields.number(REPLY_CODE, u64::from(reply.code.number()));
        if !reply.detail.is_empty() {
            fields.bytes(REPLY_DETAIL, cut(&reply.detail, MAX_DETAIL).as_bytes());
        }
        fields.number(REPLY_WINDOW, reply.window);
    });
}

/// Decodes a [`Reply`] from a message's body. A code of a later version is [`ReplyCode::Internal`].
pub fn decode_reply(kind: u64, body: &[u8]) -> Result<Reply, DecodeError> {
    if kind != TYPE_REPLY {
        return Err(DecodeError::UnexpectedType(kind));
    }
    let (mut code, mut detail, mut window) = (None, String::new(), None);
    for field in fields(body) {
        let (tag, value) = field?;
        match tag {
            REPLY_CODE => {
                code = Some(ReplyCode::from_number(number(tag, value)?).unwrap_or(ReplyCode::Internal))
            }
            REPLY_DETAIL => detail = text(tag, value, MAX_DETAIL)?,
            REPLY_WINDOW => window = Some(number(tag, value)?),
            _ => unknown(tag)?,
        }
    }
    Ok(Reply {
        code: code.ok_or(DecodeError::Missing(REPLY_CODE))?,
        detail,
        window: window.ok_or(DecodeError::Missing(REPLY_WINDOW))?,
    })
}

/// Appends a [`Control`] message. [`Control::Unknown`] has no bytes.
pub fn encode_control(control: &Control, out: &mut impl BufMut) {
    match control {
        Control::Hello(hello) => message(out, TYPE_HELLO, |fields| {
            fields.bytes(HELLO_INSTANCE, &hello.instance.to_be_bytes());
            fields.bytes(HELLO_SOFTWARE, cut(&hello.software, MAX_SOFTWARE).as_bytes());
            fields.number(HELLO_MAX_SESSIONS, u64::from(hello.max_sessions));
            if hello.uptime.as_secs() > 0 {
                fields.number(HELLO_UPTIME, hello.uptime.as_secs());
            }
        }),
        Control::Drain { deadline } => message(out, TYPE_DRAIN, |fields| {
            fields.number(
                DRAIN_DEADLINE,
                u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            );
        }),
        Control::Goodbye => message(out, TYPE_GOODBYE, |_| {}),
        Control::Others(others) => message(out, TYPE_OTHERS, |fields| {
            fields.number(OTHERS_COUNT, u64::from(others.count));
            if let Some(names) = joined(&others.names) {
                fields.bytes(OTHERS_NAMES, names.as_bytes());
            }
            if others.same_name > 0 {
                fields.number(OTHERS_SAME_NAME, u64::from(others.same_name));
            }
        }),
        Control::Credit { stream, limit } => message(out, TYPE_CREDIT, |fields| {
            fields.number(CREDIT_STREAM, *stream);
            fields.number(CREDIT_LIMIT, *limit);
        }),
        Control::Abort { stream, offset, code } => message(out, TYPE_ABORT, |fields| {
            fields.number(ABORT_STREAM, *stream);
            fields.number(ABORT_OFFSET, *offset);
            fields.number(ABORT_CODE, u64::from(code.number()));
        }),
        Control::Unknown => {}
    }
}

/// Decodes a [`Control`] message from its body. An unknown even type is [`Control::Unknown`], an odd one an error.
pub fn decode_control(kind: u64, body: &[u8]) -> Result<Control, DecodeError> {
    match kind {
        TYPE_HELLO => decode_hello(body).map(Control::Hello),
        TYPE_DRAIN => {
            let [deadline] = numbers(body, [DRAIN_DEADLINE])?;
            Ok(Control::Drain {
                deadline: Duration::from_millis(deadline),
            })
        }
        TYPE_GOODBYE => numbers(body, []).map(|[]| Control::Goodbye),
        TYPE_OTHERS => decode_others(body).map(Control::Others),
        TYPE_CREDIT => {
            let [stream, limit] = numbers(body, [CREDIT_STREAM, CREDIT_LIMIT])?;
            Ok(Control::Credit { stream, limit })
        }
        TYPE_ABORT => {
            let [stream, offset, code] = numbers(body, [ABORT_STREAM, ABORT_OFFSET, ABORT_CODE])?;
            let code = ResetCode::from_number(code).unwrap_or(ResetCode::Internal);
            Ok(Control::Abort { stream, offset, code })
        }
        kind if kind % 2 == 0 && kind > TYPE_LAST => Ok(Control::Unknown),
        kind => Err(DecodeError::UnexpectedType(kind)),
    }
}

/// A message cut from the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// The message's type.
    pub kind: u64,
    /// Its fields.
    pub body: &'a [u8],
    /// How many bytes the message took in all.
    pub consumed: usize,
}

/// Finds the first message in `bytes`; [`DecodeError::Incomplete`] where it does not end in them.
pub fn split_message(bytes: &[u8]) -> Result<RawMessage<'_>, DecodeError> {
    let mut rest = bytes;
    let kind = varint(&mut rest).ok_or(DecodeError::Incomplete)?;
    let length = varint(&mut rest).ok_or(DecodeError::Incomplete)?;
    let size = usize::try_from(length).ok().filter(|size| *size <= MAX_MESSAGE);
    let size = size.ok_or(DecodeError::TooLong(length))?;
    let body = rest.get(..size).ok_or(DecodeError::Incomplete)?;
    Ok(RawMessage {
        kind,
        body,
        consumed: bytes.len() - rest.len() + size,
    })
}

fn decode_hello(body: &[u8]) -> Result<Hello, DecodeError> {
    let (mut instance, mut software, mut max_sessions, mut uptime) = (None, String::new(), None, 0);
    for field in fields(body) {
        let (tag, value) = field?;
        match tag {
            HELLO_UPTIME => uptime = number(tag, value)?,
            HELLO_INSTANCE => instance = Some(u64::from_be_bytes(fixed::<8>(tag, value)?)),
            HELLO_SOFTWARE => software = text(tag, value, MAX_SOFTWARE)?,
            HELLO_MAX_SESSIONS => max_sessions = Some(small(tag, value)?),
            _ => unknown(tag)?,
        }
    }
    Ok(Hello {
        instance: instance.ok_or(DecodeError::Missing(HELLO_INSTANCE))?,
        software,
        max_sessions: max_sessions.ok_or(DecodeError::Missing(HELLO_MAX_SESSIONS))?,
        uptime: Duration::from_secs(uptime),
    })
}

fn decode_others(body: &[u8]) -> Result<Others, DecodeError> {
    let (mut count, mut names, mut same_name) = (None, Vec::new(), 0);
    for field in fields(body) {
        let (tag, value) = field?;
        match tag {
            OTHERS_COUNT => count = Some(small(tag, value)?),
            OTHERS_SAME_NAME => same_name = small(tag, value)?,
            OTHERS_NAMES => {
                let text = text(tag, value, MAX_NAMES)?;
                let parsed: Result<_, _> = text.split(' ').map(AgentId::parse).collect();
                names = parsed.map_err(|_| DecodeError::BadField(tag))?;
            }
            _ => unknown(tag)?,
        }
    }
    Ok(Others {
        count: count.ok_or(DecodeError::Missing(OTHERS_COUNT))?,
        names,
        same_name,
    })
}

/// A number of at most 32 bits.
fn small(tag: u64, value: &[u8]) -> Result<u32, DecodeError> {
    let number = number(tag, value)?;
    u32::try_from(number).map_err(|_| DecodeError::UnknownValue(tag, number))
}

/// As many names as fit, a space between them; nothing where there is none.
fn joined(names: &[AgentId]) -> Option<String> {
    let mut joined = String::new();
    for name in names {
        if joined.len() + 1 + name.as_str().len() > MAX_NAMES {
            break;
        }
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(name.as_str());
    }
    (!joined.is_empty()).then_some(joined)
}

/// The values of a message whose fields are all numbers and all needed.
fn numbers<const N: usize>(body: &[u8], tags: [u64; N]) -> Result<[u64; N], DecodeError> {
    let mut found = tags.map(|_| None);
    for field in fields(body) {
        let (tag, value) = field?;
        match tags.iter().zip(&mut found).find(|(known, _)| **known == tag) {
            Some((_, slot)) => *slot = Some(number(tag, value)?),
            None => unknown(tag)?,
        }
    }
    let mut values = [0; N];
    for ((value, slot), tag) in values.iter_mut().zip(found).zip(tags) {
        *value = slot.ok_or(DecodeError::Missing(tag))?;
    }
    Ok(values)
}

fn kind_number(kind: Kind) -> u64 {
    match kind {
        Kind::Connect => 1,
        Kind::Http => 2,
        Kind::WebSocket => 3,
    }
}

fn kind_from(number: u64) -> Result<Kind, DecodeError> {
    let known = Kind::ALL.iter().find(|kind| kind_number(**kind) == number);
    known.copied().ok_or(DecodeError::UnknownValue(OPEN_KIND, number))
}

/// A host name must arrive in its canonical form: an address in disguise or another spelling is refused.
fn name(value: &[u8]) -> Result<Host, DecodeError> {
    let text = text(OPEN_NAME, value, MAX_HOST)?;
    match Host::parse(&text) {
        Ok(Host::Name(name)) if name == text => Ok(Host::Name(name)),
        _ => Err(DecodeError::BadField(OPEN_NAME)),
    }
}

const TYPE_OPEN: u64 = 0x01;
const TYPE_REPLY: u64 = 0x03;
const TYPE_HELLO: u64 = 0x11;
const TYPE_DRAIN: u64 = 0x12;
const TYPE_GOODBYE: u64 = 0x14;
const TYPE_CREDIT: u64 = 0x15;
const TYPE_ABORT: u64 = 0x17;
const TYPE_OTHERS: u64 = 0x18;
/// Unknown types up to here are errors: they would be known ones in the wrong place.
const TYPE_LAST: u64 = TYPE_OTHERS;

const OPEN_KIND: u64 = 0x01;
const OPEN_NAME: u64 = 0x03;
const OPEN_V4: u64 = 0x05;
const OPEN_V6: u64 = 0x07;
const OPEN_PORT: u64 = 0x09;
const OPEN_WINDOW: u64 = 0x0b;
const OPEN_TRACE: u64 = 0x0c;
const REPLY_CODE: u64 = 0x01;
const REPLY_DETAIL: u64 = 0x02;
const REPLY_WINDOW: u64 = 0x0b;
const HELLO_INSTANCE: u64 = 0x01;
const HELLO_SOFTWARE: u64 = 0x02;
const HELLO_MAX_SESSIONS: u64 = 0x03;
const HELLO_UPTIME: u64 = 0x04;
const DRAIN_DEADLINE: u64 = 0x01;
const OTHERS_COUNT: u64 = 0x01;
const OTHERS_NAMES: u64 = 0x02;
const OTHERS_SAME_NAME: u64 = 0x04;
const CREDIT_STREAM: u64 = 0x01;
const CREDIT_LIMIT: u64 = 0x03;
const ABORT_STREAM: u64 = 0x01;
const ABORT_OFFSET: u64 = 0x03;
const ABORT_CODE: u64 = 0x05;

#[cfg(test)]
use fields::put_varint;
#[cfg(test)]
use quinn::VarInt;

#[cfg(test)]
mod tests;
