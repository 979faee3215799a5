//! The clock of the tree. The tree never reads the time; the broker passes the time in.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use onetree_core::Time;

/// A difference from the system's clock is logged from this size on, in either direction.
const NOTABLE: Duration = Duration::from_secs(1);

/// The longest wait before the clock is read again: the system's clock may be set forward in the
/// meantime, for example while the machine sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A function that returns the time of the system's clock.
pub type SystemClock = dyn Fn() -> SystemTime + Send + Sync;

/// The time of the tree: the time of the system's clock, but it never goes back.
///
/// It begins at the time of the newest commit, or at the system's time if that is later. It
/// advances as time passes, whatever the system's clock does, and follows the system's clock only
/// when that is ahead. So a system clock that was wrong once never makes the tree's time stand
/// still: see docs/adr/0016-time-goes-on.md.
pub(crate) struct Clock {
    system: Arc<SystemClock>,
    begun: Instant,
    /// The time of the tree at `begun`, since the Unix epoch, corrected by every later jump
    /// forward.
    zero: Duration,
    /// Whether it was logged that the system's clock is behind.
    behind_told: bool,
}

/// The result of reading the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) now: Time,
    /// By how many milliseconds the clock has jumped forward since the reading before, beyond the
    /// time that has passed.
    pub(crate) skipped: u64,
}

impl Clock {
    /// Makes a clock for a tree whose newest commit has the time `newest`.
    pub(crate) fn new(newest: Time, system: Arc<SystemClock>) -> Clock {
        let zero = since_epoch(system()).max(Duration::from_millis(newest.0));
        Clock { system, begun: Instant::now(), zero, behind_told: false }
    }

    /// Reads the clock.
    pub(crate) fn read(&mut self) -> Reading {
        // The order matters: if the process is suspended between these two calls, the system's
        // clock seems behind, which changes nothing. In the other order it would seem ahead.
        let system = since_epoch((self.system)());
        self.follow(system, self.begun.elapsed())
    }

    /// Returns how long to wait until `time`: zero when `time` is past, and at most
    /// [`LONGEST_WAIT`].
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

    /// Reads a clock at each of `at`: what the system's clock says, and how much time has passed,
    /// in milliseconds. Returns the time and the jump of each reading. The newest commit of the
    /// tree and the system's clock at the start are both at 1,000.
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
        // When the system's clock is right again, the tree's time is not ahead of it, however often
        // the system's clock went back and forth.
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
