//! The writers: one for each conversation, each over a connection that is cut again and again.

use std::collections::VecDeque;
use std::time::Duration;

use onetree_client::MediaType;
use onetree_client::{Append, Client, Done, Options, Path, Pending, Reconnect, Revision, Value};

use super::conversations::Conversation;

/// How many lines may be on their way at once.
const IN_FLIGHT: usize = 256;

/// Returns the log of a conversation.
pub(crate) fn log(name: &str) -> Result<Path, String> {
    Path::parse(&format!("/irc/{name}/log")).map_err(|error| error.to_string())
}

/// Returns a client that reconnects soon, because it is cut off often.
pub(crate) async fn client(url: &str) -> Result<Client, String> {
    let options = Options::new(url)
        .reconnect(Reconnect::Always)
        .request_timeout(Duration::from_secs(120))
        .backoff(Duration::from_millis(5), Duration::from_millis(100));
    Client::connect(options).await.map_err(|error| error.to_string())
}

/// Returns the value of a line.
pub(crate) fn value(line: &[u8]) -> Value {
    let media = if std::str::from_utf8(line).is_ok() { MediaType::Text } else { MediaType::Octets };
    Value { media, bytes: line.to_vec().into() }
}

/// Writes a conversation. Returns the revision of its last line.
pub(crate) async fn write(url: String, conversation: Conversation) -> Result<Revision, String> {
    let client = client(&url).await?;
    let log = log(&conversation.name)?;
    let mut waiting: VecDeque<Pending<Done>> = VecDeque::new();
    let mut last = Revision::ZERO;
    for line in &conversation.lines {
        let append = Append::new(log.clone(), value(line));
        waiting.push_back(client.enqueue(append).await.map_err(|error| error.to_string())?);
        if waiting.len() >= IN_FLIGHT
            && let Some(first) = waiting.pop_front()
        {
            last = first.await.map_err(|error| error.to_string())?.rev;
        }
    }
    for pending in waiting {
        last = pending.await.map_err(|error| error.to_string())?.rev;
    }
    client.close().await;
    Ok(last)
}
