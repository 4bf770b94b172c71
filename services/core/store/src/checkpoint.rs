//! The whole state as one file: checkpoint, export and migration form in one.
//!
//! A compressed (zstd) text of JSON lines: a head, each document in its envelope (two lines, see
//! [`crate::record`]), and a tail with the checksum of everything before it. Here is only the form;
//! where such files lie and which are kept is said in [`crate::shelf`].

use std::io::Read;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_model::{Document, LocalRef, Timestamp};
use uuid::Uuid;

use crate::record::{self, Checksum, Record};

const FORMAT: u32 = 1;

/// The largest checkpoint that is written or read, before compression.
pub(crate) const MAX_CHECKPOINT_BYTES: usize = 64 * 1024 * 1024;

/// Fast, and within a tenth of what slower levels reach on JSON.
const COMPRESSION_LEVEL: i32 = 3;

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The bytes are not a whole checkpoint.
    #[error("the file is damaged ({reason}): use another one")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// It was written by a newer version.
    #[error("the file has format {found}, this version knows {FORMAT}: use a newer version")]
    Format {
        /// Its format.
        found: u32,
    },
    /// The state is larger than a checkpoint may be.
    #[error("the state takes {bytes} bytes, more than {limit}: delete something first")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A document could not be written as JSON.
    #[error("a document could not be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// A file operation failed.
    #[error("the system could not {action} {path}: check the partition's space and health")]
    File {
        /// What was asked of it.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
    /// The store is not kept on disk.
    #[error("this store lives in memory only, so there is nowhere to put a checkpoint")]
    InMemory,
}

/// A whole state.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub lineage: Uuid,
    pub revision: u64,
    pub written: Timestamp,
    pub documents: Vec<Arc<Document>>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    lineage: Uuid,
    revision: u64,
    written: Timestamp,
    documents: usize,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    checksum: Checksum,
}

impl Checkpoint {
    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut text = Vec::new();
        let head = Head {
            format: FORMAT,
            lineage: self.lineage,
            revision: self.revision,
            written: self.written,
            documents: self.documents.len(),
        };
        serde_json::to_writer(&mut text, &head).map_err(CheckpointError::Encode)?;
        text.push(b'\n');
        for document in &self.documents {
            let (entry, _) = record::seal_document(document).map_err(CheckpointError::Encode)?;
            text.extend(entry.value);
            text.push(b'\n');
        }
        let tail = Tail { checksum: Checksum::of(&[&text]) };
        serde_json::to_writer(&mut text, &tail).map_err(CheckpointError::Encode)?;
        text.push(b'\n');
        if text.len() > MAX_CHECKPOINT_BYTES {
            let (bytes, limit) = (text.len(), MAX_CHECKPOINT_BYTES);
            return Err(CheckpointError::TooLarge { bytes, limit });
        }
        zstd::bulk::compress(&text, COMPRESSION_LEVEL)
            .map_err(|error| CheckpointError::Damaged { reason: error.to_string() })
    }

    /// Whether a file's bytes are a whole checkpoint, without reading what is in it.
    pub fn verify(bytes: &[u8]) -> Result<(), CheckpointError> {
        checked(bytes).map(|_| ())
    }

    /// Reads a file's bytes and believes them only as a whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (text, body_end) = checked(bytes)?;
        let (head, documents) = read_lines(text.get(..body_end).unwrap_or_default())?;
        if documents.len() != head.documents {
            return Err(damaged("it holds another number of documents than it says"));
        }
        let Head { lineage, revision, written, .. } = head;
        Ok(Self { lineage, revision, written, documents })
    }

    /// What is wanted, as far as it can still be read from a damaged file: each document whose own
    /// envelope is right, without its status, which is not worth believing after that.
    pub fn salvage(bytes: &[u8]) -> Vec<Document> {
        let (text, _) = decompress(bytes);
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let mut found: Vec<Document> = Vec::new();
        for pair in lines.windows(2) {
            let Ok(Some(document)) = read_pair(pair) else { continue };
            let mut document = Document::clone(&document);
            let known = |other: &Document| {
                other.kind == document.kind
                    && (other.metadata.id == document.metadata.id
                        || other.metadata.name == document.metadata.name)
            };
            if !found.iter().any(known) {
                document.status = serde_json::Value::Null;
                found.push(document);
            }
        }
        found
    }
}

fn damaged(reason: impl Into<String>) -> CheckpointError {
    CheckpointError::Damaged { reason: reason.into() }
}

