//! Decoding takes memory and time in proportion to the size of the input, whatever lengths the
//! input claims. This is one test alone, because the allocator counts for the whole process.

use std::alloc::System;
use std::time::{Duration, Instant};

use onetree_protocol::{Code, Codec};
use proptest::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

mod frames;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most bytes that may be allocated for one byte that is read. An item of JSON takes two bytes
/// of input, and a slice of 16 bytes in a vector that doubles, and is read twice if it is not the
/// last. A member of JSON takes six bytes of input, and a name in a set and 40 bytes in a vector.
const PER_BYTE: usize = 128;
/// Something that takes this long for a megabyte takes quadratic time, even on a slow machine.
const AGES: Duration = Duration::from_secs(10);
/// The most bytes that a small frame may take, including the message of its error.
const AT_ALL: usize = 8 * 1024;

#[test]
fn reading_takes_memory_in_proportion_to_what_came() {
    for (name, bytes) in hostile() {
        for codec in Codec::ALL {
            let most = PER_BYTE * bytes.len() + AT_ALL;
            let started = Instant::now();
            let taken = taken(codec, &bytes);
            assert!(started.elapsed() < AGES, "{name} in {codec:?}: {:?}", started.elapsed());
            assert!(taken <= most, "{name} in {codec:?}: {taken} for {} bytes", bytes.len());
        }
    }
    // If a list is longer than any list may be, none of its items are read.
    for (name, bytes) in too_long() {
        let mut code = None;
        let read = || code = Codec::MsgPack.decode_client(&bytes).err().map(|error| error.code);
        let taken = measure(read);
        assert!(code.is_some_and(|code| code != Code::BadFrame), "{name}: {code:?}");
        assert!(taken <= AT_ALL, "{name}: {taken} for {} bytes", bytes.len());
    }
    let both = (frames::client_frame(), frames::server_frame());
    frames::run(300, both, |(client, server)| {
        for codec in Codec::ALL {
            for bytes in [codec.encode_client(&client), codec.encode_server(&server)] {
                let most = PER_BYTE * bytes.len() + AT_ALL;
                let taken = taken(codec, &bytes);
                prop_assert!(taken <= most, "{codec:?}: {taken} for {} bytes", bytes.len());
            }
        }
        Ok(())
    });
}

/// Returns how many bytes are allocated in all while `bytes` are decoded as a frame, for the side
/// that takes more.
fn taken(codec: Codec, bytes: &[u8]) -> usize {
    let client = measure(|| drop(codec.decode_client(bytes)));
    client.max(measure(|| drop(codec.decode_server(bytes))))
}

fn measure(read: impl FnOnce()) -> usize {
    let region = Region::new(COUNTING);
    read();
    let change = region.change();
    change.bytes_allocated + usize::try_from(change.bytes_reallocated.max(0)).unwrap()
}

fn elements(each: &[u8], many: u32) -> Vec<u8> {
    let head = [&[0xdd][..], &many.to_be_bytes()].concat();
    [head, each.repeat(many as usize)].concat()
}

/// Returns frames of two megabytes that are valid except for one list, whose items are as short as
/// possible.
fn too_long() -> [(&'static str, Vec<u8>); 5] {
    let of = |head: &[u8], each: &[u8]| {
        let many = 2_000_000 / each.len() as u32;
        [head, &elements(each, many)].concat()
    };
    [
        ("changes", of(&[0x95, 13, 1, 0xc0, 0xc0], &[0x92, 2, 0xa1, b'/'])),
        ("conditions", of(&[0x94, 13, 1, 0xc0], &[0x93, 0xa1, b'/', 0xc0, 0])),
        ("paths", of(&[0x93, 14, 1], &[0xa1, b'/'])),
        ("patterns", of(&[0x96, 3, 1, 1, 0xa1, b'/', 0xc0], &[0xa1, b'*'])),
        (
            "subscriptions",
            of(&[0x98, 1, 1, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0], &[0x93, 1, 1, 0xa1, b'/']),
        ),
    ]
}

/// Returns frames that claim more than they have, or have many of the most expensive things.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let list_of = |op: u8, middle: &[u8]| [&[0x9f, op, 1][..], middle].concat();
    let claims = [0xdd, 0xff, 0xff, 0xff, 0xff];
    let members: Vec<String> = (0..100_000).map(|n| format!("\"{n}\":0")).collect();
    let escaped: Vec<String> = (0..50_000).map(|n| format!("\"\\u0061{n}\":0")).collect();
    vec![
        ("an array that claims four thousand million", claims.to_vec()),
        ("a frame whose list claims them", list_of(14, &claims)),
        ("a frame whose text claims them", list_of(2, &[0xdb, 0xff, 0xff, 0xff, 0xff])),
        ("a frame whose bytes claim them", list_of(12, &[0xc6, 0xff, 0xff, 0xff, 0xff, 0])),
        ("lists that claim lists that claim", claims.repeat(2_000)),
        ("lists inside of lists", vec![0x91; 300_000]),
        ("a hundred thousand nils", elements(&[0xc0], 100_000)),
        ("a hundred thousand empty lists", elements(&[0x90], 100_000)),
        ("a get of them", [&[0x93, 14, 1][..], &elements(&[0x90], 100_000)].concat()),
        ("entries of them", [&[0x93, 5, 1][..], &elements(&[0x90], 100_000)].concat()),
        ("a get of the root", [&[0x93, 14, 1][..], &elements(&[0xa1, b'/'], 50_000)].concat()),
        ("lists of JSON inside of lists", vec![b'['; 300_000]),
        ("records of JSON inside of records", b"{\"a\":".repeat(60_000)),
        ("a hundred thousand members", format!("{{{}}}", members.join(",")).into_bytes()),
        ("members with escaped names", format!("{{{}}}", escaped.join(",")).into_bytes()),
        (
            "a get of numbers",
            format!("{{\"op\":\"get\",\"id\":1,\"paths\":[0{}]}}", ",0".repeat(99_999))
                .into_bytes(),
        ),
        (
            "digests",
            format!("{{\"op\":\"sync\",\"rev\":1,\"digests\":{{{}}}}}", members.join(","))
                .replace(":0", ":null")
                .into_bytes(),
        ),
    ]
}
