//! Layered settings: flag over environment over file over default, and where each value came from.
//!
//! A daemon names its keys in a [`Schema`] and its shape in a `Deserialize` struct. Every value is checked by itself,
//! against the defaults of all others, so that an error names its origin: a file with line and column, a variable, a
//! flag. Unknown keys are refused with the nearest known one. A secret shows in no error, rendering or `Debug`.

mod check;
mod document;
mod error;
mod origin;
mod place;
mod quoting;
mod wording;

pub use error::SettingsError;
pub use origin::{Origin, Origins};

use crate::secret::Secret;
use check::{check, check_place, check_records, defaults, insert, key_steps, lookup, unquoted};
use document::Document;
use error::{hint, nearest};
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One key that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Sections and name, joined by dots: `server.address`.
    pub path: &'static str,
    /// How its value is written.
    pub form: Form,
    /// What holds where nobody sets it, as it would be written in a variable; empty for nothing.
    pub default: &'static str,
    /// What it is for, in a phrase.
    pub help: &'static str,
}

/// How a value is written, and how the typed struct receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One text, received as a string: `1.5`, `true` and `0x1f` stay what was written.
    Text,
    /// One text, received as a string and never shown.
    Secret,
    /// Any YAML value: numbers, booleans, lists of them. In a variable or flag, in flow style.
    Yaml,
    /// A list of mappings with these keys. In a variable or flag, in flow style.
    Records(&'static [&'static str]),
}

/// The keys of a daemon.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The daemon's program.
    pub program: &'static str,
    /// Every key.
    pub keys: &'static [Key],
    /// The daemon at the other end, whose file may be taken for this one's.
    pub other: Option<Other>,
}

/// Another daemon, told by what only its file has.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    /// Its program.
    pub program: &'static str,
    /// Keys and sections at the top that it has and this one has not.
    pub sections: &'static [&'static str],
}

/// Settings in the making, layer by layer.
#[derive(Debug)]
pub struct Layers {
    schema: Schema,
    file: Option<(PathBuf, Secret)>,
    overrides: Vec<Override>,
    flags: BTreeMap<&'static str, String>,
    warnings: Vec<String>,
}

/// Settings, and where each came from.
#[derive(Debug)]
pub struct Resolved<T> {
    /// The typed settings, with the schema's defaults in.
    pub value: T,
    /// Where each key came from.
    pub origins: Origins,
    /// What a person should know, though it is no error.
    pub warnings: Vec<String>,
}

impl Schema {
    /// A Markdown table of every key, its default, its variable and its purpose, for the manual.
    pub fn markdown(&self) -> String {
        let mut table = String::from("| Key | Default | Variable | What it is for |\n|---|---|---|---|\n");
        for key in self.keys {
            let default = match key.default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| `{}` | {default} | `{}` | {} |",
                key.path,
                variable(key.path),
                key.help
            );
        }
        table
    }

    fn key(&self, path: &str) -> Option<Key> {
        self.keys.iter().find(|key| key.path == path).copied()
    }
}

impl Layers {
    /// No layer yet but the defaults.
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            file: None,
            overrides: Vec::new(),
            flags: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a file; without a path, none.
    pub fn file(mut self, path: Option<&Path>) -> Result<Self, SettingsError> {
        if let Some(path) = path.map(origin::at_home) {
            let text = read(&path)?;
            self.file = Some((path, text));
        }
        Ok(self)
    }

