//! Virtual machines that run the image: what `cargo xtask run` and the system tests start.
//!
//! [`Machine`] says what hardware there is, [`Machine::start`] gives a [`Vm`] to drive it: read and write the serial
//! line, ask QEMU through QMP, press the power button, pull the plug, save and restore the whole state. QEMU comes
//! from the builder root; it ends with the thread that started it, so start it from the thread that uses it.

mod arguments;
mod channel;
mod qmp;
mod vm;
mod words;

use std::path::PathBuf;
use std::time::Duration;

pub use arguments::{DiskBus, Firmware, Forward, Machine, Terminal, kvm_is_usable};
pub use vm::Vm;

/// A machine could not be started or driven.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// A file or folder of the machine could not be made.
    #[error("cannot prepare {}", path.display())]
    Prepare {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started or failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// QEMU ended, or did not connect its channels in time.
    #[error("QEMU did not come up; see {}", log.display())]
    NotUp {
        /// QEMU's own messages.
        log: PathBuf,
    },
    /// The awaited text did not come in time.
    #[error("{what:?} did not appear within {} s; the last output was:\n{tail}", limit.as_secs())]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        limit: Duration,
        /// The end of what did come.
        tail: String,
    },
    /// QEMU refused an order.
    #[error("QEMU refused {order}: {reason}")]
    Refused {
        /// The order.
        order: String,
        /// Its answer.
        reason: String,
    },
    /// The disk was made from another image than the one that is there now.
    #[error("{} lies over an image that has been built anew since; forget the disk to start with the new image", disk.display())]
    Stale {
        /// The disk.
        disk: PathBuf,
    },
    /// The machine is off.
    #[error("the machine is off")]
    Gone,
}
