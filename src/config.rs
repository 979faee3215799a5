//! The configuration: the built-in `broker.toml`, then a file, the environment and flags. Each
//! source overrides the ones before it.
//!
//! The embedded `broker.toml` is both the default and the documentation: it has the units, reasons
//! and examples of each key.

mod layer;
mod nearest;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use onetree_core::{Bounds, Retention};
use onetree_protocol::Pattern;
use onetree_protocol::limits::{HELLO_ITEMS, Limits, TXN_ITEMS};
use serde::Deserialize;

use crate::store::files::FileOptions;
use layer::{Layer, Sources};
pub use layer::{NO_ADDRESS, unknown};

/// The text of the default `broker.toml`.
pub const DEFAULTS: &str = include_str!("../broker.toml");

/// The name that errors give to [`DEFAULTS`].
const DEFAULTS_NAME: &str = "broker.toml (built in)";

/// The bytes of a frame that are reserved for everything besides its largest value: 8 KiB of other
/// changes that a piece of a refresh may already have, a path of 1,024 bytes that JSON escapes, a
/// media type, numbers and names.
pub(crate) const FRAME_OVERHEAD: u64 = 16 * 1024;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The configuration has a mistake.
    #[error("{place}: {message}")]
    Wrong {
        /// Where the mistake is: `file:line`, the environment variable, or the flag.
        place: String,
        /// What is wrong, and what would be right.
        message: String,
    },
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty,)+) => {
        /// Everything that can be configured. `broker.toml` says more about each key.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        /// The keys that one source sets.
        #[derive(Debug, Default, Deserialize)]
        struct Keys {
            $($name: Option<$type>,)+
        }

        /// The names of all keys, in the order of `broker.toml`.
        pub const KEYS: &[&str] = &[$(stringify!($name)),+];

        impl Keys {
            /// Overrides the keys of `self` with those that `above` sets.
            fn overlay(&mut self, above: Keys) {
                $(if above.$name.is_some() { self.$name = above.$name; })+
            }

            /// Returns the configuration if all keys are set; otherwise the name of the first that
            /// is not.
            fn complete(self) -> Result<Config, &'static str> {
                Ok(Config { $($name: self.$name.ok_or(stringify!($name))?,)+ })
            }
        }
    };
}

