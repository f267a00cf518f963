//! Where a value stands in a YAML text.
//!
//! The library keeps no places of values, but tells the place of an error. So the text is read up to the value that
//! is looked for, which is then refused: the place is the parser's own, whatever style the text is written in.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::{Path, Segment};
use std::fmt::{self, Write};

/// One step down a tree of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The steps to where a deserializer failed, as far down as they are values of the text.
pub(super) fn steps(path: &Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().map_while(step).collect()
}

/// Steps as people write them: `policy.allow[0].ports`.
pub(super) fn shown(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Key(name) if text.is_empty() => write!(text, "{name}"),
            Step::Key(name) => write!(text, ".{name}"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

/// What the place of a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Where the last step's value begins.
    Value,
    /// Where the last step's key begins.
    Key,
}

/// Line and column, from 1, of the value at `steps`, or of the last value on the way to it.
pub(super) fn find(text: &str, steps: &[Step], aim: Aim) -> (usize, usize) {
    let refused = Probe { steps, aim }.deserialize(serde_yaml::Deserializer::from_str(text));
    refused
        .err()
        .as_ref()
        .and_then(serde_yaml::Error::location)
        .map_or((1, 1), |at| (at.line(), at.column()))
}

/// Goes down the steps and refuses what it finds at the end; never succeeds.
#[derive(Clone, Copy)]
struct Probe<'a> {
    steps: &'a [Step],
    aim: Aim,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        let refuse = rest.is_empty() && self.aim == Aim::Key;
        while let Some(found) = map.next_key_seed(Name { wanted, refuse })? {
            if found {
                return map.next_value_seed(Probe { steps: rest, ..self });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom(FOUND))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        for _ in 0..*wanted {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(Probe { steps: rest, ..self })?;
        Err(A::Error::custom(FOUND))
    }
}

/// Compares a key; refuses the wanted one where its own place is looked for.
struct Name<'a> {
    wanted: &'a str,
    refuse: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        match name == self.wanted {
            true if self.refuse => Err(E::custom(FOUND)),
            found => Ok(found),
        }
    }
}

const FOUND: &str = "the value that was looked for";
