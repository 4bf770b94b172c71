//! One WebSocket between a caller and a two-way stream of the node daemon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use skerry_ipc::{Answer, RefusalClass, Request, StreamItem, TwoWayInput};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::wire::close;
use super::{SocketCaller, Wire};
use crate::app::App;
use crate::auth::Caller;
use crate::node::{Items, Node, NodeError};
use crate::problem::Problem;

/// The largest message of a client: a paste may be long.
const MAX_MESSAGE: usize = 256 * 1024;
/// How often the other end is asked whether it is there; a browser's network may be gone without a word.
const PING: Duration = Duration::from_secs(20);
/// Silence, answers to that included, after which it is not.
const SILENCE: Duration = Duration::from_secs(65);
/// Time without input or output after which a forgotten one is closed.
const IDLE: Duration = Duration::from_secs(2 * 3600);
/// How often it is asked whether the session is still good.
const RECHECK: Duration = Duration::from_secs(30);
/// For the last message.
const FAREWELL: Duration = Duration::from_secs(5);

/// Answers the handshake; what follows goes on by itself until either end is done, the session or the service ends.
pub(crate) fn open(
    app: App,
    SocketCaller(caller): SocketCaller,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
    wire: Wire,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "this path is a WebSocket (RFC 6455)")
    })?;
    let place = app.sockets.place(&caller)?;
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .protocols(wire.protocols());
    Ok(upgrade.on_upgrade(move |socket| async move {
        serve(socket, &app, &caller, request, wire).await;
        drop(place);
    }))
}

/// Why a socket ends.
enum End {
    /// The other end is gone; nothing can be said to it.
    Gone,
    /// With this code and reason.
    Close(u16, String),
}

impl End {
    fn refused(problem: &Problem) -> Self {
        Self::Close(4000 + problem.status().as_u16(), problem.detail().to_owned())
    }
}

type Sender = SplitSink<WebSocket, Message>;

