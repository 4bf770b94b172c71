//! One connection on the server's end: hello, then requests side by side.
//!
//! Memory is bounded whatever the peer does: open requests, frames waiting to be written, and items
//! of a stream that the peer has not yet asked for are all limited. A frame that is no message ends the
//! connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{self, JoinSet};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use crate::codec::{FrameError, decode, encode, framing};
use crate::protocol::STREAM_WINDOW;
use crate::server::{Reply, Service};
use crate::{
    Answer, Auth, ClientFrame, Hello, HelloReply, PeerRole, Refusal, RefusalClass, Request,
    ServerFrame, StreamItem,
};

/// Requests that one connection may have open.
const OPEN_REQUESTS: usize = 64;
/// Frames that wait to be written.
const WAITING_FRAMES: usize = 16;
/// The time for the hello.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// The time in which a peer must take a frame that is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// What open requests get when the server ends.
const GRACE: Duration = Duration::from_secs(5);
/// An item larger than this would let a window of items hold too much memory.
const MAX_ITEM_BYTES: usize = 1024 * 1024;

type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Writer = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

/// Why a connection ended that the peer did not end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the peer's credentials cannot be read: {0}")]
    Credentials(std::io::Error),
    #[error("no hello within {} s", HELLO_TIME.as_secs())]
    NoHello,
    #[error("the peer was refused: {0}")]
    Refused(String),
    #[error("reading failed: {0}")]
    Read(std::io::Error),
    #[error("writing failed: {0}")]
    Write(std::io::Error),
    #[error("the peer did not take a frame within {} s", WRITE_TIME.as_secs())]
    Stalled,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the request id {0} is in use")]
    IdInUse(u32),
}

/// Serves a connection until the peer hangs up, misbehaves, or `ending`.
pub(crate) async fn serve(stream: UnixStream, service: Arc<Service>, ending: CancellationToken) {
    let peer = stream.peer_cred();
    let (uid, pid) = peer.as_ref().map_or((None, None), |peer| (Some(peer.uid()), peer.pid()));
    let result = match peer {
        Ok(peer) => converse(stream, peer.uid(), peer.gid(), service, ending).await,
        Err(error) => Err(Broken::Credentials(error)),
    };
    if let Err(error) = result {
        tracing::warn!(uid, pid, %error, "a local connection was closed");
    }
}

async fn converse(
    stream: UnixStream,
    uid: u32,
    gid: u32,
    service: Arc<Service>,
    ending: CancellationToken,
) -> Result<(), Broken> {
    let (read, write) = stream.into_split();
    let mut reader = FramedRead::new(read, framing());
    let mut writer = FramedWrite::new(write, framing());
    let Some(role) = greet(&mut reader, &mut writer, uid, gid, &service).await? else {
        return Ok(());
    };
    let (frames, queue) = mpsc::channel(WAITING_FRAMES);
    let (open, tasks, requests) = (HashMap::new(), JoinSet::new(), HashMap::new());
    let session = Session { role, service, ending, frames, open, tasks, requests };
    let mut writing = std::pin::pin!(write_all(writer, queue));
    // Whichever ends first ends the other: without a writer no answer goes out, without a reader
    // nobody listens.
    tokio::select! {
        result = session.read(reader) => match result? {
            Ended::ByPeer => return Ok(()),
            Ended::ByServer => {}
        },
        result = &mut writing => return result,
    }
    // What was answered at the last moment still goes out.
    writing.await
}

/// Who ended a conversation.
enum Ended {
    ByPeer,
    ByServer,
}

/// Exchanges hellos. `None` if the peer went away before it said anything.
async fn greet(
    reader: &mut Reader,
    writer: &mut Writer,
    uid: u32,
    gid: u32,
    service: &Service,
) -> Result<Option<PeerRole>, Broken> {
    let first = timeout(HELLO_TIME, reader.next()).await.map_err(|_| Broken::NoHello)?;
    let Some(frame) = first else { return Ok(None) };
    let hello: Hello = decode(&frame.map_err(Broken::Read)?)?;
    let (role, refused) = judge(&hello, (service.roles)(uid, gid), &service.build);
    let reply = HelloReply { build: service.build.clone(), role, refused: refused.clone() };
    send(writer, encode(&reply)?).await?;
    match refused {
        Some(reason) => Err(Broken::Refused(reason)),
        None => Ok(role),
    }
}

