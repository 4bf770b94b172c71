//! One request at work: it is handled, and its answer or its items go out.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::codec::{FrameError, encode};
use crate::server::{Reply, Service};
use crate::two_way::INPUT_WINDOW;
use crate::{
    Answer, Auth, Input, PeerRole, Refusal, RefusalClass, Request, ServerFrame, StreamItem,
};

/// An item larger than this would let a window of items hold too much memory.
const MAX_ITEM_BYTES: usize = 1024 * 1024;

type Items = BoxStream<'static, Result<StreamItem, Refusal>>;

/// One request at work.
pub(crate) struct Task {
    pub id: u32,
    pub role: PeerRole,
    pub service: Arc<Service>,
    pub ending: CancellationToken,
    pub frames: mpsc::Sender<Bytes>,
    /// How many items the peer will still take.
    pub window: Arc<Semaphore>,
}

impl Task {
    /// Answers the request. `inputs` are the peer's, if it is a two-way one.
    pub(crate) async fn run(
        &self,
        auth: Auth,
        request: Request,
        inputs: Option<mpsc::Receiver<Input>>,
    ) {
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
                self.until_end(self.stream(items)).await;
            }
            Ok(Reply::TwoWay { items, input }) => match inputs {
                Some(inputs) => {
                    self.send(answer(self.id, Ok(Answer::TwoWay))).await;
                    self.until_end(self.both_ways(items, inputs, input)).await;
                }
                None => {
                    let refusal =
                        Refusal::new(RefusalClass::Internal, "this is no two-way request");
                    self.send(answer(self.id, Err(refusal))).await;
                }
            },
        }
    }

    /// Serves an opened stream until it ends or the server does, and says which.
    async fn until_end(&self, serving: impl Future<Output = Result<(), Refusal>>) {
        let ended = tokio::select! {
            biased;
            () = self.ending.cancelled() => Err(Refusal::new(
                RefusalClass::Unavailable,
                "the node service is stopping; connect again",
            )),
            ended = serving => ended,
        };
        self.end(ended.err()).await;
    }

    async fn both_ways(
        &self,
        items: Items,
        inputs: mpsc::Receiver<Input>,
        target: mpsc::Sender<Input>,
    ) -> Result<(), Refusal> {
        tokio::select! {
            ended = self.stream(items) => ended,
            () = self.pass_on(inputs, target) => Ok(()),
        }
    }

    /// Hands inputs on and makes room for more; goes on until the stream ends.
    async fn pass_on(&self, mut inputs: mpsc::Receiver<Input>, target: mpsc::Sender<Input>) {
        let mut taken: u32 = 0;
        while let Some(input) = inputs.recv().await {
            // A program that has closed its input has not ended: what comes is dropped.
            let _ = target.send(input).await;
            taken += 1;
            if taken as usize >= INPUT_WINDOW / 2 {
                match encode(&ServerFrame::Room { id: self.id, inputs: taken }) {
                    Ok(frame) => self.send(frame).await,
                    Err(error) => tracing::error!(%error, "room for inputs cannot be told"),
                }
                taken = 0;
            }
        }
        std::future::pending().await
    }

    async fn stream(&self, mut items: Items) -> Result<(), Refusal> {
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

    pub(crate) async fn end(&self, error: Option<Refusal>) {
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
pub(crate) fn answer(id: u32, result: Result<Answer, Refusal>) -> Bytes {
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
