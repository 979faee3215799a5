//! The output: a line of JSON for each target of a scenario, and a table at the end.

use serde_json::{Map, Value, json};

use super::figures::Figures;
use super::goal::Goal;
use super::target::Target;

/// The results of one target in a scenario.
pub(crate) struct Row {
    target: Target,
    rounds: Vec<Figures>,
    error: Option<String>,
}

impl Row {
    pub(crate) fn new(target: Target) -> Row {
        Row { target, rounds: Vec::new(), error: None }
    }

    pub(crate) fn target(&self) -> Target {
        self.target
    }

    pub(crate) fn add(&mut self, result: Result<Figures, String>) {
        match result {
            Ok(figures) => self.rounds.push(figures),
            Err(error) => self.error = Some(error),
        }
    }

    fn figures(&self) -> Option<Figures> {
        (!self.rounds.is_empty()).then(|| Figures::median(&self.rounds))
    }
}

/// The results of one scenario.
pub(crate) struct Block {
    name: String,
    rows: Vec<(Target, Option<Figures>, Option<String>)>,
    goals: Vec<Goal>,
}

impl Block {
    /// Makes the results. In a trial the goals are left out, because it is too short for them.
    pub(crate) fn new(name: &str, goals: &[Goal], rows: Vec<Row>, trial: bool) -> Block {
        let goals = if trial { Vec::new() } else { goals.to_vec() };
        let rows = rows.into_iter().map(|row| (row.target, row.figures(), row.error)).collect();
        Block { name: name.to_owned(), rows, goals }
    }

    /// Whether a target could not be measured.
    pub(crate) fn failed(&self) -> bool {
        self.rows.iter().any(|(_, _, error)| error.is_some())
    }

    fn of(&self, target: Target) -> Option<&Figures> {
        self.rows.iter().find(|row| row.0 == target)?.1.as_ref()
    }

    /// Compares the figures with a goal. Returns the value, and whether the goal is reached; `None`
    /// if the figure or what it is compared with was not measured.
    fn judge(&self, goal: &Goal, figures: &Figures) -> Option<(f64, bool)> {
        let mut value = figures.get(goal.figure)?;
        if let Some(other) = goal.of {
            value /= self.of(other)?.get(goal.figure)?;
        }
        Some((value, if goal.least { value >= goal.value } else { value <= goal.value }))
    }

    /// Prints one line of JSON for each target.
    pub(crate) fn print_json(&self) {
        for (target, figures, error) in &self.rows {
            let mut line = Map::new();
            line.insert("scenario".to_owned(), json!(self.name));
            line.insert("target".to_owned(), json!(target.name()));
            if let Some(codec) = target.codec() {
                line.insert("codec".to_owned(), json!(codec.subprotocol()));
            }
            if let Some(error) = error {
                line.insert("error".to_owned(), json!(error));
            }
            if let Some(figures) = figures {
                for (name, value) in &figures.values {
                    line.insert((*name).to_owned(), json!(round(*value)));
                }
                if !figures.notes.is_empty() {
                    line.insert("notes".to_owned(), json!(figures.notes));
                }
                if target.codec().is_some() {
                    let goals: Vec<Value> = self
                        .goals
                        .iter()
                        .map(|goal| {
                            let judged = self.judge(goal, figures);
                            json!({
                                "goal": goal.text(),
                                "measured": judged.map(|(value, _)| round(value)),
                                "reached": judged.map(|(_, reached)| reached),
                            })
                        })
                        .collect();
                    line.insert("goals".to_owned(), json!(goals));
                }
            }
            println!("{}", Value::Object(line));
        }
    }

    /// Prints a table for people.
    pub(crate) fn print_table(&self) {
        println!("\n{}", self.name);
        let Some(first) = self.rows.iter().find_map(|row| row.1.as_ref()) else {
            for (target, _, error) in &self.rows {
                println!("  {:<16} {}", target.name(), error.as_deref().unwrap_or("skipped"));
            }
            return;
        };
        let names: Vec<&str> = first.values.iter().map(|(name, _)| *name).collect();
        let main = names[0];
        let beside = [Target::FloorB, Target::NatsWebSocket];
        let beside: Vec<(Target, f64)> = beside
            .into_iter()
            .filter_map(|target| Some((target, self.of(target)?.get(main)?)))
            .collect();
        let mut head = format!("  {:<16}", "");
        for name in &names {
            head += &format!(" {name:>w$}", w = name.len().max(9));
        }
        for (target, _) in &beside {
            head += &format!("  of {}", target.name());
        }
        println!("{head}");
        for (target, figures, error) in &self.rows {
            let mut line = format!("  {:<16}", target.name());
            if let Some(figures) = figures {
                for name in &names {
                    let shown = figures.get(name).map_or("-".to_owned(), shown);
                    line += &format!(" {shown:>w$}", w = name.len().max(9));
                }
                for (other, value) in &beside {
                    let ratio = figures.get(main).unwrap_or(0.0) / value;
                    line += &format!("  {ratio:>w$.2}", w = other.name().len() + 3);
                }
            }
            if let Some(error) = error {
                line += &format!(" {error}");
            }
            println!("{line}");
            for note in figures.iter().flat_map(|figures| &figures.notes) {
                println!("  {:<16} {note}", "");
            }
        }
        for goal in &self.goals {
            let mut line = format!("  goal: {}:", goal.text());
            for (target, figures, _) in &self.rows {
                let Some(figures) = figures else { continue };
                if target.codec().is_none() {
                    continue;
                }
                let said = match self.judge(goal, figures) {
                    Some((value, true)) => format!("{}, reached", shown(value)),
                    Some((value, false)) => format!("{}, NOT reached", shown(value)),
                    None => "not measured".to_owned(),
                };
                line += &format!(" {} {said};", target.name());
            }
            println!("{}", line.trim_end_matches(';'));
        }
    }
}

/// Rounds to four decimal digits, or to a whole number from 1,000 on.
fn round(value: f64) -> f64 {
    if value.abs() >= 1000.0 { value.round() } else { (value * 10_000.0).round() / 10_000.0 }
}

fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 1e6 => format!("{:.2}M", value / 1e6),
        large if large >= 1e4 => format!("{:.0}k", value / 1e3),
        large if large >= 100.0 || value == value.round() => format!("{value:.0}"),
        _ => format!("{value:.3}"),
    }
}
