//! Where each value came from, and how it is shown.

use super::{Form, Key, Schema, SettingsError, variable};
use crate::secret::REDACTED;
use crate::units::within;
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A place in a file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An environment variable.
    Env(String),
    /// A command-line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Where each key came from, and its value as text.
#[derive(Debug)]
pub struct Origins {
    schema: Schema,
    found: BTreeMap<&'static str, (Origin, String)>,
    flags: BTreeMap<&'static str, String>,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
}

impl Origins {
    pub(super) fn new(schema: Schema, flags: BTreeMap<&'static str, String>) -> Self {
        Self {
            schema,
            found: BTreeMap::new(),
            flags,
            file: None,
        }
    }

    pub(super) fn insert(&mut self, key: Key, origin: Origin, value: &Value) {
        self.found.insert(key.path, (origin, shown(key.form, value)));
    }

    /// Where the value of a key came from.
    pub fn of(&self, key: &str) -> Origin {
        self.found
            .get(key)
            .map_or(Origin::Default, |(origin, _)| origin.clone())
    }

    /// An error about the value of a key, with where it came from.
    pub fn error(&self, key: &str, message: impl fmt::Display) -> SettingsError {
        SettingsError::Value {
            origin: self.of(key),
            message: format!("{key}: {message}"),
        }
    }

    /// An error about a key that must be set and is not, with the ways to set it.
    pub fn missing(&self, key: &str) -> SettingsError {
        let flag = self
            .flags
            .get(key)
            .map(|flag| format!("the flag {flag} or "))
            .unwrap_or_default();
        let file = match &self.file {
            Some(path) => format!("set it in {}", path.display()),
            None => {
                "no configuration file was read; give one with -c PATH or the variable FLUIDITY_CONFIG and set it there".into()
            }
        };
        let ways = format!("{file}, or use {flag}the variable {}", variable(key));
        SettingsError::Missing {
            key: key.into(),
            ways,
        }
    }

    /// The value of a key where it is in bounds, else an error with where it came from.
    pub fn within<V: PartialOrd + fmt::Display>(
        &self,
        key: &str,
        value: V,
        bounds: RangeInclusive<V>,
    ) -> Result<V, SettingsError> {
        within(value, bounds).map_err(|error| self.error(key, error))
    }

    /// A path as its author means it: relative to the file where the file sets it, else to the working directory.
    pub fn relative(&self, key: &str, path: &Path) -> PathBuf {
        let path = at_home(path);
        let directory = self.file.as_deref().and_then(Path::parent);
        match (self.found.get(key), directory) {
            (Some((Origin::File { .. }, _)), Some(directory)) => directory.join(path),
            _ => path,
        }
    }

    /// Every key with its value and origin, a line each; secrets redacted.
    pub fn render(&self) -> String {
        let lines = self.schema.keys.iter().map(|key| match self.found.get(key.path) {
            Some((origin, value)) => format!("{}: {value}  # {origin}\n", key.path),
            None if key.default.is_empty() => format!("{}:  # not set\n", key.path),
            None => format!("{}: {}  # default\n", key.path, key.default),
        });
        lines.collect()
    }
}

/// A path whose `~/` is the user's home, which no shell has put in its place.
pub(super) fn at_home(path: &Path) -> PathBuf {
    let below = path.strip_prefix("~").ok();
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match below.zip(home) {
        Some((below, home)) => Path::new(&home).join(below),
        None => path.to_owned(),
    }
}

fn shown(form: Form, value: &Value) -> String {
    match (form, value) {
        (Form::Secret, _) => REDACTED.to_owned(),
        (_, Value::String(text)) if !text.is_empty() && !text.contains(char::is_control) => text.clone(),
        // JSON is YAML on one line.
        (_, value) => serde_json::to_string(value).unwrap_or_default(),
    }
}
