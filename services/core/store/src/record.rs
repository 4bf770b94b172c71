//! The envelope around everything that the store writes, and what it proves.
//!
//! An envelope is two lines of JSON: a head with format number, kind, revision and checksum, and the
//! body. The checksum (BLAKE3) covers the key under which the record lies, the head's other fields and
//! the body, so that a record that was changed, or that turns up in another's place, is not believed.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skerry_model::{
    Alarm, Config, Document, DocumentError, Image, Job, Kind, LocalRef, Network, Node, Pod, Pool,
    Port, Registry, ResourceKind, Secret, Session, Snapshot, User, Vm, Volume,
};
use uuid::Uuid;

use crate::journal::Entry;

/// The format of envelopes and of what is in them.
const FORMAT: u32 = 1;

/// The largest envelope that is written or read.
pub(crate) const MAX_RECORD_BYTES: usize = 256 * 1024;

/// Under what key the manifest lies. No resource's key can be this.
const MANIFEST_KEY: &[u8] = b"manifest";

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Checksum([u8; 32]);

impl Checksum {
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            // The length keeps `ab` + `c` apart from `a` + `bc`.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Adds to or takes from a sum of checksums that does not depend on order.
    pub fn toggle(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine ^= theirs;
        }
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}
impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        blake3::Hash::from_bytes(checksum.0).to_hex().to_string()
    }
}
impl TryFrom<String> for Checksum {
    type Error = blake3::HexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    kind: String,
    revision: u64,
    checksum: Checksum,
}

/// Why an envelope is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRecord {
    #[error("it is larger than {MAX_RECORD_BYTES} bytes")]
    TooLarge,
    #[error("its head cannot be read")]
    Head,
    #[error("it has format {0}, which this version does not know")]
    Format(u32),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its body does not fit: {0}")]
    Body(String),
}

/// What an envelope holds, once believed.
pub(crate) struct Opened<'a> {
    pub kind: String,
    pub revision: u64,
    pub checksum: Checksum,
    pub body: &'a [u8],
}

fn checksum(key: &[u8], kind: &str, revision: u64, body: &[u8]) -> Checksum {
    let (format, revision) = (FORMAT.to_le_bytes(), revision.to_le_bytes());
    Checksum::of(&[key, &format, kind.as_bytes(), &revision, body])
}

/// Puts a body into an envelope. Gives the bytes and their checksum.
pub(crate) fn seal(
    key: &[u8],
    kind: &str,
    revision: u64,
    body: &impl Serialize,
) -> Result<(Vec<u8>, Checksum), serde_json::Error> {
    let body = serde_json::to_vec(body)?;
    let checksum = checksum(key, kind, revision, &body);
    let head = Head { format: FORMAT, kind: kind.to_owned(), revision, checksum };
    let mut bytes = serde_json::to_vec(&head)?;
    bytes.push(b'\n');
    bytes.extend(body);
    Ok((bytes, checksum))
}

/// Checks an envelope that was found under `key`.
pub(crate) fn open<'a>(key: &[u8], bytes: &'a [u8]) -> Result<Opened<'a>, BadRecord> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(BadRecord::TooLarge);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(BadRecord::Head)?;
    let (head, body) = bytes.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let head: Head = serde_json::from_slice(head).map_err(|_| BadRecord::Head)?;
    if head.format != FORMAT {
        return Err(BadRecord::Format(head.format));
    }
    if checksum(key, &head.kind, head.revision, body) != head.checksum {
        return Err(BadRecord::Checksum);
    }
    Ok(Opened { kind: head.kind, revision: head.revision, checksum: head.checksum, body })
}

/// The key of a resource's record.
pub(crate) fn key_of(subject: LocalRef) -> Vec<u8> {
    format!("r/{}/{}", subject.kind, subject.id).into_bytes()
}

/// What a key says that its record is about.
pub(crate) fn subject_of(key: &[u8]) -> Option<LocalRef> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix("r/")?;
    let (kind, id) = text.split_once('/')?;
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind)?;
    Some(LocalRef { kind, id: Uuid::try_parse(id).ok()? })
}

/// What lies under a resource's key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// The resource.
    Present(Arc<Document>),
    /// It was removed at this revision. Kept until no checkpoint holds the resource any more, so
    /// that none can bring it back.
    Removed { revision: u64 },
}

