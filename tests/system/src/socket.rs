//! WebSockets of a node, opened as a page opens them: with a ticket.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::NodeUnderTest;
use crate::screen::Screen;

type Stream = WebSocketStream<reqwest::Upgraded>;

/// An open terminal, with all that it has shown.
pub struct Socket {
    stream: Stream,
    /// What was shown so far.
    pub shown: String,
}

impl NodeUnderTest {
    /// A ticket for this path.
    pub async fn ticket(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.post("/api/v1/tickets", json!({ "path": path })).await?;
        let ticket = answer.get("ticket").and_then(Value::as_str).context("a ticket")?;
        Ok(ticket.to_owned())
    }

    /// The answer to a handshake that shows this ticket.
    pub async fn handshake(
        &self,
        path: &str,
        query: &str,
        ticket: &str,
    ) -> anyhow::Result<reqwest::Response> {
        self.handshake_for(path, query, ticket, "skerry.terminal").await
    }

    async fn handshake_for(
        &self,
        path: &str,
        query: &str,
        ticket: &str,
        protocol: &str,
    ) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}{path}?ticket={ticket}{query}", self.url());
        let request = self
            .http
            .request(Method::GET, url)
            .header("origin", self.url())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", protocol)
            .header("sec-websocket-key", generate_key());
        Ok(request.send().await?)
    }

    /// Opens a terminal. `query` begins with `&`.
    pub async fn terminal(&self, path: &str, query: &str) -> anyhow::Result<Socket> {
        let stream = self.open(path, query, "skerry.terminal").await?;
        Ok(Socket { stream, shown: String::new() })
    }

    /// Opens the screen of a virtual machine.
    pub async fn screen(&self, path: &str) -> anyhow::Result<Screen> {
        Screen::greet(self.open(path, "", "binary").await?).await
    }

    async fn open(&self, path: &str, query: &str, protocol: &str) -> anyhow::Result<Stream> {
        let ticket = self.ticket(path).await?;
        let response = self.handshake_for(path, query, &ticket, protocol).await?;
        let status = response.status();
        ensure!(status == StatusCode::SWITCHING_PROTOCOLS, "{path}: {status}");
        let upgraded = response.upgrade().await?;
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
    }
}

impl Socket {
    /// Types text.
    pub async fn types(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::Binary(text.as_bytes().to_vec().into())).await?)
    }

    /// Sends a message of the protocol.
    pub async fn says(&mut self, message: Value) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::Text(message.to_string().into())).await?)
    }

    /// Reads until this is shown.
    pub async fn until(&mut self, text: &str, limit: Duration) -> anyhow::Result<()> {
        let reading = async {
            while !self.shown.contains(text) {
                if let Some(said) = self.next().await? {
                    bail!("it says {said}");
                }
            }
            Ok(())
        };
        let read = timeout(limit, reading).await.unwrap_or_else(|_| bail!("not within {limit:?}"));
        read.with_context(|| format!("`{text}` is to be shown after `{}`", self.shown))
    }

    /// Reads until the program tells its code.
    pub async fn exit(&mut self, limit: Duration) -> anyhow::Result<Value> {
        let reading = async {
            loop {
                if let Some(said) = self.next().await? {
                    return Ok(said);
                }
            }
        };
        timeout(limit, reading).await.unwrap_or_else(|_| bail!("not within {limit:?}"))
    }

    /// The next message, if it is text; output is kept.
    async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        match self.stream.next().await.context("the connection has ended")?? {
            Message::Binary(bytes) => {
                let text = bytes.get(1..).unwrap_or_default();
                self.shown.push_str(&String::from_utf8_lossy(text));
                Ok(None)
            }
            Message::Text(text) => Ok(Some(serde_json::from_str(&text)?)),
            Message::Close(frame) => bail!("closed with {frame:?}"),
            _ => Ok(None),
        }
    }
}
