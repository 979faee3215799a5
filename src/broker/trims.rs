//! Logs what retention trims. What a rule has trimmed is lost for good, so the log shows what a new
//! rule, or a rule with a mistake, takes.

use std::collections::BTreeMap;
use std::time::Duration;

use onetree_core::{Commit, Effect, Retention};
use onetree_protocol::Path;
use tokio::time::Instant;

/// How many trimmed logs are named, each with a line of its own. All other logs are summed up in
/// one more line.
const NAMED: usize = 8;

/// How often this is logged: busy logs are trimmed many times a second.
const TOLD: Duration = Duration::from_secs(60);

/// How many entries the first pass since the start may trim without a warning.
const LITTLE: u64 = 100;

/// What the rules of retention have trimmed.
pub(super) struct Trims {
    rules: Vec<Retention>,
    /// Entries trimmed since the last report: for each of the first logs that were trimmed, and for
    /// all others together.
    logs: BTreeMap<Path, u64>,
    others: u64,
    told: Option<Instant>,
    /// Entries that the first pass since the start has trimmed; `None` when that pass is over.
    first: Option<u64>,
}

/// Returns the log that a housekeeping commit has trimmed.
pub(super) fn trimmed(commit: &Commit) -> Option<&Path> {
    match &commit.effects[..] {
        [Effect::Trim { path, .. }] => Some(path),
        _ => None,
    }
}

impl Trims {
    pub(super) fn new(rules: Vec<Retention>) -> Trims {
        Trims { rules, logs: BTreeMap::new(), others: 0, told: None, first: Some(0) }
    }

    /// Notes that these logs have lost so many entries each, and that the trims are stored. `over`:
    /// no more housekeeping is due now.
    pub(super) fn stored(&mut self, trims: Vec<(Path, u64)>, over: bool) {
        for (log, entries) in trims {
            if let Some(first) = &mut self.first {
                let before = std::mem::replace(first, *first + entries);
                if before <= LITTLE && *first > LITTLE {
                    let (rule, by) = rule_of(&self.rules, &log);
                    tracing::warn!(
                        %log, rule, by,
                        "retention: a rule takes more than {LITTLE} entries that were stored before this start"
                    );
                }
            }
            let named = self.logs.len() < NAMED || self.logs.contains_key(&log);
            match named {
                true => *self.logs.entry(log).or_default() += entries,
                false => self.others += entries,
            }
        }
        if !over {
            return;
        }
        if !self.logs.is_empty() && self.told.is_none_or(|told| told.elapsed() >= TOLD) {
            self.tell();
        }
        if let Some(entries) = self.first.take_if(|first| *first > LITTLE) {
            tracing::warn!(entries, "retention: that is over");
        }
        self.first = None;
    }

    /// Reports what was not reported yet, at the end of the broker.
    pub(super) fn end(&mut self) {
        if !self.logs.is_empty() {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = Some(Instant::now());
        for (log, entries) in std::mem::take(&mut self.logs) {
            let (rule, by) = rule_of(&self.rules, &log);
            tracing::info!(%log, entries, rule, by, "retention: trimmed");
        }
        let entries = std::mem::take(&mut self.others);
        if entries > 0 {
            tracing::info!(entries, "retention: other logs trimmed");
        }
    }
}

/// Returns the rule that applies to a log, and the names of its bounds.
fn rule_of(rules: &[Retention], log: &Path) -> (String, String) {
    let Some(rule) = rules.iter().find(|rule| rule.pattern.matches(log.segments())) else {
        return Default::default();
    };
    let bounds =
        [("keep", rule.keep), ("max_age_ms", rule.max_age_ms), ("max_bytes", rule.max_bytes)];
    let set = bounds.iter().filter_map(|(name, bound)| bound.map(|_| *name));
    (rule.pattern.to_string(), set.collect::<Vec<_>>().join("/"))
}
