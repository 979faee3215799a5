//! What went wrong, in a word.

use std::error::Error as StdError;

use onetree_client::protocol::{DecodeError, PathError};
use onetree_client::{Code, ConnectError, Error, KeepError, TransactError};

/// The broker's code, or a word of the client's own; `adapter` where a command is wrong.
pub(crate) fn of(error: &(dyn StdError + 'static)) -> &'static str {
    if let Some(error) = error.downcast_ref() {
        return of_request(error);
    }
    if let Some(error) = error.downcast_ref() {
        return match error {
            TransactError::Client(error) => of_request(error),
            TransactError::OutsideView(_) => "outside-view",
            TransactError::Failed(_) => "application",
        };
    }
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return error.code().map_or("url", Code::as_str);
    }
    if let Some(error) = error.downcast_ref::<DecodeError>() {
        return error.code.as_str();
    }
    match error {
        _ if error.is::<PathError>() => "bad-path",
        _ if error.is::<KeepError>() => "state",
        _ => "adapter",
    }
}

fn of_request(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => refusal.code.as_str(),
        Error::Timeout { .. } => "timeout",
        Error::Lost => "lost",
        Error::QueueFull => "queue-full",
        Error::Closed { why: Some(_), .. } => error.code().map_or("ended", Code::as_str),
        Error::Closed { why: None, .. } => "closed",
    }
}
