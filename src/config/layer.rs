//! One source of configuration: a file, an environment variable or a flag.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{ConfigError, KEYS, Keys, RULE_KEYS};

/// Where each key was set last: `file:line`, a variable or a flag.
pub(super) type Sources = BTreeMap<String, String>;

/// The prefix of all environment variables of the broker.
const PREFIX: &str = "ONETREE_";

/// Variables with this prefix that are not keys of the configuration: the path of the file, how
/// much to log, where the tree is stored, where a client connects.
const OTHER_VARIABLES: &[&str] = &["CONFIG", "DATA", "LOG", "URL"];

/// The key that holds the retention rules.
const RULES: &str = "retention";

/// The keys whose values are lists.
const LISTS: &[&str] = &["origins", RULES];

/// The keys that one source sets, and where it sets them.
pub(super) struct Layer {
    pub(super) keys: Keys,
    pub(super) sources: Sources,
}

impl Layer {
    /// Reads the bytes of a file named `file`.
    pub(super) fn from_bytes(file: &str, bytes: &[u8]) -> Result<Layer, ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes[..error.valid_up_to()].iter();
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            let message = "this line is not UTF-8".to_owned();
            ConfigError::Wrong { place: format!("{file}:{line}"), message }
        })?;
        Layer::from_toml(file, text)
    }

    /// Reads a TOML text named `file`.
    pub(super) fn from_toml(file: &str, text: &str) -> Result<Layer, ConfigError> {
        Layer::from_text(text, &Source::File { name: file, text })
    }

    fn from_text(text: &str, source: &Source) -> Result<Layer, ConfigError> {
        let wrong = |error: toml::de::Error| ConfigError::Wrong {
            place: source.place(error.span()),
            message: in_words(error.message()),
        };
        let table = DeTable::parse(text).map_err(wrong)?;
        let mut sources = Sources::new();
        for (key, value) in table.get_ref() {
            let unknown = |key: &str, span, known: &[&str]| ConfigError::Wrong {
                place: source.place(Some(span)),
                message: unknown(key, known),
            };
            if !KEYS.contains(&key.get_ref().as_ref()) {
                return Err(unknown(key.get_ref(), key.span(), KEYS));
            }
            sources.insert(key.get_ref().to_string(), source.place(Some(key.span())));
            let rules = match value.get_ref() {
                DeValue::Array(rules) if key.get_ref() == RULES => rules.iter(),
                _ => continue,
            };
            for rule in rules {
                let fields = match rule.get_ref() {
                    DeValue::Table(fields) => fields,
                    // Serde would take a list for the values of a rule, in the order of its keys.
                    DeValue::Array(_) => {
                        let message = in_words("invalid type: sequence, expected struct Rule");
                        let message = source.about(Some(RULES)) + &message;
                        return Err(ConfigError::Wrong {
                            place: source.place(Some(rule.span())),
                            message,
                        });
                    }
                    _ => continue,
                };
                let other = fields.keys().find(|key| !RULE_KEYS.contains(&key.get_ref().as_ref()));
                if let Some(key) = other {
                    return Err(unknown(key.get_ref(), key.span(), RULE_KEYS));
                }
            }
        }
        let mistyped = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            // Take the last key that begins before the error: the place of `[[retention]]` is only
            // the first of these headers.
            let before = table.get_ref().iter().filter(|(_, value)| value.span().start <= at);
            let key = before.max_by_key(|(_, value)| value.span().start);
            let key = key.map(|(key, _)| key.get_ref().as_ref());
            let message = in_words(error.message());
            let message = match key {
                Some(RULES) => message.replace(A_LIST, source.rules()),
                _ => message,
            };
            ConfigError::Wrong {
                place: source.place(error.span()),
                message: source.about(key) + &message,
            }
        };
        Ok(Layer { keys: toml::from_str(text).map_err(mistyped)?, sources })
    }

    /// Reads an environment variable; `None` when it is not a key of the broker's.
    pub(super) fn from_variable(name: &str, value: &str) -> Result<Option<Layer>, ConfigError> {
        let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
        let key = rest.to_lowercase();
        // Other programs use the prefix too: in a container, a service named `onetree` gets
        // ONETREE_PORT. Only a name that looks like a misspelt key stops the start.
        let foreign = !KEYS.contains(&key.as_str()) && nearest(&key, KEYS).is_none();
        if OTHER_VARIABLES.contains(&rest) || foreign {
            return Ok(None);
        }
        Layer::from_pair(name, &key, value).map(Some)
    }

    /// Reads a flag: `--set key=value`, or the key's own flag.
    pub(super) fn from_flag(key: &str, value: &str) -> Result<Layer, ConfigError> {
        Layer::from_pair(&format!("--set {key}"), key, value)
    }

    /// Reads a value. `value` is TOML or, if it does not parse as TOML, the plain text itself:
    /// `listen=127.0.0.1:0` needs no quotes.
    fn from_pair(place: &str, key: &str, value: &str) -> Result<Layer, ConfigError> {
        let wrong = |message| ConfigError::Wrong { place: place.to_owned(), message };
        if !KEYS.contains(&key) {
            return Err(wrong(unknown(key, KEYS)));
        }
        let value = match DeValue::parse(value) {
            Ok(_) => value.to_owned(),
            // This was meant to be a list or a rule, so say where its syntax is wrong. Only the
            // keys of lists get here: an address may begin with '[' too.
            Err(error) if LISTS.contains(&key) && value.trim_start().starts_with(['[', '{']) => {
                return Err(wrong(in_words(error.message()) + &slip(value, &error)));
            }
            Err(_) => toml::Value::String(value.to_owned()).to_string(),
        };
        Layer::from_text(&format!("{key} = {value}"), &Source::Pair(place))
    }
}