    /// Adds the variables that begin with `FLUIDITY_`, as from [`std::env::vars_os`] (`vars` panics on bytes that
    /// are no text), but for [`SCRIPT_VARIABLES`] and what begins like one. An empty variable sets nothing.
    pub fn env<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let names: Vec<_> = self.schema.keys.iter().map(|key| variable(key.path)).collect();
        for (name, value) in variables {
            let Ok(name) = name.into().into_string() else {
                continue;
            };
            if !name.starts_with(PREFIX) {
                continue;
            }
            let value = value.into();
            if let Some((key, _)) = self
                .schema
                .keys
                .iter()
                .zip(&names)
                .find(|(_, known)| **known == name)
            {
                let text = value
                    .into_string()
                    .ok()
                    .map(|text| Secret::new(key.form.unwrapped(&text)));
                if let Some(text) = &text
                    && key.form == Form::Secret
                    && !key.path.ends_with("-pem")
                    && in_quotes(text.expose()).is_some()
                {
                    self.warnings.push(format!(
                        "the quotes around the value of ${name} are taken as part of it; leave them out if they are not \
                         (docker's --env-file keeps them)"
                    ));
                }
                // One that is no text is not empty.
                if text.as_ref().is_none_or(|text| !text.expose().is_empty()) {
                    self.overrides.push(Override {
                        key: *key,
                        origin: Origin::Env(name),
                        text,
                    });
                }
            } else if !SCRIPT_VARIABLES.iter().any(|known| name.starts_with(known)) {
                let nearest = nearest(&name, names.iter().map(String::as_str));
                let of_other = self.schema.other.filter(|other| {
                    let is_its = |section: &&str| name.starts_with(&variable(section));
                    nearest.is_none() && other.sections.iter().any(is_its)
                });
                let hint = match of_other {
                    Some(other) => format!("; it is one of {}", other.program),
                    None => hint("", nearest.as_deref()),
                };
                self.warnings
                    .push(format!("${name} is no setting of this daemon{hint}"));
            }
        }
        self
    }

    /// Says which flag sets a key, and its value where it was given.
    pub fn flag(mut self, path: &str, name: &str, value: Option<String>) -> Self {
        let key = self.schema.key(path);
        debug_assert!(key.is_some(), "the flag {name} sets {path}, which is no key");
        let Some(key) = key else { return self };
        self.flags.insert(key.path, name.to_owned());
        if let Some(value) = value {
            let text = Some(Secret::new(key.form.trimmed(&value)));
            self.overrides.push(Override {
                key,
                origin: Origin::Flag(name.to_owned()),
                text,
            });
        }
        self
    }

    /// Checks every value and lays the layers over one another.
    pub fn resolve<T: DeserializeOwned>(mut self) -> Result<Resolved<T>, SettingsError> {
        let defaults = defaults(self.schema)?;
        let mut tree = defaults.clone();
        let mut origins = Origins::new(self.schema, self.flags);
        if let Some((path, text)) = &self.file {
            let document = Document {
                path,
                text: text.expose(),
                schema: self.schema,
            };
            let set = document.parse(&mut self.warnings)?;
            for key in self.schema.keys {
                let Some(value) = lookup(&set, key.path) else {
                    continue;
                };
                check_place(self.schema, *key, value)
                    .and_then(|()| check::<T>(&defaults, *key, value))
                    .map_err(|bad| document.bad_value(&bad))?;
                origins.insert(*key, document.origin(&key_steps(key.path)), value);
                insert(&mut tree, key.path, value.clone());
            }
            origins.file = Some(path.clone());
        }
        // Flags come after variables, whatever order they were added in.
        let mut overrides = self.overrides;
        overrides.sort_by_key(|set| matches!(set.origin, Origin::Flag(_)));
        for Override { key, origin, text } in overrides {
            let error = |message| SettingsError::Value {
                origin: origin.clone(),
                message,
            };
            let text = text.ok_or_else(|| error("the value is not UTF-8 text".into()))?;
            let value = key
                .form
                .read(text.expose())
                .map_err(|source| error(wording::plain(&source.to_string())))?;
            let value = match key.form {
                Form::Yaml => unquoted(value),
                _ => value,
            };
            check_place(self.schema, key, &value).map_err(|bad| error(bad.to_string()))?;
            check_records(key, &value).map_err(|bad| bad.at(origin.clone()))?;
            check::<T>(&defaults, key, &value).map_err(|bad| error(bad.to_string()))?;
            origins.insert(key, origin, &value);
            insert(&mut tree, key.path, value);
        }
        // Every value is in order by itself: what is wrong now is that something is missing, or does not go together.
        let value = serde_path_to_error::deserialize(Value::Mapping(tree))
            .map_err(|error| SettingsError::Together(error.to_string()))?;
        Ok(Resolved {
            value,
            origins,
            warnings: self.warnings,
        })
    }
}

/// The environment variable of a key: `server.address` is `FLUIDITY_SERVER_ADDRESS`.
pub fn variable(path: &str) -> String {
    PREFIX.to_owned() + &path.replace(['.', '-'], "_").to_uppercase()
}

/// A value from a variable or flag; one that is not UTF-8 has no text.
#[derive(Debug)]
struct Override {
    key: Key,
    origin: Origin,
    text: Option<Secret>,
}

impl Form {
    /// A value without what its way into a file or a variable put around it: a text has no white space at its ends, a
    /// secret no line break at its own.
    fn trimmed(self, text: &str) -> &str {
        match self {
            Self::Text => text.trim(),
            Self::Secret => text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']),
            Self::Yaml | Self::Records(_) => text,
        }
    }

    /// The same of a variable: there, quotes around a text are none of it.
    fn unwrapped(self, text: &str) -> &str {
        let text = self.trimmed(text);
        match self {
            Self::Text => in_quotes(text).unwrap_or(text),
            _ => text,
        }
    }

    fn read(self, text: &str) -> Result<Value, serde_yaml::Error> {
        match self {
            Self::Text | Self::Secret => Ok(Value::String(text.to_owned())),
            Self::Yaml | Self::Records(_) => serde_yaml::from_str(text),
        }
    }
}

/// What stands between the quotes around a text.
fn in_quotes(text: &str) -> Option<&str> {
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn read(path: &Path) -> Result<Secret, SettingsError> {
    let error = |source| SettingsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(error)?;
    let mut bytes = Vec::new();
    let length = file
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(error)?;
    if u64::try_from(length).is_ok_and(|length| length > LARGEST_FILE) {
        return Err(SettingsError::TooLong(path.to_owned()));
    }
    // Some editors begin a text with a byte order mark, which the parser takes for a document of its own.
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    String::from_utf8(bytes).map(Secret::new).map_err(|error| {
        let text = String::from_utf8_lossy(
            error
                .as_bytes()
                .get(..error.utf8_error().valid_up_to())
                .unwrap_or_default(),
        );
        let utf16 = matches!(error.as_bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        let column = text.chars().rev().take_while(|char| *char != '\n').count() + 1;
        let origin = Origin::File {
            path: path.to_owned(),
            line: text.matches('\n').count() + 1,
            column,
        };
        SettingsError::Value {
            origin,
            message: match utf16 {
                true => "the file is UTF-16 text; save it as UTF-8 (Notepad: Encoding; PowerShell: -Encoding utf8)".into(),
                false => "the file is not UTF-8 text; save it as UTF-8".into(),
            },
        }
    })
}

/// Variables of the project's own scripts, tests and command lines: no settings, and no typos either.
pub const SCRIPT_VARIABLES: &[&str] = &[
    "FLUIDITY_ALLOW_SKIP",
    "FLUIDITY_BIN_DIR",
    "FLUIDITY_CACHE",
    "FLUIDITY_CONFIG",
    "FLUIDITY_PROFILE",
    "FLUIDITY_STATE",
    "FLUIDITY_TEST",
];

const PREFIX: &str = "FLUIDITY_";
const LARGEST_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
