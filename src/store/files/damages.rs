//! All that is damaged in a directory, not only what is met first.

use onetree_core::Settings;

use super::history::History;
use super::log::{self, LogFile};
use super::recover;
use super::storage::Storage;
use super::tree;
use super::{Damage, OpenError};

/// What keeps the files from being opened, if it is damage; then what is damaged in each of them by
/// itself, in the order of their names. Reads everything, some of it twice, and changes nothing.
/// What cannot be read at all is passed over: that is no damage, and [`super::check`] says it.
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
