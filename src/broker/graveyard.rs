//! Frees the memory of trees that are no longer needed.

use std::thread;
use std::time::Duration;

/// The most slots that are freed on the owner's own thread, which takes about two milliseconds.
const FEW: usize = 10_000;

/// How long to wait before a tree is freed: a connection that still holds it for a turn, which
/// takes some milliseconds, must not be the last to drop it.
const REST: Duration = Duration::from_millis(100);

/// Drops `before`, which frees this many `slots`.
///
/// Freeing a million slots takes 0.2 s, and nobody could write or receive anything meanwhile, so a
/// separate thread does it when there are many. Few slots are freed here, because each write took
/// 170 ns longer when every tree was dropped on another thread.
pub(super) fn let_go<T: Send + 'static>(before: T, slots: usize) {
    if slots > FEW {
        let rest = move || {
            thread::sleep(REST);
            drop(before);
        };
        // If no thread can be started, the closure is dropped, and with it the tree, here.
        drop(thread::Builder::new().name("onetree-graveyard".to_owned()).spawn(rest));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::ThreadId;

    use super::*;

    /// Reports on which thread it is dropped.
    struct Tree(Sender<ThreadId>);

    impl Drop for Tree {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn a_large_tree_goes_on_a_thread_of_its_own() {
        let here = thread::current().id();
        for (slots, own) in [(0, false), (FEW, false), (FEW + 1, true), (usize::MAX, true)] {
            let (says, goes) = channel();
            let_go(Tree(says), slots);
            assert_eq!(goes.recv().unwrap() != here, own, "{slots}");
        }
    }
}
