//! The memory that a broker takes.

use std::fs;

use serde_json::json;

use super::Broker;
use crate::wire::Wire;

/// Returns the most memory that a process has taken so far, in KiB; `None` when it has ended.
pub(super) fn most(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Each subscriber follows a part of the tree, and one transaction changes something in all parts.
/// Memory is needed for what each of them sees, and not for the whole for each.
#[tokio::test]
async fn what_many_see_in_parts_takes_the_memory_of_the_parts() {
    const PARTS: usize = 300;
    let broker = Broker::start();
    let mut followers = Vec::new();
    for part in 0..PARTS {
        let mut wire = Wire::open(broker.addr()).await;
        wire.sub(1, &format!("/u/{part}")).await;
        followers.push(wire);
    }
    let mut writer = Wire::open(broker.addr()).await;
    let put =
        |n: usize| json!({"do": "put", "path": format!("/u/{}/a{n}", n % PARTS), "json": "x"});
    let steps: Vec<_> = (0..10 * PARTS).map(put).collect();
    let before = most(broker.child.id()).unwrap();
    let done = writer.ask(json!({"op": "txn", "id": 1, "do": steps})).await;
    assert_eq!(done["op"], "done", "{done}");
    for follower in &mut followers {
        let delta = follower.until("delta").await;
        assert_eq!(delta["changes"].as_array().unwrap().len(), 10, "{delta}");
    }
    let grown = most(broker.child.id()).unwrap() - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
}
