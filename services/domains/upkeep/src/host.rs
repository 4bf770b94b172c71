//! The port through which the node sees and moves the machine itself.
//!
//! An adapter implements it; nothing here touches Linux. Reading never fails for want of a part: what a
//! machine does not tell is absent from the answer.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_model::{Name, Timestamp};

use crate::{Inventory, MemoryUse};

/// Live facts about the machine, read afresh at each call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostFacts {
    /// Seconds since the kernel started.
    pub uptime_s: u64,
    /// Main memory.
    pub memory: MemoryUse,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Hardware threads online.
    pub cpus: u32,
    /// Release of the running kernel.
    pub kernel: String,
    /// Drawn by the kernel at each boot; tells one boot from another.
    pub boot_id: String,
    /// The kernel's host name.
    pub hostname: String,
}

/// What can be done with the machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// Shut down and start again.
    Restart,
    /// Shut down and switch off.
    PowerOff,
}

/// Which lines of the system journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalQuery {
    /// Only this unit; the whole journal if absent.
    pub unit: Option<String>,
    /// The last so many lines.
    pub tail: u32,
    /// Of these only lines that are not older than this.
    pub since: Option<Timestamp>,
    /// Go on as lines come.
    pub follow: bool,
}

/// Lines of the journal, oldest first, without line ends. Dropping the stream ends the reading.
pub type JournalLines = BoxStream<'static, Result<String, HostError>>;

/// What was found when a file was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// Why the machine did not do or tell something.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A program could not be run.
    #[error("cannot run {program}: check that the image holds it")]
    Program {
        /// The program.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A name that cannot be passed on.
    #[error("`{unit}` is not the name of a unit: letters, digits and any of :-_.\\@ only")]
    BadUnit {
        /// What was given, cut.
        unit: String,
    },
    /// The kernel or the service manager refused.
    #[error("cannot {action}: {detail}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What was said.
        detail: String,
    },
}

/// The machine, as this domain needs it.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Live facts.
    async fn facts(&self) -> HostFacts;

    /// The machine's parts.
    async fn inventory(&self) -> Inventory;

    /// Restarts or powers off. Returns when the shutdown has begun.
    async fn power(&self, action: PowerAction) -> Result<(), HostError>;

    /// Whether the machine is on its way down, whoever asked for it: then this service will not be started again in
    /// this boot. No, if that cannot be told.
    async fn going_down(&self) -> bool;

    /// Lines of the system journal.
    async fn journal(&self, query: JournalQuery) -> Result<JournalLines, HostError>;

    /// Reads a whole file and says what it is.
    async fn hash_file(&self, path: &Path) -> Result<FileDigest, HostError>;

    /// Gives the running kernel its host name.
    async fn set_hostname(&self, name: &Name) -> Result<(), HostError>;
}
