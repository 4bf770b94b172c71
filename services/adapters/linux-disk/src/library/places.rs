//! Where image files lie.
//!
//! ```text
//! <data>/import/                     the inbox: people and pods put image files there
//! <data>/spool/<id>.done             came in whole; the north side's folder
//! <data>/images/<sha256>             the library
//! <data>/images/work/<job>/source    the copy that is looked at
//! <data>/images/work/<job>/parts/    what an archive of a kernel is taken apart into
//! <data>/images/work/<job>/lent      a copy of a volume, to become an image
//! <data>/images/work/<job>/out/disk  what the tool makes of it
//! <run>/media/<name>/                an import medium, mounted while it is read
//! ```

use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The folders of image files.
#[derive(Debug, Clone)]
pub struct DiskPlaces {
    data: PathBuf,
    media: PathBuf,
}

impl DiskPlaces {
    /// With the data partition's folder and the runtime folder given, such as `/var/lib/skerry/data` and
    /// `/run/skerry`.
    pub fn below(data: &Path, run: &Path) -> Self {
        Self { data: data.to_owned(), media: run.join("media") }
    }

    /// The data partition's folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The inbox.
    pub fn inbox(&self) -> PathBuf {
        self.data.join("import")
    }

    /// What the north side received.
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// A file of the spool that is there whole.
    pub fn spooled(&self, id: Uuid) -> PathBuf {
        self.spool().join(format!("{id}.done"))
    }

    /// Import media.
    pub fn media(&self) -> &Path {
        &self.media
    }

    /// The library.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// The folder of all jobs' work.
    pub fn all_work(&self) -> PathBuf {
        self.images().join("work")
    }

    /// The folder of one job's work.
    pub fn work(&self, job: Uuid) -> PathBuf {
        self.all_work().join(job.to_string())
    }

    /// Where the copy of a volume is put.
    pub fn lent(&self, job: Uuid) -> PathBuf {
        self.work(job).join("lent")
    }

    /// Where an archive of a kernel is taken apart.
    pub fn parts(&self, job: Uuid) -> PathBuf {
        self.work(job).join("parts")
    }

    /// Where the tool writes for a job.
    pub fn out(&self, job: Uuid) -> PathBuf {
        self.work(job).join("out")
    }

    /// The copy that a job looks at.
    pub fn source(&self, job: Uuid) -> PathBuf {
        self.work(job).join("source")
    }
}
