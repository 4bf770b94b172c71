//! A terminal that a runtime makes in a container: our end of it, and the socket on which it comes.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcsetwinsize};
use skerry_containers::{ExecInput, Size};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a runtime may take to make a terminal.
const DEADLINE: Duration = Duration::from_secs(20);
/// What stands for the end of the input on a terminal.
const END_OF_INPUT: u8 = 0x04;

/// Where a runtime hands over a terminal. The file is removed with it.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens; only root may connect, by the folder's mode.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// The socket's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the terminal.
    pub async fn receive(&self) -> io::Result<Terminal> {
        let received = async {
            let (stream, _) = self.listener.accept().await?;
            loop {
                stream.readable().await?;
                match stream.try_io(tokio::io::Interest::READABLE, || descriptor(&stream)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => return Terminal::new(received?),
                }
            }
        };
        timeout(DEADLINE, received).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // Swept at the next start at the latest.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The one file descriptor of a message.
fn descriptor(stream: &tokio::net::UnixStream) -> io::Result<OwnedFd> {
    let mut bytes = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let none = || io::Error::new(io::ErrorKind::InvalidData, "the message holds no terminal");
    descriptors.flatten().next().ok_or_else(none)
}

/// Our end of a terminal, twice: what is read from it and what is written to it wait for different things.
pub struct Terminal {
    /// Gives an error when the program has gone.
    pub output: pipe::Receiver,
    /// Takes bytes for the program.
    pub input: pipe::Sender,
}

impl Terminal {
    fn new(file: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
        // A terminal is no pipe, but the kernel reports of it in the same way, and reads and writes are the same calls.
        let output = pipe::Receiver::from_owned_fd_unchecked(file.try_clone()?)?;
        Ok(Self { output, input: pipe::Sender::from_owned_fd_unchecked(file)? })
    }
}

/// Writes what is sent; what a program that has gone is sent, is dropped.
pub async fn feed(mut terminal: pipe::Sender, mut inputs: mpsc::Receiver<ExecInput>) {
    while let Some(input) = inputs.recv().await {
        let done = match input {
            ExecInput::Bytes(bytes) => terminal.write_all(&bytes).await,
            ExecInput::Resize(size) => resize(&terminal, size),
            ExecInput::End => terminal.write_all(&[END_OF_INPUT]).await,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a terminal takes no more input");
        }
    }
}

fn resize(terminal: &pipe::Sender, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}
