//! A server that answers in ways a test can see.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use skerry_ipc::{
    Answer, Auth, Channel, Client, ExecQuery, Handler, Input, Json, ListQuery, PeerRole, Refusal,
    RefusalClass, Reply, Request, Server, StreamItem,
};
use skerry_model::Kind;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const BUILD: &str = "build-1";

/// Counts what goes on inside.
#[derive(Default)]
pub struct Counts {
    pub started: AtomicUsize,
    pub made: AtomicUsize,
    pub streams_dropped: AtomicUsize,
    pub calls_dropped: AtomicUsize,
    /// Inputs that a two-way stream has taken.
    pub taken: AtomicUsize,
}

pub struct Echo {
    pub counts: Arc<Counts>,
}

struct OnDrop(Arc<Counts>, fn(&Counts) -> &AtomicUsize);

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, peer: PeerRole, auth: Auth, request: Request) -> Result<Reply, Refusal> {
        self.counts.started.fetch_add(1, Ordering::SeqCst);
        match request {
            Request::Summary => Ok(Answer::Text(format!("{peer:?} {auth:?}")).into()),
            Request::Get { key, .. } if key == "never" => {
                let _guard = OnDrop(Arc::clone(&self.counts), |counts| &counts.calls_dropped);
                std::future::pending().await
            }
            Request::Get { key, .. } if key == "panic" => panic!("beside itself"),
            Request::Get { key, .. } if key == "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Answer::Document(Json(key)).into())
            }
            Request::Get { key, .. } => Ok(Answer::Document(Json(key)).into()),
            Request::Export => Ok(Answer::Bytes(vec![0; 9 * 1024 * 1024]).into()),
            Request::Logout => Err(Refusal::new(RefusalClass::Unauthenticated, "no such session")),
            Request::List { query, .. } => Ok(Reply::Stream(self.count_to(query))),
            Request::Graph => {
                let items = stream::iter([Ok(StreamItem::Line("one".to_owned()))]);
                let error = Refusal::new(RefusalClass::Gone, "too far back");
                Ok(Reply::Stream(items.chain(stream::iter([Err(error)])).boxed()))
            }
            Request::WhoAmI => Ok(Reply::Stream(
                stream::poll_fn(|_| -> std::task::Poll<Option<_>> { panic!("in the stream") })
                    .boxed(),
            )),
            Request::Exec(query) => self.program(&query),
            _ => Ok(Answer::Done.into()),
        }
    }
}

impl Echo {
    /// `echo` gives back what it gets, `deaf` never reads, `gone` has closed its input, `answer` and
    /// `stream` are not two-way at all.
    fn program(&self, query: &ExecQuery) -> Result<Reply, Refusal> {
        let (input, inputs) = mpsc::channel(1);
        let guard = OnDrop(Arc::clone(&self.counts), |counts| &counts.streams_dropped);
        let line = |text: &str| Ok(StreamItem::Line(text.to_owned()));
        match query.key.as_str() {
            "echo" => {
                let counts = Arc::clone(&self.counts);
                let items = stream::unfold(Some((inputs, guard)), move |state| {
                    let counts = Arc::clone(&counts);
                    async move {
                        let (mut inputs, guard) = state?;
                        let input = inputs.recv().await?;
                        counts.taken.fetch_add(1, Ordering::SeqCst);
                        let item = match input {
                            Input::Bytes(bytes) => {
                                StreamItem::Output { channel: Channel::Out, bytes }
                            }
                            Input::Resize(size) => {
                                StreamItem::Line(format!("{}x{}", size.cols, size.rows))
                            }
                            Input::End => return Some((Ok(StreamItem::Exit(7)), None)),
                        };
                        Some((Ok(item), Some((inputs, guard))))
                    }
                });
                Ok(Reply::TwoWay { items: items.boxed(), input })
            }
            "deaf" => {
                let held = stream::pending().inspect(move |_: &Result<_, _>| {
                    let _ = (&inputs, &guard);
                });
                Ok(Reply::TwoWay { items: held.boxed(), input })
            }
            "gone" => {
                drop(inputs);
                let items = stream::once(async move { line("up") }).chain(stream::pending());
                Ok(Reply::TwoWay { items: items.boxed(), input })
            }
            "stream" => Ok(Reply::Stream(stream::once(async move { line("x") }).boxed())),
            _ => Ok(Answer::Done.into()),
        }
    }

    /// `limit` lines, or lines without end; `name_contains` pads them.
    fn count_to(
        &self,
        query: ListQuery,
    ) -> stream::BoxStream<'static, Result<StreamItem, Refusal>> {
        let guard = OnDrop(Arc::clone(&self.counts), |counts| &counts.streams_dropped);
        let pad = query.name_contains.unwrap_or_default();
        let end = query.limit.map_or(usize::MAX, |limit| limit as usize);
        let lines = stream::iter(0..end).map(move |n| {
            guard.0.made.fetch_add(1, Ordering::SeqCst);
            Ok(StreamItem::Line(format!("{n}{pad}")))
        });
        lines.boxed()
    }
}

/// A server in a directory of its own.
pub struct Served {
    _directory: TempDir,
    pub path: PathBuf,
    pub counts: Arc<Counts>,
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
}

pub fn serve() -> Served {
    serve_for(|_, _| Some(PeerRole::Member))
}

pub fn serve_for(roles: impl Fn(u32, u32) -> Option<PeerRole> + Send + Sync + 'static) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("noded.sock");
    let counts = Arc::new(Counts::default());
    let handler = Arc::new(Echo { counts: Arc::clone(&counts) });
    let server = Server::bind(&path, BUILD, roles, handler).unwrap();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(server.run(cancel.clone()));
    Served { _directory: directory, path, counts, cancel, task }
}

pub async fn connect(path: &Path) -> Client {
    Client::connect(path, BUILD, "test").await.unwrap()
}

pub fn get(key: &str) -> Request {
    Request::Get { kind: Kind::Vm, key: key.to_owned() }
}

pub fn exec(key: &str) -> Request {
    Request::Exec(ExecQuery {
        key: key.to_owned(),
        container: None,
        argv: vec!["sh".to_owned()],
        env: Vec::new(),
        terminal: None,
    })
}

pub fn lines(limit: Option<u32>, pad: &str) -> Request {
    let query = ListQuery { limit, name_contains: Some(pad.to_owned()), ..ListQuery::default() };
    Request::List { kind: Kind::Vm, query }
}

/// Waits until something holds, and says what it last was if it never does.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