fn judge(hello: &Hello, role: Option<PeerRole>, build: &str) -> (Option<PeerRole>, Option<String>) {
    if hello.build != build {
        let program: String = hello.program.chars().take(40).collect();
        let theirs: String = hello.build.chars().take(80).collect();
        let reason =
            format!("`{program}` is of build {theirs}, the node service of {build}: restart it");
        return (None, Some(reason));
    }
    match role {
        Some(role) => (Some(role), None),
        None => (None, Some("this user may not talk to the node service".to_owned())),
    }
}

async fn send(writer: &mut Writer, frame: Bytes) -> Result<(), Broken> {
    match timeout(WRITE_TIME, writer.send(frame)).await {
        Ok(sent) => sent.map_err(Broken::Write),
        Err(_) => Err(Broken::Stalled),
    }
}

async fn write_all(mut writer: Writer, mut queue: mpsc::Receiver<Bytes>) -> Result<(), Broken> {
    while let Some(frame) = queue.recv().await {
        send(&mut writer, frame).await?;
    }
    Ok(())
}

/// An open request.
struct Open {
    /// How many items the peer will still take.
    window: Arc<Semaphore>,
    cancel: CancellationToken,
}

struct Session {
    role: PeerRole,
    service: Arc<Service>,
    ending: CancellationToken,
    frames: mpsc::Sender<Bytes>,
    open: HashMap<u32, Open>,
    tasks: JoinSet<()>,
    /// Which request a task works on.
    requests: HashMap<task::Id, u32>,
}

impl Session {
    async fn read(mut self, mut reader: Reader) -> Result<Ended, Broken> {
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                () = self.ending.cancelled() => break,
                frame = reader.next() => match frame {
                    Some(frame) => {
                        let frame = decode(&frame.map_err(Broken::Read)?)?;
                        self.take(frame).await?;
                    }
                    None => return Ok(Ended::ByPeer),
                },
            }
        }
        // Streams end by themselves now; the rest may finish, for a while.
        let rest = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.ended(ended).await;
            }
        };
        if timeout(GRACE, rest).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "requests did not end in time");
        }
        Ok(Ended::ByServer)
    }

    async fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let (task, error) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(id) = self.requests.remove(&task) else { return };
        self.open.remove(&id);
        if let Some(error) = error {
            tracing::error!(%error, "a stream panicked");
            let refusal = Refusal::new(RefusalClass::Internal, "the stream failed");
            let frame = encode(&ServerFrame::End { id, error: Some(refusal) });
            // Fails only when the connection is going away.
            let _ = self.frames.send(frame.unwrap_or_default()).await;
        }
    }

    async fn take(&mut self, frame: ClientFrame) -> Result<(), Broken> {
        match frame {
            ClientFrame::Request { id, auth, request } => self.request(id, auth, request).await,
            ClientFrame::Cancel { id } => {
                // Unknown if its answer and the cancel crossed.
                if let Some(open) = self.open.get(&id) {
                    open.cancel.cancel();
                }
                Ok(())
            }
            ClientFrame::More { id, items } => {
                if let Some(open) = self.open.get(&id) {
                    let room = STREAM_WINDOW.saturating_sub(open.window.available_permits());
                    open.window.add_permits(room.min(items as usize));
                }
                Ok(())
            }
        }
    }

    async fn request(&mut self, id: u32, auth: Auth, request: Request) -> Result<(), Broken> {
        if self.open.contains_key(&id) {
            return Err(Broken::IdInUse(id));
        }
        if self.open.len() >= OPEN_REQUESTS {
            let refusal = Refusal::new(
                RefusalClass::Unavailable,
                format!("{OPEN_REQUESTS} requests are open on this connection: wait for one"),
            );
            // The reader waits here too, which is what slows such a peer down.
            let _ = self.frames.send(answer(id, Err(refusal))).await;
            return Ok(());
        }
        let window = Arc::new(Semaphore::new(STREAM_WINDOW));
        let cancel = CancellationToken::new();
        self.open.insert(id, Open { window: Arc::clone(&window), cancel: cancel.clone() });
        let task = Task {
            id,
            role: self.role,
            service: Arc::clone(&self.service),
            ending: self.ending.clone(),
            frames: self.frames.clone(),
            window,
        };
        let spawned = self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => task.end(None).await,
                () = task.run(auth, request) => {}
            }
        });
        self.requests.insert(spawned.id(), id);
        Ok(())
    }
}

