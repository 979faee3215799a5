//! The results of one measurement.

/// The figures of one measurement, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) values: Vec<(&'static str, f64)>,
    /// Notes to show beside the figures.
    pub(crate) notes: Vec<String>,
}

impl Figures {
    pub(crate) fn put(&mut self, name: &'static str, value: f64) {
        self.values.push((name, value));
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Returns the median of each figure over all rounds.
    pub(crate) fn median(rounds: &[Figures]) -> Figures {
        let mut all = Figures::default();
        for (name, _) in &rounds[0].values {
            let mut values: Vec<f64> = rounds.iter().filter_map(|round| round.get(name)).collect();
            values.sort_by(f64::total_cmp);
            all.put(name, values[values.len() / 2]);
        }
        for note in rounds.iter().flat_map(|round| &round.notes) {
            if !all.notes.contains(note) {
                all.notes.push(note.clone());
            }
        }
        all
    }
}
