//! Does what it is told, a line at a time: the Rust client's adapter of `spec/scenarios`. It judges
//! nothing; the runner does.
//!
//! # Layout
//!
//! - `commands`: what is told to a client; `mirrors`: to a mirror; `programs`: its transactions;
//!   `fields`: what a command consists of
//! - `told`: how entries and events are told; `code`: what went wrong

mod code;
mod commands;
mod fields;
mod mirrors;
mod programs;
mod told;

use std::io::stdin;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use commands::Adapter;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let adapter = Rc::new(Adapter::default());
    // Tasks of one thread begin in the order in which they were made: so do commands.
    let tasks = LocalSet::new();
    let reading = async {
        while let Ok(Some(Ok(line))) = spawn_blocking(|| stdin().lines().next()).await {
            let adapter = adapter.clone();
            spawn_local(async move { answer(&adapter, &line).await });
        }
    };
    tasks.run_until(reading).await;
}

async fn answer(adapter: &Adapter, line: &str) {
    let command: Value = serde_json::from_str(line).unwrap_or_default();
    let mut answer = json!({ "id": command["id"] });
    match adapter.command(&command).await {
        Ok(ok) => answer["ok"] = ok,
        Err(error) => {
            let code = code::of(&*error);
            answer["error"] = json!({ "code": code, "message": error.to_string() });
        }
    }
    println!("{answer}");
}
