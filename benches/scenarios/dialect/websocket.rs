//! The part of WebSocket (RFC 6455) that a load generator needs: the upgrade, and frame headers.

/// The mask of masked frames. A browser's is random, but removing it costs the same.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x9e];

/// Opcodes: text, binary, ping and pong.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Returns the request that opens a connection.
pub(crate) fn upgrade(path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let subprotocol =
        subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{subprotocol}\r\n"
    )
    .into_bytes()
}

/// The header in front of a payload.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) opcode: u8,
    /// The length of the header itself, bytes.
    pub(crate) bytes: usize,
    pub(crate) payload: usize,
    pub(crate) mask: Option<[u8; 4]>,
}

impl Header {
    /// Parses a header; `None` when there are too few bytes.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Option<Header> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let opcode = first & 0x0f;
        let (payload, length_bytes) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, 8),
            small => (usize::from(small), 0),
        };
        let mut header = Header { opcode, bytes: 2 + length_bytes, payload, mask: None };
        if second & 0x80 != 0 {
            header.mask = Some(*rest[length_bytes..].first_chunk()?);
            header.bytes += 4;
        }
        Some(header)
    }

    /// Writes the header of a whole message.
    pub(crate) fn write(opcode: u8, payload: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        out.push(0x80 | opcode);
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(small @ ..126), _) => out.push(masked | small),
            (_, Ok(middle)) => {
                out.push(masked | 126);
                out.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(mask.as_ref().map_or(&[], |mask| &mask[..]));
    }
}

/// Writes a client's whole message into `out`. Returns where its payload begins.
pub(crate) fn message(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    Header::write(opcode, payload.len(), Some(MASK), out);
    let begin = out.len();
    out.extend_from_slice(payload);
    mask(MASK, &mut out[begin..]);
}

/// Applies or removes a mask.
#[inline]
pub(crate) fn mask(mask: [u8; 4], payload: &mut [u8]) {
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    // If more than four bytes are left, the mask begins again.
    if let Some(more) = rest.get_mut(4..) {
        for (byte, mask) in more.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}
