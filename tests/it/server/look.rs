//! Monitoring: `/v1/stats`, `/v1/sessions`, and the page at `/console/`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::{get, told, until};
use crate::wire::{Wire, broker};

#[tokio::test]
async fn stats_count_what_happens() {
    let broker = broker("").await;
    let addr = broker.addr();
    let empty = told(addr, "/v1/stats").await;
    for (name, value) in [
        ("revision", json!(0)),
        ("entries", json!(0)),
        ("bytes", json!(0)),
        ("connections", json!(0)),
        ("sessions", json!(0)),
        ("subscriptions", json!(0)),
        ("commits", json!(0)),
        ("deliveries", json!(0)),
        ("queue", json!(0)),
        ("read_only", json!(false)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(empty[name], value, "{name}");
    }
    let (mut one, welcome) = Wire::hello(addr, json!({})).await;
    assert_eq!(empty["epoch"], welcome["epoch"]);
    one.sub(1, "/").await;
    one.sub(2, "/a").await;
    let mut two = Wire::open(addr).await;
    two.sub(1, "/b").await;
    for count in 0..10 {
        two.put("/a", json!(count)).await;
    }
    let last = two.put("/b", json!("x")).await;
    while one.until("delta").await["rev"] != last {}
    while two.until("delta").await["rev"] != last {}
    // A connection writes first and counts then, so the count may come a moment later.
    let full = until(addr, "/v1/stats", |stats| stats["deliveries"] == 12).await;
    for (name, value) in [
        ("revision", json!(last)),
        ("entries", json!(2)),
        ("connections", json!(2)),
        ("sessions", json!(2)),
        ("subscriptions", json!(3)),
        ("commits", json!(11)),
    ] {
        assert_eq!(full[name], value, "{name}");
    }
    assert!(full["bytes"].as_u64().unwrap() > 0);
    assert!(full["uptime_ms"].as_u64() > Some(0), "{full}");
    if cfg!(target_os = "linux") {
        let memory = full["memory_bytes"].as_u64().unwrap();
        assert!((1 << 20..1 << 36).contains(&memory), "{memory} bytes");
    }
    // When the second is over, its latencies are reported.
    let later = until(addr, "/v1/stats", |stats| stats["commit_latency"]["commits"] == 11).await;
    let latency = &later["commit_latency"];
    let (p50, p99) = (latency["p50_us"].as_u64().unwrap(), latency["p99_us"].as_u64().unwrap());
    assert!(p50 <= p99 && p99 < 10_000_000, "{latency}");
    // One client leaves with a grace period, one says goodbye, and one subscription is ended
    // explicitly.
    one.ask(json!({"op": "unsub", "id": 5, "sub": 2})).await;
    until(addr, "/v1/stats", |stats| stats["subscriptions"] == 2).await;
    drop(one);
    let left = until(addr, "/v1/stats", |stats| stats["connections"] == 1).await;
    assert_eq!(left["sessions"], 2, "one is in its grace");
    two.ask(json!({"op": "bye", "id": 6})).await;
    let gone = until(addr, "/v1/stats", |stats| stats["connections"] == 0).await;
    assert_eq!(gone["subscriptions"], 0);
    until(addr, "/v1/stats", |stats| stats["sessions"] == 1).await;
}

#[tokio::test]
async fn sessions_tell_where_mirrors_stand_and_no_secret() {
    let broker = broker("").await;
    let addr = broker.addr();
    let hello = json!({"agent": "test/1", "client": "a-client-that-nobody-guesses"});
    let (mut one, welcome) = Wire::hello(addr, hello).await;
    one.sub(7, "/chat/rust").await;
    one.refresh(json!({
        "op": "sub", "id": 1, "sub": 9, "path": "/", "depth": "children", "match": ["a*", "**/log"],
        "tail": 5, "values": false, "signals": true, "every_ms": 60000,
    }))
    .await;
    let mut silent = Wire::connect(addr).await;
    let rev = one.put("/chat/rust/x", json!(1)).await;
    one.until("delta").await;
    let answer = get(addr, "/v1/sessions", &addr.to_string(), "").await;
    for secret in [&welcome["session"], &json!("a-client-that-nobody-guesses")] {
        assert!(!answer.body.contains(secret.as_str().unwrap()), "{}", answer.body);
    }
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&told["revision"], &told["silent"], &told["more"]),
        (&json!(rev), &json!(0), &json!(false))
    );
    let [first, second] = told["connections"].as_array().unwrap().as_slice() else {
        panic!("{told:#}");
    };
    assert_eq!(first["agent"], "test/1");
    assert_eq!(first["peer"], one.socket.get_ref().local_addr().unwrap().to_string());
    assert_eq!(first["codec"], "onetree.v1.json");
    assert_eq!(first["welcomed"], true);
    assert_eq!(first["subscriptions"], 2);
    assert_eq!(first["outbox_bytes"], 0);
    assert_eq!(
        first["mirrors"],
        json!([
            {"sub": 7, "path": "/chat/rust", "depth": "tree", "values": true, "once": false,
             "signals": false, "every_ms": 0, "cursor": "live", "rev": rev, "lag": 0},
            {"sub": 9, "path": "/", "depth": "children", "match": ["a*", "**/log"], "tail": 5,
             "values": false, "once": false, "signals": true, "every_ms": 60000,
             "cursor": "paced", "rev": 0, "lag": rev},
        ])
    );
    assert_eq!(second["welcomed"], false);
    assert_eq!(second["mirrors"], json!([]));
    // One connection per page: the next page begins behind the last of this one.
    let page = told_page(addr, "limit=1").await;
    assert_eq!((&page["connections"][0]["id"], &page["more"]), (&first["id"], &json!(true)));
    let page = told_page(addr, &format!("limit=1&after={}", first["id"])).await;
    assert_eq!((&page["connections"][0]["id"], &page["more"]), (&second["id"], &json!(false)));
    let wrong = get(addr, "/v1/sessions?limit=0", &addr.to_string(), "").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("1 to 1000"), "{}", wrong.body);
    // A connection can be asked before `hello`, and still works.
    assert_eq!(silent.ask(json!({"op": "hello", "id": 3})).await["op"], "welcome");
}

