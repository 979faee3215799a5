//! The types and the wire format of Onetree. No I/O, no async, no clock: this is the only crate
//! that brokers and clients share. `spec/PROTOCOL.md` is the normative text.
//!
//! # Layout
//!
//! - types that cannot hold an invalid value: [`Path`], [`Pattern`], [`Revision`], [`Epoch`],
//!   [`Cookie`], [`Digest`], [`LogKey`], [`Name`], [`Value`], [`View`]
//! - [`frame`]: the messages of clients and brokers; [`Change`]: what a commit does to a topic
//! - [`Codec`]: encodes and decodes frames, as JSON or MessagePack
//! - [`Code`]: error codes, each with what to do next
//! - [`limits`]: the limits of the wire; `serial`: serde's `Serialize` for these types

mod change;
mod code;
mod codec;
mod cookie;
mod digest;
pub mod frame;
mod hex;
pub mod json;
mod json_text;
pub mod limits;
mod log;
mod name;
mod path;
mod pattern;
mod revision;
mod serial;
mod value;
mod view;

pub use change::{Act, Change};
pub use code::{Action, Code};
pub use codec::{Codec, DecodeError};
pub use cookie::Cookie;
pub use digest::{Digest, DigestKey, EntryHasher};
pub use frame::{ClientFrame, ServerFrame};
pub use log::LogKey;
pub use name::Name;
pub use path::{Path, PathError};
pub use pattern::{Pattern, PatternError};
pub use revision::{Epoch, Revision};
pub use value::{MediaType, MediaTypeError, Value};
pub use view::{Depth, Fingerprint, View};
