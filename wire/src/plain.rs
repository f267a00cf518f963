//! What may be shown of a text that a peer sent: on one line, bounded, without anything that acts on a terminal.

/// Whether a character can do more than be read: control characters, separators of lines and paragraphs, bidirectional
/// controls, invisible format characters and tags.
pub const fn is_dangerous(char: char) -> bool {
    matches!(char,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with a `?` for each dangerous character, and at most `most` characters of it. Never longer in bytes.
pub fn plain(text: &str, most: usize) -> String {
    text.chars()
        .take(most)
        .map(|char| if is_dangerous(char) { '?' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dangerous_is_replaced_and_what_is_long_is_cut() {
        assert_eq!(plain("a\n\u{1b}[2J\u{9b}\u{2028}\u{202e}b", 100), "a??[2J???b");
        assert_eq!(plain("Zürich 東京", 100), "Zürich 東京");
        assert_eq!(plain("éééé", 3), "ééé");
    }
}