/// The text and where its tail starts, if the tail's checksum is right.
fn checked(bytes: &[u8]) -> Result<(Vec<u8>, usize), CheckpointError> {
    let (text, fault) = decompress(bytes);
    if let Some(reason) = fault {
        return Err(damaged(reason));
    }
    let body_end = last_line_start(&text).ok_or_else(|| damaged("it has no tail"))?;
    let (body, tail) = text.split_at(body_end);
    let tail: Tail =
        serde_json::from_slice(tail).map_err(|_| damaged("its tail cannot be read"))?;
    if Checksum::of(&[body]) != tail.checksum {
        return Err(damaged("its checksum is wrong"));
    }
    Ok((text, body_end))
}

/// As much text as there is, and why there is no more. Never more than the limit, whatever the
/// file says about itself.
fn decompress(bytes: &[u8]) -> (Vec<u8>, Option<String>) {
    let mut text = Vec::new();
    let limit = MAX_CHECKPOINT_BYTES as u64;
    let result = zstd::stream::read::Decoder::new(bytes)
        .and_then(|decoder| decoder.take(limit + 1).read_to_end(&mut text));
    match result {
        Err(error) => (text, Some(error.to_string())),
        Ok(_) if text.len() > MAX_CHECKPOINT_BYTES => (Vec::new(), Some("it is too large".into())),
        Ok(_) => (text, None),
    }
}

/// Where the last line starts; `None` if the text does not end in a line.
fn last_line_start(text: &[u8]) -> Option<usize> {
    let lines = text.strip_suffix(b"\n")?;
    Some(lines.iter().rposition(|byte| *byte == b'\n')? + 1)
}

fn read_lines(body: &[u8]) -> Result<(Head, Vec<Arc<Document>>), CheckpointError> {
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let head = lines.next().ok_or_else(|| damaged("it has no head"))?;
    let head: Head =
        serde_json::from_slice(head).map_err(|_| damaged("its head cannot be read"))?;
    if head.format != FORMAT {
        return Err(CheckpointError::Format { found: head.format });
    }
    let rest: Vec<&[u8]> = lines.collect();
    let mut documents = Vec::with_capacity(rest.len() / 2);
    for pair in rest.chunks(2) {
        let document = read_pair(pair)?.ok_or_else(|| damaged("a document is cut off"))?;
        documents.push(document);
    }
    Ok((head, documents))
}

/// Reads one document from the two lines of its envelope.
fn read_pair(pair: &[&[u8]]) -> Result<Option<Arc<Document>>, CheckpointError> {
    let [head, body] = pair else { return Ok(None) };
    // The key is not in the envelope, so it is taken from the body and proved by the checksum.
    let body_of = |error: serde_json::Error| damaged(format!("a document: {error}"));
    let document: Document = serde_json::from_slice(body).map_err(body_of)?;
    let subject = LocalRef { kind: document.kind, id: document.metadata.id };
    let mut envelope = head.to_vec();
    envelope.push(b'\n');
    envelope.extend_from_slice(body);
    match Record::open(subject, &envelope) {
        Ok((Record::Present(document), _)) => Ok(Some(document)),
        Ok((Record::Removed { .. }, _)) => Ok(None),
        Err(error) => Err(damaged(format!("a document: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn sample() -> Checkpoint {
        let documents = (1..=20).map(|n| Arc::new(samples::document(n, n))).collect();
        Checkpoint { lineage: Uuid::from_u128(7), revision: 20, written: samples::now(), documents }
    }

    #[test]
    fn a_checkpoint_round_trips() {
        let before = sample();
        let after = Checkpoint::decode(&before.encode().unwrap()).unwrap();
        assert_eq!((after.lineage, after.revision), (before.lineage, before.revision));
        assert_eq!(after.documents, before.documents);
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let bytes = sample().encode().unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            // A change that leaves the text as it was may pass; one that alters it must not.
            if let Ok(read) = Checkpoint::decode(&changed) {
                assert_eq!(read.documents, sample().documents, "byte {index}");
            }
            assert!(Checkpoint::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn salvage_takes_only_documents_whose_own_checksum_is_right() {
        let text = zstd::decode_all(sample().encode().unwrap().as_slice()).unwrap();
        let wrong = String::from_utf8(text).unwrap().replacen("operation-7-", "operation-9-", 1);
        let bytes = zstd::encode_all(wrong.as_bytes(), 1).unwrap();
        assert!(Checkpoint::decode(&bytes).is_err());
        let found = Checkpoint::salvage(&bytes);
        assert_eq!(found.len(), 19);
        assert!(found.iter().all(|document| document.status.is_null()));
        assert!(Checkpoint::salvage(b"no checkpoint at all").is_empty());
    }

    #[test]
    fn a_file_that_unpacks_to_more_than_the_limit_is_refused() {
        let bytes = zstd::encode_all(std::io::repeat(0).take(100 << 20), 1).unwrap();
        assert!(Checkpoint::decode(&bytes).is_err());
        assert!(Checkpoint::salvage(&bytes).is_empty());
    }
}
