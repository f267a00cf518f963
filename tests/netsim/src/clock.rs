//! Times that several processes of one machine can compare.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn epoch() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// For a text in JSON.
pub fn escaped(text: &str) -> String {
    let escape = |character: char| match character {
        '"' | '\\' => format!("\\{character}"),
        control if control < ' ' => " ".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}
