//! The requests of a client, and the replies that do not involve the owner of the tree.

use onetree_core::{Refusal, Request};
use onetree_protocol::frame::{
    Bye, ErrorFrame, Found, Get, List, Ok as OkFrame, Resync, SendSignal, ServerFrame, Signal, Sub,
    SyncRequest, Unsub,
};
use onetree_protocol::{ClientFrame, Code, Codec, DecodeError};
use tokio::sync::mpsc::error::TrySendError;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

use super::check;
use super::connection::{Asked, Connection, HandOver};
use super::ending::Ending;
use super::frames::Message;
use super::reader::Read;
use crate::broker::{Event, Write};
use crate::config::FRAME_OVERHEAD;

/// After this many invalid frames in a row the connection is closed: such a client is broken, and
/// each invalid frame costs an error frame.
const BAD_FRAMES: u32 = 16;

/// A write or a signal of up to this many bytes is handled so quickly that a look at the clock is
/// not worth its cost.
const QUICK_BYTES: usize = 4 * 1024;

/// The most bytes and entries in one page of `list`. A page takes about 5 milliseconds to make, and
/// other connections on the same thread wait meanwhile.
const PAGE_BYTES: usize = 256 * 1024;
const PAGE_ENTRIES: usize = 10_000;

impl Connection {
    /// Handles what was read.
    pub(super) fn handle_message(&mut self, read: Read) -> Option<Ending> {
        match self.frame(read) {
            Ok(Some((frame, size))) => self.handle_frame(frame, size).err(),
            Ok(None) => None,
            Err(ending) => Some(ending),
        }
    }

