//! The broker, as a child process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_blocking;

use crate::address::address_of_our_own;

/// A broker, which is ended when this is dropped; its directory is removed.
pub(crate) struct Broker {
    addr: SocketAddr,
    /// Reserves the address while the broker is away.
    _ours: Option<TcpSocket>,
    /// The directory for its files and for what it prints on standard error.
    pub(crate) directory: PathBuf,
    /// Whether its tree survives it.
    durable: bool,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Broker {
    /// Starts a broker. `durable`: with its tree in a directory. `config`: keys of its
    /// configuration.
    pub(crate) async fn start(
        durable: bool,
        config: &Map<String, Value>,
    ) -> Result<Broker, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = crate::languages::workshop().join("brokers").join(name);
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let settings = config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (_ours, addr) = address_of_our_own();
        let mut broker = Broker { addr, _ours, directory, durable, settings, child: None };
        broker.begin().await?;
        Ok(broker)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr())
    }

    /// Starts the broker, again at the same address and on the same directory.
    pub(crate) async fn begin(&mut self) -> Result<(), String> {
        let log = self.directory.join("stderr.txt");
        let log = File::options().create(true).append(true).open(log).map_err(|e| e.to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
        command.args(["serve", "--listen", &self.addr().to_string()]);
        match self.durable {
            true => command.arg("--data").arg(self.directory.join("tree")),
            false => command.arg("--memory"),
        };
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let output = child.stdout.take().ok_or("a pipe is missing")?;
        self.child = Some(child);
        let line = spawn_blocking(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            read.map(|_| line)
        });
        let line = line.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        if !line.starts_with("listening on") {
            return Err(format!("the broker does not start: {line}{}", self.log()));
        }
        Ok(())
    }

    /// Kills the broker with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process has ended already, or ends now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // The shell's builtin sends the signal, which saves a library.
        let told = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
        told.map_err(|error| error.to_string())?;
        let ended = spawn_blocking(move || child.wait()).await.map_err(|e| e.to_string())?;
        let status = ended.map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("the broker ended with {status}: {}", self.log()));
        }
        Ok(())
    }

    /// Returns what `/v1/stats` says.
    pub(crate) async fn stats(&self) -> Result<Value, String> {
        let addr = self.addr();
        let answer = async {
            let mut stream = TcpStream::connect(addr).await?;
            let request =
                format!("GET /v1/stats HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = answer.await.map_err(|error| error.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        serde_json::from_str(body).map_err(|error| format!("{body}: {error}"))
    }

    /// Returns the lines of `export`, as JSON.
    pub(crate) async fn export(&self) -> Result<Vec<Value>, String> {
        let url = self.url();
        let output = spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
            command.args(["export", "/", "--url", &url]).stdin(Stdio::null()).output()
        });
        let output = output.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(format!("export: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
        let parse = |line: &str| serde_json::from_str(line).map_err(|e| format!("{line}: {e}"));
        text.lines().map(parse).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("stderr.txt")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        // If this fails, the rest stays in the build directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
