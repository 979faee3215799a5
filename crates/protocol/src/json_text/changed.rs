//! For tests: valid frames of a client, and frames in which bytes were changed, removed, doubled or
//! moved.

/// Frames as clients write them or might write them. All are valid.
const FRAMES: [&str; 8] = [
    r#"{"op":"put","id":7,"seq":12,"path":"/a/b","json":{"n":[1,2.5e3,"x"],"t":true}}"#,
    r#"{"op": "signal", "path": "/a", "text": "h\u00e4 ä", "x": null, "y": false, "z": true}"#,
    r#"{"op":"txn","id":1,"if":[{"path":"/a","rev":0}],"do":[{"do":"put","path":"/b","json":1}]}"#,
    r#"{"op":"append","id":10000000,"path":"/log","json":"0123456789abcdef0123456789"}"#,
    r#"{"op":"put","id":0,"path":"/a","json":{"a":-0.5,"b":[{},[],{"c": [ 1, -2 ]}],"d":1e9,"e":"\n"}}"#,
    "{\"op\":\"put\",\"id\":1,\"path\":\"/a\",\"json\":\n\t{\"ä\":{\"x\":[]}}}",
    r#"{"id":1,"op":"list","path":"/","limit":0,"values":false,"after":"/a","before":"/b"}"#,
    r#"{"op":"signal","path":"/a","type":"text/plain","text":"0123456789 \" 0123456789 ü 0123456789"}"#,
];

/// Calls `each` with every frame unchanged, and `rounds` times with a changed one. Prints its seed.
pub(crate) fn frames(rounds: usize, mut each: impl FnMut(&str)) {
    FRAMES.iter().for_each(|frame| each(frame));
    let seed = std::env::var("ONETREE_SEED").map_or(2026, |seed| seed.parse().unwrap());
    println!("to run this again: ONETREE_SEED={seed}");
    let mut state: u64 = seed;
    let mut below = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let interesting = *b"\"\\{}[]:,0123456789-+.eE truefalsn\t\x00\x1f\n";
    for round in 0..rounds {
        let mut bytes = FRAMES[round % FRAMES.len()].as_bytes().to_vec();
        for _ in 0..below(4) {
            let (at, other) = (below(bytes.len()), below(bytes.len()));
            match below(5) {
                4 => drop(bytes.splice(at..at, b" \t\n "[below(4)..].iter().copied())),
                0 => bytes[at] = interesting[below(interesting.len())],
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[other]),
                _ => bytes.swap(at, other),
            }
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            each(text);
        }
    }
}
