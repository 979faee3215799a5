//! The payload of a write: when it was due, from which publisher, and which of its writes; then
//! zeros up to the requested size.

use std::time::Duration;

/// The smallest payload: the clock, the publisher and the number.
pub(super) const LEAST_BYTES: usize = 8 + 4 + 8;

/// The beginning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// When the write was due, by the publisher's clock, since the start of the run.
    pub(super) due: Duration,
    /// The number of the publisher.
    pub(super) publisher: u32,
    /// The number of the write: 1, 2, 3…
    pub(super) number: u64,
}

impl Payload {
    /// Encodes the payload as `size` bytes, at least [`LEAST_BYTES`].
    pub(super) fn to_bytes(self, size: usize) -> Vec<u8> {
        let due = u64::try_from(self.due.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&due.to_be_bytes());
        bytes.extend_from_slice(&self.publisher.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.resize(size.max(LEAST_BYTES), 0);
        bytes
    }

    /// Decodes a payload; `None` when there are too few bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Payload> {
        let (due, rest) = bytes.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        Some(Payload {
            due: Duration::from_nanos(u64::from_be_bytes(*due)),
            publisher: u32::from_be_bytes(*publisher),
            number: u64::from_be_bytes(*number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let payload = Payload { due: Duration::from_nanos(77), publisher: 3, number: 1 << 40 };
        let bytes = payload.to_bytes(64);
        assert_eq!((bytes.len(), Payload::parse(&bytes)), (64, Some(payload)));
        assert_eq!(Payload::parse(&bytes[..LEAST_BYTES - 1]), None);
    }
}
