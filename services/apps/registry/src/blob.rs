//! Brings one blob into the folder: in pieces if need be, hashed on the way, named only when it is right.
//!
//! `<digest>.part` is what has come so far, `<digest>` is a whole blob. A part that an earlier pull or an
//! earlier start of the machine left is gone on with; its bytes count only once the whole has its digest.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use sha2::{Digest, Sha256};
use skerry_containers::oci::Blob;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter};

use crate::session::{Ask, Session};
use crate::{Class, Limits, Meter, RegistryError};

/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Where a blob comes from and goes to.
pub(crate) struct Download<'a> {
    /// Mirrors first, the registry last.
    pub sessions: &'a [Session],
    /// The folder.
    pub folder: &'a Path,
    /// Limits.
    pub limits: Limits,
    /// Counts what comes.
    pub meter: &'a Meter,
}

/// A part on disk with the hash of what it holds.
struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    hasher: Sha256,
}

impl Download<'_> {
    /// Fetches a blob, trying again and elsewhere as long as that may help.
    pub async fn fetch(&self, blob: &Blob) -> Result<(), RegistryError> {
        let whole = self.folder.join(&blob.digest);
        if fs::metadata(&whole).await.is_ok_and(|meta| meta.len() == blob.size) {
            self.meter.add(blob.size);
            return Ok(());
        }
        let mut failures = 0;
        let mut session = 0;
        loop {
            let Some(from) = self.sessions.get(session) else {
                return Err(spool("find a source for", ErrorKind::NotFound.into()));
            };
            let before = self.length(blob).await;
            let error = match self.try_fetch(from, blob).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let host = &from.endpoint.host;
            tracing::debug!(%host, blob = blob.digest, error = error.chain(), "blob not fetched");
            let moved = self.length(blob).await > before;
            failures = if moved { 0 } else { failures + 1 };
            let hopeless = error.class() != Class::Retry || failures >= self.limits.attempts;
            if hopeless {
                session += 1;
                failures = 0;
                if session >= self.sessions.len() || matches!(error, RegistryError::Spool { .. }) {
                    return Err(error);
                }
            } else {
                let doubled = self.limits.pause.saturating_mul(1 << failures.min(10));
                tokio::time::sleep(doubled.min(MAX_PAUSE)).await;
            }
        }
    }

    async fn length(&self, blob: &Blob) -> u64 {
        fs::metadata(self.part(blob)).await.map_or(0, |meta| meta.len())
    }

    fn part(&self, blob: &Blob) -> PathBuf {
        self.folder.join(format!("{}.part", blob.digest))
    }

    async fn try_fetch(&self, session: &Session, blob: &Blob) -> Result<(), RegistryError> {
        let mut part = Part::open(self.part(blob), blob.size).await?;
        self.meter.add(part.length);
        let result = self.fill(session, blob, &mut part).await;
        // Whatever came is kept for the next try, unless it proved wrong.
        let kept = match &result {
            Err(RegistryError::WrongBytes { .. }) => {
                self.meter.lost(part.length);
                part.discard().await
            }
            _ => part.file.flush().await.map_err(|e| spool("write", e)),
        };
        if result.is_err() {
            self.meter.take_back(part.length);
        }
        result.and(kept)?;
        part.file.get_ref().sync_all().await.map_err(|e| spool("write out", e))?;
        let whole = self.folder.join(&blob.digest);
        fs::rename(&part.path, &whole).await.map_err(|e| spool("name", e))
    }

    async fn fill(
        &self,
        session: &Session,
        blob: &Blob,
        part: &mut Part,
    ) -> Result<(), RegistryError> {
        if part.length < blob.size {
            let below = format!("blobs/sha256:{}", blob.digest);
            let what = format!("part sha256:{} of the image", blob.digest);
            let ask = Ask { below: &below, what: &what, from: part.length };
            let response = match session.get(&ask).await {
                // It has no more bytes than we have: what we have is wrong.
                Err(RegistryError::Status { status, .. })
                    if status == StatusCode::RANGE_NOT_SATISFIABLE =>
                {
                    return Err(session.wrong_bytes(&blob.digest));
                }
                other => other?,
            };
            self.receive(session, blob, part, response).await?;
        }
        let digest = hex::encode(part.hasher.clone().finalize());
        if digest != blob.digest {
            return Err(session.wrong_bytes(&blob.digest));
        }
        Ok(())
    }

    async fn receive(
        &self,
        session: &Session,
        blob: &Blob,
        part: &mut Part,
        mut response: Response,
    ) -> Result<(), RegistryError> {
        if part.length > 0 && !continues(&response, part.length) {
            self.meter.take_back(part.length);
            self.meter.lost(part.length);
            part.restart().await?;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(session.misbehaves("it sends another range than was asked for"));
            }
        }
        let missing = blob.size - part.length;
        if response.content_length().is_some_and(|length| length != missing) {
            return Err(session.wrong_bytes(&blob.digest));
        }
        while let Some(piece) = session.piece(&mut response).await? {
            let piece = piece.as_ref();
            if part.length + piece.len() as u64 > blob.size {
                return Err(session.wrong_bytes(&blob.digest));
            }
            part.write(piece).await?;
            self.meter.came(piece.len() as u64);
        }
        if part.length < blob.size {
            return Err(session.misbehaves("an answer that ends too early"));
        }
        Ok(())
    }
}

/// Whether an answer begins at the byte that was asked for.
fn continues(response: &Response, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

impl Part {
    /// Opens what is there and hashes it. What cannot be the beginning of the blob is cut off.
    async fn open(path: PathBuf, size: u64) -> Result<Self, RegistryError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .await
            .map_err(|e| spool("open", e))?;
        let mut part = Self {
            path,
            file: BufWriter::with_capacity(BUFFER, file),
            length: 0,
            hasher: Sha256::new(),
        };
        let length = part.file.get_ref().metadata().await.map_err(|e| spool("look at", e))?.len();
        if length > size {
            part.restart().await?;
        } else {
            part.hash_existing().await.map_err(|e| spool("read", e))?;
        }
        Ok(part)
    }

    async fn hash_existing(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let got = self.file.get_mut().read(&mut buffer).await?;
            if got == 0 {
                return Ok(());
            }
            self.hasher.update(buffer.get(..got).unwrap_or_default());
            self.length += got as u64;
        }
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        self.file.write_all(piece).await.map_err(|e| spool("write", e))?;
        self.hasher.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    /// Begins again from nothing.
    async fn restart(&mut self) -> Result<(), RegistryError> {
        let cut = async {
            self.file.flush().await?;
            self.file.get_mut().set_len(0).await?;
            self.file.get_mut().rewind().await
        };
        cut.await.map_err(|e| spool("empty", e))?;
        self.length = 0;
        self.hasher = Sha256::new();
        Ok(())
    }

    async fn discard(&mut self) -> Result<(), RegistryError> {
        match fs::remove_file(&self.path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(spool("remove", error)),
            _ => Ok(()),
        }
    }
}

pub(crate) fn spool(action: &'static str, source: io::Error) -> RegistryError {
    RegistryError::Spool { action, source }
}
