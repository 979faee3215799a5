//! A disk that forgets what was not synced, for a whole broker: the one from the tests of the
//! store.

#![expect(dead_code, reason = "what the tests of the store need")]

#[path = "../store/rng.rs"]
pub(crate) mod rng;
#[path = "../store/simulated.rs"]
pub(crate) mod simulated;
