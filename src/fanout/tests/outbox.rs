//! Tests of the outbox: its bounds, and direct writes to the wire.

use std::io::{self, ErrorKind};

use super::*;

/// A wire that takes at most this many bytes in each call, or fails.
#[derive(Debug, Default)]
struct Paper {
    takes: Mutex<Option<usize>>,
    written: Mutex<Vec<u8>>,
}

impl Paper {
    fn taking(bytes: usize) -> Arc<Paper> {
        Arc::new(Paper { takes: Mutex::new(Some(bytes)), written: Mutex::default() })
    }

    fn written(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

impl Wire for Paper {
    fn write_now(&self, messages: &[u8]) -> io::Result<usize> {
        let takes = self.takes.lock().unwrap().ok_or(ErrorKind::WouldBlock)?;
        let count = takes.min(messages.len());
        self.written.lock().unwrap().extend_from_slice(&messages[..count]);
        Ok(count)
    }
}

/// Makes an outbox whose connection never rests.
fn outbox(bytes: usize, frames: usize) -> Outbox {
    Outbox::new(bytes, frames, Weak::<Paper>::new())
}

fn on(paper: &Arc<Paper>) -> Outbox {
    let wire: Weak<Paper> = Arc::downgrade(paper);
    Outbox::new(10_000, 100, wire).apart(Duration::ZERO)
}

fn item(n: Option<u64>, text: &'static str) -> Item {
    let frames = Arc::new(Frames::of(n.map(rev), Bytes::from_static(text.as_bytes())));
    if n.is_some() { Item::Deltas(frames) } else { Item::Signals(frames) }
}

fn taken(outbox: &Outbox, up_to: Revision) -> (bool, usize) {
    let mut items = Vec::new();
    let intact = outbox.take(&mut items, usize::MAX, up_to);
    (intact, items.len())
}

const WAITS: Pushed = Pushed { wakes: false, written: false };
const WAKES: Pushed = Pushed { wakes: true, written: false };
const WRITTEN: Pushed = Pushed { wakes: false, written: true };

#[test]
fn who_rests_is_written_for_in_order_and_learns_how_far() {
    let paper = Paper::taking(usize::MAX);
    let outbox = on(&paper);
    assert_eq!(outbox.push(item(Some(1), "one "), true), WAKES, "it is awake");
    assert!(!outbox.rest(rev(1)), "something waits");
    assert_eq!(taken(&outbox, Revision::MAX), (true, 1));
    assert!(outbox.rest(rev(1)));
    assert_eq!(outbox.push(item(Some(1), "again "), true), WAITS, "nobody needs it");
    assert_eq!(outbox.push(item(Some(2), "two "), true), WRITTEN);
    assert_eq!(outbox.push(item(None, "signal "), true), WRITTEN);
    assert_eq!(outbox.push(item(Some(3), "three "), true), WRITTEN);
    assert_eq!(outbox.push(item(Some(3), "again "), true), WAITS, "nobody needs it any more");
    assert_eq!(paper.written(), "two signal three ");
    assert!(outbox.is_idle());
    assert_eq!(outbox.rouse(), Written { rev: rev(3), rest: None });
    assert_eq!(outbox.push(item(Some(4), "four "), true), WAKES, "it is awake");
    assert_eq!(outbox.rouse(), Written::default(), "what is told is told once");
    assert_eq!(paper.written(), "two signal three ");
}

#[test]
fn of_what_goes_together_only_what_is_needed_is_written() {
    let paper = Paper::taking(usize::MAX);
    let outbox = on(&paper);
    assert!(outbox.rest(rev(7)));
    let frames = Frames::of_deltas(&[(rev(6), "six "), (rev(7), "seven "), (rev(8), "eight ")]);
    assert_eq!(outbox.push(Item::Deltas(Arc::new(frames)), true), WRITTEN);
    assert_eq!(paper.written(), "eight ");
    assert_eq!(outbox.rouse().rev, rev(8));
}

#[test]
fn what_the_wire_does_not_take_waits_and_all_that_is_behind_it() {
    let paper = Paper::taking(3);
    let outbox = on(&paper);
    assert!(outbox.rest(Revision::ZERO));
    let part = Pushed { wakes: true, written: true };
    assert_eq!(outbox.push(item(Some(1), "abcdef"), true), part, "the rest is its to write");
    assert_eq!(outbox.push(item(Some(2), "gh"), true), WAITS);
    assert!(!outbox.rest(rev(1)), "what it has not asked for is not forgotten");
    assert_eq!(paper.written(), "abc");
    let rest = Some(Bytes::from_static(b"def"));
    assert_eq!(outbox.rouse(), Written { rev: rev(1), rest });
    assert_eq!(taken(&outbox, Revision::MAX), (true, 1));

    *paper.takes.lock().unwrap() = None;
    assert!(outbox.rest(rev(2)));
    assert_eq!(outbox.push(item(Some(3), "ij"), true), WAKES, "nothing was taken");
    assert_eq!(outbox.push(item(None, "kl"), true), WAITS);
    assert_eq!(outbox.rouse(), Written::default());
    assert_eq!(taken(&outbox, Revision::MAX), (true, 2));
    assert_eq!(paper.written(), "abc");
}

#[test]
fn what_is_lost_loses_no_rest_of_a_message() {
    let paper = Paper::taking(3);
    let outbox = on(&paper);
    assert!(outbox.rest(Revision::ZERO));
    outbox.push(item(Some(1), "abcdef"), true);
    assert!(outbox.overflow(), "it has to take note of it");
    assert_eq!(outbox.push(item(Some(2), "gh"), true), WAITS, "it is lost with the others");
    let large = Frames::of(Some(rev(3)), Bytes::from(vec![0; 20_000]));
    assert_eq!(outbox.push(Item::Deltas(Arc::new(large)), true), WAITS);
    let rest = Some(Bytes::from_static(b"def"));
    assert_eq!(outbox.rouse(), Written { rev: rev(1), rest });
    assert!(outbox.take_overflow());
}

#[test]
fn what_is_large_or_goes_to_many_wakes_who_rests() {
    let paper = Paper::taking(usize::MAX);
    let outbox = on(&paper);
    let large = Frames::of(Some(rev(1)), Bytes::from(vec![b' '; 4 * 1024 + 1]));
    assert!(outbox.rest(Revision::ZERO));
    assert_eq!(outbox.push(Item::Deltas(Arc::new(large)), true), WAKES);
    assert_eq!((outbox.rouse(), taken(&outbox, Revision::MAX)), (Written::default(), (true, 1)));
    assert!(outbox.rest(rev(1)));
    assert_eq!(outbox.push(item(Some(2), "to many"), false), WAKES);
    assert_eq!(outbox.push(item(Some(3), "to few"), true), WAITS, "not before what waits");
    assert_eq!(paper.written(), "");
}

#[test]
fn bursts_are_gathered_and_what_comes_alone_is_written() {
    let paper = Paper::taking(usize::MAX);
    let (hour, none) = (Duration::from_secs(3_600), Duration::ZERO);
    let push = |outbox: &Outbox, n: u64| {
        outbox.rest(rev(n - 1));
        let pushed = outbox.push(item(Some(n), "x"), true);
        let _ = (outbox.rouse(), taken(outbox, Revision::MAX));
        pushed
    };
    let outbox = on(&paper).apart(hour);
    assert_eq!(push(&outbox, 1), WRITTEN, "nothing came before it");
    assert_eq!(push(&outbox, 2), WAKES, "it comes shortly behind");
    assert_eq!(push(&outbox, 3), WAKES);
    let outbox = outbox.apart(none);
    assert_eq!(push(&outbox, 4), WRITTEN);
    let outbox = outbox.apart(hour);
    assert_eq!(push(&outbox, 5), WAKES);
}

#[test]
fn who_has_left_is_not_written_for() {
    let paper = Paper::taking(usize::MAX);
    let outbox = on(&paper);
    assert!(outbox.rest(Revision::ZERO));
    drop(paper);
    assert_eq!(outbox.push(item(Some(1), "one"), true), WAKES);
}

#[test]
fn an_outbox_is_bounded_and_says_what_it_lost() {
    let frames = |n, bytes: usize| Arc::new(Frames::of(n, Bytes::from(vec![0; bytes])));
    let delta = |n, bytes: usize| Item::Deltas(frames(Some(rev(n)), bytes));
    let outbox = outbox(100, 3);
    let push = |item| outbox.push(item, true).wakes;
    assert!(push(delta(1, 50)), "the first wakes");
    assert!(!push(delta(2, 50)), "the second does not");
    assert_eq!(outbox.bytes(), 100);
    assert!(!push(Item::Signals(frames(None, 1))), "a signal is dropped");
    assert_eq!(taken(&outbox, rev(1)), (true, 1), "nothing above the revision is taken");
    assert!(!push(delta(3, 0)) && !push(delta(4, 0)));
    assert!(push(delta(5, 0)), "one frame too many: it wakes once more");
    assert_eq!((outbox.bytes(), taken(&outbox, Revision::MAX)), (0, (false, 0)));
    assert!(!push(delta(6, 1)), "nothing is queued until it was taken note of");
    assert!(!outbox.is_idle() && outbox.take_overflow() && outbox.is_idle());
    assert!(push(delta(7, 100)));
    assert_eq!(taken(&outbox, Revision::MAX), (true, 1));
    assert!(push(delta(8, 101)), "one byte too many");
    assert!(outbox.take_overflow() && !outbox.take_overflow());
}

#[test]
fn an_outbox_that_overflows_because_a_delta_is_missing_keeps_signals() {
    let frames = |n| Arc::new(Frames::of(n, Bytes::from_static(b"x")));
    let (delta, signal) = (Item::Deltas(frames(Some(rev(1)))), Item::Signals(frames(None)));
    let outbox = outbox(1_000, 100);
    let push = |item| outbox.push(item, true).wakes;
    push(signal.clone());
    push(delta.clone());
    assert!(outbox.overflow() && !outbox.overflow());
    assert!(!push(delta) && !push(signal));
    let mut taken = Vec::new();
    assert!(outbox.take_overflow() && outbox.take(&mut taken, usize::MAX, Revision::MAX));
    assert!(matches!(taken[..], [Item::Signals(_), Item::Signals(_)]), "{taken:?}");
    assert_eq!(outbox.bytes(), 0);
}
