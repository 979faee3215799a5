//! The records in the files. They have types of their own, so that the protocol and the tree may
//! change while today's files stay readable. They are written with postcard, whose wire format is
//! specified and frozen. Fields and variants may only be added at the end, and only in a new format
//! version.

use std::sync::Arc;

use onetree_core::{
    Answer, Commit, Effect, Head, Origin, Refusal, SavedClient, SavedMarks, SavedSlot, Time,
};
use onetree_protocol::{Code, Digest, DigestKey, LogKey, MediaType, Name, Path, Revision, Value};
use serde::{Deserialize, Serialize, Serializer};

/// A commit.
#[derive(Serialize, Deserialize)]
pub(super) struct CommitRecord<'a> {
    rev: u64,
    time: u64,
    #[serde(borrow)]
    effects: Vec<EffectRecord<'a>>,
    #[serde(borrow)]
    origin: Option<OriginRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
enum EffectRecord<'a> {
    Put {
        path: &'a str,
        #[serde(borrow)]
        value: ValueRecord<'a>,
        expires: Option<u64>,
        owner: Option<&'a str>,
    },
    Delete {
        path: &'a str,
    },
    Drop {
        path: &'a str,
    },
    Trim {
        path: &'a str,
        to: (u64, u16),
    },
    Compact {
        horizon: u64,
    },
    Forget {
        client: &'a str,
    },
}

#[derive(Serialize, Deserialize)]
struct ValueRecord<'a> {
    media: MediaRecord<'a>,
    #[serde(serialize_with = "at_once")]
    bytes: &'a [u8],
}

/// Writes the bytes in one piece. On the disk this is the same as a list of numbers, which would be
/// written one by one.
fn at_once<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// A media type. The three common types take one byte.
#[derive(Serialize, Deserialize)]
enum MediaRecord<'a> {
    Json,
    Text,
    Octets,
    Other(&'a str),
}

#[derive(Serialize, Deserialize)]
struct OriginRecord<'a> {
    client: &'a str,
    seq: u64,
    #[serde(borrow)]
    answer: AnswerRecord<'a>,
}

#[derive(Serialize, Deserialize)]
enum AnswerRecord<'a> {
    Done {
        rev: u64,
        #[serde(borrow)]
        paths: Vec<&'a str>,
    },
    Refused {
        code: &'a str,
        message: &'a str,
        path: Option<&'a str>,
        rev: Option<u64>,
    },
}

/// The first record of a saved tree.
#[derive(Serialize, Deserialize)]
pub(super) struct HeadRecord {
    rev: u64,
    time: u64,
    horizon: u64,
    /// The key that `digest` was made with, and the digest of all entries with that key.
    pub(super) digest_key: u128,
    pub(super) digest: (u64, u128),
    pub(super) slots: u64,
    pub(super) clients: u64,
}

/// A slot of a saved tree.
#[derive(Serialize, Deserialize)]
pub(super) struct SlotRecord<'a> {
    path: &'a str,
    rev: u64,
    time: u64,
    #[serde(borrow)]
    value: Option<ValueRecord<'a>>,
    #[serde(borrow)]
    marks: Option<MarksRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct MarksRecord<'a> {
    expires: Option<u64>,
    #[serde(borrow)]
    owner: Option<&'a str>,
    dropped: u64,
    trimmed: Option<(u64, (u64, u16))>,
}

/// A client of a saved tree.
#[derive(Serialize, Deserialize)]
pub(super) struct ClientRecord<'a> {
    name: &'a str,
    last: u64,
    time: u64,
    #[serde(borrow)]
    answers: Vec<(u64, AnswerRecord<'a>)>,
}

/// A record with the right checksum has impossible content: another program wrote it, or a faulty
/// one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadRecord(String);

impl BadRecord {
    pub(super) fn new(what: &str) -> BadRecord {
        BadRecord(what.to_owned())
    }
}

fn bad(what: impl std::fmt::Display) -> BadRecord {
    BadRecord(what.to_string())
}

fn path(text: &str) -> Result<Path, BadRecord> {
    Path::parse(text).map_err(bad)
}

fn name(text: &str) -> Result<Name, BadRecord> {
    Name::parse(text).ok_or_else(|| bad(format!("{text:?} is no name")))
}

fn rev(number: u64) -> Result<Revision, BadRecord> {
    Revision::new(number).ok_or_else(|| bad(format!("{number} is no revision")))
}

fn log_key((at, index): (u64, u16)) -> Result<LogKey, BadRecord> {
    Ok(LogKey { rev: rev(at)?, index })
}

