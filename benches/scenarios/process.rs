//! A server under measurement: a separate process, and what /proc reports about it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server under measurement.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The directory that is removed when the server has ended.
    pub(crate) directory: Option<Directory>,
}

impl Server {
    /// Starts a server that prints its address as the last word of its first line.
    pub(crate) fn announced(command: &Command) -> Result<Server, String> {
        let mut child = spawn(command, Stdio::piped(), Stdio::inherit())?;
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let read = lines.read_line(&mut line);
        let word = line.trim().rsplit([' ', '/']).next().unwrap_or_default();
        match (read, word.parse()) {
            (Ok(_), Ok(address)) => Ok(Server { child, address, directory: None }),
            _ => {
                end(&mut child);
                Err(format!("it did not start: {line:?}"))
            }
        }
    }

    /// Starts a server that listens where it is told to.
    pub(crate) fn at(command: &Command, address: SocketAddr) -> Result<Server, String> {
        let mut child = spawn(command, Stdio::null(), Stdio::null())?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline || child.try_wait().is_ok_and(|ended| ended.is_some()) {
                end(&mut child);
                return Err("it did not start".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Server { child, address, directory: None })
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(&self.child.id().to_string())
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(command: &Command, output: Stdio, errors: Stdio) -> Result<Child, String> {
    // As many file descriptors as the system allows.
    let mut wrapped = Command::new("sh");
    wrapped.args(["-c", "ulimit -n $(ulimit -Hn) 2>/dev/null; exec \"$0\" \"$@\""]);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(name, value);
        }
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ONETREE_") {
            wrapped.env_remove(name);
        }
    }
    wrapped.stdin(Stdio::null()).stdout(output).stderr(errors);
    wrapped.spawn().map_err(|error| format!("it did not start: {error}"))
}

fn end(child: &mut Child) {
    // This fails if the process has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns an address with a port that is free now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

/// What a process has used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Nanoseconds on a processor, of all living threads.
    pub(crate) cpu_ns: u64,
    /// Resident memory, bytes: now, and at its peak.
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

impl Usage {
    /// Returns the usage of this process.
    pub(crate) fn own() -> Usage {
        Usage::of("self")
    }

    fn of(process: &str) -> Usage {
        let mut usage = Usage::default();
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        for task in tasks {
            // A thread may end while we look.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let time = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
            usage.cpu_ns += time.unwrap_or(0);
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        usage.resident = field("VmRSS:").unwrap_or(0) << 10;
        usage.peak = field("VmHWM:").unwrap_or(0) << 10;
        usage
    }
}

/// A directory for one server, removed at the end.
pub(crate) struct Directory(pub(crate) std::path::PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Directory {
        let directory = std::env::temp_dir().join(format!("onetree-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("there is room for temporary files");
        Directory(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Ignore an error: the directory is temporary anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}
