//! The shell's own live `fleet` subscription: one per connection, over the seam that the interface uses too.
//!
//! It waits until the connection stands, subscribes, and hands every snapshot and delta to the desk. When the socket
//! ends it subscribes again after 0.5 to 10 s; the snapshot that every subscription begins with then sets all right.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fleet::Summary;
use crate::connection::socket::{self, Received};
use crate::connection::{Connection, ConnectionError};
use crate::supervisor::Standing;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const SUBSCRIBE: &str = r#"{"type":"subscribe","id":1,"topic":"fleet"}"#;

/// What the desk is told of a connection's fleet.
#[derive(Debug)]
pub(crate) enum News {
    Snapshot(Vec<Summary>),
    Changed { changed: Vec<Summary>, removed: Vec<String> },
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the collector ended the subscription: {0}")]
    Refused(String),
    #[error("the collector closed the socket")]
    Closed,
    #[error("the desk is gone")]
    Leaving,
}

/// The messages of the live socket that matter here; others are skipped.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    Snapshot {
        data: Snapshot,
    },
    Delta {
        data: Delta,
    },
    Ended {
        #[serde(default)]
        reason: Option<String>,
    },
    Error {
        #[serde(default)]
        error: Problem,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Snapshot {
    deployments: Vec<Summary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    changed: Vec<Summary>,
    removed: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    message: String,
}

/// Follows until `leave`. Goal: an unbroken subscription.
pub(crate) async fn follow(
    connection: Connection,
    desk: mpsc::Sender<(Arc<str>, News)>,
    leave: CancellationToken,
) {
    let mut wait = FIRST_WAIT;
    loop {
        let mut standing = connection.standing();
        // Everything here may be dropped: what is not handed over yet comes again with the next snapshot.
        let ended = tokio::select! {
            () = leave.cancelled() => return,
            ended = async {
                if standing.wait_for(|standing| matches!(standing, Standing::Ready { .. })).await.is_err() {
                    return Ended::Leaving;
                }
                subscription(&connection, &desk, &mut wait).await
            } => ended,
        };
        match ended {
            Ended::Leaving => return,
            Ended::Connection(_) | Ended::Refused(_) | Ended::Closed => {
                tracing::info!(connection = %connection.id, reason = %ended, wait_ms = wait.as_millis(), "the fleet subscription ended; subscribing again");
            }
        }
        tokio::select! {
            () = leave.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn subscription(
    connection: &Connection,
    desk: &mpsc::Sender<(Arc<str>, News)>,
    wait: &mut Duration,
) -> Ended {
    let attempt = async {
        let (mut reading, mut writing) = socket::open(connection, "").await?;
        writing.send(SUBSCRIBE.to_owned()).await?;
        loop {
            let Some(received) = reading.next().await? else { return Err(Ended::Closed) };
            let Received::Text(text) = received else { continue };
            let news = match serde_json::from_str::<Message>(&text) {
                Ok(Message::Snapshot { data }) => {
                    *wait = FIRST_WAIT;
                    News::Snapshot(data.deployments)
                }
                Ok(Message::Delta { data }) => {
                    News::Changed { changed: data.changed, removed: data.removed }
                }
                Ok(Message::Ended { reason }) => {
                    return Err(Ended::Refused(reason.unwrap_or_default()));
                }
                Ok(Message::Error { error }) => return Err(Ended::Refused(error.message)),
                Ok(Message::Other) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a message of the live socket cannot be read");
                    continue;
                }
            };
            // The desk is slower: we stop reading, and the collector treats us as any slow viewer.
            if desk.send((connection.id.clone(), news)).await.is_err() {
                return Err(Ended::Leaving);
            }
        }
    };
    let ended: Result<std::convert::Infallible, Ended> = attempt.await;
    match ended {
        Err(ended) => ended,
        Ok(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_live_socket_are_read_by_their_type() {
        let read = |text: &str| serde_json::from_str::<Message>(text).unwrap();
        assert!(matches!(
            read(r#"{"type":"hello","server_epoch":"e","version":1}"#),
            Message::Other
        ));
        let snapshot = r#"{"type":"snapshot","id":1,"cursor":3,"data":{"deployments":[{"id":"d","state":"running"}]}}"#;
        let Message::Snapshot { data } = read(snapshot) else { panic!("a snapshot") };
        assert_eq!(data.deployments[0].id, "d");
        let delta = r#"{"type":"delta","id":1,"cursor":"c","data":{"changed":[],"removed":["d"]}}"#;
        let Message::Delta { data } = read(delta) else { panic!("a delta") };
        assert_eq!(data.removed, ["d"]);
        assert!(matches!(
            read(r#"{"type":"error","id":null,"error":{"code":"x","message":"no"}}"#),
            Message::Error { .. }
        ));
    }
}
