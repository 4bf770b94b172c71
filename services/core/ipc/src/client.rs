//! The client's end of the socket: any number of requests side by side on one connection.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{SinkExt, Stream, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::codec::{decode, encode, framing};
use crate::protocol::STREAM_WINDOW;
use crate::two_way::INPUT_WINDOW;
use crate::{
    Answer, Auth, CallError, ClientFrame, ConnectError, Hello, HelloReply, PeerRole, Refusal,
    Request, ServerFrame, StreamItem, TwoWayInput,
};

const HELLO_TIME: Duration = Duration::from_secs(10);

type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Writer = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

/// A connection. Clones share it; the last one to go closes it. It does not connect again by itself:
/// the caller decides when to.
#[derive(Clone)]
pub struct Client {
    link: Arc<Link>,
    role: PeerRole,
}

/// What calls and the two tasks of a connection share. Frames go out through an unbounded queue, but each
/// call puts in one at a time, each stream one for half a window, and each two-way stream as many as the
/// server has room for, so it stays short.
pub(crate) struct Link {
    frames: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Link {
    pub(crate) fn send(&self, frame: Bytes) -> Result<(), CallError> {
        self.frames.send(frame).map_err(|_| CallError::Disconnected)
    }
}

#[derive(Default)]
struct Waiting {
    next: u32,
    ended: bool,
    calls: HashMap<u32, Call>,
}

struct Call {
    answer: Option<oneshot::Sender<Result<Answer, CallError>>>,
    /// Bounded by the window that the server keeps to; a server that does not is cut off.
    items: mpsc::Sender<Result<StreamItem, CallError>>,
    /// How many inputs the server will still take, for a two-way request.
    room: Option<Arc<Semaphore>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        // Whoever waits to send an input hears that the stream has ended.
        if let Some(room) = &self.room {
            room.close();
        }
    }
}

