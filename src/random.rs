//! Randomness, from the operating system.

use onetree_protocol::Name;

/// No randomness is to be had: nothing that must not be guessed can be made.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// 128 random bits.
pub(crate) fn bits() -> Result<u128, NoRandomness> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(u128::from_be_bytes(bytes))
}

/// A name that nobody can guess: a session's is a secret.
pub(crate) fn session() -> Option<Name> {
    Name::parse(&format!("s-{:032x}", bits().ok()?))
}

/// A number below `end`; 0 when there is no randomness: it only spreads load.
pub(crate) fn below(end: u32) -> u32 {
    let random = getrandom::u32().unwrap_or_default();
    ((u64::from(random) * u64::from(end)) >> 32) as u32
}
