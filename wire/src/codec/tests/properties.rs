//! Arbitrary values come back from their bytes, and arbitrary bytes do no harm.

use super::{Message, Place, by_hand, taken_apart};
use crate::codec::*;
use crate::plain::plain;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A number of each size of varint alike.
fn number() -> impl Strategy<Value = u64> {
    (0..=62_u32, any::<u64>()).prop_map(|(bits, number)| number & ((1 << bits) - 1))
}

fn text(limit: usize) -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,1030}", "\\PC{0,400}", any::<String>()]
        .prop_map(move |text| plain(cut(&text, limit), limit))
}

fn name() -> impl Strategy<Value = Host> {
    // A last label that begins with a letter is no number; the limit falls where it falls.
    (vec("[a-z0-9_-]{1,63}", 0..5), "[a-z_-][a-z0-9_-]{0,62}").prop_map(|(mut labels, last)| {
        labels.push(last);
        let mut name = labels.join(".");
        while name.len() > 253 {
            name = name.split_once('.').unwrap().1.to_owned();
        }
        Host::Name(name)
    })
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        name(),
        any::<[u8; 4]>().prop_map(|octets| Host::V4(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| Host::V6(octets.into())),
    ]
}

fn open() -> impl Strategy<Value = Message> {
    let port = (1..=u16::MAX).prop_map(|port| Port::new(port).unwrap());
    let trace = proptest::option::of(any::<[u8; 25]>().prop_map(TraceContext));
    (select(Kind::ALL), host(), port, number(), trace).prop_map(|(kind, host, port, window, trace)| {
        Message::Open(Open {
            kind,
            target: Target { host, port },
            window,
            trace,
        })
    })
}

fn reply() -> impl Strategy<Value = Message> {
    let parts = (select(ReplyCode::ALL), text(MAX_DETAIL), number());
    parts.prop_map(|(code, detail, window)| Message::Reply(Reply { code, detail, window }))
}

fn control() -> impl Strategy<Value = Message> {
    let hello = (any::<u64>(), text(MAX_SOFTWARE), any::<u32>(), number());
    let hello = hello.prop_map(|(instance, software, max_sessions, uptime)| {
        Control::Hello(Hello {
            instance,
            software,
            max_sessions,
            uptime: Duration::from_secs(uptime),
        })
    });
    let others = (
        any::<u32>(),
        vec("[a-z0-9][a-z0-9._-]{0,63}", 0..60),
        any::<u32>(),
    );
    let others = others.prop_map(|(count, names, same_name)| {
        let names = names.iter().map(|name| AgentId::parse(name).unwrap()).collect();
        Control::Others(Others {
            count,
            names,
            same_name,
        })
    });
    let drain = number().prop_map(|millis| Control::Drain {
        deadline: Duration::from_millis(millis),
    });
    let credit = (number(), number()).prop_map(|(stream, limit)| Control::Credit { stream, limit });
    let abort = (number(), number(), select(ResetCode::ALL));
    let abort = abort.prop_map(|(stream, offset, code)| Control::Abort { stream, offset, code });
    prop_oneof![hello, drain, Just(Control::Goodbye), others, credit, abort].prop_map(Message::Control)
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![open(), reply(), control()]
}

proptest! {
    #[test]
    fn every_message_comes_back_from_its_bytes(message in message(), behind in vec(any::<u8>(), 0..20)) {
        let mut bytes = message.encode();
        let length = bytes.len();
        prop_assert!(length <= MAX_MESSAGE);
        bytes.extend(behind);
        prop_assert_eq!(message.place().decode(&bytes), Ok((message, length)));
    }

    #[test]
    fn messages_in_a_row_come_out_one_by_one(messages in vec(control(), 0..8)) {
        let bytes: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        let mut rest = bytes.as_slice();
        for message in messages {
            let (decoded, consumed) = Place::Control.decode(rest).unwrap();
            prop_assert_eq!(decoded, message);
            rest = &rest[consumed..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn varints_come_back_and_are_as_short_as_can_be(number in number()) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number);
        let shortest = match number {
            0..=63 => 1,
            64..=16_383 => 2,
            16_384..=1_073_741_823 => 4,
            _ => 8,
        };
        prop_assert_eq!((bytes.len(), varint_len(bytes[0])), (shortest, shortest));
        for end in 0..bytes.len() {
            prop_assert_eq!(varint(&mut &bytes[..end]), None);
        }
        prop_assert_eq!(varint(&mut bytes.as_slice()), Some(number));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_read_from_them_comes_back(bytes in vec(any::<u8>(), 0..400)) {
        harmless(&bytes)?;
    }

    #[test]
    fn arbitrary_fields_under_a_known_type_do_no_harm(
        kind in select(&[TYPE_OPEN, TYPE_REPLY, TYPE_HELLO, TYPE_DRAIN, TYPE_CREDIT, TYPE_ABORT]),
        fields in vec((0..16_u64, vec(any::<u8>(), 0..20)), 0..8),
    ) {
        let fields: Vec<_> = fields.iter().map(|(tag, value)| (*tag, value.as_slice())).collect();
        harmless(&by_hand(kind, &fields))?;
    }

    #[test]
    fn a_message_with_changed_bytes_does_no_harm(
        message in message(),
        changes in vec((any::<Index>(), any::<u8>()), 1..6),
        end in any::<Index>(),
    ) {
        let mut bytes = message.encode();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        harmless(&bytes)?;
        bytes.truncate(end.index(bytes.len() + 1));
        harmless(&bytes)?;
    }

    #[test]
    fn fields_of_later_versions_are_ignored_or_refused_wherever_they_stand(
        message in message(),
        tag in 0x0c..0x2000_u64,
        value in vec(any::<u8>(), 0..50),
        at in any::<Index>(),
    ) {
        let bytes = message.encode();
        let (kind, mut fields) = taken_apart(&bytes);
        // Where the tag belongs, and anywhere else.
        let place = fields.iter().filter(|(known, _)| *known < tag).count();
        let mut elsewhere = fields.clone();
        fields.insert(place, (tag, &value));
        let decoded = message.place().decode(&by_hand(kind, &fields)).map(|(message, _)| message);
        if tag % 2 == 0 {
            prop_assert_eq!(&decoded, &Ok(message.clone()));
        } else {
            prop_assert_eq!(&decoded, &Err(DecodeError::UnknownCritical(tag)));
        }
        let at = at.index(elsewhere.len() + 1);
        if at != place {
            elsewhere.insert(at, (tag, &value));
            prop_assert!(message.place().decode(&by_hand(kind, &elsewhere)).is_err());
        }
    }
}

/// Decodes bytes in every place: no panic, no more taken than is there, and a value that encodes to itself.
fn harmless(bytes: &[u8]) -> Result<(), TestCaseError> {
    for place in Place::ALL {
        let Ok((message, consumed)) = place.decode(bytes) else {
            continue;
        };
        prop_assert!(consumed <= bytes.len());
        let again = message.encode();
        if message == Message::Control(Control::Unknown) {
            prop_assert!(again.is_empty());
        } else {
            let length = again.len();
            prop_assert_eq!(place.decode(&again), Ok((message, length)));
        }
    }
    Ok(())
}
