//! A whole pull: from a reference to verified files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use skerry_containers::oci::{self, Blob, Described, MAX_JSON, Manifest};
use skerry_model::ImageReference;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use crate::blob::{Download, spool};
use crate::session::Session;
use crate::signatures::{self, Signature, Signatures};
use crate::{Endpoint, Limits, Meter, RegistryError};

/// What to pull.
#[derive(Debug, Clone)]
pub struct Order {
    /// The image.
    pub reference: ImageReference,
    /// Mirrors in their order, then the registry itself.
    pub endpoints: Vec<Endpoint>,
    /// An existing folder for this image alone. Files that an earlier try left in it are gone on with.
    pub folder: PathBuf,
    /// Digests of blobs that need not be fetched.
    pub have: BTreeSet<String>,
    /// Limits.
    pub limits: Limits,
    /// Whether its signatures are wanted.
    pub signatures: Signatures,
}

/// What was pulled. Every blob that is not in [`Order::have`] is a file in the folder, named by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What the reference names: the index, or the manifest if there is no index.
    pub named: Blob,
    /// The manifest for this machine.
    pub manifest: Blob,
    /// Configuration and layers.
    pub blobs: Vec<Blob>,
    /// What was found of signatures.
    pub signatures: Vec<Signature>,
}

impl Pulled {
    /// All digests, each once: named, manifest, configuration, layers.
    pub fn all(&self) -> BTreeSet<String> {
        let documents = [&self.named, &self.manifest].into_iter();
        documents.chain(&self.blobs).map(|blob| blob.digest.clone()).collect()
    }
}

/// Pulls an image. May be dropped at any time and called again: it goes on with what is in the folder.
pub async fn pull(order: &Order, meter: &Meter) -> Result<Pulled, RegistryError> {
    let open =
        |endpoint: &Endpoint| Session::new(endpoint.clone(), order.reference.path(), order.limits);
    let sessions = order.endpoints.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let (named, described) = resolve(order, &sessions).await?;
    // Before the bulk of it: without one it may be of no use.
    let signatures = signatures::fetch(order.signatures, &sessions, &named).await?;
    let (manifest, parts) = match described {
        Described::Manifest(parts) => (named.clone(), parts),
        Described::Index(chosen) => {
            let parts = inner(order, &sessions, &chosen).await?;
            (chosen, parts)
        }
    };
    let size = parts.size();
    if size > order.limits.image {
        return Err(RegistryError::TooLarge { size, limit: order.limits.image });
    }
    let blobs = parts.blobs();
    meter.expect(size, room_for(order, &blobs).await?);
    fetch_all(order, &sessions, &parts, &blobs, meter).await?;
    let folder = File::open(&order.folder).await.map_err(|e| spool("open", e))?;
    folder.sync_all().await.map_err(|e| spool("write out", e))?;
    Ok(Pulled { named, manifest, blobs, signatures })
}

/// Bytes that are still to come, for which there has to be room.
async fn room_for(order: &Order, blobs: &[Blob]) -> Result<u64, RegistryError> {
    let (mut missing, mut there) = (0_u64, 0_u64);
    let mut seen = BTreeSet::new();
    for blob in blobs {
        if order.have.contains(&blob.digest) || !seen.insert(&blob.digest) {
            continue;
        }
        let length = length_of(&order.folder, blob).await;
        there = there.saturating_add(length);
        missing = missing.saturating_add(blob.size.saturating_sub(length));
    }
    let room = order.limits.room;
    if missing > room {
        return Err(RegistryError::NoRoom { missing, room, begun: there > 0 });
    }
    Ok(missing)
}

/// Bytes of a blob that are in the folder. A part that is too long is no part of it.
async fn length_of(folder: &Path, blob: &Blob) -> u64 {
    let length = async |name: &str| fs::metadata(folder.join(name)).await.ok().map(|m| m.len());
    match length(&blob.digest).await {
        Some(whole) if whole == blob.size => whole,
        _ => {
            length(&format!("{}.part", blob.digest)).await.filter(|l| *l <= blob.size).unwrap_or(0)
        }
    }
}

