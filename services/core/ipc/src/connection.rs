//! One connection on the server's end: hello, then requests side by side.
//!
//! Memory is bounded whatever the peer does: open requests, frames waiting to be written, and items
//! of a stream that the peer has not yet asked for are all limited. A frame that is no message ends the
//! connection.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use crate::codec::{FrameError, decode, encode, framing};
use crate::server::Service;
use crate::session::{Ended, Session};
use crate::two_way::MAX_INPUT_BYTES;
use crate::{Hello, HelloReply, PeerRole};

/// Frames that wait to be written.
const WAITING_FRAMES: usize = 16;
/// The time for the hello.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// The time in which a peer must take a frame that is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(30);

pub(crate) type Reader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Writer = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

/// Why a connection ended that the peer did not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
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
    #[error("request {0} takes no input")]
    NoInput(u32),
    #[error("an input of request {0} is larger than {MAX_INPUT_BYTES} bytes")]
    LargeInput(u32),
    #[error("request {0} got more inputs than there was room for")]
    Overrun(u32),
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
    let session = Session::new(role, service, ending, frames);
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
