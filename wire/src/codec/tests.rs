//! The codec against the specification, fixed bytes, arbitrary values and arbitrary bytes.

use super::*;

mod document;
mod limits;
mod properties;
mod snapshots;

/// Where bytes stand, which says what they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open,
    Reply,
    Control,
}

impl Place {
    const ALL: [Self; 3] = [Self::Open, Self::Reply, Self::Control];

    /// Decodes the first message of `bytes`; returns it with how many bytes it took.
    fn decode(self, bytes: &[u8]) -> Result<(Message, usize), DecodeError> {
        let raw = split_message(bytes)?;
        let message = match self {
            Self::Open => decode_open(raw.kind, raw.body).map(Message::Open),
            Self::Reply => decode_reply(raw.kind, raw.body).map(Message::Reply),
            Self::Control => decode_control(raw.kind, raw.body).map(Message::Control),
        };
        message.map(|message| (message, raw.consumed))
    }
}

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    Open(Open),
    Reply(Reply),
    Control(Control),
}

impl Message {
    fn place(&self) -> Place {
        match self {
            Self::Open(_) => Place::Open,
            Self::Reply(_) => Place::Reply,
            Self::Control(_) => Place::Control,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Open(open) => encode_open(open, &mut bytes),
            Self::Reply(reply) => encode_reply(reply, &mut bytes),
            Self::Control(control) => encode_control(control, &mut bytes),
        }
        bytes
    }
}

/// A message by hand: its type and its fields, right or wrong.
fn by_hand(kind: u64, fields: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    message(&mut bytes, kind, |out| {
        for (tag, value) in fields {
            out.bytes(*tag, value);
        }
    });
    bytes
}

/// One message of each kind, with every field that it can have.
fn one_of_each() -> Vec<Message> {
    let open = |target| {
        Message::Open(Open {
            kind: Kind::Http,
            target: Target::parse(target).unwrap(),
            window: 300_000,
            trace: Some(TraceContext([7; 25])),
        })
    };
    let (stream, limit, offset, code) = (8, 70_000, 5, ResetCode::Internal);
    vec![
        open("example.com:443"),
        open("192.0.2.1:80"),
        open("[2001:db8::1]:8080"),
        Message::Reply(Reply::refusal(ReplyCode::NameNotFound, "there is no such name")),
        Message::Control(Control::Hello(Hello {
            instance: 1,
            software: "test".into(),
            max_sessions: 1000,
            uptime: Duration::from_secs(7),
        })),
        Message::Control(Control::Drain {
            deadline: Duration::from_secs(1),
        }),
        Message::Control(Control::Goodbye),
        Message::Control(Control::Others(Others {
            same_name: 1,
            ..others(2, &["desk", "phone"])
        })),
        Message::Control(Control::Credit { stream, limit }),
        Message::Control(Control::Abort { stream, offset, code }),
    ]
}

/// The type and the fields of an encoded message.
fn taken_apart(bytes: &[u8]) -> (u64, Vec<(u64, &[u8])>) {
    let raw = split_message(bytes).unwrap();
    (raw.kind, fields(raw.body).collect::<Result<_, _>>().unwrap())
}

fn others(count: u32, names: &[&str]) -> Others {
    Others {
        count,
        names: names.iter().map(|name| AgentId::parse(name).unwrap()).collect(),
        same_name: 0,
    }
}