impl<'a> From<&'a Value> for ValueRecord<'a> {
    fn from(value: &'a Value) -> Self {
        let media = match &value.media {
            MediaType::Json => MediaRecord::Json,
            MediaType::Text => MediaRecord::Text,
            MediaType::Octets => MediaRecord::Octets,
            other => MediaRecord::Other(other.as_str()),
        };
        ValueRecord { media, bytes: &value.bytes }
    }
}

impl TryFrom<ValueRecord<'_>> for Value {
    type Error = BadRecord;

    fn try_from(record: ValueRecord<'_>) -> Result<Value, BadRecord> {
        let media = match record.media {
            MediaRecord::Json => MediaType::Json,
            MediaRecord::Text => MediaType::Text,
            MediaRecord::Octets => MediaType::Octets,
            MediaRecord::Other(text) => MediaType::parse(text).map_err(bad)?,
        };
        Ok(Value { media, bytes: record.bytes.to_vec().into() })
    }
}

impl<'a> From<&'a Result<Answer, Refusal>> for AnswerRecord<'a> {
    fn from(answer: &'a Result<Answer, Refusal>) -> Self {
        match answer {
            Ok(done) => AnswerRecord::Done {
                rev: done.rev.get(),
                paths: done.paths.iter().map(Path::as_str).collect(),
            },
            Err(refusal) => AnswerRecord::Refused {
                code: refusal.code.as_str(),
                message: &refusal.message,
                path: refusal.path.as_ref().map(Path::as_str),
                rev: refusal.rev.map(Revision::get),
            },
        }
    }
}

impl TryFrom<AnswerRecord<'_>> for Arc<Result<Answer, Refusal>> {
    type Error = BadRecord;

    fn try_from(record: AnswerRecord<'_>) -> Result<Self, BadRecord> {
        Ok(Arc::new(match record {
            AnswerRecord::Done { rev: at, paths } => {
                let paths = paths.into_iter().map(path).collect::<Result<_, _>>()?;
                Ok(Answer { rev: rev(at)?, paths })
            }
            AnswerRecord::Refused { code, message, path: about, rev: at } => Err(Refusal {
                code: Code::parse(code).ok_or_else(|| bad(format!("{code:?} is no code")))?,
                message: message.to_owned(),
                path: about.map(path).transpose()?,
                rev: at.map(rev).transpose()?,
            }),
        }))
    }
}

/// The list of a commit's effects while the commit is written. It is reused for the next commit,
/// because encoding a commit is quick and allocating a list costs something.
#[derive(Default)]
pub(super) struct Effects<'a>(Vec<EffectRecord<'a>>);

impl<'a> CommitRecord<'a> {
    /// Makes the record of a commit.
    pub(super) fn new(commit: &'a Commit, Effects(mut effects): Effects<'a>) -> Self {
        let effect = |effect: &'a Effect| match effect {
            Effect::Put { path, value, expires, owner } => EffectRecord::Put {
                path: path.as_str(),
                value: value.into(),
                expires: expires.map(|time| time.0),
                owner: owner.as_ref().map(Name::as_str),
            },
            Effect::Delete { path } => EffectRecord::Delete { path: path.as_str() },
            Effect::Drop { path } => EffectRecord::Drop { path: path.as_str() },
            Effect::Trim { path, to } => {
                EffectRecord::Trim { path: path.as_str(), to: (to.rev.get(), to.index) }
            }
            Effect::Compact { horizon } => EffectRecord::Compact { horizon: horizon.get() },
            Effect::Forget { client } => EffectRecord::Forget { client: client.as_str() },
        };
        effects.clear();
        effects.extend(commit.effects.iter().map(effect));
        CommitRecord {
            rev: commit.rev.get(),
            time: commit.time.0,
            effects,
            origin: commit.origin.as_ref().map(|origin| OriginRecord {
                client: origin.client.as_str(),
                seq: origin.seq,
                answer: (&*origin.answer).into(),
            }),
        }
    }

    /// Returns the list, for the next commit.
    pub(super) fn into_effects(self) -> Effects<'a> {
        Effects(self.effects)
    }
}

