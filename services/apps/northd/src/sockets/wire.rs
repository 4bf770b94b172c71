//! What is said on a WebSocket.
//!
//! Terminals (`skerry.terminal`):
//!
//! ```text
//! to the node     binary  bytes that are typed
//!                 text    {"type":"resize","cols":80,"rows":24}
//!                 text    {"type":"end"}                      no more bytes will come
//! from the node   binary  1 and bytes of the output, or 2 and bytes of the error output
//!                 text    {"type":"exit","code":0}            the program has ended
//!                 text    {"type":"refused","status":404,"detail":"…"}
//! ```
//!
//! Screens (`binary`): the bytes of RFB (RFC 6143) in binary messages, both ways.
//!
//! Close codes: 1000 after an exit, 1001 when the service stops, 1002 for what is no such message, 4000 and the HTTP
//! status for a refusal (4401 also when the session has ended, 4403 when its role has changed), 4408 after two hours without input or output.

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message};
use serde::Deserialize;
use serde_json::json;
use skerry_ipc::{Channel, Input, StreamItem, TerminalSize};

use crate::problem::Problem;

/// How the bytes of a two-way stream become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A terminal.
    Terminal,
    /// A screen.
    Screen,
}

/// Longest reason of a close message (RFC 6455 5.5: 125 bytes with the code).
const LONGEST_REASON: usize = 123;

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Said {
    Resize { cols: u16, rows: u16 },
    End {},
}

impl Wire {
    /// Names of the protocol that a client may ask for.
    pub(crate) const fn protocols(self) -> [&'static str; 1] {
        match self {
            Self::Terminal => ["skerry.terminal"],
            Self::Screen => ["binary"],
        }
    }

    /// What a message says; `None` if it says nothing, an error if it is none of the protocol's.
    pub(crate) fn read(self, message: Message) -> Result<Option<Input>, ()> {
        match (message, self) {
            (Message::Binary(bytes), _) => Ok(Some(Input::Bytes(bytes.into()))),
            (Message::Text(text), Self::Terminal) => match serde_json::from_str(&text) {
                Ok(Said::Resize { cols, rows }) => {
                    Ok(Some(Input::Resize(TerminalSize { cols, rows })))
                }
                Ok(Said::End {}) => Ok(Some(Input::End)),
                Err(_) => Err(()),
            },
            (Message::Text(_), Self::Screen) => Err(()),
            (Message::Ping(_) | Message::Pong(_) | Message::Close(_), _) => Ok(None),
        }
    }

    /// An item as a message; `None` for what has no meaning here.
    pub(crate) fn write(self, item: StreamItem) -> Option<Message> {
        match (item, self) {
            (StreamItem::Output { channel, bytes }, Self::Terminal) => {
                let mut message = Vec::with_capacity(bytes.len().saturating_add(1));
                message.push(match channel {
                    Channel::Out => 1,
                    Channel::Err => 2,
                });
                message.extend(bytes);
                Some(Message::Binary(Bytes::from(message)))
            }
            (StreamItem::Output { bytes, .. }, Self::Screen) => {
                Some(Message::Binary(Bytes::from(bytes)))
            }
            (StreamItem::Exit(code), Self::Terminal) => {
                Some(text(&json!({"type": "exit", "code": code})))
            }
            // Items of other streams.
            _ => None,
        }
    }

    /// A refusal as a message, where the protocol has one.
    pub(crate) fn refusal(self, problem: &Problem) -> Option<Message> {
        match self {
            Self::Terminal => Some(text(&json!({
                "type": "refused", "status": problem.status().as_u16(), "detail": problem.detail(),
            }))),
            // Only the close code and its reason tell.
            Self::Screen => None,
        }
    }
}

fn text(value: &serde_json::Value) -> Message {
    Message::Text(value.to_string().into())
}

/// The last message.
pub(crate) fn close(code: u16, reason: &str) -> Message {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default().into();
    Message::Close(Some(CloseFrame { code, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Option<Input>, ()> {
        Wire::Terminal.read(Message::Text(text.into()))
    }

    #[test]
    fn messages_are_what_is_written_down() {
        let size = TerminalSize { cols: 80, rows: 24 };
        assert_eq!(read(r#"{"type":"resize","cols":80,"rows":24}"#), Ok(Some(Input::Resize(size))));
        assert_eq!(read(r#"{"type":"end"}"#), Ok(Some(Input::End)));
        for bad in [
            "",
            "x",
            "{}",
            r#"{"type":"resize"}"#,
            r#"{"type":"resize","cols":-1,"rows":1}"#,
            r#"{"type":"end","x":1}"#,
            r#"{"type":"exec"}"#,
        ] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
        let bytes = Message::Binary(Bytes::from_static(b"\x00\xff"));
        assert_eq!(Wire::Terminal.read(bytes), Ok(Some(Input::Bytes(vec![0, 255]))));
        let out = StreamItem::Output { channel: Channel::Err, bytes: b"no".to_vec() };
        let Some(Message::Binary(bytes)) = Wire::Terminal.write(out) else { panic!("no message") };
        assert_eq!(&bytes[..], b"\x02no");
        let Some(Message::Text(text)) = Wire::Terminal.write(StreamItem::Exit(3)) else {
            panic!("no message")
        };
        assert_eq!(text.as_str(), r#"{"code":3,"type":"exit"}"#);
    }

    #[test]
    fn a_screen_is_bytes_and_nothing_else() {
        let bytes = Message::Binary(Bytes::from_static(b"RFB 003.008\n"));
        let read = Wire::Screen.read(bytes.clone());
        assert_eq!(read, Ok(Some(Input::Bytes(b"RFB 003.008\n".to_vec()))));
        assert_eq!(Wire::Screen.read(Message::Text("{}".into())), Err(()));
        let out = StreamItem::Output { channel: Channel::Out, bytes: b"RFB 003.008\n".to_vec() };
        assert_eq!(Wire::Screen.write(out), Some(bytes));
        assert!(Wire::Screen.write(StreamItem::Exit(0)).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_any_reason_fits(text in "\\PC{0,300}") {
            let _ = read(&text);
            let Message::Close(Some(frame)) = close(4404, &text) else { panic!("no close") };
            prop_assert!(frame.reason.len() <= LONGEST_REASON);
            prop_assert!(text.starts_with(frame.reason.as_str()));
        }
    }
}
