//! Plain HTTP: what the broker reports about itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::PATIENCE;

/// An answer: status, head and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a GET with these additional header lines.
pub(crate) async fn get(addr: SocketAddr, path: &str, host: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let said = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await;
    read.expect("the broker does not answer").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// Returns the JSON document at this path.
pub(crate) async fn told(addr: SocketAddr, path: &str) -> Value {
    let answer = get(addr, path, &addr.to_string(), "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    serde_json::from_str(&answer.body).unwrap()
}

/// Asks until the document satisfies `so`.
pub(crate) async fn until(addr: SocketAddr, path: &str, so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let value = told(addr, path).await;
        if so(&value) {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "{path} stays {value:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
