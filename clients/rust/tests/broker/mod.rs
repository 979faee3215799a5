//! What a broker sends, for tests that play one.

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

/// Returns the answer to this `hello`. The session is the one that `hello` names, if it names one.
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
