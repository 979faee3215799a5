//! The store in files, on a disk that loses, tears and fails.
//!
//! # Layout
//!
//! - [`copies`]: copies that are incomplete
//! - [`crashes`]: the power fails at every moment of a run; the process is killed
//! - [`flips`]: flipped bits
//! - [`fuzz`]: files with random changes
//! - [`faults`]: the disk is full, or fails
//! - [`salvage`]: what is got out of damaged files
//! - [`lives`]: all of that, one after the other, on one tree
//! - [`space`]: how much of the disk is taken; a year of churn
//! - [`ends`]: a store that has ended writes nothing any more
//! - [`forgotten`]: which clients were, behind a start
//! - [`frozen`]: files of each format, which load for ever
//! - [`simulated`]: the disk; [`work`]: what is done on it; [`rng`]: chance

mod copies;
mod crashes;
mod ends;
mod faults;
mod flips;
mod forgotten;
mod frozen;
mod fuzz;
mod lives;
mod rng;
mod salvage;
mod simulated;
mod space;
mod work;
