//! Archives of images on their way out: the files that the domain lists, written as one tar stream.
//!
//! One piece is in memory at a time, and nothing is read before it is asked for. Every blob is hashed while it is
//! read, and the stream breaks off behind one that is not what its digest says. It parses no layer.

use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::path::Path;

use futures::stream;
use sha2::{Digest, Sha256};
use skerry_containers::oci::OciError;
use skerry_containers::{ArchiveContent, ArchiveFile, archive_files};
use skerry_model::{ImageArchiveForm, ImageFile, ImageReference};
use skerry_upkeep::{BlobFault, BlobTrouble, ImageExport};
use tar::{EntryType, Header};

use crate::archive::{ArchiveError, ImageArchiveFile};
use crate::blobs::{BlobError, BlobStore};

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// What a tar archive is made of.
const BLOCK: u64 = 512;
/// Zeros at its end.
const END: u64 = 2 * BLOCK;

/// Where the parts of the image are read from.
enum Parts {
    Blobs(BlobStore),
    Archive(ImageArchiveFile),
}

impl Parts {
    fn open(&self, digest: &str) -> Result<Box<dyn Read + Send>, BlobFault> {
        Ok(match self {
            Self::Blobs(blobs) => Box::new(blobs.read(digest)?),
            Self::Archive(archive) => Box::new(archive.blob(digest)?),
        })
    }

    /// Says that a part has other bytes than its digest names.
    fn damaged(&self, digest: &str) -> BlobFault {
        if let Self::Blobs(blobs) = self
            && let Err(error) = blobs.quarantine(digest)
        {
            tracing::warn!(%error, digest, "a damaged part of an image cannot be set aside");
        }
        BlobError::Damaged { digest: digest.to_owned() }.into()
    }
}

/// A file that is being written.
struct Open {
    reader: Box<dyn Read + Send>,
    left: u64,
    padding: u64,
    /// The digest that its bytes must have, and what they have come to.
    digest: Option<(String, Sha256)>,
}

/// An archive that is being made.
pub(crate) struct Leaving {
    parts: Parts,
    files: VecDeque<ArchiveFile>,
    open: Option<Open>,
    size: u64,
    /// Zeros that are still to be written.
    zeros: u64,
    ended: bool,
}

impl Leaving {
    /// Of the image with these files.
    pub fn of(
        blobs: &BlobStore,
        files: &[ImageFile],
        form: ImageArchiveForm,
        name: &ImageReference,
    ) -> Result<Self, BlobFault> {
        let with = |role: &str| files.iter().find(|file| file.role == role);
        let (parts, manifest) = if let Some(file) = with("archive") {
            let archive = ImageArchiveFile::open(Path::new(&file.path), &file.sha256)?;
            let manifest = archive.manifest_bytes()?;
            (Parts::Archive(archive), manifest)
        } else if let Some(file) = with("manifest") {
            let manifest = blobs.document(&file.sha256);
            let damaged = |error| match error {
                BlobError::Damaged { digest } => Parts::Blobs(blobs.clone()).damaged(&digest),
                error => error.into(),
            };
            (Parts::Blobs(blobs.clone()), manifest.map_err(damaged)?)
        } else {
            return Err(wrong("it is no container image".to_owned()));
        };
        let unusable = |error: OciError| wrong(error.to_string());
        let files = archive_files(form, &manifest, name).map_err(unusable)?;
        let whole = |file: &ArchiveFile| BLOCK + file.size() + padding(file.size());
        let size = files.iter().map(whole).fold(END, u64::saturating_add);
        Ok(Self { parts, files: files.into(), open: None, size, zeros: 0, ended: false })
    }

    /// As a stream, which reads where it holds up nobody.
    pub fn stream(self) -> ImageExport {
        let size = self.size;
        let pieces = stream::unfold(Some(self), |leaving| async move {
            let mut leaving = leaving?;
            let read = tokio::task::spawn_blocking(move || (leaving.piece(), leaving)).await;
            match read {
                Ok((Ok(piece), _)) if piece.is_empty() => None,
                Ok((Ok(piece), leaving)) => Some((Ok(piece), Some(leaving))),
                Ok((Err(fault), _)) => Some((Err(fault), None)),
                Err(error) => Some((Err(passing(format!("the export broke off: {error}"))), None)),
            }
        });
        ImageExport { size, pieces: Box::pin(pieces) }
    }

    /// The next piece; empty at the end.
    fn piece(&mut self) -> Result<Vec<u8>, BlobFault> {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            if self.zeros > 0 {
                let room = (PIECE - piece.len()) as u64;
                let count = self.zeros.min(room);
                piece.resize(piece.len() + usize::try_from(count).unwrap_or(0), 0);
                self.zeros -= count;
            } else if self.open.is_some() {
                self.read(&mut piece)?;
            } else if !self.next_file(&mut piece)? {
                break;
            }
        }
        Ok(piece)
    }

    /// Begins the next file with its header; `false` behind the last.
    fn next_file(&mut self, piece: &mut Vec<u8>) -> Result<bool, BlobFault> {
        let Some(file) = self.files.pop_front() else {
            if self.ended {
                return Ok(false);
            }
            (self.ended, self.zeros) = (true, END);
            return Ok(true);
        };
        // Everything is padded to blocks and a piece is of whole ones, so a header is never cut.
        piece.extend_from_slice(header(&file)?.as_bytes());
        let left = file.size();
        let (reader, digest): (Box<dyn Read + Send>, _) = match file.content {
            ArchiveContent::Bytes(bytes) => (Box::new(Cursor::new(bytes)), None),
            ArchiveContent::Blob(blob) => {
                (self.parts.open(&blob.digest)?, Some((blob.digest, Sha256::new())))
            }
        };
        self.open = Some(Open { reader, left, padding: padding(left), digest });
        Ok(true)
    }

    /// Reads on in the open file, and looks at its digest when all of it has been read.
    fn read(&mut self, piece: &mut Vec<u8>) -> Result<(), BlobFault> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let before = piece.len();
        let room = (PIECE - before) as u64;
        let read = open.reader.by_ref().take(open.left.min(room)).read_to_end(piece);
        let count =
            read.map_err(|error| passing(format!("a part of the image cannot be read: {error}")))?;
        open.left -= count as u64;
        if let Some((_, hasher)) = &mut open.digest {
            hasher.update(piece.get(before..).unwrap_or_default());
        }
        // Less than there should be.
        let short = count == 0 && open.left > 0;
        if open.left > 0 && !short {
            return Ok(());
        }
        self.zeros = open.padding;
        let Some(Open { digest: Some((digest, hasher)), .. }) = self.open.take() else {
            return Ok(());
        };
        if short || hex::encode(hasher.finalize()) != digest {
            return Err(self.parts.damaged(&digest));
        }
        Ok(())
    }
}

const fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// A file that everybody may read, of nobody and of no time.
fn header(file: &ArchiveFile) -> Result<Header, BlobFault> {
    let mut header = Header::new_ustar();
    header.set_path(&file.name).map_err(|error| wrong(error.to_string()))?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(file.size());
    header.set_cksum();
    Ok(header)
}

fn wrong(message: String) -> BlobFault {
    BlobFault { trouble: BlobTrouble::Wrong, message }
}

fn passing(message: String) -> BlobFault {
    BlobFault { trouble: BlobTrouble::Passing, message }
}

impl From<ArchiveError> for BlobFault {
    fn from(error: ArchiveError) -> Self {
        match &error {
            ArchiveError::Read { source, .. } => passing(format!("{error}: {source}")),
            _ => wrong(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "leaving_tests.rs"]
mod tests;