impl TryFrom<CommitRecord<'_>> for Commit {
    type Error = BadRecord;

    fn try_from(record: CommitRecord<'_>) -> Result<Commit, BadRecord> {
        let effect = |record| {
            Ok(match record {
                EffectRecord::Put { path: at, value, expires, owner } => Effect::Put {
                    path: path(at)?,
                    value: value.try_into()?,
                    expires: expires.map(Time),
                    owner: owner.map(name).transpose()?,
                },
                EffectRecord::Delete { path: at } => Effect::Delete { path: path(at)? },
                EffectRecord::Drop { path: at } => Effect::Drop { path: path(at)? },
                EffectRecord::Trim { path: at, to } => {
                    Effect::Trim { path: path(at)?, to: log_key(to)? }
                }
                EffectRecord::Compact { horizon } => Effect::Compact { horizon: rev(horizon)? },
                EffectRecord::Forget { client } => Effect::Forget { client: name(client)? },
            })
        };
        let origin = |record: OriginRecord<'_>| {
            let OriginRecord { client, seq, answer } = record;
            Ok::<_, BadRecord>(Origin { client: name(client)?, seq, answer: answer.try_into()? })
        };
        Ok(Commit {
            rev: rev(record.rev)?,
            time: Time(record.time),
            effects: record.effects.into_iter().map(effect).collect::<Result<_, BadRecord>>()?,
            origin: record.origin.map(origin).transpose()?,
        })
    }
}

impl HeadRecord {
    pub(super) fn new(head: Head, key: DigestKey, digest: Digest, counts: (usize, usize)) -> Self {
        let (slots, clients) = (counts.0 as u64, counts.1 as u64);
        HeadRecord {
            rev: head.rev.get(),
            time: head.time.0,
            horizon: head.horizon.get(),
            digest_key: key.0,
            digest: (digest.count, digest.sum),
            slots,
            clients,
        }
    }

    pub(super) fn head(&self) -> Result<Head, BadRecord> {
        let (at, horizon) = (rev(self.rev)?, rev(self.horizon)?);
        // Which clients are forgotten is in the header of the file, because this record was frozen
        // before.
        Ok(Head { rev: at, time: Time(self.time), horizon, forgotten: None })
    }
}

impl<'a> From<&'a SavedSlot> for SlotRecord<'a> {
    fn from(slot: &'a SavedSlot) -> Self {
        SlotRecord {
            path: slot.path.as_str(),
            rev: slot.rev.get(),
            time: slot.time.0,
            value: slot.value.as_ref().map(Into::into),
            marks: slot.marks.as_ref().map(|marks| MarksRecord {
                expires: marks.expires.map(|time| time.0),
                owner: marks.owner.as_ref().map(Name::as_str),
                dropped: marks.dropped.get(),
                trimmed: marks.trimmed.map(|(rev, to)| (rev.get(), (to.rev.get(), to.index))),
            }),
        }
    }
}

impl TryFrom<SlotRecord<'_>> for SavedSlot {
    type Error = BadRecord;

    fn try_from(record: SlotRecord<'_>) -> Result<SavedSlot, BadRecord> {
        let marks = |record: MarksRecord<'_>| {
            let trimmed = |(at, to)| Ok((rev(at)?, log_key(to)?));
            Ok::<_, BadRecord>(SavedMarks {
                expires: record.expires.map(Time),
                owner: record.owner.map(name).transpose()?,
                dropped: rev(record.dropped)?,
                trimmed: record.trimmed.map(trimmed).transpose()?,
            })
        };
        Ok(SavedSlot {
            path: path(record.path)?,
            rev: rev(record.rev)?,
            time: Time(record.time),
            value: record.value.map(Value::try_from).transpose()?,
            marks: record.marks.map(marks).transpose()?,
        })
    }
}

impl<'a> From<&'a SavedClient> for ClientRecord<'a> {
    fn from(client: &'a SavedClient) -> Self {
        let answer = |(seq, answer): &'a (u64, Arc<Result<Answer, Refusal>>)| {
            (*seq, AnswerRecord::from(&**answer))
        };
        ClientRecord {
            name: client.name.as_str(),
            last: client.last,
            time: client.time.0,
            answers: client.answers.iter().map(answer).collect(),
        }
    }
}

impl TryFrom<ClientRecord<'_>> for SavedClient {
    type Error = BadRecord;

    fn try_from(record: ClientRecord<'_>) -> Result<SavedClient, BadRecord> {
        let answer = |(seq, record): (u64, AnswerRecord<'_>)| Ok((seq, record.try_into()?));
        Ok(SavedClient {
            name: name(record.name)?,
            last: record.last,
            time: Time(record.time),
            answers: record.answers.into_iter().map(answer).collect::<Result<_, BadRecord>>()?,
        })
    }
}
