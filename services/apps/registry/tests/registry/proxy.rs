//! A wire that can be cut: passes bytes on to the registry and breaks off after so many.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Proxy {
    pub port: u16,
    left: Arc<AtomicI64>,
    pub cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// To this port of the loopback.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let cuts = Arc::new(AtomicUsize::new(0));
        let (budget, count) = (Arc::clone(&left), Arc::clone(&cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, Arc::clone(&budget), Arc::clone(&count)));
            }
        });
        Self { port, left, cuts }
    }

    /// Lets so many bytes of the registry through before every connection breaks.
    pub fn cut_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, to: u16, left: Arc<AtomicI64>, cuts: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut buffer = vec![0; 4096];
    while let Ok(got) = from_server.read(&mut buffer).await {
        if got == 0 {
            break;
        }
        let before = left.fetch_sub(got as i64, Ordering::SeqCst);
        let allowed = usize::try_from(before.clamp(0, got as i64)).unwrap();
        if to_client.write_all(&buffer[..allowed]).await.is_err() {
            break;
        }
        if allowed < got {
            cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
    }
    up.abort();
}
