//! The port to what people do inside a running container: programs of their own, and words to its own program.
//!
//! Apart from the runtime's port, because nothing here brings a pod nearer to what is wanted of it.

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_model::{Id, Name, Pod};
use tokio::sync::mpsc;

use crate::RuntimeError;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// The pod.
    pub pod: Id<Pod>,
    /// The container; it must run.
    pub container: Name,
    /// The program and its arguments; not empty.
    pub argv: Vec<String>,
    /// Further variables of its environment, which is otherwise the container's.
    pub env: Vec<(String, String)>,
    /// A terminal of this size; without one, outputs stay apart.
    pub terminal: Option<Size>,
    /// The most memory that it may take, in MiB: the container's own limit beside the container's.
    pub memory_mib: u64,
    /// The most processes and threads.
    pub tasks: u32,
}

/// What a program is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// Bytes for its input or its terminal.
    Bytes(Vec<u8>),
    /// Its terminal has this size now. Without a terminal it means nothing.
    Resize(Size),
    /// There will be no more bytes: its input ends, or its terminal gets Ctrl-D.
    End,
}

/// What comes of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// From its output or its terminal.
    Out(Vec<u8>),
    /// From its error output.
    Err(Vec<u8>),
    /// It has ended: its code, or 128 and the number of the signal that ended it. The last.
    Exit(i32),
}

/// A program at work.
pub struct ExecSession {
    /// The way to it. Takes a few inputs; then senders wait until the program reads.
    pub input: mpsc::Sender<ExecInput>,
    /// What comes of it. Dropping it ends the program and everything that it has started.
    pub output: BoxStream<'static, Result<ExecOutput, RuntimeError>>,
}

/// A container's own terminal, as one of those who look at it has it.
pub struct TerminalLook {
    /// The way to it. Takes a few inputs; then senders wait until the container reads. Dropping it leaves everything as
    /// it is.
    pub input: mpsc::Sender<ExecInput>,
    /// The last of what the container wrote, and what it writes from now on. Ends with the container.
    pub output: BoxStream<'static, Vec<u8>>,
}

/// Lets people into containers.
#[async_trait]
pub trait ContainerAccess: Send + Sync + 'static {
    /// Runs a program in a container, within the container's limits of what it may do. A container that does not
    /// run is refused; a program that cannot be started ends at once and says why on its error output.
    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError>;

    /// The way to the standard input of a container that has one open. Dropping it leaves the container as it is.
    async fn input(
        &self,
        pod: Id<Pod>,
        container: &Name,
    ) -> Result<mpsc::Sender<Vec<u8>>, RuntimeError>;

    /// A look at the terminal of a container that has one. Any number may look; dropping a look leaves the container as
    /// it is.
    async fn terminal(&self, pod: Id<Pod>, container: &Name) -> Result<TerminalLook, RuntimeError>;
}
