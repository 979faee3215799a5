//! Finds everything that is damaged in a directory, not only the first defect.

use onetree_core::Settings;

use super::history::History;
use super::log::{self, LogFile};
use super::recover;
use super::storage::Storage;
use super::tree;
use super::{Damage, OpenError};

/// Returns the damage that prevents opening the files, if any, and then the damage in each file by
/// itself, in the order of their names. Reads everything, some of it twice, and changes nothing.
/// Files that cannot be read at all are skipped: that is no damage, and [`super::check`] reports
/// it.
pub fn damages(storage: &dyn Storage, settings: &Settings) -> Vec<Damage> {
    let mut all = Vec::new();
    let mut note = |read: Result<(), OpenError>| {
        if let Err(OpenError::Damaged(damage)) = read
            && !all.contains(&damage)
        {
            all.push(damage);
        }
    };
    note(recover::read(storage, settings.clone()).map(drop));
    note(History::read(storage).map(drop));
    let mut names = storage.list().unwrap_or_default();
    names.sort_unstable();
    for name in names {
        let Ok(file) = storage.open(&name) else { continue };
        if tree::rev_of(&name).is_some() {
            note(tree::load(storage, &name, file, settings.clone()).map(drop));
        } else if log::first_of(&name).is_some() {
            let read = LogFile::read(storage, &name, &*file);
            note(read.and_then(|log| log.each(storage, u64::MAX, drop)).map(drop));
        }
    }
    all
}
