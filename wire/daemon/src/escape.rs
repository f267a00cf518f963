//! Makes text that came from elsewhere harmless in a log line, on a terminal and in JSON.
//!
//! A text is dangerous where it can begin a line, move the cursor, change the order of what is read, or hide: control
//! characters, line and paragraph separators, bidirectional controls, invisible format characters and tags. Escaped,
//! they are as Rust writes them (`\n`, `\u{1b}`); in JSON they are `\u001b`.

use std::fmt::{self, Write};

/// Whether a character can do more than be read. The wire's `plain` has the same list.
pub const fn is_dangerous(char: char) -> bool {
    matches!(char,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, at most `most` characters of it, with what is dangerous escaped.
pub fn escaped(text: &str, most: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(most));
    for char in text.chars().take(most) {
        push_escaped(&mut clean, char);
    }
    if text.chars().nth(most).is_some() {
        clean.push(CUT);
    }
    clean
}

/// The same in quotes, which nothing in it ends.
pub fn quoted(text: &str, most: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(most) + 2);
    clean.push('"');
    for char in text.chars().take(most) {
        if matches!(char, '"' | '\\') {
            clean.push('\\');
        }
        push_escaped(&mut clean, char);
    }
    if text.chars().nth(most).is_some() {
        clean.push(CUT);
    }
    clean.push('"');
    clean
}

/// JSON text with what is dangerous in its strings escaped. Line ends between values stay.
pub fn escaped_json(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    for char in json.chars() {
        if is_dangerous(char) && char != '\n' {
            // JSON escapes are of UTF-16.
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(clean, "\\u{unit:04x}");
            }
        } else {
            clean.push(char);
        }
    }
    clean
}

/// What a value writes of itself, up to a number of characters; what is beyond is neither kept nor an error.
#[derive(Debug)]
pub(crate) struct Bounded {
    text: String,
    left: usize,
}

impl Bounded {
    /// One more than `most` is kept, so that whoever cuts it sees that there was more.
    pub(crate) fn write(most: usize, value: fmt::Arguments<'_>) -> String {
        let mut bounded = Self {
            text: String::new(),
            left: most.saturating_add(1),
        };
        // A value that fails to write itself is shown as far as it came.
        let _ = bounded.write_fmt(value);
        bounded.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars().take(self.left) {
            self.text.push(char);
            self.left -= 1;
        }
        Ok(())
    }
}

fn push_escaped(clean: &mut String, char: char) {
    if is_dangerous(char) {
        clean.extend(char.escape_default());
    } else {
        clean.push(char);
    }
}

/// Ends a text that was longer.
const CUT: char = '…';

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str =
        "a\r\n2026 \u{1b}[2J\u{7}\u{9b}31m\u{7f}\u{2028}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}z";

    #[test]
    fn nothing_dangerous_is_left_in_what_was_escaped() {
        for clean in [
            escaped(EVIL, 1000),
            quoted(EVIL, 1000),
            escaped_json(&EVIL.replace('\n', "")),
        ] {
            assert!(!clean.chars().any(is_dangerous), "{clean:?}");
            assert!(clean.contains('z'), "{clean:?}");
        }
        assert_eq!(escaped("a\n\u{1b}b\u{202e}", 9), "a\\n\\u{1b}b\\u{202e}");
        assert_eq!(escaped("Zürich 東京 🦀", 20), "Zürich 東京 🦀");
    }

    #[test]
    fn a_quoted_text_ends_where_its_quotes_end() {
        assert_eq!(quoted("a\" agent=good \\", 20), r#""a\" agent=good \\""#);
    }

    #[test]
    fn a_long_text_is_cut_and_shows_it() {
        assert_eq!(escaped("éééé", 3), "ééé…");
        assert_eq!(escaped("ééé", 3), "ééé");
        assert_eq!(quoted("abcd", 3), "\"abc…\"");
        assert_eq!(Bounded::write(3, format_args!("{}", "x".repeat(1 << 20))), "xxxx");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = serde_json::json!({ "text": EVIL, "list": [1, 2] });
        for json in [value.to_string(), format!("{value:#}\n")] {
            let clean = escaped_json(&json);
            assert!(
                !clean.chars().any(|char| is_dangerous(char) && char != '\n'),
                "{clean:?}"
            );
            assert_eq!(serde_json::from_str::<serde_json::Value>(&clean).unwrap(), value);
        }
    }
}
