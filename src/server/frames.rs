//! Decodes WebSocket messages from bytes (RFC 6455).

use bytes::{Buf, BytesMut};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The most bytes that a control frame carries (RFC 6455, 5.5).
const CONTROL_BYTES: usize = 125;

/// A message from a client. Its bytes are kept separately, in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The bytes may be invalid UTF-8.
    Text,
    Binary,
    Ping,
    Pong,
    /// A close, with this code.
    Close(Option<u16>),
}

/// Decodes the messages of one connection. This is written by hand because the library keeps a
/// buffer for each connection that it never frees, and because reading frame headers with the
/// library took 4% of the cost of a signal.
pub(super) struct Frames {
    /// The most bytes that a message may have.
    most: usize,
    /// The parts of a fragmented message that have arrived so far, and whether it is text.
    partial: Option<Box<(Data, Vec<u8>)>>,
}

impl Frames {
    pub(super) fn new(most: usize) -> Frames {
        Frames { most, partial: None }
    }

    /// Takes the next message out of `buffer` and puts its bytes into `payload`; `None` when it has
    /// not arrived completely.
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Message>, Error> {
        loop {
            let Some(head) = self.head(buffer)? else { return Ok(None) };
            let Some(masked) = buffer[head.size..].get(..head.length) else { return Ok(None) };
            payload.clear();
            payload.extend_from_slice(masked);
            unmask(payload, head.mask);
            buffer.advance(head.size + head.length);
            let message = match head.opcode {
                OpCode::Control(control) => Some(self::control(control, payload)?),
                OpCode::Data(data) => self.data(data, head.is_final, payload)?,
            };
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Returns the header at the start of `buffer`; `None` when it has not arrived completely.
    fn head(&self, buffer: &[u8]) -> Result<Option<Head>, Error> {
        let Some(head) = Head::parse(buffer)? else { return Ok(None) };
        if let OpCode::Control(_) = head.opcode {
            if !head.is_final {
                return Err(Error::Protocol(ProtocolError::FragmentedControlFrame));
            }
            if head.length > CONTROL_BYTES {
                return Err(Error::Protocol(ProtocolError::ControlFrameTooBig));
            }
        }
        let before = self.partial.as_ref().map_or(0, |partial| partial.1.len());
        let size = before.saturating_add(head.length);
        if matches!(head.opcode, OpCode::Data(_)) && size > self.most {
            let error = CapacityError::MessageTooLong { size, max_size: self.most };
            return Err(Error::Capacity(error));
        }
        Ok(Some(head))
    }

    /// Handles a data frame: one part of a message, or a whole message. When the message is
    /// complete, its bytes are in `payload`.
    fn data(
        &mut self,
        data: Data,
        last: bool,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Message>, Error> {
        let data = match (data, self.partial.take()) {
            (Data::Continue, None) => {
                return Err(Error::Protocol(ProtocolError::UnexpectedContinueFrame));
            }
            (Data::Continue, Some(mut partial)) => {
                // Reserve no more than the whole message may need, and keep no other buffer beside
                // it: the message may stay incomplete for long.
                let (have, all) = (partial.1.capacity(), partial.1.len() + payload.len());
                if all > have {
                    let room = all.max(self.most.min(2 * have));
                    partial.1.reserve_exact(room - partial.1.len());
                }
                partial.1.extend_from_slice(payload);
                *payload = Vec::new();
                if !last {
                    self.partial = Some(partial);
                    return Ok(None);
                }
                let (data, whole) = *partial;
                *payload = whole;
                data
            }
            (_, Some(_)) => return Err(Error::Protocol(ProtocolError::ExpectedFragment(data))),
            (_, None) if !last => {
                self.partial = Some(Box::new((data, std::mem::take(payload))));
                return Ok(None);
            }
            (_, None) => data,
        };
        Ok(Some(if data == Data::Text { Message::Text } else { Message::Binary }))
    }
}

/// The header of a frame, before its payload (RFC 6455, 5.2).
struct Head {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    /// The lengths of the header itself and of the payload, bytes.
    size: usize,
    length: usize,
}

impl Head {
    /// Returns the header at the start of `bytes`; `None` when it has not arrived completely.
    fn parse(bytes: &[u8]) -> Result<Option<Head>, Error> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = OpCode::from(first & 0x0f);
        if let OpCode::Data(Data::Reserved(code)) = opcode {
            return Err(Error::Protocol(ProtocolError::InvalidOpcode(code)));
        }
        if first & 0x70 != 0 {
            return Err(Error::Protocol(ProtocolError::NonZeroReservedBits));
        }
        if second & 0x80 == 0 {
            return Err(Error::Protocol(ProtocolError::UnmaskedFrameFromClient));
        }
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Head {
            opcode,
            is_final: first & 0x80 != 0,
            mask: *mask,
            size: bytes.len() - rest.len(),
            length: usize::try_from(length).unwrap_or(usize::MAX),
        }))
    }
}

fn control(control: Control, payload: &[u8]) -> Result<Message, Error> {
    match control {
        Control::Ping => Ok(Message::Ping),
        Control::Pong => Ok(Message::Pong),
        Control::Close if payload.is_empty() => Ok(Message::Close(None)),
        Control::Close => {
            let Some((code, reason)) = payload.split_first_chunk() else {
                return Err(Error::Protocol(ProtocolError::InvalidCloseSequence));
            };
            std::str::from_utf8(reason)?;
            let code = CloseCode::from(u16::from_be_bytes(*code));
            let code = if code.is_allowed() { code } else { CloseCode::Protocol };
            Ok(Message::Close(Some(code.into())))
        }
        Control::Reserved(code) => {
            Err(Error::Protocol(ProtocolError::UnknownControlFrameType(code)))
        }
    }
}

/// Removes the mask (RFC 6455, 5.3), eight bytes at a time, which compilers turn into the fastest
/// code.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip([a, b, c, d, a, b, c]).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests;
