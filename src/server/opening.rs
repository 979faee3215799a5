//! The beginning of a connection: `hello`.

use std::sync::Arc;
use std::time::Duration;

use onetree_core::{Author, Refusal};
use onetree_protocol::frame::{Hello, ServerFrame, Welcome};
use onetree_protocol::{ClientFrame, Code};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::answer::echoed;
use super::connection::Connection;
use super::ending::Ending;
use super::reader::Read;
use crate::broker::{Event, Opening, Order};
use crate::random;

/// The most subscriptions in a `hello`, unless a connection may have more. Each gets a reply, and
/// all replies are made at once. Clients do not know the connection's own limit yet.
const HELLO_SUBS: usize = 1024;

impl Connection {
    /// Waits for `hello` and answers it.
    pub(super) async fn open(&mut self) -> Result<(), Ending> {
        let timeout = Duration::from_millis(self.server.config.hello_timeout_ms);
        let deadline = Instant::now() + timeout;
        let hello = loop {
            let message = tokio::select! {
                () = sleep_until(deadline) => return Err(Ending::hello_timeout(timeout)),
                message = self.reader.next(), if self.writer.has_room() => message,
                // As after `hello`, no more is read than can be answered.
                ready = self.writer.writable(), if !self.writer.has_room() => {
                    ready.and_then(|()| self.writer.flush_now()).map_err(|error| Ending::lost(&error))?;
                    continue;
                }
                () = self.mailbox.filled() => {
                    if self.mailbox.take(Order::Tell) {
                        self.tell();
                    }
                    if let Some(ending) = self.obey() {
                        return Err(ending);
                    }
                    if self.mailbox.has(Order::Finish) {
                        let spread = self.server.config.shutdown_spread_ms;
                        return Err(Ending::shutting_down(spread));
                    }
                    continue;
                }
            };
            if let Some(hello) = self.first(message)? {
                break hello;
            }
            self.writer.flush_now().map_err(|error| Ending::lost(&error))?;
        };
        self.welcome(hello).await
    }

    /// Returns the frame if it is the `hello` that is waited for.
    fn first(&mut self, message: Read) -> Result<Option<Hello>, Ending> {
        match self.frame(message)? {
            Some((ClientFrame::Hello(hello), _)) => Ok(Some(*hello)),
            Some((other, _)) => {
                let message = "the first frame must be 'hello'";
                Err(self.last_error(other.id(), Refusal::new(Code::HelloExpected, message)))
            }
            None => Ok(None),
        }
    }

    async fn welcome(&mut self, hello: Hello) -> Result<(), Ending> {
        let most = HELLO_SUBS.max(self.server.config.subscriptions_per_connection as usize);
        if hello.subs.len() > most {
            let message = format!("hello has at most {most} subscriptions");
            self.refuse(hello.id, Refusal::new(Code::TooManySubscriptions, &message));
            return Err(Ending::refused(Code::BadFrame, message));
        }
        if let Some(agent) = &hello.agent {
            self.agent = Some(echoed(agent));
        }
        let Some(fresh) = random::session() else {
            return Err(Ending::refused(Code::Internal, "no randomness for a session"));
        };
        let (reply, opened) = oneshot::channel();
        let mailbox = self.mailbox.clone();
        let opening = Opening { mailbox, wanted: hello.session, fresh, reply };
        let opened = match self.server.events.send(Event::Open(opening)).await {
            Ok(()) => opened.await.map_err(|_| Ending::ownerless())?,
            Err(_) => return Err(Ending::ownerless()),
        };
        let opened = opened.map_err(|refusal| self.last_error(Some(hello.id), refusal))?;
        self.session = Some(opened.name.clone());
        let session = Some(opened.name.clone());
        self.author = Arc::new(Author { client: hello.client, session, since: hello.since });
        let snapshot = self.server.shared.latest();
        self.send(&ServerFrame::Welcome(Welcome {
            id: hello.id,
            session: opened.name,
            resumed: opened.resumed,
            epoch: snapshot.epoch(),
            rev: snapshot.rev(),
            heartbeat_ms: self.server.config.heartbeat_ms,
            digest_key: snapshot.digest_key(),
            limits: self.server.config.limits(),
        }));
        for sub in &hello.subs {
            self.subscribe(sub);
        }
        Ok(())
    }
}
