//! The requests that one connection has open, and the frames that belong to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{self, JoinSet};
use tokio::time::timeout;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::codec::{decode, encode};
use crate::connection::{Broken, Reader};
use crate::protocol::STREAM_WINDOW;
use crate::server::Service;
use crate::task::{Task, answer};
use crate::two_way::{INPUT_WINDOW, MAX_INPUT_BYTES};
use crate::{Auth, ClientFrame, Input, PeerRole, Refusal, RefusalClass, Request, ServerFrame};

/// Requests that one connection may have open.
const OPEN_REQUESTS: usize = 64;
/// What open requests get when the server ends.
const GRACE: Duration = Duration::from_secs(5);

/// Who ended a conversation.
pub(crate) enum Ended {
    ByPeer,
    ByServer,
}

/// An open request.
struct Open {
    /// How many items the peer will still take.
    window: Arc<Semaphore>,
    cancel: CancellationToken,
    /// Where inputs wait, for a two-way request.
    input: Option<mpsc::Sender<Input>>,
}

/// The requests of one connection.
pub(crate) struct Session {
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
    /// Of a peer that has been greeted; frames go out through the queue.
    pub(crate) fn new(
        role: PeerRole,
        service: Arc<Service>,
        ending: CancellationToken,
        frames: mpsc::Sender<Bytes>,
    ) -> Self {
        let (open, tasks, requests) = (HashMap::new(), JoinSet::new(), HashMap::new());
        Self { role, service, ending, frames, open, tasks, requests }
    }

    /// Reads frames until the peer hangs up, misbehaves, or the server ends.
    pub(crate) async fn read(mut self, mut reader: Reader) -> Result<Ended, Broken> {
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
            ClientFrame::Input { id, input } => self.input(id, input),
        }
    }

    /// Never waits: a peer that keeps to the window finds a place.
    fn input(&self, id: u32, input: Input) -> Result<(), Broken> {
        // Unknown if it crossed with the end of the stream.
        let Some(open) = self.open.get(&id) else { return Ok(()) };
        let queue = open.input.as_ref().ok_or(Broken::NoInput(id))?;
        if matches!(&input, Input::Bytes(bytes) if bytes.len() > MAX_INPUT_BYTES) {
            return Err(Broken::LargeInput(id));
        }
        match queue.try_send(input) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Broken::Overrun(id)),
            // The stream has just ended.
            Err(mpsc::error::TrySendError::Closed(_)) | Ok(()) => Ok(()),
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
        let (input, inputs) = request.is_two_way().then(|| mpsc::channel(INPUT_WINDOW)).unzip();
        self.open.insert(id, Open { window: Arc::clone(&window), cancel: cancel.clone(), input });
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
                () = task.run(auth, request, inputs) => {}
            }
        });
        self.requests.insert(spawned.id(), id);
        Ok(())
    }
}