keys! {
    /// Address and port to listen on; port 0 lets the system choose.
    listen: SocketAddr,
    /// Whether everyone who reaches `listen` may read and write everything.
    allow_anonymous: bool,
    /// Web origins whose pages may connect, besides the broker's own address.
    origins: Vec<String>,
    /// The most connections at once. The broker raises the process's soft limit of file descriptors
    /// for them; if it cannot raise the limit far enough, it allows fewer connections.
    connections: u32,
    /// The most sessions, attached or in their grace period.
    sessions: u32,
    /// The largest WebSocket message in either direction, bytes.
    frame_bytes: u32,
    /// The largest value, bytes.
    value_bytes: u32,
    /// The most subscriptions of one connection; below 65,536.
    subscriptions_per_connection: u32,
    /// The most bytes that the base paths and patterns of all subscriptions of one connection take.
    subscription_bytes: u32,
    /// The most segments in the patterns of all subscriptions of one connection; below 65,536.
    pattern_segments: u32,
    /// The most requests of one connection that wait for their reply.
    requests_in_flight: u32,
    /// The most bytes of deltas that wait for a slow connection.
    outbox_bytes: u32,
    /// The most frames of deltas that wait for a slow connection.
    outbox_frames: u32,
    /// The most live entries.
    tree_entries: u64,
    /// The most bytes that the paths and values of all live entries take.
    tree_bytes: u64,
    /// The most changes in one commit; below 65,536.
    commit_changes: u32,
    /// The most conditions in one commit; below 65,536.
    commit_conditions: u32,
    /// The most tombstones: deletes that are remembered.
    tombstones: u64,
    /// The most memory that tombstones take, roughly, bytes: their paths, and 384 bytes for each.
    tombstone_bytes: u64,
    /// How long a delete is remembered, milliseconds.
    tombstone_ms: u64,
    /// The most answers that are remembered for each client that numbers its writes.
    dedup_answers: u32,
    /// The most bytes that the remembered answers of one client take. The client's last answer is
    /// always remembered.
    dedup_client_bytes: u64,
    /// The most bytes that the remembered answers of all clients take together. The answers of one
    /// client are always remembered.
    dedup_bytes: u64,
    /// The most clients whose answers are remembered.
    dedup_clients: u32,
    /// How long a client is remembered after its last write, milliseconds.
    dedup_ms: u64,
    /// The most old revisions of the tree that refreshes may hold.
    held_snapshots: u32,
    /// How long a refresh may hold an old revision, milliseconds.
    hold_ms: u64,
    /// The most entries that may be walked for all digests of one `sync`.
    digest_scan_entries: u32,
    /// How long a client may take from connecting to a complete HTTP request, and again from there
    /// to `hello`, milliseconds.
    hello_timeout_ms: u64,
    /// The time between pings, milliseconds.
    ping_interval_ms: u64,
    /// The longest time without a `sync`, milliseconds.
    heartbeat_ms: u32,
    /// How long a session outlives its connection, milliseconds.
    session_grace_ms: u64,
    /// The time over which the reconnects of clients are spread after a shutdown, milliseconds.
    shutdown_spread_ms: u32,
    /// The longest that a shutdown may take, milliseconds.
    shutdown_timeout_ms: u64,
    /// When a write is acknowledged.
    durability: Durability,
    /// With `durability = "interval"`: how often everything is synced to the disk, milliseconds.
    sync_interval_ms: u64,
    /// The size of one file of the commit log, bytes.
    log_file_bytes: u64,
    /// The tree is saved when the commit log has grown by this many bytes.
    save_after_bytes: u64,
    /// What retention keeps of logs; the first rule that matches a log applies.
    retention: Vec<Rule>,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When the write is on the disk: it survives `kill -9` and power loss.
    Sync,
    /// When the operating system has the write: it survives `kill -9`. After a power loss,
    /// everything older than the interval survives.
    Interval,
    /// At once: nothing is written to a disk.
    Memory,
}

/// A rule that says what the logs with matching paths keep. At least one bound is set.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    /// The pattern of the log's path, from the root.
    #[serde(deserialize_with = "read_pattern")]
    pub pattern: Pattern,
    /// The most entries of the log; what lies under an entry is not counted.
    pub keep: Option<u64>,
    /// The largest age of an entry, milliseconds.
    pub max_age_ms: Option<u64>,
    /// The most bytes of paths and values, including what lies under the entries.
    pub max_bytes: Option<u64>,
}

/// The sizes that one file of the commit log may have, bytes: 4 KiB to 4 GiB.
const LOG_FILE_BYTES: std::ops::RangeInclusive<u64> = 4096..=4 << 30;

/// The keys of a [`Rule`].
const RULE_KEYS: &[&str] = &["pattern", "keep", "max_age_ms", "max_bytes"];

fn read_pattern<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Pattern, D::Error> {
    let text = String::deserialize(from)?;
    Pattern::written(&text).map_err(serde::de::Error::custom)
}

impl Default for Config {
    fn default() -> Config {
        match Config::load(None, [], []) {
            Ok(config) => config,
            Err(error) => unreachable!("a test holds the built-in broker.toml right: {error}"),
        }
    }
}

