//! An answer that goes on, such as a log that is followed.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Response;
use tokio::time::timeout;

use crate::NodeUnderTest;

/// What comes as long as it comes.
pub struct Stream {
    answer: Response,
    heard: String,
}

impl NodeUnderTest {
    /// Opens one.
    pub async fn stream(&self, path: &str) -> anyhow::Result<Stream> {
        // No answer that is to end has so long.
        let limit = Duration::from_secs(3600);
        let mut request = self.http.get(format!("{}{path}", self.url())).timeout(limit);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.with_context(|| format!("GET {path}"))?;
        ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
        Ok(Stream { answer, heard: String::new() })
    }
}

impl Stream {
    /// Listens until a text has come, and gives back all that came before it and with it.
    pub async fn until(&mut self, text: &str, limit: Duration) -> anyhow::Result<String> {
        let heard = async {
            while !self.heard.contains(text) {
                let more = self.answer.chunk().await?.context("it ended")?;
                self.heard.push_str(&String::from_utf8_lossy(&more));
            }
            anyhow::Ok(std::mem::take(&mut self.heard))
        };
        let done = timeout(limit, heard).await;
        done.with_context(|| format!("no `{text}` in time"))?
            .with_context(|| format!("no `{text}`"))
    }
}
