//! The command line program.

use std::path::Path;
use std::process::{Command, Stdio};

/// Returns what `onetree <args> --url <url>` prints.
pub(crate) async fn output(program: &Path, url: &str, args: &[&str]) -> Result<Vec<u8>, String> {
    let (program, url) = (program.to_owned(), url.to_owned());
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(program).args(args).args(["--url", &url]).stdin(Stdio::null()).output()
    });
    let output = output.await.map_err(|error| error.to_string())?;
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(output.stdout)
}
