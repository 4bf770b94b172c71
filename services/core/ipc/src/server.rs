//! The server's end of the socket.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::serve;
use crate::{Answer, Auth, BindError, Input, PeerRole, Refusal, Request, StreamItem};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// The pause after a failed accept, such as when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What connections get when the server ends: what their requests get, and time to write.
const GRACE: Duration = Duration::from_secs(6);

/// Answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when the peer gives up or hangs up.
    async fn handle(&self, peer: PeerRole, auth: Auth, request: Request) -> Result<Reply, Refusal>;
}

/// What a handler gives back.
pub enum Reply {
    /// One answer.
    Answer(Answer),
    /// Items, as they come. Polled only as fast as the peer takes them.
    Stream(BoxStream<'static, Result<StreamItem, Refusal>>),
    /// Items, and a way for inputs; only for requests that are two-way.
    TwoWay {
        /// Items, as they come. Dropped when the peer gives up or hangs up.
        items: BoxStream<'static, Result<StreamItem, Refusal>>,
        /// Takes the peer's inputs. Room is made for more as they are taken; a receiver that is gone
        /// means that nobody is interested, and does not end the stream.
        input: mpsc::Sender<Input>,
    },
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// Says what a user and group may do; `None` means not even connect.
pub type Roles = Arc<dyn Fn(u32, u32) -> Option<PeerRole> + Send + Sync>;

/// What every connection of a server shares.
pub(crate) struct Service {
    pub build: String,
    pub roles: Roles,
    pub handler: Arc<dyn Handler>,
}

/// A socket that is listened on.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    service: Arc<Service>,
}

impl Server {
    /// Listens at `path`, in place of what an earlier process may have left there. Who may connect
    /// is up to the socket's owner and mode, which the caller sets, and to `roles`.
    pub fn bind(
        path: &Path,
        build: impl Into<String>,
        roles: impl Fn(u32, u32) -> Option<PeerRole> + Send + Sync + 'static,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, BindError> {
        let fault = |source| BindError { path: path.display().to_string(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(fault)?;
        let service = Service { build: build.into(), roles: Arc::new(roles), handler };
        Ok(Self { listener, path: path.to_owned(), service: Arc::new(service) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until cancelled; open requests then get five seconds.
    pub async fn run(self, cancel: CancellationToken) {
        let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
        let ending = cancel.child_token();
        while let Some((stream, place)) = until(&cancel, self.accept(&places)).await {
            let (service, ending) = (Arc::clone(&self.service), ending.clone());
            connections.spawn(async move {
                serve(stream, service, ending).await;
                drop(place);
            });
        }
        connections.close();
        if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "connections did not end in time");
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> (UnixStream, Option<tokio::sync::OwnedSemaphorePermit>) {
        let place = Arc::clone(places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn until<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        done = work => Some(done),
    }
}
