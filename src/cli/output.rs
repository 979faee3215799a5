//! Standard output, and messages on standard error.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use onetree_protocol::{Act, Change, MediaType, Path, Revision, Value};

use super::Common;
use super::exit::Failure;
use super::visible::{is_obeyed, visible, visible_json};

/// The size of the buffer, so that a million lines are not a million system calls. Flush the output
/// before waiting for anything.
const BUFFER_BYTES: usize = 64 * 1024;

/// How many characters of a value are shown beside its path on a terminal. Elsewhere values are
/// shown completely.
const PREVIEW_CHARS: usize = 160;

/// Standard output.
pub(crate) struct Output {
    /// Whether it is a terminal, where a person looks at it.
    pub(crate) terminal: bool,
    to: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes standard output for the rest of the process.
    pub(crate) fn stdout() -> Output {
        let stdout = io::stdout().lock();
        let terminal = stdout.is_terminal();
        Output { terminal, to: BufWriter::with_capacity(BUFFER_BYTES, stdout) }
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        if self.terminal && line.contains(is_obeyed) {
            // Words never contain such characters, so this is JSON.
            self.bytes(visible_json(line).as_bytes())?;
            return self.bytes(b"\n");
        }
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes bytes unchanged.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Flushes everything that was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(|error| Failure::output(&error))
    }

    /// Prints the result of a write.
    pub(crate) fn written(
        &mut self,
        common: &Common,
        path: &Path,
        rev: Revision,
    ) -> Result<(), Failure> {
        if common.json {
            let done = serde_json::json!({ "path": path.as_str(), "rev": rev.get() });
            return self.line(&done.to_string());
        }
        self.line(&format!("{} {rev}", visible(path.as_str())))
    }

    /// Returns a value on one line, for people.
    pub(crate) fn value(&self, value: &Value) -> String {
        let limit = if self.terminal { PREVIEW_CHARS } else { usize::MAX };
        preview(value, limit)
    }

    /// Returns a change on one line, for people: `+ /path rev value`, `- /path rev`.
    pub(crate) fn change(&self, change: &Change) -> String {
        let Change { path, rev, act } = change;
        let path = visible(path.as_str());
        match act {
            Act::Put(None) => format!("+ {path} {rev}"),
            Act::Put(Some(value)) => format!("+ {path} {rev} {}", self.value(value)),
            Act::Delete => format!("- {path} {rev}"),
            Act::Drop => format!("- {path} {rev} (and everything under it)"),
            Act::Trim { to, gap: false } => format!("- {path} {rev} (its entries up to {to})"),
            Act::Trim { to, gap: true } => {
                format!("- {path} {rev} (its entries up to {to}; some of them never seen)")
            }
        }
    }
}

/// Prints a message on standard error: not a result, but something that the user should know.
pub(crate) fn aside(words: &str) {
    // Ignore an error, for example because the terminal is closed: nobody is left to be told.
    let _ = writeln!(io::stderr(), "{words}");
}

/// Returns a change on one line for programs: the line of `export`, with the kind of the change in
/// front.
pub(crate) fn change_json(change: &Change) -> String {
    let op = match change.act {
        Act::Put(_) => "put",
        Act::Delete => "delete",
        Act::Drop => "drop",
        Act::Trim { .. } => "trim",
    };
    let line = onetree_protocol::json::change_line(change);
    format!("{{\"op\":\"{op}\",{}", line.strip_prefix('{').unwrap_or(&line))
}

/// Returns a value on one line of at most about `limit` characters.
pub(crate) fn preview(value: &Value, limit: usize) -> String {
    let bytes = &value.bytes;
    let text = match (&value.media, std::str::from_utf8(bytes)) {
        (MediaType::Json, Ok(text)) => text.trim(),
        (media, Ok(text)) if media.is_text() => text,
        (media, _) => return format!("({media}, {} bytes)", bytes.len()),
    };
    match text.char_indices().nth(limit) {
        None => visible(text),
        Some((end, _)) => format!("{}… ({} bytes)", visible(&text[..end]), bytes.len()),
    }
}

/// Returns the singular or the plural for `n`: `entry`, `entries`.
pub(crate) fn plural<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

/// Returns a number with separated thousands: `1,234,567`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews() {
        assert_eq!(preview(&Value::text("abcdef"), 3), "abc… (6 bytes)");
        assert_eq!(preview(&Value::text("abc"), 3), "abc");
        assert_eq!(preview(&Value::json(" {\"a\":\n1}\n"), 99), "{\"a\":\\n1}");
        assert_eq!(preview(&Value::octets(&[0, 1]), 99), "(application/octet-stream, 2 bytes)");
    }

    #[test]
    fn numbers() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
    }
}
