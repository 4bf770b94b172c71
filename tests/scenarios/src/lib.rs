//! A whole node on the simulated machine, driven over its local socket as every face drives it.
//!
//! Holds what the scenarios share: starting and ending a node, asking it, and [`eventually`], the one way in
//! which a test waits.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use serde_json::Value;
use skerry_ipc::{
    Answer, Auth, BUILD, Client, Json, ListQuery, LogQuery, PeerRole, Request, StreamItem,
};
use skerry_model::{Kind, Timestamp};
use skerry_noded::{BoardFacts, Concern, Config, Daemon, Dirs, Machine, Parts};
use skerry_sim_host::{SimBlobs, SimHost, write_images};
use skerry_store::{Store, StoreDirs};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Shortest and longest pause between two questions of [`eventually`].
const PACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Asks until the answer is `Ok`, at most for `limit`; then fails with the last answer, so that the report
/// says how things stood and not only that they were late.
///
/// The longer it takes, the less often it asks, by a tenth of the time gone: a node under emulation that is asked
/// without a pause is kept from the very work that is waited for.
pub async fn eventually<T, E: Display, F: Future<Output = Result<T, E>>>(
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(last) if start.elapsed() >= limit => bail!("not within {limit:?}; last: {last}"),
            Err(_) => sleep((start.elapsed() / 10).clamp(PACE.0, PACE.1)).await,
        }
    }
}

/// A running node.
pub struct RunningNode {
    /// A connection to it.
    pub client: Client,
    cancel: CancellationToken,
    task: Option<JoinHandle<()>>,
    /// A runtime of its own stands for the process: with it, everything of the daemon ends.
    process: Option<Runtime>,
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.shutdown_background();
        }
    }
}

impl RunningNode {
    /// Starts a node that keeps its state below `folder`, on this machine.
    pub async fn start(folder: &Path, host: &SimHost) -> anyhow::Result<Self> {
        Self::start_as(folder, host, PeerRole::Root).await
    }

    /// The same, with another opinion of who connects.
    pub async fn start_as(folder: &Path, host: &SimHost, role: PeerRole) -> anyhow::Result<Self> {
        Self::start_all(folder, host, role, "schema = 1").await
    }

    /// The same, with the node's settings (`node.toml`).
    pub async fn start_with(folder: &Path, host: &SimHost, settings: &str) -> anyhow::Result<Self> {
        Self::start_all(folder, host, PeerRole::Root, settings).await
    }

    async fn start_all(
        folder: &Path,
        host: &SimHost,
        role: PeerRole,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let dirs = Dirs::below(folder);
        write_images(&dirs.images)?;
        let places = StoreDirs {
            state: dirs.state.join("store"),
            second: Some(dirs.data.join("checkpoints")),
        };
        std::fs::create_dir_all(&dirs.state)?;
        std::fs::create_dir_all(&dirs.data)?;
        let (store, report) = Store::open(&places, Timestamp::now)?;
        let recovered = Concern { alarm: Concern::STORE_RECOVERED, message: report.summary() };
        let concerns = if report.is_clean() { Vec::new() } else { vec![recovered] };
        let port = || Arc::new(host.clone());
        let machine = Machine {
            host: port(),
            network: port(),
            hypervisor: port(),
            topology: port(),
            containers: port(),
            volumes: port(),
            guests: port(),
            images: port(),
            blobs: Arc::new(SimBlobs::new(host.clone(), &dirs.data)),
            consoles: port(),
            access: port(),
        };
        let config = Config::parse(settings, Path::new("node.toml"))?;
        let socket = dirs.socket();
        let board = BoardFacts { name: "simulated".to_owned(), ..BoardFacts::default() };
        let roles = Box::new(move |_, _| Some(role));
        let parts = Parts { config, dirs, machine, board, store, concerns, roles };
        let process = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let cancel = CancellationToken::new();
        let until = cancel.clone();
        let daemon = process.spawn(Daemon::build(parts)).await?;
        let task = process.spawn(daemon?.run(until));
        let client =
            eventually(Duration::from_secs(5), || Client::connect(&socket, BUILD, "scenario"));
        let client = client.await.context("connect")?;
        Ok(Self { client, cancel, task: Some(task), process: Some(process) })
    }

    /// Ends the node in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.cancel.cancel();
        if let Some(task) = self.task.take() {
            task.await.context("the daemon panicked")?;
        }
        self.end_process().await
    }

    /// Ends the node as a SIGKILL does: whatever it was doing is broken off where it stands.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.end_process().await
    }

    async fn end_process(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let end = move || process.shutdown_timeout(Duration::from_secs(10));
        Ok(tokio::task::spawn_blocking(end).await?)
    }

    /// One question by the process itself.
    pub async fn ask(&self, request: Request) -> anyhow::Result<Answer> {
        Ok(self.client.call(Auth::Peer, request).await?)
    }

    /// A resource.
    pub async fn get(&self, kind: Kind, key: &str) -> anyhow::Result<Value> {
        document(self.ask(Request::Get { kind, key: key.to_owned() }).await?)
    }

    /// All resources of a kind.
    pub async fn list(&self, kind: Kind) -> anyhow::Result<Vec<Value>> {
        match self.ask(Request::List { kind, query: ListQuery::default() }).await? {
            Answer::List { items, .. } => {
                items.iter().map(|item| Ok(serde_json::from_str(&item.0)?)).collect()
            }
            other => bail!("no list but {other:?}"),
        }
    }

    /// Makes a resource.
    pub async fn create(&self, kind: Kind, body: Value) -> anyhow::Result<Value> {
        let document_text = Json(body.to_string());
        let request = Request::Create { kind, document: document_text, dry_run: false };
        document(self.ask(request).await?)
    }

    /// Waits until the first network stands, so that what follows is about workloads only.
    pub async fn wait_network(&self) -> anyhow::Result<()> {
        eventually(Duration::from_secs(20), || async {
            let found = self.get(Kind::Network, "default").await?;
            let conditions = found.pointer("/status/conditions").cloned().unwrap_or_default();
            let list = conditions.as_array().cloned().unwrap_or_default();
            let ready = |c: &Value| {
                c.get("type").is_some_and(|t| t == "Ready")
                    && c.get("state").is_some_and(|state| state == "true")
            };
            if list.iter().any(ready) { Ok(()) } else { bail!("{conditions}") }
        })
        .await
    }

    /// All lines of a log.
    pub async fn lines(&self, query: LogQuery) -> anyhow::Result<Vec<String>> {
        let mut stream = Box::pin(self.client.open(Auth::Peer, Request::Log(query)).await?);
        let mut lines = Vec::new();
        while let Some(item) = stream.next().await {
            match item? {
                StreamItem::Line(line) => lines.push(line),
                other => bail!("no line but {other:?}"),
            }
        }
        Ok(lines)
    }

    /// Waits until a workload is in this state.
    pub async fn wait_state(&self, kind: Kind, key: &str, state: &str) -> anyhow::Result<Value> {
        eventually(Duration::from_secs(20), || async {
            let found = self.get(kind, key).await?;
            match found.pointer("/status/state") {
                Some(now) if now == state => Ok(found),
                _ => bail!("{}", found.get("status").unwrap_or(&Value::Null)),
            }
        })
        .await
        .with_context(|| format!("{kind} {key} is to be {state}"))
    }
}

/// The document of an answer.
pub fn document(answer: Answer) -> anyhow::Result<Value> {
    match answer {
        Answer::Document(text) => Ok(serde_json::from_str(&text.0)?),
        other => bail!("no document but {other:?}"),
    }
}
