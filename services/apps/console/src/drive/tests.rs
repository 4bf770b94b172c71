//! The whole console against a node's socket, with keys as bytes and the screen as text.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use skerry_ipc::{Auth, Handler, Json, PeerRole, Refusal, RefusalClass, Reply, Server, StreamItem};
use skerry_model::Role;
use tokio_util::sync::CancellationToken;

use super::*;

/// A node that knows one account.
struct FakeNode;

#[async_trait]
impl Handler for FakeNode {
    async fn handle(&self, _: PeerRole, auth: Auth, request: Request) -> Result<Reply, Refusal> {
        let refuse = |class, detail: &str| Err(Refusal::new(class, detail));
        Ok(match (request, auth) {
            (Request::Summary, _) => {
                let summary = Summary {
                    hostname: "edge-1".into(),
                    claimed: true,
                    ready: true,
                    store_healthy: true,
                    version: "0.1.0".into(),
                    ..Summary::default()
                };
                Answer::Document(Json(serde_json::to_string(&summary).unwrap())).into()
            }
            (Request::Login { password, username, .. }, Auth::Peer) if password == "right" => {
                let token = "t".to_owned();
                Answer::Session { token, username, role: Role::Admin, expires_in_s: None }.into()
            }
            (Request::Login { .. }, _) => {
                return refuse(RefusalClass::Unauthenticated, "wrong user name or password");
            }
            (Request::List { .. }, Auth::Token(token)) if token == "t" => {
                let pod = r#"{"metadata":{"name":"web"},"status":{"state":"running"}}"#;
                Answer::List { items: vec![Json(pod.to_owned())], revision: 1, next: None }.into()
            }
            (Request::Log(_), Auth::Peer) => {
                let line = StreamItem::Line("noded started".to_owned());
                let first = futures::stream::iter([Ok(line)]);
                Reply::Stream(Box::pin(futures::StreamExt::chain(
                    first,
                    futures::stream::pending(),
                )))
            }
            (Request::Power(_), Auth::Peer) => Answer::Done.into(),
            (Request::Logout, _) => Answer::Done.into(),
            _ => return refuse(RefusalClass::Unauthenticated, "log in first"),
        })
    }
}

/// The screen, as everything that was ever written to it.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Bench {
    keys: mpsc::Sender<Vec<u8>>,
    screen: Screen,
    seen: usize,
    console: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn new(socket: &Path, rescue: Rescue) -> Self {
        let (keys, input) = mpsc::channel(16);
        let screen = Screen::default();
        let output = Output::to(screen.clone(), true);
        let options = Options { socket: socket.to_owned(), rescue };
        let console = tokio::spawn(run(options, input, output, std::future::pending(), || {}));
        Self { keys, screen, seen: 0, console }
    }

    async fn types(&self, text: &str) {
        self.keys.send(text.as_bytes().to_vec()).await.unwrap();
    }

    /// Waits until a text stands on the screen after what was seen before.
    async fn sees(&mut self, text: &str) {
        let wait = async {
            loop {
                let all = String::from_utf8_lossy(&self.screen.0.lock().unwrap()).into_owned();
                if let Some(at) = all.get(self.seen..).and_then(|rest| rest.find(text)) {
                    self.seen += at + text.len();
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        if timeout(Duration::from_secs(30), wait).await.is_err() {
            let all = String::from_utf8_lossy(&self.screen.0.lock().unwrap()).into_owned();
            panic!("never saw {text:?} after byte {} of:\n{all}", self.seen);
        }
    }
}

fn serve(socket: &Path) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let roles = |_, _| Some(PeerRole::Console);
    let server = Server::bind(socket, skerry_cli::BUILD, roles, Arc::new(FakeNode)).unwrap();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(server.run(cancel.clone()));
    (cancel, task)
}

fn rescue(folder: &Path) -> Rescue {
    Rescue { folder: folder.to_owned(), journalctl: folder.join("none") }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_logs_in_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _server = serve(&socket);
    let mut bench = Bench::new(&socket, rescue(folder.path()));
    bench.sees("edge-1  READY").await;
    bench.types("4").await;
    bench.sees("User name [admin]: ").await;
    bench.types("admin\rwrong\r").await;
    bench.sees("wrong user name or password").await;
    bench.types("4admin\rright\r").await;
    bench.sees("skerry> ").await;
    bench.types("pod list\r").await;
    bench.sees("web   running").await;
    bench.sees("skerry> ").await;
    bench.types("pod frob\r").await;
    bench.sees("unrecognized subcommand").await;
    bench.sees("skerry> ").await;
    bench.types("exit\r").await;
    bench.sees("edge-1  READY").await;
    bench.types("3").await;
    bench.sees("noded started").await;
    bench.types("\x03").await;
    bench.sees("1 status").await;
    bench.types("6power off\r").await;
    bench.sees("The machine powers off.").await;
    assert!(!folder.path().join("power-off").exists(), "the node did it, not rescue");
    drop(bench.keys);
    bench.console.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_away_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let (cancel, task) = serve(&socket);
    let mut bench = Bench::new(&socket, rescue(folder.path()));
    bench.sees("READY").await;
    cancel.cancel();
    task.await.unwrap();
    std::fs::remove_file(&socket).ok();
    bench.sees("RESCUE").await;
    bench.types("3").await;
    bench.sees("The log cannot be shown").await;
    bench.types("5restart\r").await;
    bench.sees("The machine restarts.").await;
    assert!(folder.path().join("restart").exists());
    let _server = serve(&socket);
    bench.sees("edge-1  READY").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_a_large_paste_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _server = serve(&socket);
    let mut bench = Bench::new(&socket, rescue(folder.path()));
    bench.sees("READY").await;
    let garbage: Vec<u8> =
        (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    bench
        .keys
        .send(garbage.iter().copied().filter(|b| !b"5634".contains(b)).collect())
        .await
        .unwrap();
    bench.types("\x034\x15").await;
    bench.types(&"x".repeat(4096)).await;
    bench.types("\r\x03\x03\x0c").await;
    bench.sees("READY").await;
}