/// The configuration first: it says whether the rest is of any use here.
async fn fetch_all(
    order: &Order,
    sessions: &[Session],
    parts: &Manifest,
    blobs: &[Blob],
    meter: &Meter,
) -> Result<(), RegistryError> {
    let download = Download { sessions, folder: &order.folder, limits: order.limits, meter };
    let mut layers = Vec::new();
    for blob in blobs {
        if order.have.contains(&blob.digest) {
            meter.add(blob.size);
        } else if *blob == parts.config {
            download.fetch(blob).await?;
            let bytes = read_file(&order.folder.join(&blob.digest)).await?;
            oci::configuration(&bytes, parts.layers.len())?;
        } else {
            layers.push(download.fetch(blob));
        }
    }
    stream::iter(layers)
        .buffer_unordered(order.limits.parallel.max(1))
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

/// What the reference names, from the first that knows it.
async fn resolve(order: &Order, sessions: &[Session]) -> Result<(Blob, Described), RegistryError> {
    let name = match (order.reference.digest(), order.reference.tag()) {
        (Some(digest), _) => format!("sha256:{digest}"),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    document(order, sessions, &name, order.reference.digest()).await
}

/// The manifest that an index names.
async fn inner(
    order: &Order,
    sessions: &[Session],
    chosen: &Blob,
) -> Result<Manifest, RegistryError> {
    let name = format!("sha256:{}", chosen.digest);
    match document(order, sessions, &name, Some(&chosen.digest)).await?.1 {
        Described::Manifest(manifest) => Ok(manifest),
        Described::Index(_) => Err(nested(sessions)),
    }
}

fn nested(sessions: &[Session]) -> RegistryError {
    match sessions.last() {
        Some(session) => session.misbehaves("its index names another index"),
        None => spool("find a source for", std::io::ErrorKind::NotFound.into()),
    }
}

/// A manifest or index from the first that gives a usable one, kept as a file too.
async fn document(
    order: &Order,
    sessions: &[Session],
    name: &str,
    digest: Option<&str>,
) -> Result<(Blob, Described), RegistryError> {
    let mut failure = nested(&[]);
    for session in sessions {
        match try_document(order, session, name, digest).await {
            Err(error) if !matches!(error, RegistryError::Spool { .. }) => {
                let host = &session.endpoint.host;
                tracing::debug!(%host, name, error = error.chain(), "manifest not fetched");
                failure = error;
            }
            other => return other,
        }
    }
    Err(failure)
}

async fn try_document(
    order: &Order,
    session: &Session,
    name: &str,
    digest: Option<&str>,
) -> Result<(Blob, Described), RegistryError> {
    let received = session.manifest(name).await?;
    let found = hex::encode(Sha256::digest(&received.bytes));
    if digest.is_some_and(|digest| digest != found) {
        return Err(session.wrong_bytes(format!("manifest {name}")));
    }
    let described = oci::describe(&received.bytes, received.media_type.as_deref())?;
    keep(&order.folder, &found, &received.bytes).await.map_err(|e| spool("write", e))?;
    Ok((Blob { digest: found, size: received.bytes.len() as u64 }, described))
}

async fn keep(folder: &Path, digest: &str, bytes: &[u8]) -> std::io::Result<()> {
    let part = folder.join(format!("{digest}.part"));
    let mut file = File::create(&part).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(part, folder.join(digest)).await
}

async fn read_file(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let meta = fs::metadata(path).await.map_err(|e| spool("look at", e))?;
    if meta.len() > MAX_JSON {
        return Err(RegistryError::TooLarge { size: meta.len(), limit: MAX_JSON });
    }
    fs::read(path).await.map_err(|e| spool("read", e))
}
