//! A digest: a constant-size fingerprint of a set of entries.

use std::fmt;

use blake2::Blake2sVarCore;
use blake2::digest::Output;
use blake2::digest::core_api::{Block, Buffer, UpdateCore, VariableOutputCore};

use crate::hex;
use crate::path::Path;
use crate::revision::Revision;

/// The bytes of a hash.
const HASH_BYTES: usize = 16;

/// The number of entries, and the wrapping 128-bit sum of their keyed hashes.
///
/// The digests of disjoint sets can be added, and a digest is updated in O(1). A count alone is
/// never trusted: two errors can cancel. The text form is `count:sum`, with the sum as 32 hex
/// digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The number of entries.
    pub count: u64,
    /// The wrapping sum of their hashes, see [`DigestKey::hash`].
    pub sum: u128,
}

impl Digest {
    /// Adds one entry by its hash.
    pub fn insert(&mut self, hash: u128) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Removes one entry by its hash.
    pub fn remove(&mut self, hash: u128) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(hash);
    }

    /// Adds the digest of a disjoint set.
    pub fn add(&mut self, other: &Digest) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Reads `count:sum`.
    pub fn parse(text: &str) -> Option<Digest> {
        let (count, sum) = text.split_once(':')?;
        let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
        let canonical = digits && (count == "0" || !count.starts_with('0'));
        Some(Digest {
            count: if canonical { count.parse().ok()? } else { return None },
            sum: hex::parse_u128(sum)?,
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.count, self.sum)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key of the digests. It is random for each start of the broker, and the broker sends it in
/// `welcome`. With a hash that has no such key, digests can be forged in seconds (Wagner's
/// generalized birthday attack).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DigestKey(pub u128);

impl DigestKey {
    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<DigestKey> {
        hex::parse_u128(text).map(DigestKey)
    }

    /// Returns the hash of one entry: BLAKE2s (RFC 7693) with this key (16 bytes, big-endian) and a
    /// 16-byte result, read as a big-endian number, over the revision (8 bytes, big-endian)
    /// followed by the bytes of the path. If you need many hashes keep an [`EntryHasher`]: it is
    /// twice as fast.
    pub fn hash(&self, path: &Path, rev: Revision) -> u128 {
        EntryHasher::new(*self).hash(path, rev)
    }
}

/// A [`DigestKey`] that is ready to hash entries.
#[derive(Clone)]
pub struct EntryHasher(Blake2sVarCore);

impl EntryHasher {
    /// Hashes the key, which is the first of the two blocks that most entries take.
    pub fn new(key: DigestKey) -> EntryHasher {
        let key = key.0.to_be_bytes();
        let mut block = Block::<Blake2sVarCore>::default();
        block[..key.len()].copy_from_slice(&key);
        let mut core = Blake2sVarCore::new_with_params(&[], &[], key.len(), HASH_BYTES);
        core.update_blocks(&[block]);
        EntryHasher(core)
    }

    /// Returns the hash of one entry, see [`DigestKey::hash`].
    pub fn hash(&self, path: &Path, rev: Revision) -> u128 {
        let mut core = self.0.clone();
        let mut buffer = Buffer::<Blake2sVarCore>::default();
        buffer.digest_blocks(&rev.get().to_be_bytes(), |blocks| core.update_blocks(blocks));
        buffer.digest_blocks(path.as_str().as_bytes(), |blocks| core.update_blocks(blocks));
        let mut out = Output::<Blake2sVarCore>::default();
        core.finalize_variable_core(&mut buffer, &mut out);
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&out[..HASH_BYTES]);
        u128::from_be_bytes(hash)
    }
}

impl fmt::Debug for EntryHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntryHasher(..)")
    }
}

impl fmt::Display for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python: `hashlib.blake2s(rev.to_bytes(8) + path, key=key.to_bytes(16), digest_size=16)`.
    #[test]
    fn the_hash_is_the_one_of_pythons_standard_library() {
        let key = DigestKey(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        let hash = key.hash(&Path::parse("/chat/rust").unwrap(), Revision::new(790).unwrap());
        assert_eq!(format!("{hash:032x}"), "43e82f54a7378cc238e88fee444fe543");
    }

    #[test]
    fn text_form() {
        let digest = Digest { count: 41, sum: 7 };
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        for wrong in ["", "41", ":", "041:00000000000000000000000000000007", "1:7", "+1:00"] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
