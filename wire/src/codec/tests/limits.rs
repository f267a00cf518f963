//! Limits, and what is refused beyond each of them.

use super::{Message, Place, by_hand, one_of_each, others, taken_apart};
use crate::codec::*;

#[test]
fn a_message_may_have_16_kib_and_more_is_refused_by_the_length_alone() {
    let mut largest = Vec::new();
    message(&mut largest, TYPE_LAST + 2, |fields| {
        fields.0 = vec![0; MAX_MESSAGE]
    });
    let raw = split_message(&largest).unwrap();
    assert_eq!((raw.body.len(), raw.consumed), (MAX_MESSAGE, largest.len()));
    let limit = u64::try_from(MAX_MESSAGE).unwrap();
    for length in [limit + 1, u64::from(u32::MAX) + 1, VarInt::MAX.into_inner()] {
        let mut head = Vec::new();
        put_varint(&mut head, TYPE_OPEN);
        put_varint(&mut head, length);
        assert_eq!(split_message(&head), Err(DecodeError::TooLong(length)));
    }
}

#[test]
fn a_message_cut_anywhere_is_not_whole() {
    for message in one_of_each() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            let decoded = message.place().decode(&bytes[..end]);
            assert_eq!(decoded, Err(DecodeError::Incomplete), "{message:?} cut at {end}");
        }
    }
}

#[test]
fn fields_cut_anywhere_under_a_length_that_fits_are_refused_if_a_needed_one_is_hurt() {
    for message in one_of_each() {
        let bytes = message.encode();
        let RawMessage { kind, body, .. } = split_message(&bytes).unwrap();
        for end in 0..body.len() {
            let mut cut = Vec::new();
            super::message(&mut cut, kind, |fields| fields.0 = body[..end].to_vec());
            match message.place().decode(&cut) {
                Err(DecodeError::BadField(_) | DecodeError::Missing(_)) => {}
                Ok(_) => {
                    let left_out = fields(&body[end..]).map(|field| field.unwrap().0);
                    assert!(
                        left_out.into_iter().all(|tag| tag % 2 == 0),
                        "{message:?} cut at {end}"
                    );
                }
                Err(error) => panic!("{message:?} cut at {end}: {error:?}"),
            }
        }
    }
}

#[test]
fn an_unknown_critical_field_is_refused_and_another_one_ignored() {
    for message in one_of_each() {
        let bytes = message.encode();
        let (kind, fields) = taken_apart(&bytes);
        for (tag, expected) in [
            (0x20, Ok(())),
            (0x4000, Ok(())),
            (0x21, Err(DecodeError::UnknownCritical(0x21))),
            (0x4001, Err(DecodeError::UnknownCritical(0x4001))),
        ] {
            let more = [fields.as_slice(), &[(tag, b"later")]].concat();
            let decoded = message.place().decode(&by_hand(kind, &more));
            assert_eq!(decoded.map(|(decoded, _)| assert_eq!(decoded, message)), expected);
        }
    }
}

#[test]
fn tags_that_stand_twice_or_out_of_order_are_refused() {
    for message in one_of_each() {
        let bytes = message.encode();
        let (kind, fields) = taken_apart(&bytes);
        for index in 0..fields.len() {
            let mut twice = fields.clone();
            twice.insert(index, fields[index]);
            let decoded = message.place().decode(&by_hand(kind, &twice));
            assert_eq!(
                decoded,
                Err(DecodeError::FieldOrder(fields[index].0)),
                "{message:?}"
            );
            if index > 0 {
                let mut swapped = fields.clone();
                swapped.swap(index - 1, index);
                let decoded = message.place().decode(&by_hand(kind, &swapped));
                assert_eq!(
                    decoded,
                    Err(DecodeError::FieldOrder(fields[index - 1].0)),
                    "{message:?}"
                );
            }
        }
    }
}

