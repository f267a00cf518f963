//! Why settings cannot be used, in words that say where and what to do.

use super::origin::Origin;
use std::io;
use std::path::PathBuf;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {}", path.display(), advice(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is longer than 1 MiB.
    #[error("the configuration {} is longer than 1 MiB: is it the right file?", .0.display())]
    TooLong(PathBuf),
    /// A key that nobody knows.
    #[error("{origin}: unknown key `{key}`{}", hint(.section, .nearest.as_deref()))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The section it stands in; empty at the top.
        section: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
    /// A value, or the file as a whole, is not what it should be.
    #[error("{origin}: {message}")]
    Value {
        /// Where.
        origin: Origin,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A key that has no default is set nowhere.
    #[error("`{key}` is not set: {ways}")]
    Missing {
        /// The key.
        key: String,
        /// Where it can be set.
        ways: String,
    },
    /// Each value is in order, all together are not.
    #[error("the settings do not go together: {0}")]
    Together(String),
}

/// What to do about a file that cannot be read.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "there is no such file; check the path",
        io::ErrorKind::PermissionDenied => "this user may not read it; change its owner or mode",
        io::ErrorKind::IsADirectory => "it is a directory; name the file in it",
        _ => "the system refused",
    }
}

pub(super) fn hint(section: &str, nearest: Option<&str>) -> String {
    let section = if section.is_empty() {
        String::new()
    } else {
        format!(" in `{section}`")
    };
    let nearest = nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    section + &nearest
}

/// The known name that is most like `name`, if any is much like it.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = known.map(|known| (strsim::damerau_levenshtein(name, known), known));
    let (distance, nearest) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.len().max(3) / 3).then(|| nearest.to_owned())
}
