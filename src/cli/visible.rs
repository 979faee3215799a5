//! Makes a text safe to show: whoever may write a value must not be able to forge what a reader
//! sees.

use std::fmt::Write;

/// Returns `text` without anything that could move a cursor, end a line, colour a terminal or
/// change the direction of writing.
pub(crate) fn visible(text: &str) -> String {
    escape(text, |_| false)
}

/// Like [`visible`], for several lines: line ends and tabs stay.
pub(crate) fn visible_lines(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

/// Like [`visible`], for a JSON text on one line. The result has the same meaning.
pub(crate) fn visible_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            // Writing to a string cannot fail, and none of these characters is above U+FFFF.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Returns `text` as one word for a shell, to be pasted behind a command.
pub(crate) fn quoted(text: &str) -> String {
    if !text.contains(is_obeyed) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    // Common shells understand this (bash, zsh, ksh; not dash).
    let escaped = text.replace('\\', r"\\").replace('\'', r"\'");
    format!("$'{}'", visible_json(&escaped))
}

/// Whether a terminal obeys this character instead of showing it.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control() || is_bidi_control(c)
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if keep(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_obeyed(c) => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Whether this character reorders the text around it (Unicode, Bidi_Control).
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        assert_eq!(
            visible("a\u{1b}[2Jb\r\n\u{202e}c\u{9b}"),
            "a\\u{1b}[2Jb\\r\\n\\u{202e}c\\u{9b}"
        );
        assert_eq!(visible_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
        assert_eq!(visible("grün 🌳"), "grün 🌳");
    }

    #[test]
    fn a_word_for_a_shell() {
        assert_eq!(quoted("/a b/$c"), "'/a b/$c'");
        assert_eq!(quoted(r"/it's\n"), r"'/it'\''s\n'");
        assert_eq!(quoted("/it's\\\u{202e}x"), r"$'/it\'s\\\u202ex'");
    }

    #[test]
    fn json_means_the_same_when_it_is_shown() {
        let text = "{\"text\":\"a\u{9b}2J\u{202e}b\"}";
        let shown = visible_json(text);
        assert_eq!(shown, r#"{"text":"a\u009b2J\u202eb"}"#);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(text));
    }
}
