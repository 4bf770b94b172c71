//! Bytes of an upload on their way to the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;
use uuid::Uuid;

use super::spool::{Spool, SpoolError, Turn, Upload, length};

/// Bytes that are gathered before they are written.
const GATHER: usize = 1 << 20;
/// Bytes after which the disk is waited for, so that a power cut costs no more than these.
const FLUSH: u64 = 64 << 20;
/// A client that sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the sending of bytes ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// All that was sent is on the disk.
    Taken,
    /// The client fell silent or hung up; what had come is on the disk.
    BrokenOff,
    /// Another connection went on with it.
    Replaced,
}

impl Spool {
    /// Adds bytes to an upload that has `offset` of them. Whatever has come stays, however this ends.
    pub async fn append(
        &self,
        id: Uuid,
        offset: u64,
        body: Body,
    ) -> Result<(Upload, Sent), SpoolError> {
        let Turn { end, guard } = self.turn(id).await?;
        let upload = self.blocking(move |spool| spool.get(id)).await?;
        if upload.complete || upload.offset != offset {
            return Err(SpoolError::Offset { offset: upload.offset });
        }
        let mut target =
            self.blocking(move |spool| Target::open(spool, id, upload.size, guard)).await?;
        let mut chunks = body.into_data_stream();
        let mut gathered: Vec<Bytes> = Vec::new();
        let ended = loop {
            // A chunk that is lost by the other arm was not acknowledged: the client sends it again.
            let next = tokio::select! {
                () = end.cancelled() => break Ok(Sent::Replaced),
                next = timeout(PATIENCE, chunks.next()) => next,
            };
            match next {
                Ok(Some(Ok(bytes))) => gathered.push(bytes),
                Ok(None) => break Ok(Sent::Taken),
                Ok(Some(Err(_))) | Err(_) => break Ok(Sent::BrokenOff),
            }
            if gathered.iter().map(Bytes::len).sum::<usize>() >= GATHER {
                target = match target.write(std::mem::take(&mut gathered)).await {
                    Ok(target) => target,
                    Err(error) => return Err(error),
                };
            }
        };
        let target = target.write(gathered).await?;
        // Kept until the file has its final name: nobody else may begin meanwhile.
        let _guard = target.flush().await?;
        let upload = self.blocking(move |spool| complete(spool, id)).await?;
        ended.map(|ended| (upload, ended))
    }

    /// Runs blocking work on a thread of its own.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let spool = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&spool)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

/// The file that is written to. It goes along to the thread that writes, and with it the right to write: if the
/// connection ends meanwhile, the next one waits for that thread.
pub(super) struct Target {
    guard: OwnedMutexGuard<()>,
    file: File,
    length: u64,
    limit: u64,
    unflushed: u64,
}

impl Target {
    pub(super) fn open(
        spool: &Spool,
        id: Uuid,
        limit: u64,
        guard: OwnedMutexGuard<()>,
    ) -> Result<Self, SpoolError> {
        let part = spool.part(id);
        let file = OpenOptions::new().append(true).create(true).open(&part)?;
        Ok(Self { guard, file, length: length(&part)?, limit, unflushed: 0 })
    }

    /// Bytes that are there.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Throws away what is there.
    pub(super) fn truncate(&mut self) -> Result<(), SpoolError> {
        self.file.set_len(0)?;
        self.length = 0;
        Ok(())
    }

