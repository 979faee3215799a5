//! The thread that writes. A disk blocks, so writing has a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use onetree_core::{Checkpoint, Commit, State};
use onetree_protocol::{DigestKey, Epoch};
use tokio::sync::oneshot;

use super::history::History;
use super::log::{self, LogFile, LogWriter};
use super::saving::{self, Saving, TREE_TO_LOG};
use super::spare::Spare;
use super::storage::{self, Storage};
use super::tree;
use super::urgent::Urgent;
use super::{FileOptions, OpenError};
use crate::store::Condition;

/// A disk that failed is tried again after this time, and then after twice as long each time, up to
/// the longest: other programs may have filled the disk, and need it as well.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// A job of the thread.
pub(super) enum Job {
    /// Store these commits, all or none.
    Append { commits: Vec<Arc<Commit>>, done: oneshot::Sender<Result<(), String>> },
    /// Save this state, whose commits are all in the log.
    Save(Box<Checkpoint>),
    /// The end of a save: the size of the saved tree, or an error.
    Saved(io::Result<u64>),
    /// Close the store; no more jobs come. The answer says whether it was closed properly.
    Close(oneshot::Sender<Result<(), String>>),
    /// The store was dropped without a close.
    Gone,
}

/// The other tasks' handle to the thread.
pub(super) struct Handle {
    jobs: Sender<Job>,
    told: Arc<Told>,
    /// Closed when the thread has ended.
    alive: Option<oneshot::Receiver<()>>,
}

/// What the thread reports.
#[derive(Default)]
struct Told {
    condition: Arc<Condition>,
    save_due: AtomicBool,
}

impl Handle {
    pub(super) fn send(&self, job: Job) {
        // If the thread has ended, whoever waits for an answer sees that.
        let _ = self.jobs.send(job);
    }

    pub(super) fn condition(&self) -> Arc<Condition> {
        self.told.condition.clone()
    }

    /// Completes when the thread has ended, for whatever reason.
    pub(super) fn gone(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let alive = self.alive.take();
        async move {
            match alive {
                // Nothing is ever sent.
                Some(alive) => drop(alive.await),
                None => std::future::pending().await,
            }
        }
    }

    pub(super) fn is_save_due(&self) -> bool {
        self.told.save_due.load(Ordering::Relaxed)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread itself has a sender too, so its queue never disconnects.
        self.send(Job::Gone);
    }
}

/// The thread's own.
pub(super) struct Engine {
    storage: Arc<dyn Storage>,
    options: FileOptions,
    key: DigestKey,
    epoch: Epoch,
    jobs: Sender<Job>,
    told: Arc<Told>,
    log: LogWriter,
    spare: Spare,
    /// What has the disk before the tree that is being saved.
    urgent: Urgent,
    /// The last revision that is stored, and the last that is on the disk.
    kept: u64,
    synced: u64,
    /// The sizes of the log behind the saved tree, and of that tree, bytes.
    log_bytes: u64,
    saved_bytes: u64,
    /// The tree that is being saved.
    saving: Option<Saving>,
    /// When to try again to save a tree that could not be saved.
    save_again: Option<SaveAgain>,
    /// Whether the last tree could not be saved.
    unsaved: bool,
    /// Since when something is written that is not on the disk yet.
    unsynced: Option<Instant>,
    /// The failure, while nothing can be written.
    failed: Option<Failed>,
    /// Whether the last batch that could not be written did not fit on the disk, and none was
    /// written since.
    full: bool,
    /// Whether a failure was logged, and its end was not logged yet.
    logged: bool,
}

/// When to try again to save a tree: when the log has reached this size, or at this time in any
/// case, because by then the tree may be smaller or the disk may have more room.
struct SaveAgain {
    log_bytes: u64,
    at: Instant,
}

/// A failure of the disk, until it is repaired.
struct Failed {
    /// The reason.
    reason: String,
    /// When to try again, and the pause before that.
    again: Instant,
    pause: Duration,
}

