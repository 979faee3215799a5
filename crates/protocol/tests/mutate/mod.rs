//! Random inputs: known ones, changed a little or a lot. The same seed makes the same inputs.

use std::collections::HashSet;

/// No input grows beyond this, so that many can run.
const MOST_BYTES: usize = 4096;
/// The most inputs that are kept.
const MOST_KEPT: usize = 4096;

/// Tokens of the formats, to be inserted anywhere.
const TOKENS: [&[u8]; 56] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"null",
    b"true",
    b"false",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\u0000",
    b"\\ud83d",
    b"\\ude00",
    b"0",
    b"-1",
    b"1e400",
    b"1.5",
    b"4294967296",
    b"9007199254740992",
    b"18446744073709551616",
    b"\"path\":",
    b"\"rev\":",
    b"\"json\":",
    b"\"text\":",
    b"\"bytes\":",
    b"\"type\":",
    b"\"op\":",
    b"\"id\":",
    b"/",
    b"//",
    b"*",
    b"**",
    b".",
    b"..",
    b"\xff",
    b"\xc2\x85",
    b"\xc0",
    b"\x90",
    b"\x91",
    b"\xa0",
    b"\xd9\x00",
    b"\xda\x00\x01x",
    b"\xc4\x00",
    b"\xc5\x00\x01x",
    b"\xcc\x00",
    b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00",
    b"\xd0\xff",
    b"\xca\x00\x00\x00\x00",
    b"\xdc\x00\x00",
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\x7f\xff\xff\xff",
];

/// Makes inputs from a corpus, and adds to the corpus those that showed something new.
pub(crate) struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
    /// How many inputs the corpus had at first, and how many of these were returned unchanged.
    first: usize,
    given: usize,
    /// Whether the last input was a changed one.
    changed: bool,
    seen: HashSet<String>,
}

impl Mutator {
    /// Returns a mutator over `corpus`.
    pub(crate) fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Mutator {
        assert!(!corpus.is_empty(), "a corpus of nothing");
        let first = corpus.len();
        Mutator { state: seed, corpus, first, given: 0, changed: false, seen: HashSet::new() }
    }

    /// Returns the next input: first each input of the corpus unchanged, then changed ones.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        self.changed = self.given == self.first;
        if !self.changed {
            self.given += 1;
            return self.corpus[self.given - 1].clone();
        }
        let mut input = self.known();
        // Mostly one change, seldom many.
        for _ in 0..1 + self.below(64).trailing_zeros().min(5) {
            self.change(&mut input);
        }
        input.truncate(MOST_BYTES);
        input
    }

    /// Keeps `input` if no earlier input showed what it did.
    pub(crate) fn learn(&mut self, saw: String, input: Vec<u8>) {
        let new = self.seen.insert(saw);
        // Inputs of the corpus are in it already.
        if new && self.changed && self.corpus.len() < MOST_KEPT {
            self.corpus.push(input);
        }
    }

    /// Returns how many inputs the corpus has now.
    pub(crate) fn kept(&self) -> usize {
        self.corpus.len()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(8)).min(input.len());
        match self.below(10) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, self.next() as u8),
            3 => drop(input.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
            4 => drop(input.splice(at..end, TOKENS[self.below(TOKENS.len())].iter().copied())),
            // Repeat a part of the input, once or many times.
            5 => {
                let part = input[at..end].repeat(1 << self.below(9));
                drop(input.splice(at..at, part));
            }
            // The beginning of one input, the end of another.
            6 => {
                let other = self.known();
                let from = self.below(other.len() + 1);
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            // A part of another input, in the middle.
            7 => {
                let other = self.known();
                let from = self.below(other.len() + 1);
                let to = (from + 1 + self.below(32)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            kind => {
                let byte = self.next() as u8;
                if let Some(old) = input.get_mut(at) {
                    *old = if kind == 8 { byte } else { *old ^ (1 << (byte & 7)) };
                }
            }
        }
    }

    fn known(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        self.corpus[at].clone()
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
