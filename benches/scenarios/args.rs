//! The arguments of the command line.

use std::time::Duration;

use super::figures::Figures;
use super::target::Target;

/// The arguments.
pub(crate) struct Args {
    /// Parts of names of scenarios; none: the short ones.
    pub(crate) names: Vec<String>,
    /// How long each measurement takes.
    pub(crate) time: Duration,
    /// Whether the time was given on the command line.
    shortened: bool,
    /// How often each measurement is repeated, in turns; the median counts.
    pub(crate) rounds: usize,
    /// Run everything once, small and quickly: whether it works, not how fast it is.
    pub(crate) trial: bool,
    /// Run the long ones too.
    pub(crate) all: bool,
    pub(crate) targets: Vec<Target>,
    /// How many messages a publisher may be ahead of its slowest subscriber; if it is not given,
    /// the number depends on the number of subscribers.
    pub(crate) ahead: Option<u64>,
    /// Only print the names.
    pub(crate) list: bool,
}

/// The text for `--help`.
pub(crate) const HELP: &str = "\
cargo bench --bench scenarios -- [NAME…] [options]

  NAME            the scenario, or those whose name contains it; without any, the short ones
  --all           the long ones too
  --list          only their names
  --seconds N     how long each measurement is (2); long ones become shorter, and say so
  --rounds N      repeats, in turns with the others; the median counts (3)
  --targets A,B   instead of both codecs and both floors; see --list
  --peers         the peers that are installed, beside them
  --ahead N       messages that a publisher may be ahead of its slowest subscriber
  --test          everything once, small and quick: whether it works, not how fast
";

/// The options of the test harness that have a value behind them.
const VALUED: [&str; 5] = ["--test-threads", "--skip", "--format", "--color", "--logfile"];

impl Args {
    /// Parses the arguments; `None` when only the help is wanted.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
        let words: Vec<String> = words.collect();
        // `cargo bench` passes this. A run of the benchmarks as tests does not pass it, and passes
        // options for the test harness to all of them.
        let bench = words.iter().any(|word| word == "--bench");
        let mut words = words.into_iter();
        let mut args = Args {
            names: Vec::new(),
            time: Duration::from_secs(2),
            shortened: false,
            rounds: 3,
            trial: false,
            all: false,
            targets: Target::OWN.to_vec(),
            ahead: None,
            list: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--bench" => {}
                "--test" => args.trial = true,
                "--all" => args.all = true,
                "--list" => args.list = true,
                "--peers" => args.targets.extend(Target::PEERS),
                "--seconds" => {
                    args.time = Duration::from_secs_f64(number(&value()?)?);
                    args.shortened = true;
                }
                "--rounds" => args.rounds = number(&value()?)?,
                "--ahead" => args.ahead = Some(number(&value()?)?),
                "--targets" => args.targets = Target::list(&value()?)?,
                "--help" => return Ok(None),
                option if VALUED.contains(&option) && !bench => drop(value()?),
                option if option.starts_with('-') && bench => {
                    return Err(format!("unknown: {option}"));
                }
                option if option.starts_with('-') => {}
                _ => args.names.push(word),
            }
        }
        if args.trial || !bench {
            args.trial = true;
            args.rounds = 1;
            args.time = Duration::from_millis(100);
            args.shortened = true;
        }
        Ok(Some(args))
    }

    /// Returns how long something takes that should take `wanted`: less if less was requested,
    /// which is noted.
    pub(crate) fn at_most(&self, wanted: Duration, figures: &mut Figures) -> Duration {
        if !self.shortened || self.time >= wanted {
            return wanted;
        }
        figures.notes.push(format!("SHORTENED: {:?} instead of {wanted:?}", self.time));
        self.time
    }

    /// Returns how many of something to use: `wanted`, or few in a trial, which is noted.
    pub(crate) fn count(&self, wanted: usize, figures: &mut Figures) -> usize {
        if !self.trial {
            return wanted;
        }
        let few = wanted.min(50);
        figures.notes.push(format!("TRIAL: {few} instead of {wanted}"));
        few
    }

    /// Whether a scenario is requested. `exact` returns whether a name is the complete name of a
    /// scenario.
    pub(crate) fn wants(&self, name: &str, long: bool, exact: impl Fn(&String) -> bool) -> bool {
        if self.names.is_empty() {
            return self.all || self.trial || !long;
        }
        self.names.iter().any(|part| if exact(part) { name == part } else { name.contains(part) })
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}
