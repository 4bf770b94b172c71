//! Downloads from a small server that can break off, lie and redirect.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::stream;
use skerry_ipc::{Answer, Refusal, RefusalClass, TwoWayInput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::node::Items;

/// Gives one list of orders and passes reports on.
struct Daemon {
    orders: Vec<FetchOrder>,
    reports: mpsc::UnboundedSender<FetchReport>,
}

#[async_trait]
impl Node for Daemon {
    async fn call(&self, _auth: Auth, request: Request) -> Result<Answer, NodeError> {
        match request {
            Request::FetchReport { report, .. } => {
                self.reports.send(report).unwrap();
                Ok(Answer::Done)
            }
            _ => Err(NodeError::Refused(Refusal::new(RefusalClass::Internal, "not asked for"))),
        }
    }
    async fn open(&self, _auth: Auth, _request: Request) -> Result<Items, NodeError> {
        let line = serde_json::to_string(&self.orders).unwrap();
        Ok(stream::iter([Ok(StreamItem::Line(line))]).chain(stream::pending()).boxed())
    }
    async fn open_two_way(
        &self,
        _auth: Auth,
        _request: Request,
    ) -> Result<(TwoWayInput, Items), NodeError> {
        Err(NodeError::Refused(Refusal::new(RefusalClass::Internal, "not asked for")))
    }
}

/// Answers each connection with the next text and hangs up; the requests' heads are kept.
struct Site {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn site(answers: &[&str]) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    let mut answers: VecDeque<String> = answers.iter().map(|a| (*a).to_owned()).collect();
    tokio::spawn(async move {
        while let Some(answer) = answers.pop_front() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            kept.lock().unwrap().push(String::from_utf8(head).unwrap().to_lowercase());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    Site { address, heads }
}

struct Ground {
    _folder: tempfile::TempDir,
    spool: Spool,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        Self { spool, _folder: folder }
    }

    /// Serves one order and gives the last report.
    async fn fetch(&self, url: String, limit: u64, reach: Reach) -> FetchReport {
        let (reports, mut heard) = mpsc::unbounded_channel();
        let orders = vec![FetchOrder { id: Uuid::from_u128(1), url, limit }];
        let node = Arc::new(Daemon { orders, reports });
        let fetcher = Fetcher::new(node, self.spool.clone(), reach).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(fetcher.run(stop.clone()));
        let last = async {
            loop {
                match heard.recv().await.unwrap() {
                    FetchReport::Progress { .. } => {}
                    last => return last,
                }
            }
        };
        let last = timeout(Duration::from_secs(20), last).await.unwrap();
        stop.cancel();
        task.await.unwrap();
        last
    }

    fn content(&self) -> String {
        let done = self.spool.part(Uuid::from_u128(1)).with_extension("done");
        std::fs::read_to_string(done).unwrap()
    }
}

fn failed(report: FetchReport) -> (bool, String) {
    match report {
        FetchReport::Failed { detail, retry } => (retry, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_is_resumed() {
    let ground = Ground::new();
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let rest = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 5-9/10\r\ncontent-length: 5\r\n\r\nworld";
    let site = site(&[half, rest]).await;
    let url = || format!("http://{}/disk", site.address);
    let (retry, detail) = failed(ground.fetch(url(), 100, Reach::Anywhere).await);
    assert!(retry, "{detail}");
    assert_eq!(ground.fetch(url(), 100, Reach::Anywhere).await, FetchReport::Done);
    assert_eq!(ground.content(), "helloworld");
    assert!(site.heads.lock().unwrap()[1].contains("range: bytes=5-"));
    // It is there: nobody is asked again.
    assert_eq!(ground.fetch(url(), 100, Reach::Anywhere).await, FetchReport::Done);
}

#[tokio::test]
async fn what_was_fetched_stays_while_there_is_no_room_for_the_rest() {
    let ground = Ground::new();
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let rest = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 5-9/10\r\ncontent-length: 5\r\n\r\nworld";
    let untold = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 5-9/10\r\n\r\nworld";
    let site = site(&[half, rest, untold, rest]).await;
    let url = || format!("http://{}/disk", site.address);
    failed(ground.fetch(url(), 100, Reach::Anywhere).await);
    for part in ["has 10 bytes and there is room for 7", "more than the 7 bytes"] {
        let (retry, detail) = failed(ground.fetch(url(), 7, Reach::Anywhere).await);
        assert!(retry && detail.contains(part), "{detail}");
    }
    assert_eq!(ground.fetch(url(), 10, Reach::Anywhere).await, FetchReport::Done);
    assert_eq!(ground.content(), "helloworld");
}

#[tokio::test]
async fn a_server_that_begins_anew_is_taken_from_the_start() {
    let ground = Ground::new();
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother";
    let site = site(&[half, whole]).await;
    let url = || format!("http://{}/disk", site.address);
    failed(ground.fetch(url(), 100, Reach::Anywhere).await);
    assert_eq!(ground.fetch(url(), 100, Reach::Anywhere).await, FetchReport::Done);
    assert_eq!(ground.content(), "other");
}

#[tokio::test]
async fn what_is_too_large_or_refused_says_whether_to_try_again() {
    for (answer, retry, part) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", false, "1000 bytes"),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n0123456789abcdef", false, "more than the 8"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false, "404"),
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", true, "503"),
        (
            "HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
            false,
            "",
        ),
    ] {
        let ground = Ground::new();
        let site = site(&[answer]).await;
        let url = format!("http://{}/disk", site.address);
        let (again, detail) = failed(ground.fetch(url, 8, Reach::Anywhere).await);
        assert!(again == retry && detail.contains(part), "{answer}: {again} {detail}");
    }
}

#[tokio::test]
async fn places_on_this_machine_and_metadata_services_are_not_asked() {
    let site = site(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"]).await;
    let port = site.address.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://user@example.org/".to_owned(),
    ] {
        let ground = Ground::new();
        let (_, detail) = failed(ground.fetch(url.clone(), 8, Reach::Elsewhere).await);
        assert!(!detail.is_empty(), "{url}");
    }
    assert!(site.heads.lock().unwrap().is_empty(), "somebody was asked");
    let good = |text: &str| Reach::Elsewhere.allows(text.parse().unwrap());
    assert!(good("10.0.0.1") && good("192.0.2.1") && good("2001:db8::1"));
    assert!(!good("fe80::1") && !good("fd00:ec2::254") && !good("224.0.0.1") && !good("0.1.2.3"));
}
