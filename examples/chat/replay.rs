//! Plays an IRC log into a channel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onetree_client::{Append, Client, Options, Path, Reconnect, Value};
use tokio::time::{MissedTickBehavior, interval};

use super::conversations;
use super::random::Random;

const LOG: &str = "/chat/ubuntu/log";

/// How many lines an invented log has: enough to page through.
const GENERATED: usize = 2_000;

/// Returns the lines of a file; of an invented log if the name is `generate`.
pub(crate) fn lines(file: &str) -> Result<Vec<Vec<u8>>, String> {
    if file == "generate" {
        let mut conversations = conversations::invent(GENERATED, &mut Random::new(7));
        return Ok(conversations.swap_remove(0).lines);
    }
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.map(<[u8]>::to_vec).collect();
    match lines.is_empty() {
        true => Err(format!("{file}: there is no line in it")),
        false => Ok(lines),
    }
}

/// Appends `speed` lines a second, each at its time.
pub(crate) async fn play(url: String, lines: Vec<Vec<u8>>, speed: f64) {
    if let Err(error) = try_play(url, lines, speed).await {
        eprintln!("the replay has ended: {error}");
    }
}

async fn try_play(url: String, lines: Vec<Vec<u8>>, speed: f64) -> Result<(), String> {
    let options = Options::new(url).label("replay").reconnect(Reconnect::Always);
    let client = Client::connect(options).await.map_err(|error| error.to_string())?;
    let log = Path::parse(LOG).map_err(|error| error.to_string())?;
    let mut clock = interval(Duration::from_secs_f64(1.0 / speed));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for line in &lines {
        clock.tick().await;
        let value = Value::json(&said(line).to_string());
        // Do not wait for the answer: the queue bounds what is on its way.
        let pending = client.enqueue(Append::new(log.clone(), value)).await;
        drop(pending.map_err(|error| error.to_string())?);
    }
    client.close().await;
    println!("all of the log has been played");
    Ok(())
}

/// Returns a line as a message of the chat: who, what, when. What is not UTF-8 is replaced.
fn said(line: &[u8]) -> serde_json::Value {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    if let Some(notice) = line.strip_prefix("=== ") {
        return serde_json::json!({ "at": at, "from": "", "text": notice });
    }
    // `[12:34] <nick> text`
    let spoken = line.split_once('<').and_then(|(_, rest)| rest.split_once("> "));
    let (from, text) = spoken.unwrap_or(("", line));
    serde_json::json!({ "at": at, "from": from, "text": text })
}