#[test]
fn a_needed_field_that_is_missing_is_named() {
    for message in one_of_each() {
        let bytes = message.encode();
        let (kind, fields) = taken_apart(&bytes);
        for (index, (tag, _)) in fields.iter().enumerate() {
            let mut fewer = fields.clone();
            fewer.remove(index);
            let decoded = message.place().decode(&by_hand(kind, &fewer));
            match (kind, *tag) {
                (TYPE_REPLY, REPLY_DETAIL)
                | (TYPE_HELLO, HELLO_SOFTWARE | HELLO_UPTIME)
                | (TYPE_OTHERS, OTHERS_NAMES | OTHERS_SAME_NAME)
                | (TYPE_OPEN, OPEN_TRACE) => assert!(decoded.is_ok()),
                // Whichever form of host is missing, the first one stands for all.
                (TYPE_OPEN, OPEN_V4 | OPEN_V6) => assert_eq!(decoded, Err(DecodeError::Missing(OPEN_NAME))),
                (_, tag) => assert_eq!(decoded, Err(DecodeError::Missing(tag)), "{message:?}"),
            }
        }
    }
}

#[test]
fn a_value_of_another_size_is_refused() {
    for message in one_of_each() {
        let bytes = message.encode();
        let (kind, fields) = taken_apart(&bytes);
        for (index, (tag, value)) in fields.iter().enumerate() {
            if matches!((kind, *tag), (TYPE_OPEN, OPEN_NAME) | (_, 2)) {
                continue;
            }
            let longer = [value, b"\0".as_slice()].concat();
            for value in [&longer, &value[..value.len() - 1], b""] {
                let mut changed = fields.clone();
                changed[index] = (*tag, value);
                let decoded = message.place().decode(&by_hand(kind, &changed));
                assert_eq!(
                    decoded,
                    Err(DecodeError::BadField(*tag)),
                    "{message:?}: {value:?}"
                );
            }
        }
    }
}

fn open_to(name: &[u8]) -> Result<String, DecodeError> {
    let fields = [
        (OPEN_KIND, b"\x01".as_slice()),
        (OPEN_NAME, name),
        (OPEN_PORT, b"\x07"),
        (OPEN_WINDOW, b"\0"),
    ];
    let (message, _) = Place::Open.decode(&by_hand(TYPE_OPEN, &fields))?;
    let Message::Open(open) = message else {
        unreachable!("an open was decoded")
    };
    Ok(open.target.host.to_string())
}

#[test]
fn a_name_may_have_253_bytes_and_none_more() {
    let name = |length: usize| ["a".repeat(63).as_str(), "."].concat().repeat(4)[..length].to_owned();
    assert_eq!(open_to(name(253).as_bytes()).as_deref(), Ok(name(253).as_str()));
    for length in [254, 255, 256] {
        assert_eq!(
            open_to(name(length).as_bytes()),
            Err(DecodeError::BadField(OPEN_NAME)),
            "{length}"
        );
    }
    assert_eq!(
        open_to(&vec![b'a'; 10_000]),
        Err(DecodeError::BadField(OPEN_NAME))
    );
}

#[test]
fn a_host_in_any_form_but_the_canonical_one_is_refused() {
    for name in [
        "",
        ".",
        "Example.com",
        "EXAMPLE.COM",
        "example.com.",
        "example..com",
        ".example.com",
        "a b",
        "a/b",
        "a:80",
        "user@a",
        "a\0",
        "a\r\nb",
        "bücher.example",
        "ex%61mple.com",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "example.1",
        "example.0x",
        "1.2.3.4.5",
        "256.0.0.1",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "fe80::1%eth0",
        "*",
    ] {
        assert_eq!(
            open_to(name.as_bytes()),
            Err(DecodeError::BadField(OPEN_NAME)),
            "{name:?}"
        );
    }
    assert_eq!(open_to(b"\xff"), Err(DecodeError::BadField(OPEN_NAME)));
    for name in [
        "localhost",
        "example.com",
        "_dmarc.example.com",
        "xn--bcher-kva.example",
        "1.example",
        "a-",
        "0xg",
    ] {
        assert_eq!(open_to(name.as_bytes()).as_deref(), Ok(name));
    }
}

