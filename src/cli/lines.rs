//! Reads standard input as lines, each of which is a value. A thread of its own reads it in large
//! pieces.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;

use onetree_protocol::{MediaType, Value, json};
use tokio::sync::mpsc;

use super::exit::{Failure, USAGE};
use super::input;
use super::value::line_type;

/// The size of one read. A pipe holds 64 KiB.
const READ_BYTES: usize = 64 * 1024;

/// The most batches that wait to be sent: enough that reading and sending do not wait for each
/// other.
const WAITING: usize = 4;

/// Lines that arrived together.
#[derive(Default)]
pub(crate) struct Lines {
    /// The values of the lines, without the line ends.
    pub(crate) values: Vec<Value>,
    /// How many bytes of standard input the lines took, with line ends.
    pub(crate) bytes: u64,
}

/// Reads standard input to its end; nothing comes after an error. A line ends with `\n`, and only
/// that is removed: a `\r` before it belongs to the line. The last line need not end with `\n`.
///
/// `media`: the media type of every line; if it is `None`, a line is text if it is UTF-8, else
/// octets. `limit_bytes`: the longest line.
pub(crate) fn stdin(
    media: Option<MediaType>,
    limit_bytes: usize,
) -> mpsc::Receiver<Result<Lines, Failure>> {
    let (to, from) = mpsc::channel(WAITING);
    let splitter = Splitter { media, limit_bytes, number: 0, rest: Vec::new() };
    std::thread::spawn(move || splitter.run(io::stdin().lock(), &to));
    from
}

/// Returns the size of standard input in bytes, if it is a file.
pub(crate) fn stdin_bytes() -> Option<u64> {
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    stdin.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len())
}

/// Splits bytes into lines.
struct Splitter {
    media: Option<MediaType>,
    limit_bytes: usize,
    /// How many lines there were so far.
    number: u64,
    /// The beginning of a line whose end has not arrived.
    rest: Vec<u8>,
}

impl Splitter {
    fn run(mut self, mut from: impl Read, to: &mpsc::Sender<Result<Lines, Failure>>) {
        let mut piece = vec![0; READ_BYTES];
        loop {
            let (lines, failure) = match from.read(&mut piece) {
                Ok(0) => {
                    // The last line, or its error, is the last thing that is sent.
                    let _ = self.end().map_or(Ok(()), |end| to.blocking_send(end));
                    return;
                }
                Ok(n) => self.split(&piece[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => (Lines::default(), Some(input::unreadable(input::STDIN, &error))),
            };
            let last = failure.is_some();
            let send = |lines| to.blocking_send(lines).is_ok();
            // Sending fails when the command has ended.
            if !send(Ok(lines)) || !failure.is_none_or(|failure| send(Err(failure))) || last {
                return;
            }
        }
    }

    /// Returns the lines that end in `piece`, up to the first that is wrong, and its error.
    fn split(&mut self, mut piece: &[u8]) -> (Lines, Option<Failure>) {
        let mut lines = Lines { values: Vec::new(), bytes: piece.len() as u64 };
        while let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
            let value = if self.rest.is_empty() {
                self.line(&piece[..end])
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(&piece[..end]);
                self.line(&line)
            };
            match value {
                Ok(value) => lines.values.push(value),
                Err(failure) => return (lines, Some(failure)),
            }
            piece = &piece[end + 1..];
        }
        self.rest.extend_from_slice(piece);
        let too_long = self.rest.len() > self.limit_bytes;
        (lines, too_long.then(|| self.too_long(self.number + 1)))
    }

    /// Returns the last line, if it has no line end.
    fn end(&mut self) -> Option<Result<Lines, Failure>> {
        if self.rest.is_empty() {
            return None;
        }
        let line = std::mem::take(&mut self.rest);
        Some(self.line(&line).map(|value| Lines { values: vec![value], bytes: 0 }))
    }

    fn line(&mut self, line: &[u8]) -> Result<Value, Failure> {
        self.number += 1;
        if line.len() > self.limit_bytes {
            return Err(self.too_long(self.number));
        }
        let media = match &self.media {
            Some(MediaType::Json) => match json::check(line) {
                Ok(()) => MediaType::Json,
                Err(error) => {
                    let message = format!("line {} is no JSON: {error}", self.number);
                    return Err(Failure::new(USAGE, "bad-value", message)
                        .next("correct it, or leave --type away")
                        .with("line", self.number));
                }
            },
            Some(media) => media.clone(),
            None => line_type(line),
        };
        Ok(Value { media, bytes: line.into() })
    }

    fn too_long(&self, number: u64) -> Failure {
        let message = format!(
            "line {number} is longer than the {} bytes that the broker takes as one value",
            self.limit_bytes
        );
        Failure::new(USAGE, "value-too-large", message)
            .next("cut the line, or give the broker a larger value_bytes")
            .with("line", number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of `pieces`, read one after the other, and the error at the end.
    fn lines(pieces: &[&[u8]]) -> (Vec<Value>, Option<String>) {
        let mut splitter = Splitter { media: None, limit_bytes: 5, number: 0, rest: Vec::new() };
        let mut values = Vec::new();
        for piece in pieces {
            let (lines, failure) = splitter.split(piece);
            values.extend(lines.values);
            if let Some(failure) = failure {
                return (values, Some(format!("{failure:?}")));
            }
        }
        match splitter.end() {
            Some(Ok(lines)) => values.extend(lines.values),
            Some(Err(failure)) => return (values, Some(format!("{failure:?}"))),
            None => {}
        }
        (values, None)
    }

    #[test]
    fn lines_are_the_bytes_between_line_ends() {
        let (values, error) = lines(&[b"a\r\nb", b"c\n\n\xff", b"\n", b"end"]);
        let expected = [Value::text("a\r"), Value::text("bc"), Value::text("")];
        assert_eq!(values[..3], expected);
        assert_eq!(values[3..], [Value::octets(b"\xff"), Value::text("end")]);
        assert_eq!(error, None);
        assert_eq!(lines(&[]).0, []);
    }

    #[test]
    fn a_line_that_is_too_long_is_named() {
        for pieces in [&[&b"a\n123456\n"[..]][..], &[b"a\n123", b"456"], &[b"a\n1234", b"56\n"]] {
            let error = lines(pieces).1.unwrap();
            assert!(error.contains("line 2 is longer than the 5 bytes"), "{error}");
        }
        assert_eq!(lines(&[b"12345\n"]).1, None);
    }
}
