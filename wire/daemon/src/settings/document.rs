//! A configuration file, read by its schema: which keys it sets, or where it goes wrong.

use super::check::{BadValue, check_records, key_steps, lookup, unquoted};
use super::error::{SettingsError, hint, nearest};
use super::origin::Origin;
use super::place::{self, Aim, Step};
use super::quoting::{self, Oddity};
use super::wording::plain;
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
    /// The keys that the file sets, those without a value left out; each value in the form that its key has. What a
    /// person should know of it goes to `warnings`.
    pub(super) fn parse(&self, warnings: &mut Vec<String>) -> Result<Mapping, SettingsError> {
        let (fault, leaves) = (RefCell::new(None), RefCell::default());
        let top = Section {
            path: String::new(),
            schema: self.schema,
            fault: &fault,
            leaves: &leaves,
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
        for path in leaves.take() {
            self.look_at(&path, lookup(&tree, &path).is_some(), warnings)?;
        }
        Ok(tree)
    }

    /// Whether the line of a key says what its author means.
    fn look_at(&self, path: &str, read: bool, warnings: &mut Vec<String>) -> Result<(), SettingsError> {
        let Some(key) = self.schema.key(path) else {
            return Ok(());
        };
        let (number, column) = place::find(self.text, &key_steps(path), Aim::Key);
        let line = self.line(number);
        // In flow style a line may hold several keys: what stands on it is not this one's alone.
        let name = path.rsplit('.').next().unwrap_or(path);
        if quoting::entry(line).is_none_or(|(found, _)| found != name) {
            return Ok(());
        }
        let refused = |message| SettingsError::Value {
            origin: self.at((number, column)),
            message,
        };
        if matches!(key.form, Form::Text | Form::Secret) && quoting::is_swallowed(line) {
            let advice = quoting::advice(line).unwrap_or_default();
            return Err(refused(format!("{path}: {advice}")));
        }
        match (quoting::oddity(line, read), key.form) {
            (Some(Oddity::Nothing(said)), Form::Secret) => return Err(refused(format!("{path}: {said}"))),
            (Some(Oddity::Comment(said)), Form::Secret) | (Some(Oddity::Nothing(said)), Form::Text) => {
                warnings.push(format!("{}: {path}: {said}", self.at((number, column))));
            }
            _ => {}
        }
        Ok(())
    }

    fn line(&self, number: usize) -> &str {
        self.text
            .lines()
            .nth(number.saturating_sub(1))
            .unwrap_or_default()
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
            Some(Fault::Twice(path)) => {
                let (first, _) = place::find(self.text, &key_steps(&path), Aim::Key);
                let name = path.rsplit('.').next().unwrap_or(&path);
                let message = format!(
                    "`{name}` is here for the second time (the first is in line {first}); keep one of the two"
                );
                SettingsError::Value { origin, message }
            }
            None => {
                let mut message = error.to_string();
                if let Some(at) = location {
                    // The library repeats the place in its message.
                    let place = format!(" at line {} column {}", at.line(), at.column());
                    message = message.replacen(&place, "", 1);
                    // What the parser understood is no matter of how it is written, but for a text that it took for a list.
                    let understood = ["invalid type: ", "invalid value: "]
                        .iter()
                        .any(|kind| message.contains(kind));
                    let understood = understood && !message.ends_with("expected a string");
                    if let Some(advice) = self.advice(at.line(), at.column()).filter(|_| !understood) {
                        message = format!("{}; {advice}", plain(&message));
                    }
                }
                if let Some((number, column, message)) = quoting::outdent(self.text) {
                    let origin = self.at((number, column));
                    return SettingsError::Value { origin, message };
                }
                let message = plain(&message);
                SettingsError::Value { origin, message }
            }
        }
    }

    /// What to do about a line that the parser does not understand.
    fn advice(&self, number: usize, column: usize) -> Option<String> {
        let line = self.line(number);
        if line.chars().nth(column.saturating_sub(1)) == Some('\t') {
            return Some("indent with spaces, not tabs".into());
        }
        let before = self.text.lines().take(number).collect::<Vec<_>>();
        // Where the text ends too early, the cause is a line above.
        let culprit = before.iter().rev().find(|line| !line.trim().is_empty());
        quoting::indentation(self.text, number)
            .or_else(|| quoting::advice(culprit.unwrap_or(&line)))
            .or_else(|| quoting::advice_at(line, column))
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
    /// The key with all its sections.
    Twice(String),
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
    /// The keys that were seen, with or without a value.
    leaves: &'a RefCell<Vec<String>>,
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

    fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        }
    }

    fn entry(&self, name: &str) -> Result<Entry, Fault> {
        let path = self.path_of(name);
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
        let other = self.schema.other;
        if self.path.is_empty()
            && let Some(other) = other.filter(|other| other.sections.contains(&name))
        {
            return Err(Fault::Refused(format!(
                "`{name}` is a key of {}, and this is {}: give each program its own file (-c)",
                other.program, self.schema.program
            )));
        }
        if !self.path.is_empty() && self.schema.key(name).is_some() {
            return Err(Fault::Refused(format!(
                "unknown key `{name}` in `{}`; `{name}` belongs to no section: write it without indentation",
                self.path
            )));
        }
        let elsewhere = self.schema.keys.iter().filter_map(|key| {
            let section = key.path.strip_suffix(name)?.strip_suffix('.')?;
            Some((key.path, section))
        });
        let elsewhere: Vec<_> = elsewhere.take(3).collect();
        if let Some((_, section)) = elsewhere.first() {
            let paths: Vec<_> = elsewhere.iter().map(|(path, _)| format!("`{path}`")).collect();
            return Err(Fault::Refused(format!(
                "unknown key `{name}`{}; did you mean {}? Write it below its section, such as `{section}:`, and indented \
                 by two spaces",
                hint(&self.path, None),
                paths.join(" or "),
            )));
        }
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
                        leaves: self.leaves,
                    })?;
                    Value::Mapping(inner)
                }
                Entry::Leaf(form @ (Form::Text | Form::Secret)) => {
                    let text = map.next_value_seed(Scalar)?;
                    text.map_or(Value::Null, |text| Value::String(form.trimmed(&text).to_owned()))
                }
                Entry::Leaf(Form::Yaml | Form::Records(_)) => unquoted(map.next_value()?),
            };
            if self.schema.key(&self.path_of(&name)).is_some() {
                self.leaves.borrow_mut().push(self.path_of(&name));
            }
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
            return Err(self.section.refuse(Fault::Twice(self.section.path_of(name))));
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
