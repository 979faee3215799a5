//! WebSocket messages from bytes (RFC 6455).

use bytes::{Buf, BytesMut};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// RFC 6455, 5.5: what a control frame carries, bytes, at most.
const CONTROL_BYTES: usize = 125;

/// What a client has sent; its bytes stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Perhaps no UTF-8.
    Text,
    Binary,
    Ping,
    Pong,
    /// With this code.
    Close(Option<u16>),
}

/// Makes messages of what has come. Written by hand: the library keeps a buffer with each
/// connection that it never gives back, and took 4% of what a signal costs to read the header of a
/// frame.
pub(super) struct Frames {
    /// A message has at most so many bytes.
    most: usize,
    /// The parts of a message that have come so far, and whether it is text.
    partial: Option<Box<(Data, Vec<u8>)>>,
}

impl Frames {
    pub(super) fn new(most: usize) -> Frames {
        Frames { most, partial: None }
    }

    /// The next message, its bytes in `payload`; `None`: it is not there yet.
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

    /// The header at the front of `buffer`; `None`: it is not all there yet.
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

    /// A part of a message, or all of it: then it is in `payload`.
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
                // No more room than the whole may need, and none kept beside it: it may not end for
                // long.
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

/// What stands before the payload of a frame (RFC 6455, 5.2).
struct Head {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    /// Its own bytes, and those of the payload.
    size: usize,
    length: usize,
}

impl Head {
    /// The one at the front of `bytes`; `None`: it is not all there yet.
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

/// RFC 6455, 5.3; eight bytes at once, which is what compilers make the fastest code of.
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