/// One request at work.
struct Task {
    id: u32,
    role: PeerRole,
    service: Arc<Service>,
    ending: CancellationToken,
    frames: mpsc::Sender<Bytes>,
    window: Arc<Semaphore>,
}

impl Task {
    async fn run(&self, auth: Auth, request: Request) {
        let handler = Arc::clone(&self.service.handler);
        let role = self.role;
        // A task of its own, so that a panic in the handler becomes an answer.
        let mut work = JoinSet::new();
        work.spawn(async move { handler.handle(role, auth, request).await });
        let reply = match work.join_next().await {
            Some(Ok(reply)) => reply,
            _ => Err(Refusal::new(
                RefusalClass::Internal,
                "the node service failed at this request; its log says more",
            )),
        };
        match reply {
            Ok(Reply::Answer(found)) => self.send(answer(self.id, Ok(found))).await,
            Err(refusal) => self.send(answer(self.id, Err(refusal))).await,
            Ok(Reply::Stream(items)) => {
                self.send(answer(self.id, Ok(Answer::Stream))).await;
                let ended = tokio::select! {
                    biased;
                    () = self.ending.cancelled() => Err(Refusal::new(
                        RefusalClass::Unavailable,
                        "the node service is stopping; connect again",
                    )),
                    ended = self.stream(items) => ended,
                };
                self.end(ended.err()).await;
            }
        }
    }

    async fn stream(
        &self,
        mut items: BoxStream<'static, Result<StreamItem, Refusal>>,
    ) -> Result<(), Refusal> {
        loop {
            // First the room, then the item: what the peer does not ask for is not even made.
            match self.window.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return Ok(()),
            }
            let Some(item) = items.next().await.transpose()? else { return Ok(()) };
            let frame = encode(&ServerFrame::Item { id: self.id, item });
            match frame {
                Ok(frame) if frame.len() <= MAX_ITEM_BYTES => self.send(frame).await,
                Ok(frame) => return Err(too_large(frame.len())),
                Err(error) => return Err(unsendable(&error)),
            }
        }
    }

    async fn end(&self, error: Option<Refusal>) {
        match encode(&ServerFrame::End { id: self.id, error }) {
            Ok(frame) => self.send(frame).await,
            Err(error) => tracing::error!(%error, "the end of a stream cannot be sent"),
        }
    }

    async fn send(&self, frame: Bytes) {
        // Fails only when the connection is going away, and this task with it.
        let _ = self.frames.send(frame).await;
    }
}

/// An answer as a frame; one that does not fit becomes a refusal that does.
fn answer(id: u32, result: Result<Answer, Refusal>) -> Bytes {
    encode(&ServerFrame::Answer { id, result })
        .or_else(|error| encode(&ServerFrame::Answer { id, result: Err(unsendable(&error)) }))
        .unwrap_or_default()
}

fn unsendable(error: &FrameError) -> Refusal {
    match error {
        FrameError::TooLarge { bytes } => too_large(*bytes),
        _ => Refusal::new(RefusalClass::Internal, "the answer cannot be sent"),
    }
}

fn too_large(bytes: usize) -> Refusal {
    let detail = format!("the answer takes {bytes} bytes, too many at once: ask for less");
    Refusal::new(RefusalClass::TooLarge, detail)
}
