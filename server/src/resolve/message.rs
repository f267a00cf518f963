//! One question for one family of addresses, and its answer, as they are on the wire (RFC 1035 §4). Pure.
//!
//! An answer counts only where its number and its question are those that were asked, and an address only where a chain
//! of CNAMEs leads from the asked name to it.

use super::{Family, Fault};
use hickory_resolver::proto::op::{Edns, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record};
use std::net::IpAddr;
use std::time::Duration;

/// A question for the addresses of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    id: u16,
    name: Name,
    family: Family,
}

/// What a name server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has these addresses, at least one.
    Addresses(Vec<IpAddr>),
    /// It is there, without an address of this family.
    NoAddress,
    /// It does not exist.
    NoName,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What it says.
    pub(super) said: Said,
    /// For how long; nothing where it does not say so.
    pub(super) lasts: Option<Duration>,
    /// It did not fit (RFC 1035 §4.1.1): there may be more.
    pub(super) cut: bool,
}

/// Whether a question says that it understands EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extensions {
    /// It does not: every name server understands that.
    Without,
    /// It does, and takes larger answers.
    With,
}

impl Question {
    /// Asks for a name, which is absolute; nothing where it is longer than names can be.
    pub(super) fn new(name: &str, family: Family) -> Option<Self> {
        // As bytes: a resolver has no say in which letters a name may have (RFC 2181 §11).
        let name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
        Some(Self {
            id: rand::random(),
            name,
            family,
        })
    }

    /// The bytes of it.
    pub(super) fn packet(&self, extensions: Extensions) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = self.id;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.family.record_type()));
        if extensions == Extensions::With {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_DATAGRAM);
            message.set_edns(edns);
        }
        // What was made of a name that fits always fits.
        message.to_vec().unwrap_or_default()
    }

    /// Reads what came; `None` where it answers something else, and whoever waits should go on waiting.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Result<Answer, Fault>> {
        let [a, b, flags, ..] = bytes else { return None };
        if u16::from_be_bytes([*a, *b]) != self.id || flags & IS_ANSWER == 0 {
            return None;
        }
        let cut = flags & IS_CUT != 0;
        let Ok(message) = Message::from_vec(bytes) else {
            // Some name servers cut an answer in the middle of a record.
            return Some(if cut {
                Ok(Answer::cut())
            } else {
                Err(Fault::Failed)
            });
        };
        let code = message.metadata.response_code;
        let asked = message.queries.first().map(|query| {
            query.query_type() == self.family.record_type()
                && query.name().to_lowercase() == self.name.to_lowercase()
        });
        match asked {
            Some(true) => {}
            // A name server that did not understand the question may leave it away.
            None if code != ResponseCode::NoError && code != ResponseCode::NXDomain => {}
            None | Some(false) => return None,
        }
        Some(match code {
            ResponseCode::NoError => self.found(&message, cut),
            ResponseCode::NXDomain => Ok(Answer {
                said: Said::NoName,
                lasts: denied_for(&message),
                cut: false,
            }),
            ResponseCode::Refused => Err(Fault::Refused),
            _ => Err(Fault::Failed),
        })
    }

    fn found(&self, message: &Message, cut: bool) -> Result<Answer, Fault> {
        let mut name = self.name.to_lowercase();
        let mut lasts = u32::MAX;
        for _ in 0..LONGEST_CHAIN {
            let next = of(message, &name).find_map(|record| match &record.data {
                RData::CNAME(next) => Some((next.0.to_lowercase(), record.ttl)),
                _ => None,
            });
            let Some((next, ttl)) = next else { break };
            (name, lasts) = (next, lasts.min(ttl));
        }
        let mut addresses = Vec::new();
        for record in of(message, &name) {
            let address: IpAddr = match (&record.data, self.family) {
                (RData::A(address), Family::V4) => address.0.into(),
                (RData::AAAA(address), Family::V6) => address.0.into(),
                _ => continue,
            };
            lasts = lasts.min(record.ttl);
            if addresses.len() < MOST_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if !addresses.is_empty() {
            return Ok(Answer {
                said: Said::Addresses(addresses),
                lasts: Some(Duration::from_secs(lasts.into())),
                cut,
            });
        }
        let soa = |record: &Record| matches!(record.data, RData::SOA(_));
        let knows = message.metadata.authoritative || message.metadata.recursion_available;
        if !knows && message.answers.is_empty() && !message.authorities.iter().any(soa) {
            // A referral: it neither knows nor asks others.
            return Err(Fault::Failed);
        }
        Ok(Answer {
            said: Said::NoAddress,
            lasts: denied_for(message),
            cut,
        })
    }
}

impl Answer {
    /// One of which nothing is left.
    const fn cut() -> Self {
        Self {
            said: Said::NoAddress,
            lasts: None,
            cut: true,
        }
    }
}

fn of<'a>(message: &'a Message, name: &'a Name) -> impl Iterator<Item = &'a Record> {
    let answers = message.answers.iter();
    answers.filter(move |record| record.name.to_lowercase() == *name)
}

/// RFC 2308 §5.
fn denied_for(message: &Message) -> Option<Duration> {
    message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(Duration::from_secs(soa.minimum.min(record.ttl).into())),
        _ => None,
    })
}

/// In the third byte of a message.
const IS_ANSWER: u8 = 0x80;
const IS_CUT: u8 = 0x02;
/// What passes every path unfragmented (DNS flag day 2020).
const LARGEST_DATAGRAM: u16 = 1232;
/// CNAMEs that are followed inside an answer.
const LONGEST_CHAIN: usize = 16;
/// Addresses of one name that are looked at: all are judged, a few are dialled.
const MOST_ADDRESSES: usize = 256;

#[cfg(test)]
mod tests;