#[test]
fn a_second_host_is_refused_whatever_its_form() {
    let hosts: [(u64, &[u8]); 3] = [(OPEN_NAME, b"a"), (OPEN_V4, &[8; 4]), (OPEN_V6, &[8; 16])];
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let fields = [
            (OPEN_KIND, [1].as_slice()),
            hosts[first],
            hosts[second],
            (OPEN_PORT, &[7]),
            (OPEN_WINDOW, &[0]),
        ];
        let decoded = Place::Open.decode(&by_hand(TYPE_OPEN, &fields));
        assert_eq!(decoded, Err(DecodeError::BadField(hosts[second].0)));
    }
}

#[test]
fn a_port_outside_1_to_65535_is_refused_and_never_wrapped() {
    for port in [
        0,
        65_536,
        65_536 + 80,
        u64::from(u32::MAX) + 1 + 80,
        VarInt::MAX.into_inner(),
    ] {
        let mut value = Vec::new();
        put_varint(&mut value, port);
        let fields = [
            (OPEN_KIND, [1].as_slice()),
            (OPEN_V4, &[8; 4]),
            (OPEN_PORT, &value),
            (OPEN_WINDOW, &[0]),
        ];
        let decoded = Place::Open.decode(&by_hand(TYPE_OPEN, &fields));
        assert_eq!(decoded, Err(DecodeError::UnknownValue(OPEN_PORT, port)));
    }
}

fn detail_of(message: &Message) -> String {
    let Ok((Message::Reply(reply), _)) = Place::Reply.decode(&message.encode()) else {
        panic!("{message:?} does not come back")
    };
    reply.detail
}

#[test]
fn a_long_detail_is_cut_at_a_character_and_a_longer_one_than_that_refused() {
    let reply = |detail: &str| Message::Reply(Reply::refusal(ReplyCode::Internal, detail));
    let fits = "x".repeat(MAX_DETAIL);
    assert_eq!(detail_of(&reply(&fits)), fits);
    assert_eq!(detail_of(&reply(&format!("{fits}x"))), fits);
    // A character of 2, 3 and 4 bytes across the limit, at each of its bytes.
    for char in ["é", "€", "𝄞"] {
        for before in MAX_DETAIL - char.len() + 1..MAX_DETAIL {
            let short = "x".repeat(before);
            assert_eq!(
                detail_of(&reply(&format!("{short}{char}"))),
                short,
                "{char} at {before}"
            );
        }
    }
    let fields = [
        (REPLY_CODE, b"\x01".as_slice()),
        (REPLY_DETAIL, &[b'x'; MAX_DETAIL + 1]),
        (REPLY_WINDOW, b"\0"),
    ];
    let decoded = Place::Reply.decode(&by_hand(TYPE_REPLY, &fields));
    assert_eq!(decoded, Err(DecodeError::BadField(REPLY_DETAIL)));
}

#[test]
fn a_long_software_name_is_cut_and_a_longer_one_refused() {
    let hello = Message::Control(Control::Hello(Hello {
        instance: 1,
        software: format!("{}é", "x".repeat(MAX_SOFTWARE - 1)),
        max_sessions: 0,
        uptime: Duration::ZERO,
    }));
    let Ok((Message::Control(Control::Hello(decoded)), _)) = Place::Control.decode(&hello.encode()) else {
        panic!("a hello comes back")
    };
    assert_eq!(decoded.software, "x".repeat(MAX_SOFTWARE - 1));
    let fields = [
        (1, [0; 8].as_slice()),
        (HELLO_SOFTWARE, &[b'x'; MAX_SOFTWARE + 1]),
        (HELLO_MAX_SESSIONS, &[0]),
    ];
    let decoded = Place::Control.decode(&by_hand(TYPE_HELLO, &fields));
    assert_eq!(decoded, Err(DecodeError::BadField(HELLO_SOFTWARE)));
}

