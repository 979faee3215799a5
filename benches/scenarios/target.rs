//! The servers that are measured: the broker with both codecs, the floors, and the peers.

use std::fs;
use std::process::Command;

use onetree_protocol::Codec;

use super::dialect::onetree::{self, Kind};
use super::dialect::{Rule, Step, Template, floor, mqtt, nats, redis};
use super::process::{Directory, Server, free_address};

/// A server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Onetree(Codec),
    FloorA,
    FloorB,
    NatsWebSocket,
    NatsTcp,
    Mosquitto,
    Redis,
    Bun,
}

impl Target {
    /// The broker and the floors.
    pub(crate) const OWN: [Target; 4] = [
        Target::Onetree(Codec::Json),
        Target::Onetree(Codec::MsgPack),
        Target::FloorB,
        Target::FloorA,
    ];

    /// The peers.
    pub(crate) const PEERS: [Target; 5] =
        [Target::NatsWebSocket, Target::NatsTcp, Target::Redis, Target::Mosquitto, Target::Bun];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Onetree(Codec::Json) => "onetree-json",
            Target::Onetree(Codec::MsgPack) => "onetree-msgpack",
            Target::FloorA => "floor-a",
            Target::FloorB => "floor-b",
            Target::NatsWebSocket => "nats-ws",
            Target::NatsTcp => "nats-tcp",
            Target::Mosquitto => "mosquitto-ws",
            Target::Redis => "redis-tcp",
            Target::Bun => "uws-bun",
        }
    }

    /// Parses names with commas between them.
    pub(crate) fn list(names: &str) -> Result<Vec<Target>, String> {
        let all = Target::OWN.iter().chain(&Target::PEERS);
        let find = |name: &str| {
            let mut all = all.clone();
            all.find(|target| target.name() == name).copied().ok_or(format!("no target {name}"))
        };
        names.split(',').map(find).collect()
    }

    pub(crate) fn codec(self) -> Option<Codec> {
        match self {
            Target::Onetree(codec) => Some(codec),
            _ => None,
        }
    }

    /// Returns the program, if it is not one of ours.
    pub(crate) fn program(self) -> Option<&'static str> {
        match self {
            Target::NatsWebSocket | Target::NatsTcp => Some("nats-server"),
            Target::Mosquitto => Some("mosquitto"),
            Target::Redis => Some("redis-server"),
            Target::Bun => Some("bun"),
            _ => None,
        }
    }

    /// Whether it can be started here.
    pub(crate) fn is_installed(self) -> bool {
        self.program().is_none_or(|program| {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            let system = ["/usr/sbin", "/usr/local/sbin"].map(Into::into);
            std::env::split_paths(&folders)
                .chain(system)
                .any(|folder| folder.join(program).exists())
        })
    }

    /// Starts the server. `settings` are for the broker only.
    pub(crate) fn start(self, settings: &[&str]) -> Result<Server, String> {
        match self {
            Target::Onetree(_) => {
                Server::announced(&broker(&["--memory"], "127.0.0.1:0", settings))
            }
            Target::FloorA => Server::announced(Command::new(own()).arg("--floor-a")),
            Target::FloorB => Server::announced(Command::new(own()).arg("--floor-b")),
            Target::NatsWebSocket | Target::NatsTcp => self.nats(),
            Target::Mosquitto => {
                // It does not start with only WebSocket listeners.
                let other = free_address().port();
                configured("mosquitto", &["-c"], |port| {
                    format!(
                        "allow_anonymous true\nmax_queued_messages 0\nlog_type none\n\
                         listener {other} 127.0.0.1\n\
                         listener {port} 127.0.0.1\nprotocol websockets\n"
                    )
                })
            }
            Target::Redis => configured("redis-server", &[], |port| {
                format!(
                    "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\nmaxclients 12000\n\
                     logfile /dev/null\n"
                )
            }),
            Target::Bun => configured("bun", &["run"], |port| {
                include_str!("dialect/bun.js").replace("PORT", &port.to_string())
            }),
        }
    }

    fn nats(self) -> Result<Server, String> {
        let other = free_address().port();
        configured("nats-server", &["-c"], |port| {
            let (tcp, websocket) =
                if self == Target::NatsTcp { (port, other) } else { (other, port) };
            format!(
                "listen: \"127.0.0.1:{tcp}\"\nlogfile: \"/dev/null\"\n\
                 websocket {{ listen: \"127.0.0.1:{websocket}\", no_tls: true }}\n"
            )
        })
    }

    /// Returns the steps that open a connection which receives what is sent to the topic.
    pub(crate) fn subscriber(self, topic: usize, kind: Kind) -> Vec<Step> {
        match self {
            Target::Onetree(codec) => {
                let signals = kind == Kind::Signal;
                let sub = onetree::sub(1, onetree::path(topic), None, signals);
                onetree::subscriber(codec, vec![sub])
            }
            Target::NatsWebSocket => nats::subscriber(true, topic),
            Target::NatsTcp => nats::subscriber(false, topic),
            Target::Mosquitto => mqtt::subscriber(topic),
            Target::Redis => redis::subscriber(topic),
            Target::FloorA | Target::FloorB | Target::Bun => floor::subscriber(topic),
        }
    }

    /// Returns the steps that open a connection which sends to the topic.
    pub(crate) fn publisher(self, topic: usize) -> Vec<Step> {
        match self {
            Target::Onetree(codec) => onetree::publisher(codec),
            Target::NatsWebSocket => nats::publisher(true),
            Target::NatsTcp => nats::publisher(false),
            Target::Mosquitto => mqtt::publisher(),
            Target::Redis => redis::publisher(),
            Target::FloorA | Target::FloorB | Target::Bun => floor::publisher(topic),
        }
    }

    /// Returns the message that is sent to the topic.
    pub(crate) fn message(self, topic: usize, kind: Kind, size: usize) -> Template {
        match self {
            Target::Onetree(codec) => onetree::message(codec, kind, onetree::path(topic), size),
            Target::NatsWebSocket => nats::message(true, topic, size),
            Target::NatsTcp => nats::message(false, topic, size),
            Target::Mosquitto => mqtt::message(topic, size),
            Target::Redis => redis::message(topic, size),
            Target::FloorA | Target::FloorB | Target::Bun => floor::message(size),
        }
    }

    /// Returns what counts as one of these messages.
    pub(crate) fn rule(self, topic: usize, size: usize) -> Rule {
        match self {
            Target::Onetree(codec) => onetree::rule(codec),
            Target::NatsWebSocket => nats::rule(true, topic, size),
            Target::NatsTcp => nats::rule(false, topic, size),
            Target::Mosquitto => mqtt::rule(topic, size),
            Target::Redis => redis::rule(topic, size),
            Target::FloorA | Target::FloorB | Target::Bun => floor::RULE,
        }
    }

    /// Returns how many messages of one publisher may wait for replies.
    pub(crate) fn in_flight(self) -> Option<u64> {
        self.codec().map(|_| onetree::IN_FLIGHT)
    }
}

/// Returns the path of this program.
fn own() -> std::path::PathBuf {
    std::env::current_exe().expect("a program knows where it is")
}

/// Returns the command of the broker, with room for every scenario.
pub(crate) fn broker(keep: &[&str], listen: &str, settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
    command.args(["serve", "--listen", listen]).args(keep);
    for setting in ["connections=12000", "sessions=1000000"].iter().chain(settings) {
        command.args(["--set", setting]);
    }
    command
}

/// Starts a peer whose configuration file says where to listen.
fn configured(
    program: &str,
    args: &[&str],
    text: impl FnOnce(u16) -> String,
) -> Result<Server, String> {
    let directory = Directory::new(program);
    let address = free_address();
    let file = directory.0.join(if program == "bun" { "server.js" } else { "conf" });
    fs::write(&file, text(address.port())).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(args).arg(&file);
    let mut server = Server::at(&command, address)?;
    server.directory = Some(directory);
    Ok(server)
}
