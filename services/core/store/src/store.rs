//! The store as its users see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use skerry_model::{Document, Id, Kind, LocalRef, Name, Resource, ResourceKind, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::checkpoint::Checkpoint;
use crate::journal::{Journal, JournalHealth, MemoryJournal};
use crate::ledger::Ledger;
use crate::recover::{Recovered, recover};
use crate::shelf::{CheckpointInfo, Shelf};
use crate::state::{State, View};
use crate::writer::{Writer, describe};
use crate::{
    Change, CheckpointError, Committed, OpenReport, StoreDirs, StoreError, Transaction, Watch,
    WatchGap,
};

/// Commits that may wait for the writer before callers have to wait with theirs.
const QUEUE: usize = 64;

/// Commits that share one wait for the disk.
const GROUP: usize = 32;

/// The node's state. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    backend: Backend,
    shelf: Option<Arc<Mutex<Shelf>>>,
    lineage: Uuid,
    now: fn() -> Timestamp,
}

/// Where the writer lives.
enum Backend {
    /// In the caller: the journal is memory, so nothing blocks, and paused time stays in step.
    Inline(Mutex<Writer>),
    /// On a thread of its own.
    Thread { requests: Option<mpsc::Sender<Request>>, thread: Option<JoinHandle<()>> },
}

enum Request {
    Commit(Transaction, oneshot::Sender<Result<Committed, StoreError>>),
    Tidy(u64, oneshot::Sender<Result<(), StoreError>>),
}

/// What readers, watchers and the writer share. No lock here is held while anything is waited for.
pub(crate) struct Shared {
    state: RwLock<State>,
    pub revisions: watch::Sender<u64>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    failure: Option<String>,
    journal: JournalHealth,
    bytes: usize,
    checkpoint: Option<CheckpointInfo>,
    checkpoint_failure: Option<String>,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// Why writes are refused; they are taken if absent.
    pub read_only: Option<String>,
    /// The revision.
    pub revision: u64,
    /// How many resources there are.
    pub documents: usize,
    /// What their records take, in bytes.
    pub bytes: usize,
    /// The journal.
    pub journal: JournalHealth,
    /// The newest checkpoint that this process wrote.
    pub checkpoint: Option<CheckpointInfo>,
    /// Why the last checkpoint could not be written, or not to the second partition.
    pub checkpoint_failure: Option<String>,
}

impl StoreHealth {
    /// Whether writes are taken and checkpoints succeed.
    pub fn is_good(&self) -> bool {
        self.read_only.is_none() && self.checkpoint_failure.is_none()
    }
}

