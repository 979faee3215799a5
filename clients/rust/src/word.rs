//! Which error it is, in one word, where nobody knows its type.

use std::error::Error as StdError;

use onetree_protocol::{Code, DecodeError, PathError, PatternError};

use crate::errors::{ConnectError, Error, Refusal};
use crate::keep::KeepError;
use crate::transact::TransactError;

/// The word of an error that is of this crate, in whatever box it comes; `None` of any other.
pub fn word(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<Error>() {
        return Some(error.word());
    }
    if let Some(error) = error.downcast_ref::<TransactError>() {
        return Some(error.word());
    }
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(error.word());
    }
    if let Some(error) = error.downcast_ref::<KeepError>() {
        return Some(error.word());
    }
    let code = error.downcast_ref::<DecodeError>().map(|error| error.code);
    let code = code.or_else(|| error.downcast_ref::<Refusal>().map(|refusal| refusal.code));
    let code = code.or_else(|| error.is::<PathError>().then_some(Code::BadPath));
    let code = code.or_else(|| error.is::<PatternError>().then_some(Code::BadPattern));
    code.map(Code::as_str)
}