impl Client {
    /// Connects and exchanges hellos.
    pub async fn connect(
        path: &Path,
        build: impl Into<String>,
        program: impl Into<String>,
    ) -> Result<Self, ConnectError> {
        let hello = Hello { build: build.into(), program: program.into() };
        let unreachable =
            |source| ConnectError::Unreachable { path: path.display().to_string(), source };
        let stream = UnixStream::connect(path).await.map_err(unreachable)?;
        let (read, write) = stream.into_split();
        let mut reader = FramedRead::new(read, framing());
        let mut writer = FramedWrite::new(write, framing());
        let greeting = greet(&mut reader, &mut writer, &hello);
        let role = timeout(HELLO_TIME, greeting)
            .await
            .map_err(|_| ConnectError::Silent { seconds: HELLO_TIME.as_secs() })??;
        let (frames, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        tokio::spawn(run(reader, writer, queue, Arc::clone(&waiting)));
        Ok(Self { link: Arc::new(Link { frames, waiting }), role })
    }

    /// What the server lets this process do.
    pub fn role(&self) -> PeerRole {
        self.role
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        lock(&self.link.waiting).ended
    }

    /// Asks and waits for the answer. Dropping the future tells the server to give up.
    pub async fn call(&self, auth: Auth, request: Request) -> Result<Answer, CallError> {
        match self.start(auth, request)?.answer().await? {
            (Answer::Stream | Answer::TwoWay, _) => {
                Err(CallError::Mismatch { expected: "an answer", found: "a stream" })
            }
            (answer, mut ticket) => {
                ticket.settled = true;
                Ok(answer)
            }
        }
    }

    /// Asks for a stream. Dropping it tells the server to end it.
    pub async fn open(
        &self,
        auth: Auth,
        request: Request,
    ) -> Result<impl Stream<Item = Result<StreamItem, CallError>> + Send + Unpin + use<>, CallError>
    {
        match self.start(auth, request)?.answer().await? {
            (Answer::Stream, ticket) => Ok(Items { ticket, taken: 0 }),
            (Answer::TwoWay, _) => {
                Err(CallError::Mismatch { expected: "a stream", found: "a two-way stream" })
            }
            (_, mut ticket) => {
                ticket.settled = true;
                Err(CallError::Mismatch { expected: "a stream", found: "an answer" })
            }
        }
    }

    /// Asks for a two-way stream. Dropping the items tells the server to end it.
    pub async fn open_two_way(
        &self,
        auth: Auth,
        request: Request,
    ) -> Result<
        (TwoWayInput, impl Stream<Item = Result<StreamItem, CallError>> + Send + Unpin + use<>),
        CallError,
    > {
        let mut ticket = self.start(auth, request)?;
        let room = ticket.room.take();
        match (ticket.answer().await?, room) {
            ((Answer::TwoWay, ticket), Some(room)) => {
                let input = TwoWayInput { id: ticket.id, link: Arc::clone(&ticket.link), room };
                Ok((input, Items { ticket, taken: 0 }))
            }
            ((Answer::TwoWay | Answer::Stream, _), _) => {
                Err(CallError::Mismatch { expected: "a two-way stream", found: "a stream" })
            }
            ((_, mut ticket), _) => {
                ticket.settled = true;
                Err(CallError::Mismatch { expected: "a two-way stream", found: "an answer" })
            }
        }
    }

    fn start(&self, auth: Auth, request: Request) -> Result<Ticket, CallError> {
        let (answer, answered) = oneshot::channel();
        // One place more than the window: the end of the stream takes it.
        let (items, received) = mpsc::channel(STREAM_WINDOW + 1);
        let room = request.is_two_way().then(|| Arc::new(Semaphore::new(INPUT_WINDOW)));
        let id = {
            let mut waiting = lock(&self.link.waiting);
            if waiting.ended {
                return Err(CallError::Disconnected);
            }
            let id = waiting.free_id();
            waiting.calls.insert(id, Call { answer: Some(answer), items, room: room.clone() });
            id
        };
        let ticket = Ticket {
            id,
            link: Arc::clone(&self.link),
            answered: Some(answered),
            items: received,
            room,
            settled: false,
        };
        let frame = encode(&ClientFrame::Request { id, auth, request });
        match frame {
            Ok(frame) => ticket.link.send(frame)?,
            Err(error) => {
                let mut ticket = ticket;
                ticket.settled = true;
                return Err(CallError::Request(error));
            }
        }
        Ok(ticket)
    }
}

impl Waiting {
    fn free_id(&mut self) -> u32 {
        loop {
            self.next = self.next.wrapping_add(1);
            if !self.calls.contains_key(&self.next) {
                return self.next;
            }
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn greet(
    reader: &mut Reader,
    writer: &mut Writer,
    hello: &Hello,
) -> Result<PeerRole, ConnectError> {
    let frame = encode(hello).map_err(ConnectError::Hello)?;
    writer.send(frame).await.map_err(|_| ConnectError::BrokenOff)?;
    let frame = reader.next().await.ok_or(ConnectError::BrokenOff)?;
    let frame = frame.map_err(|_| ConnectError::BrokenOff)?;
    let reply: HelloReply = decode(&frame).map_err(|_| ConnectError::BrokenOff)?;
    reply.role.ok_or_else(|| ConnectError::Refused {
        reason: reply.refused.unwrap_or_else(|| "it gave no reason".to_owned()),
    })
}

/// Owns the connection until either end closes it, then tells everyone who waits.
async fn run(
    mut reader: Reader,
    mut writer: Writer,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
) {
    let read = async {
        while let Some(Ok(frame)) = reader.next().await {
            let taken = decode(&frame).map_err(|error| error.to_string());
            if let Err(error) = taken.and_then(|frame| deliver(frame, &waiting)) {
                tracing::warn!(%error, "the node service broke the protocol; hanging up");
                break;
            }
        }
    };
    let write = async {
        while let Some(frame) = queue.recv().await {
            if writer.send(frame).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    let left = {
        let mut waiting = lock(&waiting);
        waiting.ended = true;
        std::mem::take(&mut waiting.calls)
    };
    for mut call in left.into_values() {
        // Who has gone does not need to hear it.
        if let Some(answer) = call.answer.take() {
            let _ = answer.send(Err(CallError::Disconnected));
        } else {
            let _ = call.items.try_send(Err(CallError::Disconnected));
        }
    }
}

/// Passes a frame to whoever waits for it. Frames for calls that have gone are dropped.
fn deliver(frame: ServerFrame, waiting: &Mutex<Waiting>) -> Result<(), String> {
    let mut waiting = lock(waiting);
    match frame {
        ServerFrame::Answer { id, result } => {
            let last = !matches!(result, Ok(Answer::Stream | Answer::TwoWay));
            let Some(call) = waiting.calls.get_mut(&id) else { return Ok(()) };
            let Some(answer) = call.answer.take() else {
                return Err("a request was answered twice".to_owned());
            };
            let _ = answer.send(result.map_err(CallError::Refused));
            if last {
                waiting.calls.remove(&id);
            }
            Ok(())
        }
        ServerFrame::Item { id, item } => match waiting.calls.get(&id) {
            Some(call) => match call.items.try_send(Ok(item)) {
                Err(mpsc::error::TrySendError::Full(_)) => {
                    Err("a stream ran past its window".to_owned())
                }
                _ => Ok(()),
            },
            None => Ok(()),
        },
        ServerFrame::Room { id, inputs } => {
            if let Some(room) = waiting.calls.get(&id).and_then(|call| call.room.as_ref()) {
                let missing = INPUT_WINDOW.saturating_sub(room.available_permits());
                room.add_permits(missing.min(inputs as usize));
            }
            Ok(())
        }
        ServerFrame::End { id, error } => {
            if let Some(call) = waiting.calls.remove(&id)
                && let Some(refusal) = error
            {
                let _ = call.items.try_send(Err(CallError::Refused(refusal)));
            }
            Ok(())
        }
    }
}

/// A request that was sent; dropping it before its end tells the server to give up.
struct Ticket {
    id: u32,
    link: Arc<Link>,
    answered: Option<oneshot::Receiver<Result<Answer, CallError>>>,
    items: mpsc::Receiver<Result<StreamItem, CallError>>,
    room: Option<Arc<Semaphore>>,
    /// The server knows that this request is over.
    settled: bool,
}

impl Ticket {
    async fn answer(mut self) -> Result<(Answer, Self), CallError> {
        let Some(answered) = self.answered.take() else { return Err(CallError::Disconnected) };
        // Kept in place while waiting, so that dropping this future cancels.
        let result = answered.await.unwrap_or(Err(CallError::Disconnected));
        if result.is_err() {
            self.settled = true;
        }
        result.map(|answer| (answer, self))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.link.waiting).calls.remove(&self.id);
        if !self.settled
            && let Ok(frame) = encode(&ClientFrame::Cancel { id: self.id })
        {
            // Without a connection there is nobody to tell.
            let _ = self.link.frames.send(frame);
        }
    }
}

/// The items of a stream.
struct Items {
    ticket: Ticket,
    /// Items taken since the server was last told.
    taken: u32,
}

impl Stream for Items {
    type Item = Result<StreamItem, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.ticket.items.poll_recv(cx));
        match &next {
            Some(Ok(_)) => {
                self.taken += 1;
                if self.taken as usize >= STREAM_WINDOW / 2 {
                    let frame = ClientFrame::More { id: self.ticket.id, items: self.taken };
                    self.taken = 0;
                    if let Ok(frame) = encode(&frame) {
                        // A broken connection shows as the end of the items.
                        let _ = self.ticket.link.send(frame);
                    }
                }
            }
            Some(Err(_)) | None => self.ticket.settled = true,
        }
        Poll::Ready(next)
    }
}

/// A refusal is what most callers want to pass on; anything else becomes one that says so.
impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => refusal,
            CallError::Request(crate::FrameError::TooLarge { .. }) => {
                Self::new(crate::RefusalClass::TooLarge, error.to_string())
            }
            other => Self::new(crate::RefusalClass::Unavailable, other.to_string()),
        }
    }
}