impl Shared {
    pub fn new(state: State) -> Arc<Self> {
        let revisions = watch::Sender::new(state.revision());
        Arc::new(Self { state: RwLock::new(state), revisions, notes: Mutex::default() })
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        // No code panics while it holds the lock in a way that would leave the state half changed.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable changes visible, then tells watchers.
    pub fn publish(&self, changes: &[Change]) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).apply(changes);
        if let Some(last) = changes.last() {
            self.revisions.send_replace(last.revision);
        }
    }

    pub fn failure(&self) -> Option<String> {
        self.notes().failure.clone()
    }

    pub fn fail(&self, reason: String) {
        self.notes().failure.get_or_insert(reason);
    }

    pub fn set_journal_health(&self, health: JournalHealth, bytes: usize) {
        let mut notes = self.notes();
        notes.journal = health;
        notes.bytes = bytes;
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// A store whose journal is memory: for tests and the simulated node.
    pub fn in_memory() -> Self {
        Self::in_memory_with(Timestamp::now)
    }

    /// As [`Store::in_memory`], with another clock.
    pub fn in_memory_with(now: fn() -> Timestamp) -> Self {
        Self::over(Box::new(MemoryJournal::new()), now)
    }

    /// A store over an empty journal that needs no thread of its own, because it never waits for a
    /// disk. It has no checkpoints and no recovery: those belong to [`Store::open`].
    pub fn over(journal: Box<dyn Journal>, now: fn() -> Timestamp) -> Self {
        let shared = Shared::new(State::default());
        let lineage = Uuid::new_v4();
        let writer =
            Writer::new(Arc::clone(&shared), journal, None, Ledger::default(), lineage, now);
        let backend = Backend::Inline(Mutex::new(writer));
        Self { inner: Arc::new(Inner { shared, backend, shelf: None, lineage, now }) }
    }

    /// A copy of the state as it is now, in memory, to try transactions on. Nothing that is committed to the copy
    /// reaches this store.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        let state = {
            let present = self.inner.shared.read();
            let all = Kind::ALL.iter().flat_map(|kind| present.documents(*kind));
            State::new(all.collect::<Vec<_>>(), present.revision())
        };
        let (shared, now, lineage) = (Shared::new(state), self.inner.now, Uuid::new_v4());
        let journal = Box::new(MemoryJournal::new());
        let writer =
            Writer::new(Arc::clone(&shared), journal, None, Ledger::default(), lineage, now);
        let backend = Backend::Inline(Mutex::new(writer));
        Self { inner: Arc::new(Inner { shared, backend, shelf: None, lineage, now }) }
    }

    /// Opens the store on disk, as far down the recovery ladder as needed. Blocks, for milliseconds
    /// as a rule. Fails only if the directory cannot be used at all.
    pub fn open(
        dirs: &StoreDirs,
        now: fn() -> Timestamp,
    ) -> Result<(Self, OpenReport), StoreError> {
        let Recovered { journal, mark, ledger, documents, revision, lineage, shelf, report } =
            recover(dirs, now)?;
        if report.is_clean() {
            tracing::info!(rev = revision, documents = report.documents, "the store is open");
        } else {
            tracing::error!(rev = revision, rung = ?report.rung, "{}", report.summary());
        }
        let shared = Shared::new(State::new(documents, revision));
        let journal = Box::new(journal);
        let writer = Writer::new(Arc::clone(&shared), journal, Some(mark), ledger, lineage, now);
        let (requests, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(writer, queue))
            .map_err(|source| StoreError::Directory {
                path: dirs.state.display().to_string(),
                source,
            })?;
        let backend = Backend::Thread { requests: Some(requests), thread: Some(thread) };
        let shelf = Some(Arc::new(Mutex::new(shelf)));
        Ok((Self { inner: Arc::new(Inner { shared, backend, shelf, lineage, now }) }, report))
    }

    /// The revision of the latest change.
    pub fn revision(&self) -> u64 {
        self.inner.shared.read().revision()
    }

    /// The resource with this id.
    pub fn get<K: ResourceKind>(&self, id: Id<K>) -> Result<Option<Resource<K>>, StoreError> {
        let found = self.document(LocalRef { kind: K::KIND, id: id.uuid() });
        Ok(found.map(|document| document.to_resource()).transpose()?)
    }

    /// The resource with this name.
    pub fn find<K: ResourceKind>(&self, name: &Name) -> Result<Option<Resource<K>>, StoreError> {
        let found = self.named(K::KIND, name);
        Ok(found.map(|document| document.to_resource()).transpose()?)
    }

    /// All resources of a kind, ordered by name.
    pub fn list<K: ResourceKind>(&self) -> Result<Vec<Resource<K>>, StoreError> {
        let typed = |document: &Arc<Document>| Ok(document.to_resource()?);
        self.documents(K::KIND).iter().map(typed).collect()
    }

    /// The document with this kind and id.
    pub fn document(&self, subject: LocalRef) -> Option<Arc<Document>> {
        self.inner.shared.read().document(subject)
    }

    /// The document with this kind and name.
    pub fn named(&self, kind: Kind, name: &Name) -> Option<Arc<Document>> {
        let state = self.inner.shared.read();
        state.named(kind, name).and_then(|id| state.document(LocalRef { kind, id }))
    }

    /// All documents of a kind, ordered by name.
    pub fn documents(&self, kind: Kind) -> Vec<Arc<Document>> {
        self.inner.shared.read().documents(kind)
    }

    /// Commits a transaction, all or nothing. It is durable when this returns `Ok`. Dropping the
    /// future does not say whether it happened.
    pub async fn commit(&self, tx: Transaction) -> Result<Committed, StoreError> {
        match &self.inner.backend {
            Backend::Inline(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.commit(vec![tx]).pop().unwrap_or(Err(StoreError::Closed))
            }
            Backend::Thread { requests, .. } => {
                ask(requests, |reply| Request::Commit(tx, reply)).await
            }
        }
    }

    /// Follows changes after a revision; from now on if absent.
    pub fn watch(&self, after: Option<u64>) -> Result<Watch, WatchGap> {
        Watch::new(Arc::clone(&self.inner.shared), after)
    }

    /// The whole state as one checksummed file.
    pub fn export(&self) -> Result<Vec<u8>, StoreError> {
        Ok(self.snapshot().encode()?)
    }

    /// Replaces the whole state by an export, in one commit. Revisions go on from the present one.
    pub async fn import(&self, bytes: &[u8]) -> Result<Committed, StoreError> {
        let checkpoint = Checkpoint::decode(bytes)?;
        let documents = checkpoint.documents.iter().map(|document| Document::clone(document));
        self.commit(Transaction::replace_all(documents.collect())).await
    }

    /// Writes a checkpoint now, to the state directory and the second one.
    pub async fn checkpoint(&self) -> Result<CheckpointInfo, StoreError> {
        let Some(shelf) = self.inner.shelf.clone() else {
            return Err(CheckpointError::InMemory.into());
        };
        let store = self.clone();
        let written = tokio::task::spawn_blocking(move || store.write_checkpoint(&shelf)).await;
        let info = written.unwrap_or_else(|_| {
            // Only if the runtime is being shut down or the task panicked.
            Err(CheckpointError::Damaged { reason: "writing it was broken off".to_owned() })
        })?;
        if let (Backend::Thread { requests, .. }, Some(oldest)) = (&self.inner.backend, info.1) {
            ask(requests, |reply| Request::Tidy(oldest, reply)).await?;
        }
        Ok(info.0)
    }

    /// Writes checkpoints for as long as it is polled: after `quiet` without a change, or after ten
    /// times that if it is never quiet. Failures are logged and told by [`Store::health`].
    pub async fn keep_checkpoints(&self, quiet: Duration) {
        let mut revisions = self.inner.shared.revisions.subscribe();
        revisions.mark_unchanged();
        while revisions.changed().await.is_ok() {
            let latest = Instant::now() + quiet * 10;
            while let Ok(changed) =
                timeout_at(latest.min(Instant::now() + quiet), revisions.changed()).await
            {
                if changed.is_err() || Instant::now() >= latest {
                    break;
                }
            }
            revisions.borrow_and_update();
            match self.checkpoint().await {
                Ok(info) => tracing::debug!(rev = info.revision, bytes = info.bytes, "checkpoint"),
                Err(error) => tracing::warn!(error = describe(&error), "no checkpoint"),
            }
        }
    }

    /// Blocks. Gives the checkpoint and the oldest revision that any checkpoint still holds.
    fn write_checkpoint(
        &self,
        shelf: &Mutex<Shelf>,
    ) -> Result<(CheckpointInfo, Option<u64>), CheckpointError> {
        // One at a time; taken before the snapshot, so that a later file is never older inside.
        let shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let put = shelf.put(&self.snapshot());
        let mut notes = self.inner.shared.notes();
        match put {
            Ok((info, missed)) => {
                notes.checkpoint_failure = missed.as_ref().map(|error| describe(error));
                notes.checkpoint = Some(info.clone());
                Ok((info, shelf.oldest()))
            }
            Err(error) => {
                notes.checkpoint_failure = Some(describe(&error));
                Err(error)
            }
        }
    }

    /// How the store is.
    pub fn health(&self) -> StoreHealth {
        let (revision, documents) = {
            let state = self.inner.shared.read();
            (state.revision(), state.len())
        };
        let notes = self.inner.shared.notes();
        StoreHealth {
            read_only: notes.failure.clone(),
            revision,
            documents,
            bytes: notes.bytes,
            journal: notes.journal.clone(),
            checkpoint: notes.checkpoint.clone(),
            checkpoint_failure: notes.checkpoint_failure.clone(),
        }
    }

    fn snapshot(&self) -> Checkpoint {
        let state = self.inner.shared.read();
        let documents = Kind::ALL.into_iter().flat_map(|kind| state.documents(kind)).collect();
        let (revision, lineage) = (state.revision(), self.inner.lineage);
        Checkpoint { lineage, revision, written: (self.inner.now)(), documents }
    }
}