async fn serve(socket: WebSocket, app: &App, caller: &Caller, request: Request, wire: Wire) {
    let (mut sender, receiver) = socket.split();
    let end = match app.node.open_two_way(caller.auth(), request).await {
        Ok((input, items)) => {
            let moved = Moved::new();
            // None of these holds anything that must not be dropped: what is on its way then has no taker.
            tokio::select! {
                end = outgoing(&mut sender, items, wire, &moved) => end,
                end = incoming(receiver, &input, wire, &moved) => end,
                end = session_ends(app.node.as_ref(), caller) => end,
                () = app.stop.cancelled() => End::Close(1001, "the service stops".to_owned()),
            }
        }
        Err(error) => refuse(&mut sender, wire, error).await,
    };
    if let End::Close(code, reason) = end {
        let farewell = async {
            // If the other end is gone there is nobody to tell.
            let _ = sender.send(close(code, &reason)).await;
            let _ = sender.close().await;
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

/// When input or output last moved.
struct Moved {
    since: Instant,
    last_s: AtomicU64,
}

impl Moved {
    fn new() -> Self {
        Self { since: Instant::now(), last_s: AtomicU64::new(0) }
    }

    fn now(&self) {
        self.last_s.store(self.since.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn is_forgotten(&self) -> bool {
        let last = Duration::from_secs(self.last_s.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last) > IDLE
    }
}

async fn refuse(sender: &mut Sender, wire: Wire, error: NodeError) -> End {
    let problem = Problem::from(error);
    if let Some(message) = wire.refusal(&problem) {
        // The close code says the same.
        let _ = say(sender, message).await;
    }
    End::refused(&problem)
}

async fn outgoing(sender: &mut Sender, mut items: Items, wire: Wire, moved: &Moved) -> End {
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Taking an item and a tick lose nothing when the other wins.
        let message = tokio::select! {
            item = items.next() => match item {
                Some(Ok(item)) => {
                    moved.now();
                    let last = matches!(item, StreamItem::Exit(_));
                    let sent = match wire.write(item) {
                        Some(message) => say(sender, message).await,
                        None => Ok(()),
                    };
                    if last && sent.is_ok() {
                        return End::Close(1000, "the program has ended".to_owned());
                    }
                    sent
                }
                Some(Err(error)) => return refuse(sender, wire, error).await,
                None => return End::Close(1000, "the end".to_owned()),
            },
            _ = ping.tick() => {
                if moved.is_forgotten() {
                    return End::Close(4408, "nothing moved for two hours".to_owned());
                }
                say(sender, Message::Ping(Bytes::new())).await
            }
        };
        if message.is_err() {
            return End::Gone;
        }
    }
}

async fn incoming(
    mut receiver: SplitStream<WebSocket>,
    input: &TwoWayInput,
    wire: Wire,
    moved: &Moved,
) -> End {
    loop {
        let message = match timeout(SILENCE, receiver.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) | Err(_) => return End::Gone,
        };
        match wire.read(message) {
            Ok(Some(said)) => {
                moved.now();
                if input.send(said).await.is_err() {
                    // The other direction tells why.
                    return std::future::pending().await;
                }
            }
            Ok(None) => {}
            Err(()) => return End::Close(1002, "this is no message of the protocol".to_owned()),
        }
    }
}

/// Sends one message. Whoever takes none for so long is not there, whatever the network says.
async fn say(sender: &mut Sender, message: Message) -> Result<(), ()> {
    match timeout(SILENCE, sender.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// Waits until the session is no longer good, or no longer what it was: who may come in was decided by the role at
/// the beginning. A node daemon that is away says nothing of it.
async fn session_ends(node: &dyn Node, caller: &Caller) -> End {
    let mut first = None;
    loop {
        match node.call(caller.auth(), Request::WhoAmI).await {
            Ok(Answer::Principal { role, .. }) if *first.get_or_insert(role) != role => {
                return End::Close(4403, "the role of this account has changed".to_owned());
            }
            Err(NodeError::Refused(refusal)) if refusal.class == RefusalClass::Unauthenticated => {
                return End::Close(4401, "the session has ended".to_owned());
            }
            _ => {}
        }
        tokio::time::sleep(RECHECK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use skerry_ipc::{Auth, Refusal};
    use skerry_model::Role;
    use std::sync::Mutex;

    /// A node daemon that says this of whoever asks, one after the other, and then nothing new.
    struct Says(Mutex<Vec<Option<Role>>>);

    #[async_trait]
    impl Node for Says {
        async fn call(&self, _auth: Auth, _request: Request) -> Result<Answer, NodeError> {
            let mut next = self.0.lock().unwrap();
            let role = if next.len() > 1 { next.remove(0) } else { next[0] };
            let ended = || Refusal::new(RefusalClass::Unauthenticated, "log in first");
            role.map(|role| Answer::Principal { username: "ada".to_owned(), role })
                .ok_or_else(|| NodeError::Refused(ended()))
        }
        async fn open(&self, _auth: Auth, _request: Request) -> Result<Items, NodeError> {
            Err(NodeError::Lost)
        }
        async fn open_two_way(
            &self,
            _auth: Auth,
            _request: Request,
        ) -> Result<(TwoWayInput, Items), NodeError> {
            Err(NodeError::Lost)
        }
    }

    async fn code(said: &[Option<Role>]) -> Option<u16> {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert(axum::http::header::AUTHORIZATION, "Bearer x".parse().unwrap());
        let caller = Caller::by_bearer(&headers).unwrap();
        let node = Says(Mutex::new(said.to_vec()));
        match timeout(RECHECK * 10, session_ends(&node, &caller)).await {
            Ok(End::Close(code, _)) => Some(code),
            Ok(End::Gone) => panic!("nobody has gone"),
            Err(_) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ends_or_gets_another_role_is_noticed() {
        let operator = Some(Role::Operator);
        assert_eq!(code(&[operator]).await, None);
        assert_eq!(code(&[operator, operator, None]).await, Some(4401));
        assert_eq!(code(&[operator, operator, Some(Role::Viewer)]).await, Some(4403));
    }
}
