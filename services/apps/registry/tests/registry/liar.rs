//! A registry made here that answers exactly what a test wants, right or wrong, without TLS.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use skerry_registry::{Endpoint, Order};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::image::{Parts, noise, parts, sha256};
use crate::registry::order;

/// How a path is answered.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, with ranges.
    Good(Vec<u8>),
    /// A status line, headers and a body, as they are.
    Raw(Vec<u8>),
    /// The first bytes as they are, and then more of the same without end.
    Endless(Vec<u8>),
    /// The first bytes as they are, and then nothing, with the connection held open.
    Silent(Vec<u8>),
}

pub type Replies = BTreeMap<String, Reply>;

pub struct Liar {
    pub endpoint: Endpoint,
    pub replies: Arc<Mutex<Replies>>,
    /// The heads of all requests.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    pub async fn start(replies: Replies) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string().parse().unwrap();
        let endpoint = Endpoint { plain_http: true, ..Endpoint::public(host) };
        let (replies, requests) = (Arc::new(Mutex::new(replies)), Arc::default());
        let (known, seen) = (Arc::clone(&replies), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&known), Arc::clone(&seen)));
            }
        });
        Self { endpoint, replies, requests }
    }

    pub fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub fn order(&self, folder: &Path) -> Order {
        order(self.endpoint.clone(), "a:1", folder)
    }

    pub fn requests_for(&self, path: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|r| r.starts_with(&format!("GET {path} "))).cloned().collect()
    }
}

/// A good image of one layer, and the answers that give it.
pub fn honest() -> (Parts, Replies) {
    let parts = parts("amd64", vec![noise(30_000, 1)]);
    let mut replies = Replies::new();
    replies.insert("/v2/a/manifests/1".to_owned(), Reply::Good(parts.manifest.clone()));
    for blob in [&parts.config, &parts.layers[0]] {
        replies.insert(blob_path(blob), Reply::Good(blob.clone()));
    }
    (parts, replies)
}

pub fn blob_path(blob: &[u8]) -> String {
    format!("/v2/a/blobs/sha256:{}", sha256(blob))
}

pub fn raw(head: &str, body: &[u8]) -> Reply {
    let mut bytes = head.replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    Reply::Raw(bytes)
}

pub fn redirect(to: &str) -> Reply {
    raw(&format!("HTTP/1.1 307 Temporary Redirect\nLocation: {to}\nContent-Length: 0"), b"")
}

async fn serve(mut stream: TcpStream, replies: Arc<Mutex<Replies>>, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    let path = head.split(' ').nth(1).unwrap();
    let path = path.split('?').next().unwrap();
    let reply = replies.lock().unwrap().get(path).cloned();
    match reply.unwrap_or_else(|| raw("HTTP/1.1 404 Not Found\nContent-Length: 0", b"")) {
        Reply::Good(body) => {
            let from: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("range: bytes="))
                .map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let rest = &body[from.min(body.len())..];
            let first = if from == 0 {
                "HTTP/1.1 200 OK".to_owned()
            } else {
                let last = body.len() - 1;
                format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {from}-{last}/{}", body.len())
            };
            let head =
                format!("{first}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", rest.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(rest).await;
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Endless(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let more = vec![b'x'; 65_536];
            while stream.write_all(&more).await.is_ok() {}
        }
        Reply::Silent(bytes) => {
            let _ = stream.write_all(&bytes).await;
            // Until the other side gives up.
            let _ = stream.read_u8().await;
        }
    }
    let _ = stream.shutdown().await;
}