impl Engine {
    /// Begins a new log file behind `state`, and starts the thread.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        options: FileOptions,
        key: DigestKey,
        state: &State,
        epoch: Epoch,
        (log_bytes, saved_bytes): (u64, u64),
    ) -> Result<Handle, OpenError> {
        // Start the thread before anything is written: if it cannot be started, nobody would end a
        // history that was begun.
        let (give, engine) = mpsc::channel::<Engine>();
        let (jobs, queue) = mpsc::channel();
        let (lives, alive) = oneshot::channel::<()>();
        let run = move || {
            let _lives = lives;
            if let Ok(mut engine) = engine.recv() {
                engine.run(&queue);
            }
        };
        let thread = thread::Builder::new().name("onetree-store".to_owned()).spawn(run);
        thread.map_err(|error| OpenError::Io { file: "a thread".to_owned(), error })?;
        let kept = state.rev().get();
        let failed = |error| OpenError::Io { file: storage.show(&log::name(kept + 1)), error };
        let create = || {
            let bytes = (0, options.log_file_bytes);
            LogWriter::create(&*storage, epoch, kept + 1, bytes, None, &[])
        };
        let log = create().or_else(|error| {
            // It may be the log that fills the disk.
            make_room(&*storage, (epoch, key), state, error).and_then(|()| create())
        });
        let log = log.map_err(failed)?;
        let weak = options.interval.is_some();
        let history = History { epoch, weak, clean: false, backup: false, log: Some(kept + 1) };
        history.write(&*storage).map_err(failed)?;
        saving::clear_old(&*storage, kept + 1);
        let told = Arc::new(Told::default());
        let engine = Engine {
            storage,
            options,
            key,
            epoch,
            jobs: jobs.clone(),
            told: told.clone(),
            log,
            spare: Spare::default(),
            urgent: Urgent::default(),
            kept,
            synced: kept,
            log_bytes,
            saved_bytes,
            saving: None,
            save_again: None,
            unsaved: false,
            unsynced: None,
            failed: None,
            full: false,
            logged: false,
        };
        engine.tell_due();
        // This cannot fail: the thread waits for the engine.
        let _ = give.send(engine);
        Ok(Handle { jobs, told, alive: Some(alive) })
    }

    fn run(&mut self, queue: &Receiver<Job>) {
        loop {
            let job = match self.wait() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => queue.recv_timeout(wait),
            };
            match job {
                Ok(Job::Append { commits, done }) => {
                    let result = self.append(&commits);
                    // This fails when the asking task is gone, because the broker is ending.
                    let _ = done.send(result);
                }
                Ok(Job::Save(state)) => self.save(*state),
                Ok(Job::Saved(result)) => self.saved(result),
                Ok(Job::Close(done)) => {
                    let _ = done.send(self.close());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Ok(Job::Gone) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Returns how long there is nothing to do without a job.
    fn wait(&self) -> Option<Duration> {
        let left = |failed: &Failed| failed.again.saturating_duration_since(Instant::now());
        let retry = self.failed.as_ref().map(left);
        let interval = self.options.interval.unwrap_or_default();
        let sync = self.unsynced.map(|since| interval.saturating_sub(since.elapsed()));
        let save = self.save_again.as_ref();
        let save = save.map(|again| again.at.saturating_duration_since(Instant::now()));
        retry.into_iter().chain(sync).chain(save).min()
    }

    fn tick(&mut self) {
        if self.save_again.take_if(|again| again.at <= Instant::now()).is_some() {
            self.tell_due();
        }
        if self.failed.is_some() {
            // Without this the store would stay read-only until somebody writes.
            let _ = self.mend();
        } else if let Err(error) = self.sync() {
            self.fail(&error);
        }
    }

    fn append(&mut self, commits: &[Arc<Commit>]) -> Result<(), String> {
        self.mend()?;
        let Some(last) = commits.last().map(|commit| commit.rev.get()) else { return Ok(()) };
        match self.write(commits) {
            Ok(()) => {
                self.kept = last;
                self.full = false;
                self.log_mended();
                if self.options.interval.is_none() {
                    self.synced = last;
                }
                self.tell_due();
                Ok(())
            }
            Err(error) => {
                let reason = self.fail(&error);
                // Do this at once, before anybody is told: what was written of these commits must
                // not come back if the process ends now. A new file would make sure of that.
                self.log.take_back(self.kept + 1);
                self.mend_now();
                Err(reason)
            }
        }
    }

    /// Waits until the log may grow beside the tree that is being saved.
    fn await_tree(&mut self) -> io::Result<()> {
        let free = self.options.log_file_bytes;
        while self.saving.as_ref().is_some_and(|saving| !saving.allows(self.log_bytes, free)) {
            // What was acknowledged before its sync does not wait for the tree.
            self.sync()?;
            thread::sleep(saving::LOOK);
        }
        Ok(())
    }

    fn write(&mut self, commits: &[Arc<Commit>]) -> io::Result<()> {
        self.await_tree()?;
        let mut before = self.log.written();
        if !self.log.append(commits)? {
            self.roll(commits)?;
            before = 0;
        }
        self.log_bytes += self.log.written() - before;
        if self.log.needs_next() {
            self.spare.make(&self.storage, self.options.log_file_bytes, &self.urgent);
        }
        match self.options.interval {
            None => self.log.sync(),
            Some(_) => {
                self.unsynced.get_or_insert_with(Instant::now);
                Ok(())
            }
        }
    }

    /// Continues in a new file. The file is made before the commits are in it, so if that fails,
    /// they are nowhere.
    fn roll(&mut self, commits: &[Arc<Commit>]) -> io::Result<()> {
        self.sync()?;
        let least = log::bytes_for(&self.log);
        // The part of the old file that stays empty takes space as well.
        self.log_bytes += self.log.room();
        self.log = self.begin(self.kept + 1, least, &[])?;
        match self.log.append(commits)? {
            true => Ok(()),
            false => Err(io::Error::other("a batch does not fit into the file made for it")),
        }
    }

    /// Begins a new log file with room for `least` bytes, and names it in the history.
    fn begin(&mut self, first: u64, least: u64, commits: &[Arc<Commit>]) -> io::Result<LogWriter> {
        let _doing = self.urgent.begin();
        let bytes = (least, self.options.log_file_bytes);
        let spare = self.spare.take(bytes.1.max(least));
        let log = LogWriter::create(&*self.storage, self.epoch, first, bytes, spare, commits)?;
        self.history(first, false).write(&*self.storage)?;
        Ok(log)
    }

    fn history(&self, log: u64, clean: bool) -> History {
        let weak = self.options.interval.is_some();
        History { epoch: self.epoch, weak, clean, backup: false, log: Some(log) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.take().is_some() {
            self.log.sync()?;
            self.synced = self.kept;
        }
        Ok(())
    }

    /// Stops all writing until it is known again what is on the disk.
    fn fail(&mut self, error: &io::Error) -> String {
        let reason = format!("{}: {error}", self.storage.show(self.log.name()));
        self.told.condition.read_only.store(true, Ordering::Relaxed);
        if !std::mem::replace(&mut self.logged, true) {
            tracing::error!(reason, "the disk fails: the broker is read-only until it works again");
        }
        self.unsynced = None;
        let pause = self.failed.as_ref().map_or(RETRY, |before| before.pause * 2);
        let pause = pause.min(RETRY_LONGEST);
        self.failed = Some(Failed { reason: reason.clone(), again: Instant::now() + pause, pause });
        self.full = storage::is_full(error);
        self.tell_due();
        reason
    }

    /// Tries again if it is time.
    fn mend(&mut self) -> Result<(), String> {
        match &self.failed {
            Some(failed) if Instant::now() < failed.again => return Err(failed.reason.clone()),
            Some(_) => {
                self.mend_now();
                if self.failed.is_none() {
                    self.log_mended();
                }
            }
            None => {}
        }
        self.failed.as_ref().map_or(Ok(()), |failed| Err(failed.reason.clone()))
    }

    /// Logs that a failure is over, if the failure was logged. A disk that is repaired at once may
    /// fail again with the next batch; then the end is logged when a batch was written.
    fn log_mended(&mut self) {
        if std::mem::take(&mut self.logged) {
            tracing::warn!("the disk works again: the broker takes writes");
        }
    }

    /// After a failure: checks whether what was acknowledged is still there, and whether a new file
    /// can be written.
    fn mend_now(&mut self) {
        match self.reopen() {
            Ok(log) => {
                // The part of the old file that stays empty takes space as well.
                self.log_bytes += self.log.room() + log.written();
                self.log = log;
                if self.failed.as_ref().is_some_and(|failed| failed.again <= Instant::now()) {
                    // The disk may have been full and have room now. But a disk that is repaired at
                    // once may fail again with the next batch, and a tree is much to write in vain.
                    self.save_again = None;
                }
                self.synced = self.kept;
                self.failed = None;
                self.tell_due();
                self.told.condition.read_only.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                self.fail(&error);
            }
        }
    }

    /// Begins a new file, which replaces whatever the old one has that was not acknowledged. A
    /// failed sync is not tried again, because the system may have forgotten what it did not write.
    /// What was acknowledged before it was on the disk is written again.
    fn reopen(&mut self) -> io::Result<LogWriter> {
        let storage = &*self.storage;
        let first = log::first_of(self.log.name()).unwrap_or_default();
        let mut again = Vec::new();
        if self.kept >= first {
            let mut there = first - 1;
            let file = storage.open(self.log.name())?;
            let read = LogFile::read(storage, self.log.name(), &*file);
            let file = read.map_err(|error| io::Error::other(error.to_string()))?;
            let each = file.each(storage, self.kept + 1, |commit| {
                there = commit.rev.get();
                if there > self.synced {
                    again.push(Arc::new(commit));
                }
            });
            each.map_err(|error| io::Error::other(error.to_string()))?;
            if there < self.kept {
                let lost =
                    format!("revisions {} to {} are not there any more", there + 1, self.kept);
                return Err(io::Error::other(lost));
            }
        }
        self.begin(self.synced + 1, 0, &again)
    }

    fn tell_due(&self) {
        let after = match self.full {
            // Perhaps the log fills the disk, and the tree is small by now.
            true => self.options.log_file_bytes,
            false => self.options.save_after_bytes.max(self.saved_bytes / TREE_TO_LOG),
        };
        let after = self.save_again.as_ref().map_or(after, |again| after.max(again.log_bytes));
        let due = self.saving.is_none() && self.log_bytes >= after;
        self.told.save_due.store(due, Ordering::Relaxed);
    }

    /// Saves a state in the background, while commits go on.
    fn save(&mut self, state: Checkpoint) {
        if self.saving.is_some() {
            return;
        }
        let (storage, jobs) = (self.storage.clone(), self.jobs.clone());
        let current = log::first_of(self.log.name()).unwrap_or_default();
        // If the engine has ended, this fails: the next start finds the tree, or not.
        let told = move |saved| drop(jobs.send(Job::Saved(saved)));
        let history = (self.epoch, self.key);
        let urgent = self.urgent.clone();
        match Saving::begin(storage, history, state, current, self.log_bytes, urgent, told) {
            Ok(saving) => {
                self.saving = Some(saving);
                self.told.condition.saving.store(true, Ordering::Relaxed);
            }
            Err(error) => return self.saved(Err(error)),
        }
        self.tell_due();
    }

    fn saved(&mut self, result: io::Result<u64>) {
        let covered = self.saving.take().map_or(0, |saving| saving.covered);
        self.told.condition.saving.store(false, Ordering::Relaxed);
        match result {
            Ok(bytes) => {
                self.saved_bytes = bytes;
                self.log_bytes -= covered;
                self.save_again = None;
                if let Some(failed) = &mut self.failed {
                    // There may be room now.
                    failed.again = Instant::now();
                }
                if std::mem::take(&mut self.unsaved) {
                    tracing::warn!("the tree is saved again: what the log had too much is removed");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unsaved, true) {
                    let file = self.storage.show(tree::MAKING);
                    tracing::error!(file, %error, "the tree cannot be saved: the log goes on growing");
                }
                // Do not try again at once.
                let log_bytes = self.log_bytes + self.options.save_after_bytes / 2;
                self.save_again = Some(SaveAgain { log_bytes, at: Instant::now() + RETRY_LONGEST });
            }
        }
        self.tell_due();
    }

    fn close(&mut self) -> Result<(), String> {
        // Told first, so that it stops while the rest is done; waited for when this returns.
        let _saving = self.saving.take().inspect(Saving::stop);
        if self.failed.is_some() {
            self.mend_now();
        }
        if let Some(failed) = &self.failed {
            return Err(failed.reason.clone());
        }
        let ended = self.log.end().and_then(|()| self.spare.end(&*self.storage)).and_then(|()| {
            let log = log::first_of(self.log.name()).unwrap_or_default();
            self.history(log, true).write(&*self.storage)
        });
        ended.map_err(|error| format!("{}: {error}", self.storage.show(self.log.name())))
    }
}

/// For a start on a full disk: saves the tree to replace the log before it. Returns the `error` if
/// that does not help.
fn make_room(
    storage: &dyn Storage,
    (epoch, key): (Epoch, DigestKey),
    state: &State,
    error: io::Error,
) -> io::Result<()> {
    if !storage::is_full(&error) {
        return Err(error);
    }
    let saved = tree::write(storage, epoch, key, &state.checkpoint(), |_| Ok(()));
    saved.map_err(|_| error)?;
    saving::clear_old(storage, state.rev().get() + 1);
    Ok(())
}
