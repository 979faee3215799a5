//! Floor B: plain tokio-tungstenite, a task for each connection, a broadcast for each topic. What
//! arrives together is fed and flushed together.

use std::sync::{Arc, Mutex};

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{self, WebSocketConfig};

use super::{Request, Role};

/// How many batches wait for a subscriber before it loses some.
const WAITING: usize = 8192;

/// The most messages in a batch.
const BATCH: usize = 1024;

type Batch = Arc<[Message]>;

/// With the library's default of 128 KiB, its buffer would be most of a connection's memory.
const READ_BYTES: usize = 4096;

type Topics = Arc<Mutex<Vec<broadcast::Sender<Batch>>>>;

/// Serves until it is killed.
pub(crate) fn run() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(4096)?;
        println!("listening on {}", listener.local_addr()?);
        let topics = Topics::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, topics.clone()));
        }
    })
}

async fn serve(mut stream: TcpStream, topics: Topics) {
    let mut head = Vec::with_capacity(512);
    let request = loop {
        if stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {
            match Request::parse(&head) {
                Some(request) => break request,
                None => continue,
            }
        }
        return;
    };
    if stream.write_all(&request.answer).await.is_err() {
        return;
    }
    let role = request.role;
    // A publisher sends much at once, and there are few publishers.
    let config = match role {
        Role::Publisher(_) => WebSocketConfig::default(),
        Role::Subscriber(_) => WebSocketConfig::default().read_buffer_size(READ_BYTES),
    };
    // Not `from_partially_read`: its buffer begins empty, and the library then reads one message at
    // a time for ever. Our clients send nothing before they have the answer.
    let server = protocol::Role::Server;
    let socket = WebSocketStream::from_raw_socket(stream, server, Some(config)).await;
    match role {
        Role::Publisher(number) => publish(socket, topic(&topics, number)).await,
        Role::Subscriber(number) => {
            subscribe(socket, topic(&topics, number).subscribe()).await;
        }
    }
}

fn topic(topics: &Topics, number: usize) -> broadcast::Sender<Batch> {
    let mut topics = topics.lock().expect("nobody panics under it");
    while topics.len() <= number {
        topics.push(broadcast::Sender::new(WAITING));
    }
    topics[number].clone()
}

/// Passes on what one read has brought as one batch: otherwise the cost would be that of a wake-up
/// for each message.
async fn publish(mut socket: WebSocketStream<TcpStream>, topic: broadcast::Sender<Batch>) {
    while let Some(Ok(first)) = socket.next().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Some(Some(Ok(message))) = socket.next().now_or_never()
        {
            batch.push(message);
        }
        batch.retain(Message::is_binary);
        // This fails when there is no subscriber.
        let _ = topic.send(batch.into());
    }
}

async fn subscribe(mut socket: WebSocketStream<TcpStream>, mut topic: broadcast::Receiver<Batch>) {
    loop {
        tokio::select! {
            batch = topic.recv() => {
                let Ok(mut batch) = batch else { return };
                loop {
                    for message in batch.iter() {
                        if socket.feed(message.clone()).await.is_err() {
                            return;
                        }
                    }
                    match topic.try_recv() {
                        Ok(more) => batch = more,
                        Err(_) => break,
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
        }
    }
}
