//! One viewer's socket: subscriptions come and go on it.

use super::Live;
use super::follow::{Control, Subscription};
use super::message::{LiveMessage, ViewerMessage};
use super::outlet::{Outlet, outlet};
use crate::auth::{Pass, RAW};
use crate::places::Turns;
use crate::store::within;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use deckport_protocol::{Actor, ErrorCode, Refusal};
use futures_util::SinkExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What waits goes out together, up to about so many messages: each flush is a call of the system and wakes the viewer.
const TOGETHER: usize = 64;

struct Running {
    stop: CancellationToken,
    control: Arc<Control>,
}

pub(super) async fn serve(live: Live, mut socket: WebSocket, actor: Actor, pass: Pass) {
    let (out, mut outgoing) = outlet();
    let mut running: HashMap<u64, Running> = HashMap::new();
    let mut tasks: JoinSet<u64> = JoinSet::new();
    let all = CancellationToken::new();
    let _ends_all = all.clone().drop_guard();
    let stop = live.stop.clone();
    let bounds = live.config.bounds;
    let mut ping = tokio::time::interval(bounds.viewer_ping);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut turns = Turns::new(bounds.viewer_messages, heard);
    let mut read_from = heard;
    let hello = LiveMessage::Hello {
        server_epoch: live.server_epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut next: Option<Vec<Message>> = Some(vec![text(&hello)]);
    // What is being sent still takes up its room.
    let mut rooms = Vec::new();
    // Goal: pass on what subscriptions have. Exits: the viewer is gone or stopped reading, or we stop.
    let why = loop {
        if let Some(messages) = next.take() {
            // Each message has its time by itself: a viewer that reads slowly and steadily is not one that has stopped.
            let sent = async {
                for message in messages {
                    let fed = tokio::time::timeout(bounds.send_time, socket.feed(message)).await?;
                    if fed.is_err() {
                        return Ok(fed);
                    }
                }
                tokio::time::timeout(bounds.send_time, socket.flush()).await
            };
            let sent = sent.await;
            rooms.clear();
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break "",
                Err(_) => {
                    live.metrics.refuse(&ErrorCode::TOO_SLOW);
                    break "too_slow";
                }
            }
        }
        // Dropping a branch is safe: each is cancel safe.
        tokio::select! {
            () = stop.cancelled() => break "unavailable",
            _ = pass.ended() => break "revoked",
            Some(out) = outgoing.recv() => {
                let mut messages = out.messages;
                rooms.push(out.room);
                while messages.len() < TOGETHER
                    && let Ok(out) = outgoing.try_recv()
                {
                    messages.extend(out.messages);
                    rooms.push(out.room);
                }
                next = Some(messages);
            }
            Some(done) = tasks.join_next(), if !tasks.is_empty() => if let Ok(id) = done {
                live.metrics.subscriptions.add(-1);
                // A later subscription may have taken the same id.
                if running.get(&id).is_some_and(|r| r.control.is_over()) {
                    running.remove(&id);
                }
            },
            // What comes too fast stays in the socket.
            () = tokio::time::sleep_until(read_from), if read_from > Instant::now() => {}
            message = socket.recv(), if read_from <= Instant::now() => {
                heard = Instant::now();
                read_from = heard + turns.promise(cost(&message), heard);
                match message {
                    Some(Ok(Message::Text(body))) => {
                        match serde_json::from_str::<ViewerMessage>(&body) {
                            Ok(message) => {
                                let answer =
                                    handle(&live, &actor, message, &mut running, &mut tasks, &out, &all);
                                next = answer.map(|answer| {
                                    if let LiveMessage::Error { error, .. } = &answer {
                                        live.metrics.refuse(&error.code);
                                    }
                                    vec![text(&answer)]
                                });
                            }
                            Err(error) => {
                                let error =
                                    Refusal::new(ErrorCode::MALFORMED_MESSAGE, error.to_string());
                                live.metrics.refuse(&error.code);
                                next = Some(vec![text(&LiveMessage::Error { id: None, error })]);
                            }
                        }
                    }
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break "",
                }
            }
            _ = ping.tick() => next = Some(vec![Message::Ping(bytes::Bytes::new())]),
            () = tokio::time::sleep_until(heard + 2 * bounds.viewer_ping + bounds.send_time) => {
                live.metrics.refuse(&ErrorCode::TOO_SLOW);
                break "too_slow";
            }
        }
    };
    all.cancel();
    drop(outgoing);
    while tasks.join_next().await.is_some() {
        live.metrics.subscriptions.add(-1);
    }
    let code = if why == "too_slow" { 1008 } else { 1001 };
    let close = Message::Close(Some(CloseFrame { code, reason: why.into() }));
    let _ = tokio::time::timeout(bounds.header_time, socket.send(close)).await;
}

/// In messages: a subscription is answered with a page or a search.
fn cost(message: &Option<Result<Message, axum::Error>>) -> u32 {
    const SUBSCRIBE: u32 = 16;
    match message {
        Some(Ok(Message::Text(body))) if body.contains("subscribe") => SUBSCRIBE,
        _ => 1,
    }
}

pub(super) fn text(message: &LiveMessage) -> Message {
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}

fn handle(
    live: &Live,
    actor: &Actor,
    message: ViewerMessage,
    running: &mut HashMap<u64, Running>,
    tasks: &mut JoinSet<u64>,
    out: &Outlet,
    all: &CancellationToken,
) -> Option<LiveMessage> {
    match message {
        ViewerMessage::Subscribe(subscribe) => {
            let id = subscribe.id;
            let refuse = |code, message: &str| {
                Some(LiveMessage::Error { id: Some(id), error: Refusal::new(code, message) })
            };
            if running.len() >= live.config.bounds.subscriptions {
                return refuse(ErrorCode::TOO_MANY_SUBSCRIPTIONS, "too many subscriptions");
            }
            if running.get(&id).is_some_and(|running| !running.control.is_over()) {
                return refuse(ErrorCode::BAD_REQUEST, "that id is subscribed already");
            }
            let topics = ["fleet", "deployment", "window", "records", "search"];
            if !topics.contains(&subscribe.topic.as_str()) {
                return refuse(ErrorCode::BAD_REQUEST, "there is no such topic");
            }
            if subscribe.topic == "records"
                && let Err(refusal) = RAW.demand(actor)
            {
                return refuse(refusal.code, &refusal.message);
            }
            let stop = all.child_token();
            let control = Arc::new(Control::new(&subscribe, watch::Sender::new(0)));
            running.insert(id, Running { stop: stop.clone(), control: Arc::clone(&control) });
            live.metrics.subscriptions.add(1);
            let subscription = Subscription {
                live: live.clone(),
                scope: actor.scope(),
                subscribe,
                control,
                out: out.clone(),
            };
            tasks.spawn(async move {
                // Dropping a subscription at any point is safe: it only reads.
                tokio::select! {
                    () = stop.cancelled() => subscription.control.over(),
                    () = within(subscription.scope, subscription.run()) => {}
                }
                id
            });
            None
        }
        ViewerMessage::Window { id, from, count, follow } => {
            if let Some(running) = running.get(&id) {
                running.control.place(from, count, follow);
            }
            None
        }
        ViewerMessage::Credit { id, credits } => {
            if let Some(running) = running.get(&id) {
                running.control.grant(credits);
            }
            None
        }
        ViewerMessage::Unsubscribe { id } => {
            if let Some(running) = running.remove(&id) {
                running.stop.cancel();
            }
            None
        }
        ViewerMessage::Ping { nonce } => Some(LiveMessage::Pong { nonce }),
    }
}