#[derive(Serialize, Deserialize)]
struct Removed {
    removed: LocalRef,
}

const REMOVED: &str = "Removed";

impl Record {
    pub fn revision(&self) -> u64 {
        match self {
            Self::Present(document) => document.metadata.revision,
            Self::Removed { revision } => *revision,
        }
    }

    /// Reads the record that was found under the key of `subject`.
    pub fn open(subject: LocalRef, bytes: &[u8]) -> Result<(Self, Checksum), BadRecord> {
        let opened = open(&key_of(subject), bytes)?;
        let fault = |error: serde_json::Error| BadRecord::Body(error.to_string());
        if opened.kind == REMOVED {
            let body: Removed = serde_json::from_slice(opened.body).map_err(fault)?;
            if body.removed != subject {
                return Err(BadRecord::Body("it is about another resource".to_owned()));
            }
            return Ok((Self::Removed { revision: opened.revision }, opened.checksum));
        }
        let document: Document = serde_json::from_slice(opened.body).map_err(fault)?;
        let (kind, meta) = (document.kind, &document.metadata);
        if kind != subject.kind || meta.id != subject.id || meta.revision != opened.revision {
            return Err(BadRecord::Body("it is about another resource".to_owned()));
        }
        check_shape(&document).map_err(|error| BadRecord::Body(error.to_string()))?;
        Ok((Self::Present(Arc::new(document)), opened.checksum))
    }
}

/// The journal's record of a resource that exists.
pub(crate) fn seal_document(document: &Document) -> Result<(Entry, Checksum), serde_json::Error> {
    let subject = LocalRef { kind: document.kind, id: document.metadata.id };
    let key = key_of(subject);
    let (value, checksum) = seal(&key, document.kind.name(), document.metadata.revision, document)?;
    Ok((Entry { key, value }, checksum))
}

/// The journal's record of a resource that was removed.
pub(crate) fn seal_removed(
    subject: LocalRef,
    revision: u64,
) -> Result<(Entry, Checksum), serde_json::Error> {
    let key = key_of(subject);
    let (value, checksum) = seal(&key, REMOVED, revision, &Removed { removed: subject })?;
    Ok((Entry { key, value }, checksum))
}

/// What the journal must hold: written with every batch, in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Which store this is; another installation's files are not mixed with this one's.
    pub lineage: Uuid,
    /// The store's revision.
    pub revision: u64,
    /// How many records there are.
    pub records: u64,
    /// The sum of their checksums.
    pub sum: Checksum,
}

impl Manifest {
    pub fn seal(&self) -> Result<Entry, serde_json::Error> {
        let (value, _) = seal(MANIFEST_KEY, "Manifest", self.revision, self)?;
        Ok(Entry { key: MANIFEST_KEY.to_vec(), value })
    }

    pub fn is_key(key: &[u8]) -> bool {
        key == MANIFEST_KEY
    }

    pub fn open(bytes: &[u8]) -> Result<Self, BadRecord> {
        let opened = open(MANIFEST_KEY, bytes)?;
        serde_json::from_slice(opened.body).map_err(|error| BadRecord::Body(error.to_string()))
    }
}

/// Whether a document has the shape of its kind, so that no later typed read can fail.
pub(crate) fn check_shape(document: &Document) -> Result<(), DocumentError> {
    fn check<K: ResourceKind>(document: &Document) -> Result<(), DocumentError> {
        document.to_resource::<K>().map(|_| ())
    }
    match document.kind {
        Kind::Node => check::<Node>(document),
        Kind::User => check::<User>(document),
        Kind::Session => check::<Session>(document),
        Kind::Network => check::<Network>(document),
        Kind::Port => check::<Port>(document),
        Kind::Registry => check::<Registry>(document),
        Kind::Image => check::<Image>(document),
        Kind::Pool => check::<Pool>(document),
        Kind::Volume => check::<Volume>(document),
        Kind::Snapshot => check::<Snapshot>(document),
        Kind::Config => check::<Config>(document),
        Kind::Secret => check::<Secret>(document),
        Kind::Vm => check::<Vm>(document),
        Kind::Pod => check::<Pod>(document),
        Kind::Job => check::<Job>(document),
        Kind::Alarm => check::<Alarm>(document),
    }
}
