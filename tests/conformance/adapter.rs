//! A running adapter: takes commands and returns answers, as `spec/scenarios/README.md` says.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::languages::Language;

/// The longest that an answer may take.
const ANSWER: Duration = Duration::from_secs(40);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// An adapter, which is killed when this is dropped.
pub(crate) struct Adapter {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    waiting: Waiting,
    last_id: AtomicU64,
    /// What it has printed on standard error.
    complaints: Arc<Mutex<String>>,
}

/// An answer that has not come yet.
pub(crate) struct Answer(oneshot::Receiver<Value>);

/// A refusal: its code and its message.
pub(crate) type Refused = (String, String);

/// Adapters that have finished, kept for the next story: starting one takes some languages a third
/// of a second.
static IDLE: Mutex<Vec<(Language, Adapter)>> = Mutex::new(Vec::new());

impl Adapter {
    /// Returns an adapter without a client: one that another story has used, or a new one.
    pub(crate) fn take(language: Language) -> Result<Adapter, String> {
        let mut idle = IDLE.lock().unwrap();
        if let Some(place) = idle.iter().position(|(of, _)| *of == language) {
            let adapter = idle.swap_remove(place).1;
            adapter.complaints.lock().unwrap().clear();
            return Ok(adapter);
        }
        drop(idle);
        Adapter::start(language)
    }

    /// Closes its client, and keeps the adapter for the next story.
    pub(crate) async fn give_back(self, language: Language) {
        let closed = self.begin(json!({ "op": "close" })).wait().await;
        if closed.is_ok_and(|answer| answer.is_ok()) {
            IDLE.lock().unwrap().push((language, self));
        }
    }

    pub(crate) fn start(language: Language) -> Result<Adapter, String> {
        let mut command = language.adapter();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let missing = || "a pipe is missing".to_owned();
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let mut errors = child.stderr.take().ok_or_else(missing)?;
        let (waiting, complaints) = (Waiting::default(), Arc::<Mutex<String>>::default());
        let (answers, said) = (waiting.clone(), complaints.clone());
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else {
                    said.lock().unwrap().push_str(&format!("no JSON: {line}\n"));
                    continue;
                };
                let id = answer["id"].as_u64();
                if let Some(waiting) = id.and_then(|id| answers.lock().unwrap().remove(&id)) {
                    // This fails when the asking task is gone, which does no harm.
                    let _ = waiting.send(answer);
                }
            }
            // No more answers will come.
            answers.lock().unwrap().clear();
        });
        let said = complaints.clone();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = errors.read(&mut piece) {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..n]));
            }
        });
        Ok(Adapter {
            child: Mutex::new(child),
            input: Mutex::new(input),
            waiting,
            last_id: AtomicU64::new(0),
            complaints,
        })
    }

    /// Sends a command.
    pub(crate) fn begin(&self, mut command: Value) -> Answer {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        command["id"] = id.into();
        if command["op"] == "sub" {
            command["sub"] = id.into();
        }
        let (tell, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, tell);
        let written = writeln!(self.input.lock().unwrap(), "{command}");
        if written.is_err() {
            self.waiting.lock().unwrap().remove(&id);
        }
        Answer(answer)
    }

    /// Sends a command and returns its answer. An adapter that does not answer is the outer error.
    pub(crate) async fn ask(&self, command: Value) -> Result<Result<Value, Refused>, String> {
        let said = command.to_string();
        let answer = self.begin(command).wait().await;
        answer.map_err(|why| format!("{}: {why}", said.chars().take(200).collect::<String>()))
    }

    /// Sends a command that must succeed, and returns its result.
    pub(crate) async fn ok(&self, command: Value) -> Result<Value, String> {
        let said: String = command.to_string().chars().take(200).collect();
        let answer = self.ask(command).await?;
        answer.map_err(|(code, message)| format!("{said}: {code}: {message}"))
    }

    /// Kills the adapter with SIGKILL.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        // The process has ended already, or ends now.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Returns what it has printed on standard error.
    pub(crate) fn complaints(&self) -> String {
        self.complaints.lock().unwrap().clone()
    }

    /// Returns all events of a mirror since the last call.
    pub(crate) async fn events(&self, mirror: &str) -> Result<Vec<Value>, String> {
        let events = self.ok(json!({ "op": "events", "mirror": mirror })).await?;
        events.as_array().cloned().ok_or_else(|| format!("no events: {events}"))
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Answer {
    pub(crate) async fn wait(self) -> Result<Result<Value, Refused>, String> {
        self.wait_or_end().await?.ok_or_else(|| "the adapter has ended".to_owned())
    }

    /// Waits for the answer. `None`: the adapter has ended without an answer.
    pub(crate) async fn wait_or_end(self) -> Result<Option<Result<Value, Refused>>, String> {
        let answer = tokio::time::timeout(ANSWER, self.0).await;
        let answer = answer.map_err(|_| format!("no answer within {ANSWER:?}"))?;
        let Ok(mut answer) = answer else { return Ok(None) };
        if let Some(error) = answer.get("error") {
            let word = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
            return Ok(Some(Err((word("code"), word("message")))));
        }
        Ok(Some(Ok(answer["ok"].take())))
    }
}
