//! Values that YAML reads otherwise than their author, and lines that stand in the wrong column.
//!
//! Looks at single lines, never at what the parser made of them; says what is wrong without showing the value, which may
//! be a secret.

/// A line `name: value` of a block: its name, and its value as it stands.
pub(super) fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start().trim_start_matches("- ").trim_start();
    let (name, value) = match line.split_once(": ") {
        Some(parts) => parts,
        None => (line.trim_end().strip_suffix(':')?, ""),
    };
    let name = name.trim().trim_matches(['"', '\'']);
    let plain = !name.is_empty() && !name.contains(['{', '[', '#', '"', '\'', ' ']);
    plain.then(|| (name, value.trim()))
}

/// What to do about a value that the parser cannot read as its author meant it.
pub(super) fn advice(line: &str) -> Option<String> {
    let (name, value) = entry(line)?;
    let first = value.chars().next()?;
    let quoted = format!("write {name}: '…', in single quotes");
    match first {
        '\'' if value.len() > 1 && value.ends_with('\'') => Some(format!(
            "a single quote inside single quotes is written twice: {name}: '…''…'"
        )),
        '"' if value.contains('\\') => Some(format!(
            "a backslash means something else inside double quotes; {quoted}"
        )),
        '\'' | '"' => Some("the quote is not closed, or something follows it".into()),
        '{' | '[' => Some(format!(
            "the {first} is not closed, or something in it needs quotes; for a text that begins with {first}, {quoted}"
        )),
        '@' | '`' | '%' | '*' | '&' | '!' | '|' | '>' | '}' | ']' | ',' | '?' | '-' => {
            Some(format!("a value that begins with {first} needs quotes: {quoted}"))
        }
        _ if value.contains(": ") || value.ends_with(':') => Some(format!(
            "a value with a colon and a space in it needs quotes: {quoted}"
        )),
        _ => None,
    }
}

/// The same of a value in the middle of a line, in `{ name: value }`, say, that begins in this column.
pub(super) fn advice_at(line: &str, column: usize) -> Option<String> {
    // The parser may stop at the character after it.
    let mut near = [1, 2]
        .iter()
        .filter_map(|back| line.chars().nth(column.checked_sub(*back)?));
    let first = near.find(|char| matches!(char, '@' | '`' | '%' | '*' | '&' | '!' | '|' | '>'))?;
    Some(format!(
        "a value that begins with {first} needs quotes: write '{first}…', in single quotes"
    ))
}

/// What the indentation of a line has against those above it; nothing where it may stand so.
pub(super) fn indentation(text: &str, number: usize) -> Option<String> {
    let mut open: Vec<usize> = Vec::new();
    let mut opens = true;
    for (at, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let closed: Vec<usize> = open.iter().copied().filter(|above| *above > indent).collect();
        open.retain(|above| *above <= indent);
        if at + 1 == number {
            let fits = open.last() == Some(&indent) || (opens && closed.is_empty());
            let spaces = if indent == 1 { "space" } else { "spaces" };
            let above: Vec<_> = open.iter().chain(&closed).map(ToString::to_string).collect();
            return (!fits).then(|| {
                format!(
                    "this line is indented by {indent} {spaces}, the lines above it by {}: the keys of a section begin in the \
                     same column, and further right than the section's name",
                    above.join(" and ")
                )
            });
        }
        if open.last() != Some(&indent) {
            open.push(indent);
        }
        opens = entry(line).is_none_or(|(_, value)| value.is_empty() || value.starts_with('#'));
    }
    None
}

/// The line, its column, and what is wrong, where a file begins indented and goes on further left: the parser ends there.
pub(super) fn outdent(text: &str) -> Option<(usize, usize, String)> {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let mut lines = text.lines().enumerate().filter(|(_, line)| {
        let content = line.trim();
        !content.is_empty() && !content.starts_with('#')
    });
    let (first, begins) = lines.next().map(|(at, line)| (at + 1, indent(line)))?;
    let (at, line) = lines.find(|(_, line)| indent(line) < begins)?;
    let column = indent(line);
    Some((
        at + 1,
        column + 1,
        format!(
            "this line is indented by {column} spaces, and the first one (line {first}) by {begins}: the keys of a section \
             begin in the same column; write line {first} without indentation"
        ),
    ))
}

/// What is odd about a value that the parser read without complaint.
pub(super) enum Oddity {
    /// It sets nothing.
    Nothing(String),
    /// It may be shorter than it looks, or absent.
    Comment(String),
}

/// Looks at the line of a text or secret; `read` is whether the parser found a value.
pub(super) fn oddity(line: &str, read: bool) -> Option<Oddity> {
    let (name, value) = entry(line)?;
    if !read && matches!(value, "~" | "null" | "Null" | "NULL") {
        return Some(Oddity::Nothing(format!(
            "{value} without quotes sets nothing; if that is the value, write {name}: '{value}', else leave the line out"
        )));
    }
    if !read && value.starts_with('#') {
        return Some(Oddity::Comment(format!(
            "has no value: what begins with # is a comment; if it is the value, write {name}: '…', in quotes"
        )));
    }
    let is_plain = !value.starts_with(['\'', '"', '|', '>']);
    (read && is_plain && value.contains(" #")).then(|| {
        Oddity::Comment(format!(
            "ends before the #, which begins a comment; if it belongs to the value, write {name}: '…', in quotes"
        ))
    })
}

/// A value that begins as an anchor or a tag: the parser would take that away without a word.
pub(super) fn is_swallowed(line: &str) -> bool {
    entry(line).is_some_and(|(_, value)| value.starts_with(['&', '!']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_needs_quotes_is_told_so_without_being_shown() {
        for line in [
            "  password: @hunter2",
            "  password: *hunter2",
            "  password: %hunter2",
            "  password: `hunter2",
            "  password: hunter2: x",
            "  password: \"hunter2\\d\"",
            "  - password: {hunter2",
        ] {
            let said = advice(line).unwrap_or_else(|| panic!("{line}"));
            assert!(
                said.contains("password: '…'") && !said.contains("hunter2"),
                "{said}"
            );
        }
        assert_eq!(advice("  password: hunter2"), None);
        assert!(advice("  password: 'it's'").unwrap().contains("'…''…'"));
    }

    #[test]
    fn a_file_that_begins_indented_and_goes_on_further_left_is_told_so() {
        let (line, column, said) = outdent("# head\n server:\n   name: x\nlisten: 1\n").unwrap();
        assert_eq!((line, column), (4, 1));
        assert!(said.contains("line 2") && said.contains("by 1:"), "{said}");
        for text in [
            "",
            "server:\n  name: x\nlisten: 1\n",
            " server:\n   name: x\n listen: 1\n",
        ] {
            assert!(outdent(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_line_in_the_wrong_column_is_told_the_columns_above() {
        for (text, number, spaces) in [
            (
                "server:\n  address: x\n   name: y",
                3,
                "by 3 spaces, the lines above it by 0 and 2",
            ),
            (
                "server:\n    address: x\n  name: y",
                3,
                "by 2 spaces, the lines above it by 0 and 4",
            ),
            (
                "server:\n  address: x\n name: y",
                3,
                "by 1 space, the lines above it by 0 and 2",
            ),
        ] {
            let said = indentation(text, number).unwrap_or_else(|| panic!("{text}"));
            assert!(said.contains(spaces), "{said}");
        }
        for (text, number) in [
            ("server:\n  address: x\nlog:\n  level: info", 4),
            ("a: b\nc: d", 2),
        ] {
            assert_eq!(indentation(text, number), None, "{text}");
        }
    }
}
