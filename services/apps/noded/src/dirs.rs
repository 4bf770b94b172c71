//! Where the node keeps things. Fixed in the image; elsewhere on a developer's machine.

use std::path::{Path, PathBuf};

/// The node's folders.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// State partition: store, identity, checkpoints.
    pub state: PathBuf,
    /// Data partition: images, layers, logs, second copies.
    pub data: PathBuf,
    /// What lives until the next boot: the socket above all.
    pub run: PathBuf,
    /// Images that came with the operating system.
    pub images: PathBuf,
}

impl Default for Dirs {
    fn default() -> Self {
        Self {
            state: "/var/lib/skerry/state".into(),
            data: "/var/lib/skerry/data".into(),
            run: "/run/skerry".into(),
            images: "/usr/share/skerry/images".into(),
        }
    }
}

impl Dirs {
    /// Everything below one folder, for laptops and tests.
    pub fn below(folder: &Path) -> Self {
        Self {
            state: folder.join("state"),
            data: folder.join("data"),
            run: folder.join("run"),
            images: folder.join("images"),
        }
    }

    /// The local socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("noded.sock")
    }
}
