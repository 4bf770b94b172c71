//! Clears away files that no record names, at each start.

use skerry_model::{Image, Job};
use skerry_store::Store;
use skerry_upkeep::{ImageLibrary, LibraryKeep};

/// Removes what power cuts and crashes have left. A failure costs room, nothing else.
pub async fn tidy_library(store: &Store, library: &dyn ImageLibrary) {
    let (Ok(images), Ok(jobs)) = (store.list::<Image>(), store.list::<Job>()) else {
        tracing::error!("the library is not cleared: not all records of images can be read");
        return;
    };
    let files = images.iter().flat_map(|image| &image.spec.files);
    let open = jobs.iter().filter(|job| !job.status.state.is_final());
    let keep = LibraryKeep {
        digests: files.map(|file| file.sha256.clone()).collect(),
        jobs: open.map(|job| job.meta.id).collect(),
    };
    match library.tidy(&keep).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "files that no image has were removed"),
        Err(error) => tracing::warn!(%error, "files that no image has could not be removed"),
    }
}
