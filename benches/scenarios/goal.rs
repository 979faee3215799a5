//! The goals of scenarios.

use super::target::Target;

/// What a figure of the broker should be.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) figure: &'static str,
    /// Whether the figure should be at least `value`, or at most.
    pub(crate) least: bool,
    pub(crate) value: f64,
    /// Multiply `value` by this target's figure in the same run.
    pub(crate) of: Option<Target>,
}

impl Goal {
    pub(crate) fn least(figure: &'static str, value: f64) -> Goal {
        Goal { figure, least: true, value, of: None }
    }

    pub(crate) fn most(figure: &'static str, value: f64) -> Goal {
        Goal { figure, least: false, value, of: None }
    }

    /// Makes the goal a ratio to what another target has.
    pub(crate) fn of(self, target: Target) -> Goal {
        Goal { of: Some(target), ..self }
    }

    pub(crate) fn text(&self) -> String {
        let Goal { figure, value, .. } = self;
        let bound = if self.least { "at least" } else { "at most" };
        match self.of {
            Some(target) => format!("{figure} {bound} {value} of {}", target.name()),
            None => format!("{figure} {bound} {value}"),
        }
    }
}