    /// Returns the frame and its size in bytes, if a frame was read. Pings are answered here.
    pub(super) fn frame(&mut self, read: Read) -> Result<Option<(ClientFrame, usize)>, Ending> {
        let message = match read {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.broken(error)),
            None => return Err(Ending::Lost("the client is gone".to_owned())),
        };
        let payload = self.reader.lend_payload();
        let frame = self.understand(message, &payload);
        let size = payload.len();
        self.reader.take_back(payload);
        frame.map(|frame| frame.map(|frame| (frame, size)))
    }

    fn understand(
        &mut self,
        message: Message,
        payload: &[u8],
    ) -> Result<Option<ClientFrame>, Ending> {
        match (message, self.codec) {
            (Message::Text, codec) => {
                let text = std::str::from_utf8(payload).map_err(|_| Ending::not_utf8())?;
                match codec {
                    Codec::Json => self.decoded(Codec::decode_client_text(text)),
                    Codec::MsgPack => self.other_kind(),
                }
            }
            (Message::Binary, Codec::MsgPack) => {
                self.decoded(Codec::MsgPack.decode_client(payload))
            }
            (Message::Binary, Codec::Json) => self.other_kind(),
            (Message::Ping, _) => {
                if self.writer.has_room() {
                    self.writer.pong(payload);
                }
                Ok(None)
            }
            (Message::Pong, _) => Ok(None),
            (Message::Close(code), _) => Err(Ending::Closed(code)),
        }
    }

    fn other_kind(&mut self) -> Result<Option<ClientFrame>, Ending> {
        let message = "the message is of the other kind (text, binary) than the subprotocol's";
        self.bad_frame(ErrorFrame::new(None, Code::BadFrame, message))?;
        Ok(None)
    }

    fn broken(&self, error: Error) -> Ending {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
                let message = format!("a message has at most {max_size} bytes");
                Ending::refused(Code::FrameTooLarge, message)
            }
            Error::Utf8(_) => Ending::not_utf8(),
            // The client said nothing; only the socket ended.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Ending::Lost("the client is gone without a close".to_owned())
            }
            Error::Protocol(error) => Ending::protocol(error.to_string()),
            Error::Io(error) => Ending::lost(&error),
            other => Ending::protocol(other.to_string()),
        }
    }

    /// Returns the frame if it is valid; otherwise the client gets an error.
    fn decoded(
        &mut self,
        decoded: Result<ClientFrame, DecodeError>,
    ) -> Result<Option<ClientFrame>, Ending> {
        match decoded {
            Ok(frame) => {
                self.bad_frames = 0;
                Ok(Some(frame))
            }
            Err(error) => {
                let frame = ErrorFrame::new(error.id, error.code, error.message);
                self.bad_frame(frame)?;
                Ok(None)
            }
        }
    }

    fn bad_frame(&mut self, error: ErrorFrame) -> Result<(), Ending> {
        // Before `hello`, any other error counts as an invalid frame too.
        let bad = error.code == Code::BadFrame || self.session.is_none();
        // Only a `hello` yields this code here, and then none of its subscriptions is taken.
        let subs = error.code == Code::TooManySubscriptions;
        let message = error.message.clone();
        self.send_error(error);
        if subs {
            return Err(Ending::refused(Code::BadFrame, message));
        }
        self.bad_frames = if bad { self.bad_frames + 1 } else { 0 };
        if self.bad_frames >= BAD_FRAMES {
            let message = format!("{BAD_FRAMES} frames in a row were none");
            return Err(Ending::refused(Code::BadFrame, message));
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: ClientFrame, size: usize) -> Result<(), Ending> {
        // Small writes and signals take a microsecond here, and many arrive together.
        let quick =
            matches!(frame, ClientFrame::Put(_) | ClientFrame::Append(_) | ClientFrame::Signal(_));
        self.long = !quick || size > QUICK_BYTES;
        match frame {
            ClientFrame::Hello(hello) => {
                let message = "'hello' comes once";
                return Err(
                    self.last_error(Some(hello.id), Refusal::new(Code::HelloExpected, message))
                );
            }
            ClientFrame::Auth(auth) => {
                let message = "this broker takes no tokens";
                self.refuse(auth.id, Refusal::new(Code::Unsupported, message));
            }
            ClientFrame::Sub(sub) => self.subscribe(&sub),
            ClientFrame::Unsub(unsub) => self.unsubscribe(unsub),
            ClientFrame::Resync(resync) => self.resync(resync),
            ClientFrame::Sync(sync) => self.ask(sync),
            ClientFrame::Put(put) => return self.write(put.id, put.into(), size),
            ClientFrame::Append(append) => return self.write(append.id, append.into(), size),
            ClientFrame::Delete(delete) => return self.write(delete.id, delete.into(), size),
            ClientFrame::Drop(drop) => return self.write(drop.id, drop.into(), size),
            ClientFrame::Trim(trim) => return self.write(trim.id, trim.into(), size),
            ClientFrame::Txn(txn) => return self.write(txn.id, txn.into(), size),
            ClientFrame::Signal(signal) => self.signal(signal),
            ClientFrame::Get(get) => self.get(&get),
            ClientFrame::List(list) => self.list(&list),
            ClientFrame::Bye(bye) => return self.bye(bye),
        }
        Ok(())
    }

    pub(super) fn ok(&mut self, id: u32) {
        self.send(&ServerFrame::Ok(OkFrame { id }));
    }

    pub(super) fn refuse(&mut self, id: impl Into<Option<u32>>, refusal: Refusal) {
        self.send_error(ErrorFrame { id: id.into(), ..refusal.into() });
    }

    /// Sends an error after which the connection ends. Only the end is logged.
    pub(super) fn last_error(&mut self, id: Option<u32>, refusal: Refusal) -> Ending {
        let ending = Ending::refused(refusal.code, &refusal.message);
        self.send(&ServerFrame::Error(ErrorFrame { id, ..refusal.into() }));
        ending
    }

    fn refuse_sub(&mut self, id: u32, sub: u32, refusal: Refusal) {
        self.send_error(ErrorFrame { id: Some(id), sub: Some(sub), ..refusal.into() });
    }

    pub(super) fn subscribe(&mut self, sub: &Sub) {
        match self.feed.subscribe(sub, &self.server.shared.latest()) {
            Ok(()) => {
                self.catching_up = true;
                self.ok(sub.id);
            }
            Err(refusal) => self.refuse_sub(sub.id, sub.sub, refusal),
        }
    }

    fn unsubscribe(&mut self, Unsub { id, sub }: Unsub) {
        match self.feed.unsubscribe(sub) {
            Ok(registered) => {
                if let Some(interest) = registered {
                    self.server.shared.fanout.unregister(&self.subscriber, &interest);
                }
                self.ok(id);
            }
            Err(refusal) => self.refuse_sub(id, sub, refusal),
        }
    }

    fn resync(&mut self, Resync { id, sub }: Resync) {
        match self.feed.resync(sub) {
            Ok(()) => {
                self.catching_up = true;
                self.ok(id);
            }
            Err(refusal) => self.refuse_sub(id, sub, refusal),
        }
    }

    /// Takes a `sync` request. It is answered when all live frames up to the present revision have
    /// been sent.
    fn ask(&mut self, SyncRequest { id, all }: SyncRequest) {
        if !self.may_wait() {
            return self.refuse(id, self.too_many());
        }
        let at = self.server.shared.published.load().rev();
        self.asked.push_back(Asked { id, at, all });
    }

    /// Whether one more request may wait for its reply.
    fn may_wait(&self) -> bool {
        let waiting = self.in_flight.len() + self.asked.len();
        waiting < self.server.config.requests_in_flight as usize
    }

    fn too_many(&self) -> Refusal {
        let most = self.server.config.requests_in_flight;
        let message = format!("at most {most} requests of a connection wait for their reply");
        Refusal::new(Code::TooManyInFlight, message)
    }

    fn write(&mut self, id: u32, request: Request, size: usize) -> Result<(), Ending> {
        if !self.may_wait() {
            self.refuse(id, self.too_many());
        } else if let Err(refusal) = check::write(&request, self.codec, &self.server.config) {
            self.refuse(id, refusal);
        } else {
            let (mailbox, author) = (self.mailbox.clone(), self.author.clone());
            let write = Write { mailbox, id, author, request };
            self.in_flight.begin(size, write.weight());
            self.writes.push(write);
        }
        Ok(())
    }

    /// Passes on what the messages that were read together contained: writes go to the owner in one
    /// event, signals to their subscribers.
    pub(super) fn pass_on(&mut self) -> Result<(), Ending> {
        if !self.signals.is_empty() {
            let signals = std::mem::take(&mut self.signals);
            self.server.shared.fanout.signal(&signals);
        }
        if self.writes.is_empty() {
            return Ok(());
        }
        let writes = std::mem::take(&mut self.writes);
        self.hand_over(Event::Write(writes))
    }

    /// Gives an event to the owner, now or when its queue has room. Nothing is read until then, so
    /// that the events of a connection stay in order.
    fn hand_over(&mut self, event: Event) -> Result<(), Ending> {
        debug_assert!(self.waiting.is_none(), "one event at a time waits for room");
        match self.server.events.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => {
                self.waiting = Some(self.hand_over_later(event));
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(Ending::ownerless()),
        }
    }

    /// Gives the owner an event when there is room.
    pub(super) fn hand_over_later(&self, event: Event) -> HandOver {
        let events = self.server.events.clone();
        Box::pin(async move { events.send(event).await })
    }

    fn signal(&mut self, signal: SendSignal) {
        let SendSignal { id, path, value } = signal;
        match check::value(&path, &value, self.codec, &self.server.config) {
            Ok(()) => {
                self.signals.push(Signal { path, value });
                if let Some(id) = id {
                    self.ok(id);
                }
            }
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    fn get(&mut self, get: &Get) {
        let snapshot = self.server.shared.latest();
        let room = self.room();
        let mut size = 0;
        let mut entries = Vec::new();
        for entry in get.paths.iter().filter_map(|path| snapshot.get(path)) {
            size += Codec::size_hint(&entry);
            entries.push(entry);
            if size > room && entries.len() > 1 {
                let message = "the values do not fit into one frame: ask for fewer paths";
                return self.refuse(get.id, Refusal::new(Code::FrameTooLarge, message));
            }
        }
        let found = Found { id: get.id, rev: snapshot.rev(), entries, more: false };
        self.send(&ServerFrame::Found(found));
    }

    fn list(&mut self, list: &List) {
        let snapshot = self.server.shared.latest();
        let room = self.room();
        let (mut entries, mut more) = snapshot.list(list, PAGE_BYTES.min(room), PAGE_ENTRIES);
        // The last entry may have exceeded the room.
        let size: usize = entries.iter().map(Codec::size_hint).sum();
        if size > room && entries.len() > 1 {
            entries.pop();
            more = true;
        }
        let found = Found { id: list.id, rev: snapshot.rev(), entries, more };
        self.send(&ServerFrame::Found(found));
    }

    /// Returns how many bytes the entries of one frame may take.
    fn room(&self) -> usize {
        self.server.config.frame_bytes as usize - FRAME_OVERHEAD as usize
    }

    fn bye(&mut self, Bye { id }: Bye) -> Result<(), Ending> {
        self.leaving = Some(id);
        self.pass_on()?;
        self.end_session()
    }

    /// Ends the session of a client that has said goodbye. Waits until events that were handed over
    /// before have found room in the owner's queue.
    pub(super) fn end_session(&mut self) -> Result<(), Ending> {
        if self.leaving.is_none() || self.waiting.is_some() {
            return Ok(());
        }
        let Some(session) = self.session.take() else { return Ok(()) };
        self.in_flight.begin(0, 1);
        self.hand_over(Event::End { session, mailbox: self.mailbox.clone() })
    }
}