/// Says where the syntax error is in a text that has no lines.
fn slip(text: &str, error: &toml::de::Error) -> String {
    let rest = error.span().and_then(|span| text.get(span.start..)).unwrap_or_default();
    let begin: String = rest.chars().take(SLIP).collect();
    if begin.is_empty() { begin } else { format!(", at {begin:?}") }
}

/// How many characters of the text after an error are shown.
const SLIP: usize = 24;

/// Where a text comes from.
enum Source<'a> {
    /// A file.
    File { name: &'a str, text: &'a str },
    /// A variable or a flag, which sets one key and has this name.
    Pair(&'a str),
}

impl Source<'_> {
    /// Returns the place of `span` in the source.
    fn place(&self, span: Option<Range<usize>>) -> String {
        match (self, span) {
            (Source::File { name, text }, Some(span)) => {
                let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
                format!("{name}:{line}")
            }
            (Source::File { name, .. } | Source::Pair(name), _) => (*name).to_owned(),
        }
    }

    /// Names the key that the error is about, where the place does not say it.
    fn about(&self, key: Option<&str>) -> String {
        match (self, key) {
            (Source::File { .. }, Some(key)) => format!("'{key}': "),
            _ => String::new(),
        }
    }

    /// Returns how to write the rules of `retention` in this source: not as "[…]" in a file.
    fn rules(&self) -> &'static str {
        match self {
            Source::File { .. } => "[[retention]], once for each rule",
            Source::Pair(_) => "a list of rules, like [{pattern = \"chat/*/log\", keep = 1000}]",
        }
    }
}

/// The message about a wrong value of `--listen` or `listen`.
pub const NO_ADDRESS: &str = "not an IP address and a port, like 127.0.0.1:7400";

/// The description of a list of texts.
const A_LIST: &str = "a list, [\"…\"]";

/// Messages of the parser, and what they mean to the user.
const WORDS: &[(&str, &str)] = &[
    ("invalid socket address syntax", NO_ADDRESS),
    ("wanted string or table", "it must be \"sync\", \"interval\" or \"memory\""),
    ("string values must be quoted, expected literal string", "a text stands in quotes, \"…\""),
    ("key with no value, expected `=`", "a key without a value: KEY = VALUE"),
    ("invalid basic string, expected `\"`", "a text without its end: \"…\""),
    ("missing field `pattern`", "a rule needs its pattern"),
    ("unexpected content, expected nothing", "there is more behind the value"),
];

/// The parser's names for what a key may hold, and the descriptions for the user.
const HOLDS: &[(&str, &str)] = &[
    ("a boolean", "true or false"),
    ("a sequence", A_LIST),
    ("a string", "a text in quotes"),
    ("one of `sync`, `interval`, `memory`", "\"sync\", \"interval\" or \"memory\""),
    ("struct Rule", "a rule, like {pattern = \"chat/*/log\", keep = 1000}"),
    ("socket address", "an IP address and a port, like \"127.0.0.1:7400\""),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number, 0 or more"),
];

/// Translates a message of the parser into the words of a configuration file.
fn in_words(message: &str) -> String {
    let meant = |words: &[(&str, &str)], text: &str| {
        let found = words.iter().find(|(said, _)| *said == text);
        found.map_or_else(|| text.to_owned(), |(_, meant)| (*meant).to_owned())
    };
    let mistyped = ["invalid type: ", "invalid value: ", "unknown variant "];
    let mistyped = mistyped.iter().find_map(|begin| message.strip_prefix(begin));
    match mistyped.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, holds)) => {
            format!("it is {}, but must be {}", literal(found), meant(HOLDS, holds))
        }
        None => meant(WORDS, message),
    }
}

/// Returns the value that was found as it is written in the source: 1 for "integer `1`".
fn literal(found: &str) -> String {
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => match (found.find('"'), found.split('`').nth(1)) {
            (Some(quote), _) => found[quote..].to_owned(),
            (None, Some(word)) if found.starts_with('`') => format!("\"{word}\""),
            (None, Some(number)) => number.to_owned(),
            (None, None) => found.to_owned(),
        },
    }
}

/// The most keys that a message lists.
const NAMED_KEYS: usize = 8;

/// Returns the message that a key is unknown, with the known key that was probably meant.
pub fn unknown(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("unknown key '{key}'; did you mean '{near}'?"),
        None if known.len() > NAMED_KEYS => format!("unknown key '{key}'"),
        None => format!("unknown key '{key}'; the keys are {}", known.join(", ")),
    }
}
