//! The broker as users run it: a separate process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A broker that runs; dropping this ends it.
pub(crate) struct Program {
    child: Child,
    /// Kept open: a process that prints into a closed pipe is killed.
    _stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
}

/// The unit in which the system counts processor time: 100 per second wherever Linux runs.
const TICKS: f64 = 100.0;

impl Program {
    /// Serves a directory with the given configuration.
    pub(crate) fn serve(directory: &Path, config: &str) -> Program {
        let file = directory.join("bench.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
        command.arg("serve").arg("--data").arg(directory).args(["--listen", "127.0.0.1:0"]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ONETREE_") {
                command.env_remove(name);
            }
        }
        let mut child = command.arg("--config").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.split_whitespace().last().expect("the broker starts").to_owned();
        Program { child, _stdout: stdout, url }
    }

    /// Returns the processor time that the broker and this process have used, seconds.
    pub(crate) fn used(&self) -> (f64, f64) {
        (used(&self.child.id().to_string()), used("self"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns NaN if the system does not report it.
fn used(process: &str) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { return f64::NAN };
    // The name of the program, in brackets, may contain spaces. User and system time are the 12th
    // and 13th field behind it.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>());
    ticks.map(|ticks| ticks.unwrap_or(f64::NAN)).sum::<f64>() / TICKS
}
