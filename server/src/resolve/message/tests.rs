//! Answers, good and bad.

use super::*;
use hickory_resolver::proto::op::{MessageType, OpCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SOA};

const ONE: [u8; 4] = [192, 0, 2, 1];

fn name(text: &str) -> Name {
    Question::new(text, Family::V4).unwrap().name
}

fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(address.into())))
}

fn alias(owner: &str, ttl: u32, to: &str) -> Record {
    Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(to))))
}

/// An answer of these records; `change` makes it what a test needs.
fn answer(question: &Question, records: Vec<Record>, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::new(question.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(Query::query(question.name.clone(), question.family.record_type()));
    message.answers = records;
    change(&mut message);
    message.to_vec().unwrap()
}

fn read(question: &Question, bytes: &[u8]) -> Result<Answer, Fault> {
    question.read(bytes).expect("it is an answer to the question")
}

#[test]
fn a_question_keeps_every_letter_of_a_name() {
    for text in [
        "media_1.example",
        "-a-.b_",
        "_dmarc.a",
        "a+b.c",
        "xn--bcher-kva.example",
    ] {
        let question = Question::new(text, Family::V6).unwrap();
        let asked = Message::from_vec(&question.packet(Extensions::Without)).unwrap();
        assert!(asked.edns.is_none() && asked.metadata.recursion_desired);
        let labels: Vec<_> = asked.queries[0].name().iter().collect();
        assert_eq!(labels.join(&b'.'), text.as_bytes());
        let with = Message::from_vec(&question.packet(Extensions::With)).unwrap();
        assert_eq!(with.edns.unwrap().max_payload(), LARGEST_DATAGRAM);
    }
    assert_eq!(Question::new(&"a".repeat(64), Family::V4), None);
    assert_eq!(Question::new(&"a.".repeat(130), Family::V4), None);
}

#[test]
fn addresses_are_those_that_a_chain_leads_to_for_as_long_as_all_of_it_lasts() {
    let question = Question::new("WWW.a.example", Family::V4).unwrap();
    let records = vec![
        a("c.example", 300, ONE),
        alias("b.example", 20, "C.example"),
        a("c.example", 200, ONE),
        alias("www.A.example", 600, "b.Example"),
        a("other.example", 5, [192, 0, 2, 9]),
        Record::from_rdata(
            name("c.example"),
            5,
            RData::AAAA(AAAA(std::net::Ipv6Addr::LOCALHOST)),
        ),
    ];
    let read = read(&question, &answer(&question, records, |_| {})).unwrap();
    assert_eq!(read.said, Said::Addresses(vec![ONE.into()]));
    assert_eq!(read.lasts, Some(Duration::from_secs(20)));
}

#[test]
fn a_chain_without_end_leads_nowhere() {
    let question = Question::new("a", Family::V4).unwrap();
    let records = vec![alias("a", 9, "b"), alias("b", 9, "a")];
    let read = read(&question, &answer(&question, records, |_| {})).unwrap();
    assert_eq!(read.said, Said::NoAddress);
}

#[test]
fn only_an_answer_to_this_question_counts() {
    let question = Question::new("a.example", Family::V4).unwrap();
    let records = || vec![a("a.example", 9, ONE)];
    let mut other_number = answer(&question, records(), |_| {});
    other_number[0] ^= 1;
    let other_name = answer(&question, records(), |message| {
        message.queries = vec![Query::query(name("b.example"), Family::V4.record_type())];
    });
    let other_family = answer(&question, records(), |message| {
        message.queries = vec![Query::query(name("a.example"), Family::V6.record_type())];
    });
    let no_question = answer(&question, records(), |message| message.queries.clear());
    let a_question = question.packet(Extensions::Without);
    for (what, bytes) in [
        ("another number", other_number),
        ("another name", other_name),
        ("another family", other_family),
        ("no question", no_question),
        ("a question", a_question),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(question.read(&bytes), None, "{what}");
    }
}

#[test]
fn what_a_name_server_cannot_tell_is_no_missing_name() {
    let question = Question::new("a.example", Family::V4).unwrap();
    let coded = |code: ResponseCode| {
        answer(&question, Vec::new(), |message| {
            message.metadata.response_code = code
        })
    };
    for (code, fault) in [
        (ResponseCode::ServFail, Fault::Failed),
        (ResponseCode::FormErr, Fault::Failed),
        (ResponseCode::NotImp, Fault::Failed),
        (ResponseCode::Refused, Fault::Refused),
    ] {
        assert_eq!(read(&question, &coded(code)), Err(fault), "{code}");
    }
    let short = answer(&question, Vec::new(), |message| {
        message.metadata.response_code = ResponseCode::FormErr;
        message.queries.clear();
    });
    assert_eq!(
        read(&question, &short),
        Err(Fault::Failed),
        "without the question"
    );
    let referral = answer(&question, Vec::new(), |message| {
        message.metadata.recursion_available = false
    });
    assert_eq!(read(&question, &referral), Err(Fault::Failed), "it does not know");
    let mut broken = answer(&question, vec![a("a.example", 9, ONE)], |_| {});
    broken.truncate(broken.len() - 2);
    assert_eq!(read(&question, &broken), Err(Fault::Failed));
    broken[2] |= IS_CUT;
    assert_eq!(read(&question, &broken), Ok(Answer::cut()));
}

#[test]
fn what_is_not_there_is_told_apart_and_lasts_as_the_zone_says() {
    let question = Question::new("a.example", Family::V4).unwrap();
    for (code, said) in [
        (ResponseCode::NXDomain, Said::NoName),
        (ResponseCode::NoError, Said::NoAddress),
    ] {
        let bytes = answer(&question, Vec::new(), |message| {
            message.metadata.response_code = code;
            let soa = SOA::new(name("ns.example"), name("admin.example"), 1, 2, 3, 4, 7);
            message.add_authority(Record::from_rdata(name("example"), 900, RData::SOA(soa)));
        });
        let read = read(&question, &bytes).unwrap();
        assert_eq!((read.said, read.lasts), (said, Some(Duration::from_secs(7))));
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let question = Question::new("www.a.example", Family::V4).unwrap();
    let good = answer(
        &question,
        vec![alias("www.a.example", 9, "b"), a("b", 9, ONE)],
        |_| {},
    );
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..rand::random_range(1..4) {
            let at = rand::random_range(2..bytes.len());
            bytes[at] = rand::random();
        }
        bytes.truncate(rand::random_range(0..=bytes.len()));
        let _ = question.read(&bytes);
    }
}