    fn put(&mut self, chunks: Vec<Bytes>) -> Result<(), SpoolError> {
        for bytes in chunks {
            let count = bytes.len() as u64;
            if self.length.saturating_add(count) > self.limit {
                return Err(SpoolError::TooLong { size: self.limit });
            }
            self.file.write_all(&bytes)?;
            self.length = self.length.saturating_add(count);
            self.unflushed = self.unflushed.saturating_add(count);
        }
        if self.unflushed >= FLUSH {
            self.file.sync_data()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Writes on a thread of its own.
    pub(super) async fn write(mut self, chunks: Vec<Bytes>) -> Result<Self, SpoolError> {
        let work = move || self.put(chunks).map(|()| self);
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }

    /// Waits until all of it is on the disk, and gives the right to write back.
    pub(super) async fn flush(self) -> Result<OwnedMutexGuard<()>, SpoolError> {
        let done =
            tokio::task::spawn_blocking(move || self.file.sync_all().map(|()| self.guard)).await;
        Ok(done.unwrap_or_else(|error| Err(io::Error::other(error)))?)
    }
}

/// Makes an upload whole that has all of its bytes.
fn complete(spool: &Spool, id: Uuid) -> Result<Upload, SpoolError> {
    let upload = spool.get(id)?;
    if upload.complete || upload.offset < upload.size {
        return Ok(upload);
    }
    if let Some(expected) = upload.sha256 {
        let found = digest(&spool.part(id))?;
        if found != expected {
            spool.clear(id)?;
            return Err(SpoolError::Digest { expected, found });
        }
    }
    spool.finish(id)?;
    spool.get(id)
}

fn digest(path: &std::path::Path) -> io::Result<String> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; GATHER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spool::UploadInput;
    use super::*;
    use futures::stream;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn ground(sha256: Option<&str>) -> (tempfile::TempDir, Spool, Uuid) {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        let id = Uuid::from_u128(1);
        let sha256 = sha256.map(str::to_owned);
        spool.create(id, UploadInput { name: "x".to_owned(), size: 5, sha256 }).unwrap();
        (folder, spool, id)
    }

    #[tokio::test]
    async fn a_file_comes_in_pieces_and_is_whole_at_its_end() {
        let (folder, spool, id) = ground(Some(HELLO));
        let (upload, sent) = spool.append(id, 0, Body::from("he")).await.unwrap();
        assert_eq!((upload.offset, upload.complete, sent), (2, false, Sent::Taken));
        let wrong = spool.append(id, 0, Body::from("hello")).await;
        assert!(matches!(wrong, Err(SpoolError::Offset { offset: 2 })));
        // The connection breaks in the middle: what had come counts.
        let chunks = [Ok(Bytes::from("l")), Err(io::Error::other("gone"))];
        let (upload, sent) =
            spool.append(id, 2, Body::from_stream(stream::iter(chunks))).await.unwrap();
        assert_eq!((upload.offset, sent), (3, Sent::BrokenOff));
        let (upload, _) = spool.append(id, 3, Body::from("lo")).await.unwrap();
        assert!(upload.complete);
        assert_eq!(std::fs::read(folder.path().join(format!("{id}.done"))).unwrap(), b"hello");
        assert!(matches!(
            spool.append(id, 5, Body::from("x")).await,
            Err(SpoolError::Offset { offset: 5 })
        ));
    }

    #[tokio::test]
    async fn too_many_bytes_and_other_bytes_are_refused() {
        let (_folder, spool, id) = ground(None);
        let long = spool.append(id, 0, Body::from("hello!")).await;
        assert!(matches!(long, Err(SpoolError::TooLong { size: 5 })));
        assert_eq!(spool.get(id).unwrap().offset, 0);
        let (_folder, spool, id) = ground(Some(HELLO));
        let other = spool.append(id, 0, Body::from("jello")).await;
        assert!(matches!(other, Err(SpoolError::Digest { .. })));
        assert!(matches!(spool.get(id), Err(SpoolError::NotFound)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_and_a_new_one_goes_on() {
        let (_folder, spool, id) = ground(None);
        let silent = || {
            Body::from_stream(
                stream::iter([Ok::<_, io::Error>(Bytes::from("he"))]).chain(stream::pending()),
            )
        };
        let (upload, sent) = spool.append(id, 0, silent()).await.unwrap();
        assert_eq!((upload.offset, sent), (2, Sent::BrokenOff));
        let hung = tokio::spawn({
            let spool = spool.clone();
            async move {
                spool.append(id, 2, Body::from_stream(stream::pending::<io::Result<Bytes>>())).await
            }
        });
        tokio::task::yield_now().await;
        let (upload, _) = spool.append(id, 2, Body::from("llo")).await.unwrap();
        assert!(upload.complete);
        assert!(matches!(
            hung.await.unwrap(),
            Ok((_, Sent::Replaced)) | Err(SpoolError::Offset { .. })
        ));
    }
}
