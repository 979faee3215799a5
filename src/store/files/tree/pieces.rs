//! Reads what is intact in a damaged saved tree.

use onetree_core::{Head, SavedClient, SavedSlot, Settings, State, Time};
use onetree_protocol::Revision;

use super::reader::Reader;
use super::{CLIENTS, END, FILE_HEADER, HEAD, SLOTS, name};
use crate::store::files::record::{BadRecord, ClientRecord, HeadRecord, SlotRecord};
use crate::store::files::storage::Storage;
use crate::store::files::{Damage, OpenError};

/// Makes a state of what is intact in the tree saved at `rev`, and adds the rest to `lost`. Returns
/// whether anything is intact.
pub(in crate::store::files) fn whole(
    storage: &dyn Storage,
    rev: u64,
    settings: Settings,
    lost: &mut Vec<Damage>,
) -> (State, bool) {
    let name = &name(rev);
    let rev = Revision::new(rev).unwrap_or(Revision::ZERO);
    let head = Head { rev, time: Time(0), horizon: rev, forgotten: None };
    let mut pieces = Pieces { head, slots: Vec::new(), clients: Vec::new() };
    let mut any = false;
    let mut lose = |error: OpenError| lost.push(error.damage(storage, name));
    match storage.open(name) {
        Err(error) => lose(OpenError::Io { file: storage.show(name), error }),
        Ok(file) => {
            let mut reader = Reader::new(storage, name, file, FILE_HEADER as u64);
            loop {
                match reader.block() {
                    Ok((END, _)) => break,
                    Ok((kind, records)) => {
                        any |= pieces.take(&reader, kind, records).map_err(&mut lose).is_ok();
                    }
                    Err(error) => {
                        lose(error);
                        let Some(at) = reader.whole_behind() else { break };
                        reader.at = at;
                    }
                }
            }
        }
    }
    (State::load(settings, pieces.head, pieces.slots, pieces.clients), any)
}

/// The content of the intact blocks of a saved tree.
struct Pieces {
    head: Head,
    slots: Vec<SavedSlot>,
    clients: Vec<SavedClient>,
}

impl Pieces {
    fn take(&mut self, from: &Reader<'_>, kind: u32, records: u32) -> Result<(), OpenError> {
        match kind {
            HEAD => from.records(records, |record: HeadRecord| {
                self.head = record.head()?;
                Ok(())
            }),
            SLOTS => from.records(records, |record: SlotRecord<'_>| {
                let slot = SavedSlot::try_from(record)?;
                if self.slots.last().is_some_and(|last| last.path >= slot.path) {
                    return Err(BadRecord::new("its paths are not in order"));
                }
                self.slots.push(slot);
                Ok(())
            }),
            CLIENTS => from.records(records, |record: ClientRecord<'_>| {
                let client = SavedClient::try_from(record)?;
                if self.clients.last().is_some_and(|last| last.name >= client.name) {
                    return Err(BadRecord::new("its clients are not in order"));
                }
                self.clients.push(client);
                Ok(())
            }),
            _ => Err(from.damage(&format!("there is no block of kind {kind}"))),
        }
    }
}
