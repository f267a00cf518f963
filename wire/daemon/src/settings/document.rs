//! A configuration file, read by its schema: which keys it sets, or where it goes wrong.

use super::check::{BadValue, check_records, lookup};
use super::error::{SettingsError, nearest};
use super::origin::Origin;
use super::place::{self, Aim, Step};
use super::{Form, Schema};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The text of a file.
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    pub(super) schema: Schema,
}

impl Document<'_> {
    /// The keys that the file sets, those without a value left out; each value in the form that its key has.
    pub(super) fn parse(&self) -> Result<Mapping, SettingsError> {
        let fault = RefCell::new(None);
        let top = Section {
            path: String::new(),
            schema: self.schema,
            fault: &fault,
        };
        let read = top.deserialize(serde_yaml::Deserializer::from_str(self.text));
        let tree = read.map_err(|error| self.refusal(&error, fault.take()))?;
        for key in self.schema.keys {
            if let Some(Err(bad)) = lookup(&tree, key.path).map(|value| check_records(*key, value)) {
                let mut steps = bad.record.clone();
                steps.push(Step::Key(bad.field.clone()));
                return Err(bad.at(self.at(place::find(self.text, &steps, Aim::Key))));
            }
        }
        Ok(tree)
    }

    /// Where a value stands.
    pub(super) fn origin(&self, steps: &[Step]) -> Origin {
        self.at(place::find(self.text, steps, Aim::Value))
    }

    /// A value that the typed settings refuse.
    pub(super) fn bad_value(&self, bad: &BadValue) -> SettingsError {
        SettingsError::Value {
            origin: self.origin(&bad.steps),
            message: bad.to_string(),
        }
    }

    fn refusal(&self, error: &serde_yaml::Error, fault: Option<Fault>) -> SettingsError {
        let location = error.location();
        let origin = self.at(location.as_ref().map_or((1, 1), |at| (at.line(), at.column())));
        match fault {
            Some(Fault::UnknownKey {
                key,
                section,
                nearest,
            }) => SettingsError::UnknownKey {
                origin,
                key,
                section,
                nearest,
            },
            Some(Fault::Refused(message)) => SettingsError::Value { origin, message },
            None => {
                let mut message = error.to_string();
                if let Some(at) = location {
                    // The library repeats the place in its message.
                    let place = format!(" at line {} column {}", at.line(), at.column());
                    message = message.replacen(&place, "", 1);
                    let rest = self
                        .text
                        .lines()
                        .nth(at.line() - 1)
                        .map(|line| line.chars().skip(at.column() - 1));
                    if rest.is_some_and(|mut rest| rest.next() == Some('\t')) {
                        message.push_str("; indent with spaces, not tabs");
                    }
                }
                SettingsError::Value { origin, message }
            }
        }
    }

    fn at(&self, (line, column): (usize, usize)) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line,
            column,
        }
    }
}

/// What the schema has against a file; the error that carries it through the library tells the place.
enum Fault {
    UnknownKey {
        key: String,
        section: String,
        nearest: Option<String>,
    },
    Refused(String),
}

/// What a key of the file leads to.
enum Entry {
    Section(String),
    Leaf(Form),
}

/// Reads the keys of a section, or of the whole file where the path is empty.
struct Section<'a> {
    path: String,
    schema: Schema,
    fault: &'a RefCell<Option<Fault>>,
}

impl Section<'_> {
    fn refuse<E: Error>(&self, fault: Fault) -> E {
        self.fault.replace(Some(fault));
        E::custom("refused")
    }

    fn not_a_section<E: Error>(&self) -> E {
        self.refuse(Fault::Refused(match self.path.as_str() {
            "" => "a configuration is a list of `key: value` lines".into(),
            path => format!("`{path}` is a section: write its keys below it, indented"),
        }))
    }

    fn entry(&self, name: &str) -> Result<Entry, Fault> {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        if let Some(key) = self.schema.key(&path) {
            return match name.split_once('.') {
                None => Ok(Entry::Leaf(key.form)),
                Some((section, rest)) => Err(Fault::Refused(format!(
                    "`{name}` in one word is no key; write `{section}:` and below it, indented, `{rest}:`"
                ))),
            };
        }
        let inner = format!("{path}.");
        if !name.contains('.') && self.schema.keys.iter().any(|key| key.path.starts_with(&inner)) {
            return Ok(Entry::Section(path));
        }
        let names = self
            .schema
            .keys
            .iter()
            .filter_map(|key| child(&self.path, key.path));
        Err(Fault::UnknownKey {
            key: name.into(),
            section: self.path.clone(),
            nearest: nearest(name, names),
        })
    }
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = Mapping;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Mapping, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = Mapping;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mapping, A::Error> {
        let (mut tree, mut seen) = (Mapping::new(), BTreeSet::new());
        while let Some((name, entry)) = map.next_key_seed(Name {
            section: &self,
            seen: &seen,
        })? {
            let value = match entry {
                Entry::Section(path) => {
                    let inner = map.next_value_seed(Section {
                        path,
                        schema: self.schema,
                        fault: self.fault,
                    })?;
                    Value::Mapping(inner)
                }
                Entry::Leaf(Form::Text | Form::Secret) => {
                    map.next_value_seed(Scalar)?.map_or(Value::Null, Value::String)
                }
                Entry::Leaf(Form::Yaml | Form::Records(_)) => map.next_value()?,
            };
            seen.insert(name.clone());
            if !value.is_null() {
                tree.insert(Value::String(name), value);
            }
        }
        Ok(tree)
    }

    // Neither an empty file nor an empty section sets anything.
    fn visit_unit<E>(self) -> Result<Mapping, E> {
        Ok(Mapping::new())
    }

    fn visit_none<E>(self) -> Result<Mapping, E> {
        Ok(Mapping::new())
    }

    // Spelled out, because the default messages show the value, which may be a misplaced secret.
    fn visit_bool<E: Error>(self, _: bool) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Mapping, E> {
        Err(self.not_a_section())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Mapping, A::Error> {
        Err(self.not_a_section())
    }
}

/// Reads a key of a section: known, and for the first time.
struct Name<'a> {
    section: &'a Section<'a>,
    seen: &'a BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = (String, Entry);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = (String, Entry);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let entry = self
            .section
            .entry(name)
            .map_err(|fault| self.section.refuse(fault))?;
        if self.seen.contains(name) {
            return Err(self
                .section
                .refuse(Fault::Refused(format!("`{name}` is here for the second time"))));
        }
        Ok((name.to_owned(), entry))
    }
}

/// Reads one text as it is written, or nothing.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // A string, to the library, is any scalar as it stands: `1.5` is not made a number of.
        serde::Deserialize::deserialize(deserializer)
    }
}

/// The name below `section` on the way to `path`.
fn child<'a>(section: &str, path: &'a str) -> Option<&'a str> {
    let rest = if section.is_empty() {
        path
    } else {
        path.strip_prefix(section)?.strip_prefix('.')?
    };
    rest.split('.').next()
}
