//! The fields of a command, and what it comes to. What is missing is empty.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

pub(crate) type Answer = Result<Value, Box<dyn Error>>;

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

pub(crate) fn millis(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}
