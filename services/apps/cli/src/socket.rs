//! Two-way streams of a node over HTTPS: WebSockets with the sub-protocols that the node's description of its API
//! tells.

use async_trait::async_trait;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use reqwest::Upgraded;
use serde::Deserialize;
use serde_json::json;
use skerry_ipc::{Channel, ExecQuery, Input, Request, StreamItem};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::respond::refusal;
use crate::transport::{CallError, InputSink, TwoWay};

/// The largest message of a node.
const MAX_MESSAGE: usize = 1024 * 1024;

type Socket = WebSocketStream<Upgraded>;

/// What is said on a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// A terminal's messages.
    Terminal,
    /// Bytes alone.
    Bytes,
}

impl Says {
    /// The name of the sub-protocol.
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::Terminal => "skerry.terminal",
            Self::Bytes => "binary",
        }
    }
}

/// Parts of a path under the API's root, the names and values of the query, and what is said there.
pub(crate) type Place = (Vec<String>, Vec<(&'static str, String)>, Says);

/// Path and query of the WebSocket for a request; `None` if it is no two-way one.
pub(crate) fn place(request: Request) -> Option<Place> {
    let path = |parts: [&str; 3]| parts.map(str::to_owned).into();
    match request {
        Request::Exec(ExecQuery { key, container, argv, env, terminal }) => {
            let mut query: Vec<(&'static str, String)> = Vec::new();
            query.extend(container.map(|container| ("container", container)));
            query.extend(argv.into_iter().map(|word| ("command", word)));
            query.extend(env.into_iter().map(|(name, value)| ("env", format!("{name}={value}"))));
            if let Some(size) = terminal {
                query.push(("tty", "true".to_owned()));
                query.push(("cols", size.cols.to_string()));
                query.push(("rows", size.rows.to_string()));
            }
            Some((path(["pods", &key, "exec"]), query, Says::Terminal))
        }
        Request::Attach { key, container } => {
            let query = container.map(|container| ("container", container)).into_iter().collect();
            Some((path(["pods", &key, "attach"]), query, Says::Terminal))
        }
        Request::Serial { key } => {
            Some((path(["vms", &key, "console"]), Vec::new(), Says::Terminal))
        }
        Request::Screen { key } => Some((path(["vms", &key, "vnc"]), Vec::new(), Says::Bytes)),
        _ => None,
    }
}

/// The key of a handshake and the answer that it must bring (RFC 6455 4).
pub(crate) fn handshake() -> (String, String) {
    let key = generate_key();
    let answer = derive_accept_key(key.as_bytes());
    (key, answer)
}

/// A stream over an upgraded connection.
pub(crate) async fn two_way(upgraded: Upgraded, says: Says, node: String) -> TwoWay {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
    let (sender, receiver) = socket.split();
    let input = Box::new(Sender { sender: Mutex::new(sender), node: node.clone() });
    let state = Some(Receiver { receiver, says, node });
    let items = futures::stream::unfold(state, |state| async move {
        let mut receiver = state?;
        match receiver.next().await {
            Some(Ok(item)) => Some((Ok(item), Some(receiver))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    });
    TwoWay { input, items: items.boxed() }
}

struct Sender {
    sender: Mutex<SplitSink<Socket, Message>>,
    node: String,
}

#[async_trait]
impl InputSink for Sender {
    async fn send(&self, input: Input) -> Result<(), CallError> {
        let message = match input {
            Input::Bytes(bytes) => Message::Binary(bytes.into()),
            Input::Resize(size) => Message::Text(
                json!({"type": "resize", "cols": size.cols, "rows": size.rows}).to_string().into(),
            ),
            Input::End => Message::Text(json!({"type": "end"}).to_string().into()),
        };
        let sent = self.sender.lock().await.send(message).await;
        sent.map_err(|error| unreachable(&self.node, &error))
    }
}

fn unreachable(node: &str, error: &Error) -> CallError {
    CallError::Unreachable { node: node.to_owned(), detail: error.to_string() }
}

struct Receiver {
    receiver: SplitStream<Socket>,
    says: Says,
    node: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Exit { code: i32 },
    Refused { status: u16, detail: String },
}

impl Receiver {
    /// The next item; `None` at a good end.
    async fn next(&mut self) -> Option<Result<StreamItem, CallError>> {
        loop {
            let item = match self.receiver.next().await? {
                Ok(Message::Binary(bytes)) if self.says == Says::Bytes => {
                    Ok(StreamItem::Output { channel: Channel::Out, bytes: bytes.into() })
                }
                Ok(Message::Binary(bytes)) => output(&bytes),
                Ok(Message::Text(text)) => said(&text),
                Ok(Message::Close(Some(frame))) if u16::from(frame.code) != 1000 => {
                    Err(closed(u16::from(frame.code), &frame.reason))
                }
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return None,
                // Answered by the library.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Err(error) => return Some(Err(unreachable(&self.node, &error))),
            };
            return Some(item.map_err(|error| match error {
                Odd::Refused(error) => error,
                Odd::Unknown => CallError::Protocol {
                    node: self.node.clone(),
                    detail: "a message of no known form".to_owned(),
                },
            }));
        }
    }
}

enum Odd {
    Refused(CallError),
    Unknown,
}

fn output(message: &[u8]) -> Result<StreamItem, Odd> {
    let (first, bytes) = message.split_first().ok_or(Odd::Unknown)?;
    let channel = match first {
        1 => Channel::Out,
        2 => Channel::Err,
        _ => return Err(Odd::Unknown),
    };
    Ok(StreamItem::Output { channel, bytes: bytes.to_vec() })
}

fn said(text: &str) -> Result<StreamItem, Odd> {
    match serde_json::from_str(text) {
        Ok(Said::Exit { code }) => Ok(StreamItem::Exit(code)),
        Ok(Said::Refused { status, detail }) => Err(refused(status, detail)),
        Err(_) => Err(Odd::Unknown),
    }
}

fn refused(status: u16, detail: String) -> Odd {
    let body = json!({ "detail": detail }).to_string();
    Odd::Refused(refusal(status, None, body.as_bytes()).into())
}

/// What a close code says: 4000 and a status, or 1001 when the service stops.
fn closed(code: u16, reason: &str) -> Odd {
    let status = match code {
        4400..=4599 => code - 4000,
        1001 => 503,
        _ => return Odd::Unknown,
    };
    refused(status, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_ipc::{RefusalClass, TerminalSize};

    #[test]
    fn a_request_is_a_path_and_a_query() {
        let request = Request::Exec(ExecQuery {
            key: "web".to_owned(),
            container: Some("main".to_owned()),
            argv: vec!["ls".to_owned(), "-l".to_owned()],
            env: vec![("A".to_owned(), "b=c".to_owned())],
            terminal: Some(TerminalSize { cols: 80, rows: 24 }),
        });
        let (path, query, says) = place(request).unwrap();
        assert_eq!(says, Says::Terminal);
        assert_eq!(path, ["pods", "web", "exec"]);
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "container=main",
            "command=ls",
            "command=-l",
            "env=A=b=c",
            "tty=true",
            "cols=80",
            "rows=24",
        ];
        assert_eq!(query, expected);
        let (path, query, says) = place(Request::Screen { key: "guest".to_owned() }).unwrap();
        assert_eq!((path.join("/").as_str(), query.len(), says), ("vms/guest/vnc", 0, Says::Bytes));
        assert!(place(Request::Summary).is_none());
    }

    #[test]
    fn messages_are_understood_or_odd() {
        let out = StreamItem::Output { channel: Channel::Err, bytes: b"x".to_vec() };
        assert!(output(b"\x02x").is_ok_and(|item| item == out));
        for odd in [&b""[..], b"\x03x", b"x"] {
            assert!(matches!(output(odd), Err(Odd::Unknown)));
        }
        assert!(said(r#"{"type":"exit","code":7}"#).is_ok_and(|item| item == StreamItem::Exit(7)));
        let Err(Odd::Refused(CallError::Refused(refusal))) =
            said(r#"{"type":"refused","status":409,"detail":"it does not run"}"#)
        else {
            panic!("no refusal")
        };
        assert_eq!(
            (refusal.class, refusal.detail.as_str()),
            (RefusalClass::Conflict, "it does not run")
        );
        assert!(matches!(said("{}"), Err(Odd::Unknown)));
        let Odd::Refused(CallError::Refused(refusal)) = closed(4401, "ended") else { panic!() };
        assert_eq!(refusal.class, RefusalClass::Unauthenticated);
        assert!(matches!(closed(1006, ""), Odd::Unknown));
    }
}
