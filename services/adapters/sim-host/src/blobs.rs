//! The simulated store of blobs: the real one over a folder, with the machine's faults before each step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skerry_linux_ctr::{BlobStore, LinuxBlobs, Places};
use skerry_model::{ImageArchiveForm, ImageFile, ImageReference};
use skerry_upkeep::{
    BlobContents, BlobFault, BlobKeep, BlobTrouble, ImageBlobs, ImageExport, Swept,
};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::world::SimHost;

/// Blobs below a folder.
#[derive(Clone)]
pub struct SimBlobs {
    host: SimHost,
    inner: LinuxBlobs,
}

impl SimBlobs {
    /// Below the node's folder for data.
    pub fn new(host: SimHost, data: &Path) -> Self {
        let places = Places::below(data, data);
        let blobs = BlobStore::new(places.blobs());
        Self { host, inner: LinuxBlobs::new(places, blobs, None) }
    }

    async fn step(&self, name: &'static str) -> Result<(), BlobFault> {
        let failed = |message| BlobFault { trouble: BlobTrouble::Passing, message };
        self.host.step(name, |_| ()).await.map_err(failed)
    }
}

#[async_trait]
impl ImageBlobs for SimBlobs {
    async fn present(&self) -> Result<BTreeSet<String>, BlobFault> {
        self.inner.present().await
    }

    async fn open_folder(&self, job: Uuid) -> Result<PathBuf, BlobFault> {
        self.step("OpenFolder").await?;
        self.inner.open_folder(job).await
    }

    async fn remove_folder(&self, job: Uuid) -> Result<(), BlobFault> {
        self.step("RemoveFolder").await?;
        self.inner.remove_folder(job).await
    }

    async fn adopt(&self, from: &Path, sha256: &str, size: u64) -> Result<(), BlobFault> {
        self.step("AdoptBlob").await?;
        self.inner.adopt(from, sha256, size).await
    }

    async fn check(&self, sha256: &str) -> Result<bool, BlobFault> {
        self.step("CheckBlob").await?;
        self.inner.check(sha256).await
    }

    async fn contents(&self, named: &str) -> Result<BlobContents, BlobFault> {
        self.inner.contents(named).await
    }

    async fn export(
        &self,
        files: &[ImageFile],
        form: ImageArchiveForm,
        name: &ImageReference,
    ) -> Result<ImageExport, BlobFault> {
        self.step("ExportImage").await?;
        self.inner.export(files, form, name).await
    }

    async fn sweep(&self, keep: &BlobKeep) -> Result<Swept, BlobFault> {
        self.step("SweepBlobs").await?;
        self.inner.sweep(keep).await
    }

    fn lost(&self) -> broadcast::Receiver<String> {
        self.inner.lost()
    }
}