impl Config {
    /// Returns the defaults, overridden by `file`, by the variables of `environment` that begin
    /// with `ONETREE_`, and by `flags` as (key, value), in this order. Checks the result as a
    /// whole.
    ///
    /// # Errors
    /// The first mistake, and where it is: see [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut layers = Vec::new();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = std::fs::read(path)
                .map_err(|source| ConfigError::Read { file: name.clone(), source })?;
            layers.push(Layer::from_bytes(&name, &text)?);
        }
        for (variable, value) in environment {
            layers.extend(Layer::from_variable(&variable, &value)?);
        }
        for (key, value) in flags {
            layers.push(Layer::from_flag(&key, &value)?);
        }
        Config::from_layers(layers)
    }

    /// Returns the defaults, overridden by the TOML `text`. Errors call the text `file`.
    ///
    /// # Errors
    /// The first mistake, as `file:line: …`.
    pub fn from_str(file: &str, text: &str) -> Result<Config, ConfigError> {
        Config::from_layers(vec![Layer::from_toml(file, text)?])
    }

    fn from_layers(layers: Vec<Layer>) -> Result<Config, ConfigError> {
        let Layer { mut keys, mut sources } = Layer::from_toml(DEFAULTS_NAME, DEFAULTS)?;
        for layer in layers {
            keys.overlay(layer.keys);
            sources.extend(layer.sources);
        }
        // The defaults cannot set this key: TOML does not allow both an empty list and the
        // commented example of a `[[retention]]` table.
        keys.retention.get_or_insert_default();
        let config = keys.complete().map_err(|key| ConfigError::Wrong {
            place: DEFAULTS_NAME.to_owned(),
            message: format!("'{key}' is missing"),
        })?;
        config.check(&sources)?;
        Ok(config)
    }

    /// Checks what no single key can show.
    fn check(&self, sources: &Sources) -> Result<(), ConfigError> {
        let wrong = |key: &str, message: String| {
            let place = sources.get(key).cloned().unwrap_or_else(|| DEFAULTS_NAME.to_owned());
            Err(ConfigError::Wrong { place, message: format!("'{key}' {message}") })
        };
        if let Some((key, _)) = self.positive().into_iter().find(|(_, value)| *value == 0) {
            return wrong(key, "must be at least 1".to_owned());
        }
        let of_a_frame = [
            ("commit_changes", self.commit_changes, TXN_ITEMS),
            ("commit_conditions", self.commit_conditions, TXN_ITEMS),
            ("subscriptions_per_connection", self.subscriptions_per_connection, HELLO_ITEMS),
            ("pattern_segments", self.pattern_segments, HELLO_ITEMS),
        ];
        for (key, value, most) in of_a_frame {
            if value as usize > most {
                return wrong(key, format!("must be below {}: one frame has no more", most + 1));
            }
        }
        if !LOG_FILE_BYTES.contains(&self.log_file_bytes) {
            let message = format!(
                "is {}, but must be {} to {}: a file is filled beforehand",
                self.log_file_bytes,
                LOG_FILE_BYTES.start(),
                LOG_FILE_BYTES.end()
            );
            return wrong("log_file_bytes", message);
        }
        let least = u64::from(self.value_bytes) * 4 / 3 + FRAME_OVERHEAD;
        if u64::from(self.frame_bytes) < least {
            let message = format!(
                "is {}, but must be at least {least} to hold a value of 'value_bytes' = {} in base64",
                self.frame_bytes, self.value_bytes
            );
            return wrong("frame_bytes", message);
        }
        for origin in &self.origins {
            if let Err(why) = check_origin(origin) {
                return wrong("origins", format!("has {origin:?}, {why}"));
            }
        }
        for rule in &self.retention {
            if rule.keep.is_none() && rule.max_age_ms.is_none() && rule.max_bytes.is_none() {
                let message = format!("'{}' needs keep, max_age_ms or max_bytes", rule.pattern);
                return wrong("retention", message);
            }
        }
        Ok(())
    }

    /// Returns the keys that must be at least 1, and their values.
    fn positive(&self) -> [(&'static str, u64); 22] {
        [
            ("connections", u64::from(self.connections)),
            ("sessions", u64::from(self.sessions)),
            ("value_bytes", u64::from(self.value_bytes)),
            ("subscriptions_per_connection", u64::from(self.subscriptions_per_connection)),
            ("subscription_bytes", u64::from(self.subscription_bytes)),
            ("requests_in_flight", u64::from(self.requests_in_flight)),
            ("outbox_bytes", u64::from(self.outbox_bytes)),
            ("outbox_frames", u64::from(self.outbox_frames)),
            ("tree_entries", self.tree_entries),
            ("tree_bytes", self.tree_bytes),
            ("commit_changes", u64::from(self.commit_changes)),
            ("commit_conditions", u64::from(self.commit_conditions)),
            ("dedup_answers", u64::from(self.dedup_answers)),
            ("dedup_client_bytes", self.dedup_client_bytes),
            ("dedup_bytes", self.dedup_bytes),
            ("dedup_clients", u64::from(self.dedup_clients)),
            ("hello_timeout_ms", self.hello_timeout_ms),
            ("ping_interval_ms", self.ping_interval_ms),
            ("heartbeat_ms", u64::from(self.heartbeat_ms)),
            ("shutdown_timeout_ms", self.shutdown_timeout_ms),
            ("sync_interval_ms", self.sync_interval_ms),
            ("save_after_bytes", self.save_after_bytes),
        ]
    }

    /// Returns the limits that `welcome` tells a client.
    pub fn limits(&self) -> Limits {
        Limits {
            frame_bytes: self.frame_bytes,
            value_bytes: self.value_bytes,
            subscriptions: self.subscriptions_per_connection,
            in_flight: self.requests_in_flight,
        }
    }

    /// Returns the bounds of the tree and of what it remembers.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            entries: self.tree_entries,
            bytes: self.tree_bytes,
            commit_changes: self.commit_changes,
            commit_conditions: self.commit_conditions,
            tombstones: self.tombstones,
            tombstone_bytes: self.tombstone_bytes,
            tombstone_ms: self.tombstone_ms,
            dedup_answers: self.dedup_answers,
            dedup_client_bytes: self.dedup_client_bytes,
            dedup_bytes: self.dedup_bytes,
            dedup_clients: self.dedup_clients,
            dedup_ms: self.dedup_ms,
            grace_ms: self.session_grace_ms,
            sessions: self.sessions,
        }
    }

    /// Returns how commits are written to files.
    pub fn file_options(&self) -> FileOptions {
        let weak = self.durability == Durability::Interval;
        FileOptions {
            interval: weak.then(|| Duration::from_millis(self.sync_interval_ms)),
            log_file_bytes: self.log_file_bytes,
            save_after_bytes: self.save_after_bytes,
        }
    }

    /// Returns what logs keep.
    pub fn retention_rules(&self) -> Vec<Retention> {
        let rule = |rule: &Rule| Retention {
            pattern: rule.pattern.clone(),
            keep: rule.keep,
            max_age_ms: rule.max_age_ms,
            max_bytes: rule.max_bytes,
        };
        self.retention.iter().map(rule).collect()
    }
}

/// Checks that a browser can send this origin: a scheme, `://`, a host, and a port that is not the
/// scheme's default port (RFC 6454, 6.2). An origin that no browser sends would allow nobody.
fn check_origin(origin: &str) -> Result<(), &'static str> {
    let (scheme, host) = origin.split_once("://").unwrap_or_default();
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        || !scheme.chars().all(of_scheme)
        || host.is_empty()
        || !host.chars().all(|c| c.is_ascii_graphic() && !"/?#@".contains(c))
    {
        return Err("which is no origin like https://a.example");
    }
    if host.contains('*') {
        return Err("and '*' stands for nothing in an origin: list each");
    }
    let own_port = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return Ok(()),
    };
    if host.ends_with(own_port) {
        return Err("with a port that browsers leave out, as it is the scheme's own");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
