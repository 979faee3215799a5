//! A first program, against a running broker (`onetree serve`).

use onetree_client::{Client, Event, MirrorOptions, Options, Path, Value, View};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(Options::new("ws://127.0.0.1:7400")).await?;

    // A live copy of all that is under /chat/rust, from what is there to whatever comes.
    let mirror = client.mirror(View::tree(Path::parse("/chat/rust")?), MirrorOptions::new());
    let mut changes = mirror.changes();

    let done = client.append(Path::parse("/chat/rust/log")?, Value::text("hello")).await?;
    mirror.at(done.rev).await?; // read your own write
    println!("{} entries at revision {}", mirror.snapshot().len(), mirror.rev());

    // Lost connections, lag and a restarted broker are mended behind this loop.
    while let Some(event) = changes.next().await {
        if let Event::Fresh { rev, changes } | Event::Delta { rev, changes, .. } = event {
            println!("{} changes, to revision {rev}", changes.len());
        }
    }
    Ok(())
}