async fn told_page(addr: SocketAddr, query: &str) -> Value {
    told(addr, &format!("/v1/sessions?{query}")).await
}

#[tokio::test]
async fn sessions_show_who_lags() {
    let broker = broker("outbox_bytes = 65536").await;
    let addr = broker.addr();
    let mut slow = Wire::narrow(addr).await;
    slow.sub(1, "/").await;
    let mut writer = Wire::open(addr).await;
    let text = "x".repeat(16 * 1024);
    let mut behind = Value::Null;
    for round in 0..2000u64 {
        writer.put(&format!("/k/{}", round % 10), json!([round, text])).await;
        behind = told(addr, "/v1/sessions").await;
        if behind["connections"][0]["mirrors"][0]["cursor"] == "behind" {
            break;
        }
    }
    let slowest = &behind["connections"][0];
    assert_eq!(slowest["mirrors"][0]["cursor"], "behind", "{behind:#}");
    assert!(slowest["mirrors"][0]["lag"].as_u64() > Some(0), "{behind:#}");
    assert!(slowest["unsent_bytes"].as_u64() > Some(0), "{behind:#}");
    assert!(behind["connections"][1]["mirrors"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn sessions_are_told_though_a_connection_has_large_subscriptions() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut wire = Wire::open(addr).await;
    let long = format!("/{}", vec!["s".repeat(200); 5].join("/"));
    for sub in 0..100 {
        wire.refresh(json!({"op": "sub", "id": 1, "sub": sub, "path": long, "values": false}))
            .await;
    }
    let told = told(addr, "/v1/sessions").await;
    let one = &told["connections"][0];
    assert_eq!(one["subscriptions"], 100);
    let mirrors = one["mirrors"].as_array().unwrap().len();
    assert!((5..50).contains(&mirrors), "{mirrors} of them");
}

#[tokio::test]
async fn pages_of_others_are_not_told() {
    let broker = broker("origins = [\"https://app.example\"]").await;
    let addr = broker.addr();
    let (own, port) = (addr.to_string(), addr.port());
    let local = format!("localhost:{port}");
    for path in ["/v1/stats", "/v1/sessions", "/console/"] {
        for (host, more) in [
            (own.as_str(), String::new()),
            (&local, String::new()),
            ("app.example", String::new()),
            (&own, format!("origin: http://{own}\r\n")),
            (&own, "origin: https://app.example\r\n".to_owned()),
            (&own, "sec-fetch-site: same-origin\r\n".to_owned()),
        ] {
            let answer = get(addr, path, host, &more).await;
            assert_eq!(answer.status, 200, "{path} at {host}, {more}: {}", answer.body);
            assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
            assert!(answer.head.contains("cross-origin-resource-policy: same-origin"));
        }
        for (host, more) in [
            // DNS rebinding: a name that was made to point here.
            (format!("evil.example:{port}"), String::new()),
            (format!("evil.example:{port}"), format!("origin: http://evil.example:{port}\r\n")),
            (format!("127.0.0.1:{}", port ^ 1), String::new()),
            (own.clone(), "origin: https://evil.example\r\n".to_owned()),
            (own.clone(), "origin: null\r\n".to_owned()),
            (own.clone(), "sec-fetch-site: cross-site\r\n".to_owned()),
        ] {
            let answer = get(addr, path, &host, &more).await;
            assert_eq!(answer.status, 403, "{path} at {host}, {more}");
            assert!(!answer.body.contains("revision"), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn the_console_is_served_with_a_policy() {
    let broker = broker("").await;
    let addr = broker.addr();
    let own = addr.to_string();
    let page = get(addr, "/console/", &own, "").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
    let policy = page.head.lines().find(|line| line.starts_with("content-security-policy:"));
    let policy = policy.expect("there is no policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    let moved = get(addr, "/console", &own, "").await;
    assert_eq!(moved.status, 308);
    assert!(moved.head.contains("location: /console/"), "{}", moved.head);
    for wrong in ["/console/nothing.js", "/console/../Cargo.toml", "/consoles", "/console/onetree/"]
    {
        assert_eq!(get(addr, wrong, &own, "").await.status, 404, "{wrong}");
    }
    // Every file that the page asks for exists.
    let mut asked = 0;
    for part in page.body.split(['"', '\'']) {
        if let Some(name) = part.strip_prefix("./") {
            let file = get(addr, &format!("/console/{name}"), &own, "").await;
            assert_eq!(file.status, 200, "{name}");
            asked += 1;
        }
    }
    assert!(asked >= 2, "the page asks for {asked} files");
}
