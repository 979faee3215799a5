//! Random bits from the operating system.

use onetree_protocol::Name;

/// The operating system gives no random bits, so nothing that must not be guessed can be made.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Returns 128 random bits.
pub(crate) fn bits() -> Result<u128, NoRandomness> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Returns a new name for a session. The name is a secret, so nobody can guess it. `None` when
/// there are no random bits.
pub(crate) fn session() -> Option<Name> {
    Name::parse(&format!("s-{:032x}", bits().ok()?))
}

/// Returns a random number below `end`, or 0 when there are no random bits: the number only spreads
/// load.
pub(crate) fn below(end: u32) -> u32 {
    let random = getrandom::u32().unwrap_or_default();
    ((u64::from(random) * u64::from(end)) >> 32) as u32
}
