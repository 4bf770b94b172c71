//! Where things lie in a pool.
//!
//! ```text
//! <pool>/volumes/<volume>.qcow2          a volume
//! <pool>/volumes/<volume>.folder/         a volume that is a folder
//! <pool>/volumes/<volume>.json           its note
//! <pool>/snapshots/<snapshot>/<volume>.qcow2
//! <pool>/snapshots/<snapshot>/<volume>.json  the note beside it
//! <pool>/snapshots/<snapshot>/note.json
//! <pool>/bases/<sha256>.qcow2 or .raw    an image that volumes share data with
//! <pool>/gauge/                          empty; its space is what guests may write yet
//! <pool>/tmp/                            what is being made or removed
//! ```

use std::path::{Path, PathBuf};

use skerry_model::{Id, Snapshot, Volume};
use skerry_storage::DiskFormat;

/// The folders of one pool.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// Below this folder.
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The pool's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All folders that have to be there.
    pub fn folders(&self) -> [PathBuf; 4] {
        [self.volumes(), self.snapshots(), self.bases(), self.tmp()]
    }

    /// The folder that tells what guests may write yet.
    pub fn gauge(&self) -> PathBuf {
        self.root.join("gauge")
    }

    /// The volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The images.
    pub fn bases(&self) -> PathBuf {
        self.root.join("bases")
    }

    /// What is not whole.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A volume's file.
    pub fn volume(&self, volume: Id<Volume>) -> PathBuf {
        self.volumes().join(format!("{volume}.qcow2"))
    }

    /// A volume that is a folder.
    pub fn folder(&self, volume: Id<Volume>) -> PathBuf {
        self.volumes().join(format!("{volume}.folder"))
    }

    /// A volume's note.
    pub fn volume_note(&self, volume: Id<Volume>) -> PathBuf {
        self.volumes().join(format!("{volume}.json"))
    }

    /// A snapshot's folder.
    pub fn snapshot(&self, snapshot: Id<Snapshot>) -> PathBuf {
        self.snapshots().join(snapshot.to_string())
    }

    /// A volume's copy in a snapshot's folder.
    pub fn kept(folder: &Path, volume: Id<Volume>) -> PathBuf {
        folder.join(format!("{volume}.qcow2"))
    }

    /// The note in a snapshot's folder.
    pub fn snapshot_note(folder: &Path) -> PathBuf {
        folder.join("note.json")
    }

    /// The pool's copy of an image.
    pub fn base(&self, sha256: &str, format: DiskFormat) -> PathBuf {
        let ending = match format {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Raw => "raw",
        };
        self.bases().join(format!("{sha256}.{ending}"))
    }

    /// Where something is made, by what is done and to what.
    pub fn making(&self, what: &str, id: impl std::fmt::Display) -> PathBuf {
        self.tmp().join(format!("{what}-{id}"))
    }
}
