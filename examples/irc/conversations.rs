//! What is said: the lines of real logs, or invented lines of the same shape.

use std::fs;
use std::io;
use std::path::Path;

use super::random::Random;

/// The lines of one log, as bytes without their line ends.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    /// A segment of a path.
    pub(crate) name: String,
    /// What was said, in order.
    pub(crate) lines: Vec<Vec<u8>>,
}

impl Conversation {
    /// The number of lines.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}

/// Reads each `*.log` of a directory, in the order of their names, up to `most` lines together.
pub(crate) fn read(directory: &Path, most: usize) -> io::Result<Vec<Conversation>> {
    let mut files: Vec<_> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let mut conversations = Vec::new();
    let mut left = most;
    for file in files {
        let bytes = fs::read(&file)?;
        let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|byte| *byte == b'\n');
        let lines: Vec<Vec<u8>> = lines.take(left).map(<[u8]>::to_vec).collect();
        left -= lines.len();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !lines.is_empty() {
            conversations.push(Conversation { name, lines });
        }
    }
    if conversations.is_empty() {
        return Err(io::Error::other("there is no *.log in it"));
    }
    Ok(conversations)
}

const NICKS: [&str; 9] =
    ["ada", "grace", "|QuaD-", "kleedrac", "will_", "Tsjoklate", "edsger`", "barbara", "[x]"];

const WORDS: [&str; 16] = [
    "does",
    "anyone",
    "know",
    "why",
    "the",
    "mplayer",
    "apt-get",
    "says",
    "\u{fc}ber",
    "\u{2026}",
    "/dev/hda1",
    "\u{3}04red\u{3}",
    "\u{2}bold\u{f}",
    "\t",
    "\"quoted\\\"",
    "\u{1f333}",
];

/// Invents conversations with the shape of an IRC log: messages, joins and leaves, control
/// characters.
pub(crate) fn invent(lines: usize, random: &mut Random) -> Vec<Conversation> {
    let count = (lines / 1400).clamp(1, 40);
    let each = |n| Conversation {
        name: format!("channel-{n:02}"),
        lines: (0..lines / count).map(|minute| line(minute, random)).collect(),
    };
    (0..count).map(each).collect()
}

fn line(minute: usize, random: &mut Random) -> Vec<u8> {
    let time = format!("[{:02}:{:02}]", minute / 60 % 24, minute % 60);
    let nick = *random.pick(&NICKS);
    let text = match random.within(0..10) {
        0 => format!("=== {nick} [~{nick}@host-{}] has joined #tree", random.within(0..99)),
        1 => format!("=== {nick} [~{nick}@host-{}] has left #tree []", random.within(0..99)),
        _ => {
            let words: Vec<&str> =
                (0..random.within(1..20)).map(|_| *random.pick(&WORDS)).collect();
            format!("{time} <{nick}> {}", words.join(" "))
        }
    };
    text.into_bytes()
}

/// Repeats everything `rounds` times, each time in other channels.
pub(crate) fn repeat(conversations: &mut Vec<Conversation>, rounds: usize) {
    let once = conversations.clone();
    for round in 2..=rounds {
        let again =
            |c: &Conversation| Conversation { name: format!("{}-{round}", c.name), ..c.clone() };
        conversations.extend(once.iter().map(again));
    }
}

/// Adds lines that are not valid UTF-8, are empty, or contain what programs often handle wrongly.
pub(crate) fn spoil(conversations: &mut [Conversation], random: &mut Random) {
    for conversation in conversations {
        let spoiled: [&[u8]; 8] = [
            b"\xff\xfe\x00\x01",
            b"[09:14] <caf\xe9> latin-1",
            b"cut in the middle of a tree: \xf0\x9f\x8c",
            b"\xed\xa0\x80 half a surrogate",
            b"",
            b"\x00",
            b"a carriage return\r",
            b"\xc0\xaf overlong",
        ];
        for line in spoiled {
            let at = random.within(0..conversation.lines.len() as u64 + 1) as usize;
            conversation.lines.insert(at, line.to_vec());
        }
        let noise = (0..random.within(1..400)).map(|_| random.bits() as u8);
        conversation.lines.push(noise.filter(|byte| *byte != b'\n').collect());
    }
}
