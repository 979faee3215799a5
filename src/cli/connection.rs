//! Reports about the connection.

use std::future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::duration::millis;
use super::output;
use super::visible::visible;

/// A wait for the next attempt of at least this length is reported to people.
const LONG: Duration = Duration::from_secs(2);

/// What was reported about the connection.
#[derive(Default)]
pub(crate) struct Connection {
    /// Since when there is no connection, and the last error that was reported.
    offline: Option<(Instant, String)>,
}

/// A report.
pub(crate) struct News {
    /// For programs.
    pub(crate) json: Value,
    /// For people, who need not be told everything.
    pub(crate) words: Option<String>,
}

impl Connection {
    /// Reports that the connection is lost, or that an attempt to reconnect has failed. People are
    /// told only what is new: the first attempts follow each other within a second.
    pub(crate) fn offline(&mut self, error: &str, retry_in: Option<Duration>) -> News {
        let json = json!({ "op": "offline", "error": error, "retry_ms": retry_in.map(millis) });
        let (since, is_new) = match &self.offline {
            Some((since, told)) => (*since, told != error),
            None => (Instant::now(), true),
        };
        self.offline = Some((since, error.to_owned()));
        let words = match retry_in {
            Some(wait) if wait >= LONG => {
                let seconds = wait.as_secs_f64();
                Some(format!("offline: {error}; trying again in {seconds:.0} s"))
            }
            Some(_) if is_new => Some(format!("offline: {error}; trying again")),
            Some(_) => None,
            None => Some(format!("offline: {error}; not trying again")),
        };
        News { json, words }
    }

    /// Whether no loss was reported last.
    pub(crate) fn is_online(&self) -> bool {
        self.offline.is_none()
    }

    /// Reports that there is a connection. People are not told about the first.
    pub(crate) fn online(&mut self, resumed: bool) -> News {
        let words = self.offline.take().map(|_| "online again".to_owned());
        News { json: json!({ "op": "online", "resumed": resumed }), words }
    }

    /// Completes when there has been no connection for `patience`, and says so. For commands that
    /// end by themselves, because nobody stops them.
    pub(crate) async fn missing(&self, patience: Duration) -> String {
        match &self.offline {
            Some((since, error)) => {
                tokio::time::sleep_until(*since + patience).await;
                format!("there was no connection for {patience:?}: {error}")
            }
            None => future::pending().await,
        }
    }
}

impl News {
    /// Adds words for people.
    pub(crate) fn and(mut self, more: &str) -> News {
        self.words = self.words.map(|words| words + more);
        self
    }

    /// Prints the report on standard error, for commands whose standard output is for their
    /// results.
    pub(crate) fn aside(&self, json: bool) {
        match &self.words {
            Some(_) if json => output::aside(&self.json.to_string()),
            Some(words) => output::aside(&visible(words)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absence_is_counted_from_its_beginning() {
        let patience = Duration::from_millis(200);
        let is_over = async |connection: &Connection| {
            tokio::time::timeout(Duration::from_millis(20), connection.missing(patience)).await
        };
        let mut connection = Connection::default();
        assert!(is_over(&connection).await.is_err(), "it was never away");
        connection.offline("gone", None);
        assert!(is_over(&connection).await.is_err(), "it has only just gone");
        tokio::time::sleep(patience).await;
        connection.offline("still gone", None);
        let why = is_over(&connection).await.unwrap();
        assert_eq!(why, "there was no connection for 200ms: still gone");
        connection.online(true);
        assert!(is_over(&connection).await.is_err(), "it is there again");
    }
}
