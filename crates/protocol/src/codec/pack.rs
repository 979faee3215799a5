//! MessagePack, as far as frames need it: arrays, strings, binary, whole numbers, booleans, nil.

use rmp::{Marker, decode, encode};

/// For how many elements of one array room is made before they are seen: a frame of ten bytes may
/// claim to have four thousand million elements, and must not be believed.
const BELIEVED: usize = 64;

pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    written(encode::write_str(out, text));
}

pub(super) fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    written(encode::write_bin(out, bytes));
}

pub(super) fn put_uint(out: &mut Vec<u8>, number: u64) {
    written(encode::write_uint(out, number));
}

pub(super) fn put_array(out: &mut Vec<u8>, length: usize) {
    written(encode::write_array_len(out, length as u32));
}

/// Sets the length of the array whose head was written as one byte at `start`.
pub(super) fn close_array(out: &mut Vec<u8>, start: usize, length: usize) {
    if length < 16 {
        out[start] = 0x90 | length as u8;
        return;
    }
    let mut head = Vec::with_capacity(5);
    put_array(&mut head, length);
    out.splice(start..=start, head);
}

/// Writing to memory does not fail.
fn written<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok(), "memory takes what it is given");
}

/// Yields the elements of an array one by one and keeps nothing. The elements are valid only if
/// [`InOrder::is_done`] is true at the end. If it is not, something is wrong or more bytes follow,
/// and no element may be used.
pub(super) struct InOrder<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> InOrder<'a> {
    /// Begins to read an array; `None` if the bytes do not begin like one.
    pub(super) fn open(mut bytes: &'a [u8]) -> Option<InOrder<'a>> {
        let left = decode::read_array_len(&mut bytes).ok()?;
        Some(InOrder { rest: bytes, left })
    }

    /// Returns how many elements are left. The number can be trusted if this array is an element of
    /// another.
    pub(super) fn len(&self) -> usize {
        self.left as usize
    }

    /// Returns whether all elements were taken and nothing follows.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.rest.is_empty()
    }
}

impl<'a> Iterator for InOrder<'a> {
    type Item = &'a [u8];

    /// Returns the next element. `None` at the end; also once something is wrong, and from then on.
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let (element, rest) = self.rest.split_at(size_of_first(self.rest)?);
        (self.rest, self.left) = (rest, self.left - 1);
        Some(element)
    }
}

/// Returns the elements of an array that takes all of `bytes`.
pub(super) fn elements(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut array = InOrder::open(bytes).ok_or("not an array")?;
    let mut elements = Vec::with_capacity((array.left as usize).min(BELIEVED));
    elements.extend(&mut array);
    match array {
        InOrder { left: 0, rest: [] } => Ok(elements),
        InOrder { left: 0, .. } => Err("there is something behind the end".into()),
        _ => Err("the frame ends too early, or has what no frame has".into()),
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    match decode::read_str_from_slice(bytes) {
        Ok((text, [])) => Ok(text),
        _ => Err("not a string of UTF-8".into()),
    }
}

/// Returns whether the element is this text. If it is, it is also valid UTF-8.
pub(super) fn is_text(mut bytes: &[u8], known: &str) -> bool {
    let length = decode::read_str_len(&mut bytes);
    length.is_ok_and(|length| length as usize == bytes.len()) && bytes == known.as_bytes()
}

pub(super) fn bin(bytes: &[u8]) -> Result<&[u8], String> {
    let mut rest = bytes;
    match decode::read_bin_len(&mut rest) {
        Ok(length) if length as usize == rest.len() => Ok(rest),
        _ => Err("not binary".into()),
    }
}

pub(super) fn uint(mut bytes: &[u8]) -> Option<u64> {
    let number = decode::read_int(&mut bytes).ok()?;
    if bytes.is_empty() { Some(number) } else { None }
}

pub(super) fn bool(mut bytes: &[u8]) -> Option<bool> {
    let value = decode::read_bool(&mut bytes).ok()?;
    if bytes.is_empty() { Some(value) } else { None }
}

/// Returns the length of the first element of `bytes`; `None` if it is cut off, or of a kind that
/// frames do not have. There is no recursion: nesting only adds to the number of elements still to
/// pass.
fn size_of_first(bytes: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    let mut open = 1u64;
    while open > 0 {
        open -= 1;
        let marker = Marker::from_u8(*bytes.get(at)?);
        at += 1;
        let number = |width: usize| {
            let digits = bytes.get(at..at + width)?;
            Some((width, digits.iter().fold(0usize, |sum, digit| sum << 8 | usize::from(*digit))))
        };
        let (head, body, inside) = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
                (0, 0, 0)
            }
            Marker::U8 | Marker::I8 => (0, 1, 0),
            Marker::U16 | Marker::I16 => (0, 2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (0, 4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (0, 8, 0),
            Marker::FixStr(length) => (0, usize::from(length), 0),
            Marker::Str8 | Marker::Bin8 => {
                let (head, length) = number(1)?;
                (head, length, 0)
            }
            Marker::Str16 | Marker::Bin16 => {
                let (head, length) = number(2)?;
                (head, length, 0)
            }
            Marker::Str32 | Marker::Bin32 => {
                let (head, length) = number(4)?;
                (head, length, 0)
            }
            Marker::FixArray(length) => (0, 0, u64::from(length)),
            Marker::Array16 => {
                let (head, length) = number(2)?;
                (head, 0, length as u64)
            }
            Marker::Array32 => {
                let (head, length) = number(4)?;
                (head, 0, length as u64)
            }
            _ => return None,
        };
        at += head + body;
        open += inside;
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}