#[test]
fn regression_texts_of_a_peer_are_plain_once_they_are_read() {
    let evil = "no\n2026-11-28 INFO forged\u{1b}[2J\u{9b}m\u{2028}\u{202e}";
    let shown = "no?2026-11-28 INFO forged?[2J?m??";
    assert_eq!(
        detail_of(&Message::Reply(Reply::refusal(ReplyCode::Internal, evil))),
        shown
    );
    let hello = Message::Control(Control::Hello(Hello {
        instance: 1,
        software: evil.into(),
        max_sessions: 0,
        uptime: Duration::ZERO,
    }));
    let Ok((Message::Control(Control::Hello(decoded)), _)) = Place::Control.decode(&hello.encode()) else {
        panic!("a hello comes back")
    };
    assert_eq!(decoded.software, shown);
}

#[test]
fn a_number_beyond_what_a_varint_holds_becomes_the_largest() {
    let (stream, limit) = (u64::MAX, VarInt::MAX.into_inner() + 1);
    let decoded = Place::Control.decode(&Message::Control(Control::Credit { stream, limit }).encode());
    let most = VarInt::MAX.into_inner();
    let expected = Control::Credit {
        stream: most,
        limit: most,
    };
    assert_eq!(
        decoded.map(|(message, _)| message),
        Ok(Message::Control(expected))
    );
    let deadline = Duration::MAX;
    let decoded = Place::Control.decode(&Message::Control(Control::Drain { deadline }).encode());
    let deadline = Duration::from_millis(most);
    assert_eq!(
        decoded.map(|(message, _)| message),
        Ok(Message::Control(Control::Drain { deadline }))
    );
}

#[test]
fn only_an_even_type_behind_the_known_ones_is_ignored_and_only_on_a_control_stream() {
    for kind in 0..0x100 {
        let bytes = by_hand(kind, &[]);
        for place in Place::ALL {
            let known = match place {
                Place::Open => kind == TYPE_OPEN,
                Place::Reply => kind == TYPE_REPLY,
                Place::Control => matches!(
                    kind,
                    TYPE_HELLO | TYPE_DRAIN | TYPE_GOODBYE | TYPE_CREDIT | TYPE_ABORT | TYPE_OTHERS
                ),
            };
            let decoded = place.decode(&bytes).map(|(message, _)| message);
            if place == Place::Control && kind > TYPE_LAST && kind % 2 == 0 {
                assert_eq!(decoded, Ok(Message::Control(Control::Unknown)), "{kind:#x}");
            } else if !known {
                assert_eq!(
                    decoded,
                    Err(DecodeError::UnexpectedType(kind)),
                    "{place:?} {kind:#x}"
                );
            }
        }
    }
}

#[test]
fn names_that_do_not_fit_are_left_out_and_counted_all_the_same() {
    let names: Vec<_> = (0..100)
        .map(|number| format!("{}{number:03}", "n".repeat(60)))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let others = Message::Control(Control::Others(others(100, &names)));
    let Ok((Message::Control(Control::Others(decoded)), _)) = Place::Control.decode(&others.encode()) else {
        panic!("the others come back")
    };
    assert_eq!((decoded.count, decoded.names.len()), (100, MAX_NAMES / 64));
    for names in [&b""[..], b" ", b"a  b", b"A", b"a b "] {
        let fields = [(OTHERS_COUNT, &b"\x01"[..]), (OTHERS_NAMES, names)];
        let decoded = Place::Control.decode(&by_hand(TYPE_OTHERS, &fields));
        assert_eq!(decoded, Err(DecodeError::BadField(OTHERS_NAMES)), "{names:?}");
    }
}
