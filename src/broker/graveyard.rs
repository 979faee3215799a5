//! Where trees go that nobody needs any more.

use std::thread;
use std::time::Duration;

/// Slots that go with a tree on the thread of its owner, at most: two milliseconds or so.
const FEW: usize = 10_000;

/// Whoever has it for a moment is to be done with it, so as not to be the last: a turn of a
/// connection takes some milliseconds.
const REST: Duration = Duration::from_millis(100);

/// Lets go of what was there before, with which so many slots go. To give their memory back takes
/// 0.2 s for a million, so a thread of its own does it where they are many: nobody would write or
/// be delivered to meanwhile. Only there, because each write took 170 ns longer with every tree let
/// go of on another thread.
pub(super) fn let_go<T: Send + 'static>(before: T, slots: usize) {
    if slots > FEW {
        let rest = move || {
            thread::sleep(REST);
            drop(before);
        };
        // Without a thread it goes here.
        drop(thread::Builder::new().name("onetree-graveyard".to_owned()).spawn(rest));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::ThreadId;

    use super::*;

    /// Says on which thread it goes.
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
