//! Frames: the messages on a connection. One WebSocket message is one frame.

mod client;
mod server;

pub use client::{
    Append, Auth, Bye, ClientFrame, Condition, Delete, Do, DropTree, Expect, Get, Hello, List,
    Mode, Put, Resync, SendSignal, Sub, SyncRequest, Trim, Txn, Unsub,
};
pub use server::{
    Delta, Done, Entries, ErrorFrame, Found, Fresh, Goodbye, Ok, Reason, Refresh, RefreshKind,
    ServerFrame, Signal, Sync, Welcome,
};
