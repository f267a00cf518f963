//! Whether one value is what its key takes, and the tree of values that keys with dots make.

use super::error::{SettingsError, nearest};
use super::origin::Origin;
use super::place::{self, Step};
use super::wording::plain;
use super::{Form, Key, Schema, variable};
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};
use std::fmt;

/// A value that is not what it should be: the place inside the settings, and what is wrong there.
#[derive(Debug)]
pub(super) struct BadValue {
    pub(super) steps: Vec<Step>,
    message: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place::shown(&self.steps), self.message)
    }
}

/// A key inside a record that no record has.
#[derive(Debug)]
pub(super) struct UnknownField {
    pub(super) record: Vec<Step>,
    pub(super) field: String,
    nearest: Option<String>,
}

impl UnknownField {
    pub(super) fn at(self, origin: Origin) -> SettingsError {
        let section = place::shown(&self.record);
        SettingsError::UnknownKey {
            origin,
            key: self.field,
            section,
            nearest: self.nearest,
        }
    }
}

pub(super) fn defaults(schema: Schema) -> Result<Mapping, SettingsError> {
    let mut tree = Mapping::new();
    for key in schema.keys.iter().filter(|key| !key.default.is_empty()) {
        let value = key.form.read(key.default).map_err(|error| SettingsError::Value {
            origin: Origin::Default,
            message: format!("{}: {error}", key.path),
        })?;
        insert(&mut tree, key.path, value);
    }
    Ok(tree)
}

/// Whether the typed settings take this value, all others at their defaults.
pub(super) fn check<T: DeserializeOwned>(
    defaults: &Mapping,
    key: Key,
    value: &Value,
) -> Result<(), BadValue> {
    let mut tree = defaults.clone();
    insert(&mut tree, key.path, value.clone());
    let Err(error) = serde_path_to_error::deserialize::<_, T>(Value::Mapping(tree)) else {
        return Ok(());
    };
    let steps = place::steps(error.path());
    // What is wrong outside this key (something else is missing, say) is told once all layers are known.
    let own = key_steps(key.path);
    if !steps.starts_with(&own) {
        return Ok(());
    }
    let message = match key.form {
        Form::Secret => "this value cannot be used (it is not shown: it is secret)".into(),
        _ => plain(&error.inner().to_string()),
    };
    Err(BadValue { steps, message })
}

/// A key or certificate where no secret is expected: whoever pasted it there meant another key, and it is not shown.
pub(super) fn check_place(schema: Schema, key: Key, value: &Value) -> Result<(), BadValue> {
    if key.form == Form::Secret || !holds_pem(value) {
        return Ok(());
    }
    let text = format!("{}-pem", key.path);
    let advice = match schema.key(&text) {
        Some(_) => format!(
            "this key names a file; write the text to {text} ({})",
            variable(&text)
        ),
        None => "it does not belong here".into(),
    };
    Err(BadValue {
        steps: key_steps(key.path),
        message: format!(
            "the value is a key or certificate itself (it is not shown: it may be secret): {advice}"
        ),
    })
}

fn holds_pem(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(PEM) || text.starts_with(ENCODED_PEM) || is_bare_pem(text),
        Value::Sequence(values) => values.iter().any(holds_pem),
        Value::Mapping(values) => values
            .iter()
            .any(|(key, value)| holds_pem(key) || holds_pem(value)),
        _ => false,
    }
}

/// Whether it is what stands between the lines of a PEM text: base64 of an ASN.1 sequence, longer than paths are.
fn is_bare_pem(text: &str) -> bool {
    let letters = text
        .bytes()
        .filter(|byte| byte.is_ascii_alphanumeric() || b"+/= \r\n".contains(byte));
    text.starts_with("MI") && text.len() >= LEAST_BARE && letters.count() == text.len()
}

/// How every PEM text begins.
const PEM: &str = "-----BEGIN ";
/// The same in base64.
const ENCODED_PEM: &str = "LS0tLS1CRUdJTi";
/// The shortest private key that is in use has 64 letters.
const LEAST_BARE: usize = 64;

pub(super) fn check_records(key: Key, value: &Value) -> Result<(), UnknownField> {
    let (Form::Records(fields), Value::Sequence(records)) = (key.form, value) else {
        return Ok(());
    };
    for (index, record) in records.iter().enumerate() {
        let names = record
            .as_mapping()
            .into_iter()
            .flat_map(Mapping::keys)
            .filter_map(Value::as_str);
        if let Some(field) = names.into_iter().find(|name| !fields.contains(name)) {
            let mut record = key_steps(key.path);
            record.push(Step::Index(index));
            let nearest = nearest(field, fields.iter().copied());
            return Err(UnknownField {
                record,
                field: field.to_owned(),
                nearest,
            });
        }
    }
    Ok(())
}

/// A number in quotes is the number all the same: what a shell, a template or a habit put there means nothing here.
pub(super) fn unquoted(value: Value) -> Value {
    let number = value
        .as_str()
        .and_then(|text| serde_yaml::from_str::<Value>(text.trim()).ok())
        .filter(Value::is_number);
    number.unwrap_or(value)
}

pub(super) fn key_steps(path: &str) -> Vec<Step> {
    path.split('.').map(|name| Step::Key(name.to_owned())).collect()
}

pub(super) fn lookup<'a>(tree: &'a Mapping, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => tree.get(path),
        Some((section, rest)) => lookup(tree.get(section)?.as_mapping()?, rest),
    }
}

pub(super) fn insert(tree: &mut Mapping, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        tree.insert(Value::String(path.to_owned()), value);
        return;
    };
    let entry = tree
        .entry(Value::String(section.to_owned()))
        .or_insert_with(|| Value::Mapping(Mapping::new()));
    if let Value::Mapping(tree) = entry {
        insert(tree, rest, value);
    }
}
