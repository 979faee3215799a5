//! The clock: the tree is told the time, it never reads it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use onetree_core::Time;

/// Where the system's clock is this far behind, or is set forward by so much, the log is told.
const NOTABLE: Duration = Duration::from_secs(1);

/// Nobody waits for longer without a look at the clock: meanwhile it may be set forward, as after a
/// sleep of the machine.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the system's clock says.
pub type SystemClock = dyn Fn() -> SystemTime + Send + Sync;

/// The time of the tree: that of the system's clock, but it never goes back.
///
/// It begins at the newest commit, or at the system's clock if that is further, and goes on as time
/// passes, whatever the system's clock does; only where that is ahead does it follow. So a clock
/// that was wrong once makes nothing stop: see docs/adr/0016-time-goes-on.md.
pub(crate) struct Clock {
    system: Arc<SystemClock>,
    begun: Instant,
    /// What it showed when it was begun, by what is known now; since the Unix epoch.
    zero: Duration,
    /// Whether the log has been told that the system's clock is behind.
    behind_told: bool,
}

/// A look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) now: Time,
    /// By how many milliseconds the clock has jumped since the look before, beyond what has passed.
    pub(crate) skipped: u64,
}

impl Clock {
    /// A clock for a tree whose newest commit was made then.
    pub(crate) fn new(newest: Time, system: Arc<SystemClock>) -> Clock {
        let zero = since_epoch(system()).max(Duration::from_millis(newest.0));
        Clock { system, begun: Instant::now(), zero, behind_told: false }
    }

    /// Now.
    pub(crate) fn read(&mut self) -> Reading {
        // In this order: to a process that is held in between the system's clock seems behind,
        // which changes nothing, and not ahead.
        let system = since_epoch((self.system)());
        self.follow(system, self.begun.elapsed())
    }

    /// How long it is until `time`; nothing when it is over.
    pub(crate) fn until(&self, time: Time) -> Duration {
        let shown = self.zero + self.begun.elapsed();
        Duration::from_millis(time.0).saturating_sub(shown).min(LONGEST_WAIT)
    }

    fn follow(&mut self, system: Duration, passed: Duration) -> Reading {
        let shown = self.zero + passed;
        let (ahead, behind) = (system.saturating_sub(shown), shown.saturating_sub(system));
        let before = millis(self.zero);
        self.zero += ahead;
        if ahead >= NOTABLE {
            let by_s = ahead.as_secs();
            tracing::info!(
                by_s,
                "the system's clock was set forward: what has an age is so much older"
            );
        }
        if behind >= NOTABLE && !self.behind_told {
            let by_s = behind.as_secs();
            tracing::warn!(
                by_s,
                "the system's clock is behind that of the tree, which goes on as time passes"
            );
        }
        self.behind_told = behind >= NOTABLE;
        Reading { now: Time(millis(self.zero + passed)), skipped: millis(self.zero) - before }
    }
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A clock of a tree whose newest commit is of 1,000, as is the system's clock at its begin;
    /// and what it shows when the system's clock says the first while the second has passed.
    fn looks(at: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut clock = Clock::new(Time(1_000), Arc::new(|| UNIX_EPOCH + ms(1_000)));
        let look = |(system, passed): &(u64, u64)| {
            let Reading { now, skipped } = clock.follow(ms(*system), ms(*passed));
            (now.0, skipped)
        };
        at.iter().map(look).collect()
    }

    #[test]
    fn it_is_the_systems_clock_where_that_goes_right() {
        assert_eq!(
            looks(&[(1_000, 0), (1_010, 10), (9_000, 8_000)]),
            [(1_000, 0), (1_010, 0), (9_000, 0)]
        );
    }

    #[test]
    fn it_goes_on_where_the_systems_clock_is_set_back() {
        assert_eq!(looks(&[(1_010, 10), (0, 20), (30, 50)]), [(1_010, 0), (1_020, 0), (1_050, 0)]);
        // And is no further when that is right again, however often it goes back and forth.
        let looks = looks(&[(1_010, 10), (0, 20), (1_030, 30), (5, 40), (1_050, 50)]);
        assert_eq!(looks.last(), Some(&(1_050, 0)));
    }

    #[test]
    fn it_follows_forward_and_stays_there() {
        let year = 365 * 24 * 3_600_000;
        let (ahead, back) = ((year, 10), (1_020, 20));
        assert_eq!(looks(&[ahead, back]), [(year, year - 1_010), (year + 10, 0)]);
    }

    #[test]
    fn what_was_skipped_adds_up_to_the_whole() {
        let mut clock = Clock::new(Time(0), Arc::new(|| UNIX_EPOCH));
        let step = Duration::from_micros(300);
        let skipped = (1..=100u32).map(|n| clock.follow(step * n, Duration::ZERO).skipped);
        assert_eq!(skipped.sum::<u64>(), 30);
    }

    #[test]
    fn it_begins_at_the_later_of_both() {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for (newest, least) in [(0, millis(real)), (millis(real) * 2, millis(real) * 2)] {
            let mut clock = Clock::new(Time(newest), Arc::new(SystemTime::now));
            let Reading { now, skipped } = clock.read();
            assert!(now >= Time(least) && now <= Time(least).plus(60_000), "{now:?}");
            assert!(
                skipped <= 60_000,
                "the time in which the broker was not there is nobody's: {skipped}"
            );
        }
    }

    #[test]
    fn it_tells_how_long_it_is_until_then() {
        let clock = Clock::new(Time(0), Arc::new(|| UNIX_EPOCH + ms(5_000_000)));
        assert_eq!(clock.until(Time(5_000_000)), Duration::ZERO);
        let wait = clock.until(Time(5_050_000));
        assert!(wait <= ms(50_000), "{wait:?}");
        assert_eq!(clock.until(Time::NEVER), LONGEST_WAIT);
    }
}
