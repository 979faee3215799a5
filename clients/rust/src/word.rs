//! The word of an error whose type is not known.

use std::error::Error as StdError;

use onetree_protocol::{Code, DecodeError, PathError, PatternError};

use crate::errors::{ConnectError, Error, Refusal};
use crate::keep::KeepError;
use crate::transact::TransactError;

/// Returns the word of an error of this crate, whatever box it comes in; `None` for any other
/// error.
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
