//! A scenario.

use super::args::Args;
use super::figures::Figures;
use super::goal::Goal;
use super::target::Target;

/// Measures a target.
type Measure = dyn Fn(&Args, Target) -> Result<Figures, String>;

/// One measurement, for any target that it fits.
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Whether it runs only on request.
    pub(crate) long: bool,
    pub(crate) fits: fn(Target) -> bool,
    pub(crate) measure: Box<Measure>,
    pub(crate) goals: Vec<Goal>,
}
