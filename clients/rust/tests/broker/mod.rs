//! What a broker says, for tests that are one.

use onetree_client::protocol::frame::{Hello, ServerFrame, Welcome};
use onetree_client::protocol::limits::Limits;
use onetree_client::protocol::{DigestKey, Epoch, Name};
use onetree_client::{Path, Revision};

pub(crate) const KEY: DigestKey = DigestKey(7);

pub(crate) fn rev(n: u64) -> Revision {
    Revision::new(n).unwrap()
}

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// The answer to this `hello`: the session is the one that it names, if it names any.
pub(crate) fn welcome(hello: &Hello, limits: Limits) -> ServerFrame {
    ServerFrame::Welcome(Welcome {
        id: hello.id,
        session: Name::parse("s").unwrap(),
        resumed: hello.session.is_some(),
        epoch: Epoch(1),
        rev: rev(1),
        heartbeat_ms: 25_000,
        digest_key: KEY,
        limits,
    })
}
