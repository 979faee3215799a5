//! The end of a connection.

use std::time::Duration;

use futures_util::FutureExt;
use onetree_protocol::Code;
use onetree_protocol::frame::{Goodbye, ServerFrame};
use tokio::time::timeout;

use super::connection::Connection;
use super::ending::{Ending, NORMAL, NOT_UTF8};
use crate::broker::Event;

/// How long a client may take to read the last bytes, and then again to answer the close. A client
/// that needs longer than this for 64 KiB would not get them in ten times as long either.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How many bytes are read and discarded after the close: the rest of a frame that was too large
/// may still be arriving.
const LAST_BYTES: usize = 4 * 1024 * 1024;

/// How many subscriptions are taken out of the index before other tasks get their turn: when many
/// connections end at once, tasks on the same thread wait only some hundred microseconds.
const LEFT_TOGETHER: usize = 64;

impl Connection {
    /// Ends the connection: informs the owner of the tree first, then the log, then the client.
    pub(super) async fn close(mut self, ending: Ending) {
        // A panic may have ended the connection while it rested.
        self.rouse();
        self.server.mailboxes.remove(&self.mailbox.id);
        for (count, interest) in (1..).zip(self.feed.registered()) {
            self.server.shared.fanout.unregister(&self.subscriber, &interest);
            if count % LEFT_TOGETHER == 0 {
                tokio::task::yield_now().await;
            }
        }
        // Free what the connection held before the client answers the close.
        self.hold = super::connection::Hold::No;
        self.next_turn = None;
        self.feed = onetree_core::Feed::new(onetree_core::FeedLimits::default());
        self.count();
        // The owner's queue may have had no room for an event, for example for the end of a
        // session. The client sent that request, so it may still take effect.
        let waiting = self.waiting.take();
        let leaves = self.leaving.is_some();
        let mailbox = self.mailbox.clone();
        let last = self.session.take().map(|session| match leaves {
            true => Event::End { session, mailbox },
            false => Event::Detach { session, connection: mailbox.id },
        });
        let last = last.map(|last| self.hand_over_later(last));
        for hand_over in waiting.into_iter().chain(last) {
            // The owner is gone only when the broker is at its end.
            if matches!(ending, Ending::Cut) {
                let _ = hand_over.now_or_never();
            } else {
                let _ = hand_over.await;
            }
        }
        self.log(&ending);
        match &ending {
            Ending::Refused { code, message, retry_ms } => {
                if *code == Code::ShuttingDown {
                    let (code, retry_ms, message) = (*code, *retry_ms, message.clone());
                    self.send(&ServerFrame::Bye(Goodbye { code, retry_ms, message }));
                }
                let reason =
                    retry_ms.map_or_else(|| message.clone(), |ms| format!("retry_ms={ms}"));
                let code = code.close().or(Code::Internal.close()).unwrap_or(NORMAL);
                self.writer.close(code, &reason);
            }
            Ending::NotWebSocket { close, message } => self.writer.close(*close, message),
            Ending::Bye => self.writer.close(NORMAL, ""),
            Ending::Closed(Some(code)) => self.writer.close(*code, ""),
            Ending::Closed(None) => self.writer.close_silently(),
            Ending::Lost(_) | Ending::Cut => return,
        }
        if let Ok(Ok(())) = timeout(LAST_WORDS, self.writer.flush()).await {
            drop(self.writer);
            let _ = timeout(LAST_WORDS, self.reader.discard(LAST_BYTES)).await;
        }
    }

    fn log(&self, ending: &Ending) {
        let (peer, agent) = (self.peer, self.agent.as_deref().unwrap_or("-"));
        let codec = self.codec.subprotocol();
        let (code, why): (&str, &str) = match ending {
            Ending::Refused { code, message, .. } => (code.as_str(), message),
            Ending::NotWebSocket { close: NOT_UTF8, message } => ("ws-1007", message),
            Ending::NotWebSocket { message, .. } => ("ws-1002", message),
            Ending::Bye => ("bye", "the client said goodbye"),
            Ending::Closed(_) => ("closed", "the client closed it"),
            Ending::Lost(error) => ("lost", error),
            Ending::Cut => ("cut", "the broker had no time left"),
        };
        tracing::info!(code, %peer, agent, label = self.label(), codec, why, "connection closed");
    }
}
