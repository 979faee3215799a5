//! Tests of decoding messages: whole, in pieces, and invalid ones.

use super::*;

const MASK: [u8; 4] = [7, 0, 255, 80];

/// Encodes a frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    bytes
}

/// Returns all messages in these bytes when they arrive in pieces of `step` bytes.
fn messages(bytes: &[u8], step: usize) -> Result<Vec<(Message, Vec<u8>)>, Error> {
    let mut frames = Frames::new(100_000);
    let (mut buffer, mut payload) = (BytesMut::new(), Vec::new());
    let mut made = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some(message) = frames.take(&mut buffer, &mut payload)? {
            made.push((message, payload.clone()));
        }
    }
    Ok(made)
}

#[test]
fn messages_come_whole_however_their_bytes_come() {
    let lengths = [0, 1, 7, 8, 9, 125, 126, 127, 4095, 65_535, 65_536, 100_000];
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for length in lengths {
        let payload: Vec<u8> = (0..length).map(|at: usize| (at * 31 % 251) as u8).collect();
        bytes.extend(frame(0x82, &payload));
        expected.push((Message::Binary, payload));
        bytes.extend(frame(0x81, "ä".as_bytes()));
        expected.push((Message::Text, "ä".into()));
    }
    for step in [1, 2, 3, 13, 4096, bytes.len()] {
        assert_eq!(messages(&bytes, step).unwrap(), expected, "in steps of {step}");
    }
}

#[test]
fn parts_become_one_message_and_a_ping_may_come_between() {
    let [a, b] = *"ä".as_bytes() else { unreachable!("it has two bytes") };
    // A letter that is split between two frames is whole in the end.
    let parts = [
        frame(0x01, &[b'x', a]),
        frame(0x89, b"ping"),
        frame(0x00, &[b]),
        frame(0x00, b""),
        frame(0x80, b"y"),
        frame(0x82, b"z"),
    ];
    let expected = [
        (Message::Ping, b"ping".to_vec()),
        (Message::Text, "xäy".into()),
        (Message::Binary, b"z".to_vec()),
    ];
    for step in [1, 5, 1000] {
        assert_eq!(messages(&parts.concat(), step).unwrap(), expected);
    }
}

#[test]
fn a_message_that_does_not_end_has_no_more_room_than_it_may_need() {
    let mut frames = Frames::new(100_000);
    let (mut buffer, mut payload) = (BytesMut::new(), Vec::new());
    let mut part = |first: u8, length: usize| {
        buffer.extend_from_slice(&frame(first, &vec![0; length]));
        assert!(frames.take(&mut buffer, &mut payload).unwrap().is_none());
        frames.partial.as_ref().map_or(0, |partial| partial.1.capacity()) + payload.capacity()
    };
    let kept = [part(0x02, 60_000), part(0x00, 30_000), part(0x00, 10_000), part(0x00, 0)];
    assert!(kept.iter().all(|room| *room <= 100_000), "{kept:?}");
}

#[test]
fn a_close_has_a_code_that_may_be_said() {
    let close = |payload: &[u8]| {
        let mut made = messages(&frame(0x88, payload), 1000)?;
        Ok::<_, Error>(made.pop().map(|(message, _)| message))
    };
    let code = |payload: &[u8]| match close(payload).unwrap() {
        Some(Message::Close(code)) => code,
        other => panic!("not a close: {other:?}"),
    };
    assert_eq!(code(b""), None);
    assert_eq!(code(b"\x03\xe8why"), Some(1000));
    assert_eq!(code(b"\x0f\xa0"), Some(4000));
    assert_eq!(code(b"\x03\xed"), Some(1002), "1005 is never sent");
    assert!(matches!(close(b"\x03"), Err(Error::Protocol(ProtocolError::InvalidCloseSequence))));
    assert!(matches!(close(b"\x03\xe8\xff"), Err(Error::Utf8(_))));
}

#[test]
fn what_is_wrong_is_an_error_as_soon_as_it_is_seen() {
    let wrong = |bytes: &[u8]| messages(bytes, 1).unwrap_err();
    let protocol = |bytes: &[u8]| match wrong(bytes) {
        Error::Protocol(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(protocol(&frame(0x80, b"1")), ProtocolError::UnexpectedContinueFrame);
    let twice = [frame(0x01, b"1"), frame(0x81, b"2")].concat();
    assert_eq!(protocol(&twice), ProtocolError::ExpectedFragment(Data::Text));
    assert_eq!(protocol(&[0x81, 1, b'x']), ProtocolError::UnmaskedFrameFromClient);
    assert_eq!(protocol(&frame(0xf1, b"1")), ProtocolError::NonZeroReservedBits);
    assert_eq!(protocol(&frame(0x83, b"1")), ProtocolError::InvalidOpcode(3));
    assert_eq!(protocol(&frame(0x8b, b"")), ProtocolError::UnknownControlFrameType(11));
    assert_eq!(protocol(&frame(0x09, b"")), ProtocolError::FragmentedControlFrame);
    assert_eq!(protocol(&frame(0x89, &[0; 126])), ProtocolError::ControlFrameTooBig);
    // The size is known from the header of a frame, or from the sum of the parts.
    let too_long = |bytes: &[u8]| match wrong(bytes) {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size: 100_000 }) => size,
        other => panic!("{other:?}"),
    };
    assert_eq!(too_long(&frame(0x82, &[0; 100_001])[..14]), 100_001);
    let huge = [&[0x82, 0xff][..], &[0xff; 8], &MASK].concat();
    assert_eq!(too_long(&huge), usize::MAX);
    let parts = [frame(0x02, &[0; 60_000]), frame(0x80, &[0; 40_001])].concat();
    assert_eq!(too_long(&parts), 100_001);
}
