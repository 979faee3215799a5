//! What an error says about a write: whether it may have happened.

mod broker;
#[expect(dead_code, reason = "what other tests need")]
mod peer;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use onetree_client::{
    Action, Append, Client, Code, ConnectError, Error, KeepError, Reconnect, Refusal, Sent,
    TransactError, Value, word,
};

use broker::path;
use peer::{Peer, listen};

#[test]
fn what_may_have_happened_is_not_to_be_tried_again() {
    let lost = Some(Arc::new(ConnectError::Lost("x".to_owned())));
    for (sent, action, told) in [
        (Sent::Write, Action::Stop, "; it may have happened"),
        (Sent::Read, Action::Retry, ""),
        (Sent::Never, Action::Retry, "; it was never sent"),
    ] {
        let timeout = Error::Timeout { after: Duration::from_secs(1), sent };
        assert_eq!(timeout.action(), action);
        let sent = Some(sent);
        assert_eq!(Error::Closed { why: lost.clone(), sent }.action(), action);
        let closed = Error::Closed { why: None, sent };
        assert_eq!(closed.action(), Action::Stop);
        assert_eq!(closed.to_string(), format!("the client is closed{told}"));
    }
}

#[test]
fn what_is_the_applications_to_mend_says_so() {
    let (path, at) = (std::path::PathBuf::from("state"), path("/a"));
    let (message, line, why) = ("no".to_owned(), 1, "no".to_owned());
    for error in [
        KeepError::InUse { path: path.clone() },
        KeepError::Use { what: "open", path: path.clone(), message: message.clone() },
        KeepError::Write { path: path.clone(), message },
        KeepError::Broken { path, line, why },
    ] {
        assert_eq!(error.action(), Action::Fix, "{error}");
    }
    assert_eq!(TransactError::OutsideView(at).action(), Action::Fix);
    assert_eq!(TransactError::Client(Error::QueueFull).action(), Action::Retry);
    assert_eq!(TransactError::Failed("mine".into()).action(), Action::Stop);
}

#[test]
fn what_is_behind_an_error_is_not_lost() {
    #[derive(Debug)]
    struct Mine(std::num::ParseIntError);
    impl std::fmt::Display for Mine {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no balance")
        }
    }
    impl StdError for Mine {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
    let failed = TransactError::Failed(Mine("x".parse::<u8>().unwrap_err()).into());
    assert_eq!(failed.to_string(), "no balance");
    assert!(failed.source().is_some_and(|source| source.is::<std::num::ParseIntError>()));
    // A refusal is also an error by itself.
    let code = Code::ReadOnly;
    let (message, path, rev, retry_in) = ("no".to_owned(), None, None, None);
    let refusal: Box<dyn StdError> = Refusal { code, message, path, rev, retry_in }.into();
    assert_eq!(word(&*refusal), Some("read-only"));
}

#[tokio::test]
async fn the_end_of_a_client_says_what_was_sent() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 1).await;
        peer.read().await;
    });
    let client = Client::connect(options.reconnect(Reconnect::Never)).await.unwrap();
    let append = || client.submit(Append::new(path("/log"), Value::text("x")));
    let (first, second) = (append(), append());
    for (write, was_sent) in [(first, true), (second, false), (append(), false)] {
        let error = write.await.unwrap_err();
        let told = if was_sent { "it may have happened" } else { "it was never sent" };
        assert!(error.to_string().ends_with(told), "{error}");
    }
    broker.await.unwrap();
}
