//! VALUE, from the command line or standard input, and its media type.

use std::io::{self, IsTerminal};

use clap::Args;
use onetree_protocol::json::{self, JsonError};
use onetree_protocol::{MediaType, Value};
use serde_json::json;

use super::Common;
use super::connect::Link;
use super::exit::{Failure, USAGE};
use super::input;
use super::output;
use super::visible::visible;

/// VALUE and `--type`.
#[derive(Args)]
pub(crate) struct ValueArgs {
    /// The value: JSON if it parses as JSON, otherwise text; a text that begins with { or [ causes
    /// a warning. `-`, or if left out: all bytes of standard input. Put -- before a text that
    /// begins with -
    // Texts that begin with - are not accepted in general: a misspelt option would be written as
    // the value, over the existing entry.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: Option<String>,

    /// The media type, if it is not what VALUE looks like. With application/json, a value that is
    /// not JSON is an error
    #[arg(long = "type", value_name = "MEDIA", value_parser = media_type)]
    pub(crate) media: Option<MediaType>,
}

impl ValueArgs {
    /// Makes a VALUE for a command that describes it in its own words.
    pub(crate) fn new(value: String, media: Option<MediaType>) -> ValueArgs {
        ValueArgs { value: Some(value), media }
    }

    /// Reads the value. Returns it with the connection that it is sent over: only the broker knows
    /// how large a value from standard input may be.
    pub(crate) async fn read(&self, common: &Common) -> Result<(Link, Value), Failure> {
        match self.value.as_deref() {
            None if io::stdin().is_terminal() => {
                Err(Failure::usage("there is no VALUE, and standard input is a terminal")
                    .next("give a VALUE, or - to type one and end it with Ctrl-D"))
            }
            None | Some("-") => {
                let link = Link::open(common).await?;
                let limit = link.limits()?.value_bytes;
                let bytes = input::all(io::stdin(), limit.into()).await;
                let bytes = bytes.map_err(|error| input::unreadable(input::STDIN, &error))?;
                let bytes = bytes.ok_or_else(|| too_long(limit))?;
                Ok((link, value(bytes, self.media.clone(), common)?))
            }
            Some(text) => {
                let value = value(text.as_bytes().to_vec(), self.media.clone(), common)?;
                Ok((Link::open(common).await?, value))
            }
        }
    }
}

fn too_long(limit: u32) -> Failure {
    let message = format!(
        "standard input is longer than the {limit} bytes that the broker takes as one value"
    );
    Failure::new(USAGE, "value-too-large", message)
        .next("write less at once, or give the broker a larger value_bytes")
}

/// Parses a media type of the command line.
pub(crate) fn media_type(text: &str) -> Result<MediaType, String> {
    MediaType::parse(text).map_err(|error| error.to_string())
}

/// Makes a value of `bytes`, with the type `media` or the type that they look like. Warns if that
/// may not be what the user meant.
fn value(bytes: Vec<u8>, media: Option<MediaType>, common: &Common) -> Result<Value, Failure> {
    let media = match (media, json::check(&bytes)) {
        // A text that is not JSON would be copied into a frame as if it were.
        (Some(MediaType::Json), Err(error)) => {
            return Err(Failure::new(USAGE, "bad-value", format!("VALUE is no JSON: {error}"))
                .next("correct it, or give another --type"));
        }
        (Some(media), _) => media,
        (None, Ok(())) => MediaType::Json,
        (None, Err(error)) => {
            let media = line_type(&bytes);
            if looks_like_json(&bytes) {
                tell_no_json(&media, &error, common.json);
            }
            media
        }
    };
    Ok(Value { media, bytes: bytes.into() })
}

/// Whether the user may have meant an object or a list.
fn looks_like_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{") || bytes.trim_ascii_start().starts_with(b"[")
}

/// This is a warning and not an error: a text may begin like this, as a line of a log does ("[info]
/// …").
fn tell_no_json(media: &MediaType, error: &JsonError, json: bool) {
    let message = format!(
        "VALUE is taken as {media}, as it is no JSON: {error} (--type application/json makes this an error, \
         --type {media} is not told)"
    );
    if json {
        let warning = json!({ "warning": { "code": "no-json", "message": message } });
        output::aside(&warning.to_string());
    } else {
        output::aside(&format!("warning: {}", visible(&message)));
    }
}

/// Returns the type of one line of `append --lines`: text, or octets if it is not UTF-8. Never
/// JSON: a log in which the line `42` is a number and the line `4 2` a text would help nobody.
pub(crate) fn line_type(bytes: &[u8]) -> MediaType {
    match std::str::from_utf8(bytes) {
        Ok(_) => MediaType::Text,
        Err(_) => MediaType::Octets,
    }
}