async fn ask<T>(
    requests: &Option<mpsc::Sender<Request>>,
    request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
) -> Result<T, StoreError> {
    let requests = requests.as_ref().ok_or(StoreError::Closed)?;
    let (reply, answer) = oneshot::channel();
    requests.send(request(reply)).await.map_err(|_| StoreError::Closed)?;
    answer.await.unwrap_or(Err(StoreError::Closed))
}

/// The writer's thread: takes what waits, up to a group, and serves it at once.
fn serve(mut writer: Writer, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.blocking_recv() {
        let mut next = Some(first);
        let (mut group, mut replies) = (Vec::new(), Vec::new());
        while let Some(request) = next.take() {
            match request {
                Request::Commit(tx, reply) => {
                    group.push(tx);
                    replies.push(reply);
                }
                Request::Tidy(before, reply) => {
                    // Who does not wait for the answer any more does not need it.
                    let _ = reply.send(writer.tidy(before));
                }
            }
            if group.len() < GROUP {
                next = requests.try_recv().ok();
            }
        }
        for (result, reply) in writer.commit(group).into_iter().zip(replies) {
            let _ = reply.send(result);
        }
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that whoever opens the same directory next finds it closed.
    fn drop(&mut self) {
        if let Backend::Thread { requests, thread } = &mut self.backend {
            drop(requests.take());
            if let Some(thread) = thread.take()
                && thread.join().is_err()
            {
                tracing::error!("the store's writer panicked");
            }
        }
    }
}
