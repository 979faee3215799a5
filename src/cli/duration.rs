//! Durations on the command line: `250ms`, `30s`, `5m`, `12h`, `7d`.

use std::time::Duration;

/// The units, in milliseconds.
const UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
    let wrong = || "a duration is a number and a unit: 250ms, 30s, 5m, 12h, 7d".to_owned();
    let (Ok(number), Some(scale)) = (number.parse::<u64>(), scale) else { return Err(wrong()) };
    number
        .checked_mul(scale)
        .filter(|ms| (1..1 << 53).contains(ms))
        .map(Duration::from_millis)
        .ok_or_else(|| "a duration is above 0 and below 2^53 milliseconds".to_owned())
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("7d", 604_800_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "0s",
            "99999999999999999999s",
            "9007199254740992ms",
            "1S",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
