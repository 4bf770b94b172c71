//! The spool: files that come in, by their ids.
//!
//! ```text
//! <id>.json    what it is to be: name, size, digest; written first
//! <id>.part    what has come of it; its length is the offset to go on from
//! <id>.done    the whole file, written out; appears by one rename
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use skerry_upkeep::Room;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

/// Uploads that are open at once; each takes a record and its room.
const MOST_OPEN: usize = 32;
/// Uploads that bring bytes at once.
pub(super) const AT_ONCE: usize = 4;
/// No file may be larger.
const LARGEST: u64 = 16 << 40;
/// What nobody went on with for so long is removed.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Largest record that is read.
const RECORD: u64 = 64 * 1024;

/// What a caller says of a file that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadInput {
    /// The file's name, for people; at most 255 bytes.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 that it must have, 64 lower-case hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A file that is coming, or has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Upload {
    /// Its id; the source `{"upload": id}` of an image.
    #[schema(value_type = String, format = Uuid)]
    pub id: Uuid,
    /// The file's name, for people.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 that it must have, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Bytes that are there: where to go on.
    pub offset: u64,
    /// Whether it is there whole.
    pub complete: bool,
}

/// Why the spool did not do something.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// There is no such file.
    #[error("there is no such upload: it was removed, or has become an image")]
    NotFound,
    /// What was said of the file cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The disk would be too full.
    #[error(
        "there is no room: {needed} bytes are needed and {free} are free on the data partition; delete images or volumes"
    )]
    NoRoom {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// Too many are open.
    #[error("{MOST_OPEN} uploads are open already: finish or delete one")]
    TooMany,
    /// Bytes were sent for another place than where the file ends.
    #[error("the upload has {offset} bytes: go on from there")]
    Offset {
        /// Where to go on.
        offset: u64,
    },
    /// More bytes were sent than the file has.
    #[error("more was sent than the {size} bytes that were announced")]
    TooLong {
        /// Announced.
        size: u64,
    },
    /// The whole file has another digest.
    #[error(
        "the SHA-256 of what came is {found}, not {expected}: it was removed; send the file again"
    )]
    Digest {
        /// Announced.
        expected: String,
        /// Found.
        found: String,
    },
    /// Somebody else sends bytes of the same file and does not let go.
    #[error("another connection is sending this file: try again in some seconds")]
    Busy,
    /// Reading or writing failed.
    #[error("the spool cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// The spool. Clones are the same.
#[derive(Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    senders: Mutex<HashMap<Uuid, Sender>>,
    places: Arc<Semaphore>,
}

#[derive(Default, Clone)]
struct Sender {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Ends whoever sends now.
    end: CancellationToken,
}

/// The right to send bytes of one file.
pub(super) struct Turn {
    /// Cancelled when somebody else wants to send.
    pub end: CancellationToken,
    /// Nobody else sends while it is held.
    pub guard: OwnedMutexGuard<()>,
}

impl Spool {
    /// The spool in this folder, which is made when it is first needed.
    pub fn new(folder: &Path) -> Self {
        let inner = Inner {
            folder: folder.to_owned(),
            senders: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        };
        Self { inner: Arc::new(inner) }
    }

    fn place(&self, id: Uuid, ending: &str) -> PathBuf {
        self.inner.folder.join(format!("{id}.{ending}"))
    }

    /// Where bytes of a file are put.
    pub(super) fn part(&self, id: Uuid) -> PathBuf {
        self.place(id, "part")
    }

    /// Places for those who send at once.
    pub fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.places)
    }

    /// Takes the right to send bytes of a file; whoever had it is ended. The newest connection is the one that
    /// still has a client behind it.
    pub(super) async fn turn(&self, id: Uuid) -> Result<Turn, SpoolError> {
        let sender = {
            let mut senders = self.inner.senders.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds is forgotten here, so that the map stays as small as what goes on.
            senders.retain(|other, sender| *other == id || Arc::strong_count(&sender.turn) > 1);
            let sender = senders.entry(id).or_default();
            sender.end.cancel();
            sender.end = CancellationToken::new();
            sender.clone()
        };
        let turn = tokio::time::timeout(Duration::from_secs(10), sender.turn.lock_owned());
        let guard = turn.await.map_err(|_| SpoolError::Busy)?;
        Ok(Turn { end: sender.end, guard })
    }

    /// Ends whoever sends bytes of a file, and waits until it has let go.
    pub async fn stop_sender(&self, id: Uuid) -> Result<(), SpoolError> {
        self.turn(id).await.map(drop)
    }

    /// Room on the partition of the spool.
    pub fn room(&self) -> Result<Room, SpoolError> {
        self.make()?;
        let found = statvfs(&self.inner.folder).map_err(io::Error::from)?;
        let block = found.fragment_size();
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        Ok(Room::of(bytes(found.blocks()), bytes(found.blocks_available())))
    }

    /// On a node the folder is there; elsewhere it is made.
    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.inner.folder)
    }

    /// Opens an upload. Blocks.
    pub fn create(&self, id: Uuid, input: UploadInput) -> Result<Upload, SpoolError> {
        check(&input)?;
        let open = self.list()?;
        if open.len() >= MOST_OPEN {
            return Err(SpoolError::TooMany);
        }
        // What others were promised is as good as taken.
        let promised = open.iter().fold(0, |sum: u64, upload| {
            sum.saturating_add(upload.size.saturating_sub(upload.offset))
        });
        let free = self.room()?.free.saturating_sub(promised);
        if input.size > free {
            return Err(SpoolError::NoRoom { needed: input.size, free });
        }
        let text = serde_json::to_vec(&input).map_err(io::Error::other)?;
        let (record, fresh) = (self.place(id, "json"), self.place(id, "new"));
        write_whole(&fresh, &text)?;
        fs::rename(&fresh, &record)?;
        self.sync_folder()?;
        self.get(id)
    }

    /// How far an upload is. Blocks.
    pub fn get(&self, id: Uuid) -> Result<Upload, SpoolError> {
        let record = self.place(id, "json");
        let input: UploadInput = match fs::metadata(&record) {
            Ok(found) if found.len() <= RECORD => {
                serde_json::from_slice(&fs::read(&record)?).map_err(io::Error::other)?
            }
            Ok(_) => return Err(SpoolError::Invalid("the upload's record is damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SpoolError::NotFound);
            }
            Err(error) => return Err(error.into()),
        };
        let UploadInput { name, size, sha256 } = input;
        let complete = self.place(id, "done").exists();
        let offset = if complete { size } else { length(&self.part(id))? };
        Ok(Upload { id, name, size, sha256, offset, complete })
    }

    /// All uploads, ordered by name. Blocks.
    pub fn list(&self) -> Result<Vec<Upload>, SpoolError> {
        let mut found: Vec<Upload> = self
            .names()?
            .iter()
            .filter(|(_, ending)| ending == "json")
            .filter_map(|(id, _)| self.get(*id).ok())
            .collect();
        found.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(found)
    }

    /// Removes an upload. Blocks.
    pub fn remove(&self, id: Uuid) -> Result<(), SpoolError> {
        self.get(id)?;
        self.clear(id)
    }

    /// Removes every file of an id, the record last: what is half removed is still listed.
    pub(super) fn clear(&self, id: Uuid) -> Result<(), SpoolError> {
        for ending in ["part", "done", "new", "json"] {
            match fs::remove_file(self.place(id, ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the file is there whole.
    pub(super) fn is_done(&self, id: Uuid) -> bool {
        self.place(id, "done").exists()
    }

    /// Makes what has come the whole file, durably. Blocks.
    pub(super) fn finish(&self, id: Uuid) -> Result<(), SpoolError> {
        let part = self.part(id);
        // A file of no bytes has had none to come.
        OpenOptions::new().append(true).create(true).open(&part)?.sync_all()?;
        fs::rename(&part, self.place(id, "done"))?;
        self.sync_folder()
    }

    /// Removes what nobody went on with for a week, and what never had a record. Blocks.
    pub fn tidy(&self, now: SystemTime) -> Result<usize, SpoolError> {
        let (mut removed, mut names) = (0, self.names()?);
        names.sort();
        for (id, ending) in names {
            let path = self.place(id, &ending);
            let Ok(changed) = fs::metadata(&path).and_then(|found| found.modified()) else {
                continue;
            };
            let old = now.duration_since(changed).is_ok_and(|age| age > STALE);
            // A record is as old as its bytes.
            let goes_on = ending == "json" && (self.part(id).exists() || self.is_done(id));
            if old && !goes_on {
                fs::remove_file(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Ids and endings of the files that are there.
    fn names(&self) -> Result<Vec<(Uuid, String)>, SpoolError> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(&self.inner.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('.'));
            if let Some((id, ending)) = parts
                && let Ok(id) = Uuid::try_parse(id)
            {
                names.push((id, ending.to_owned()));
            }
        }
        Ok(names)
    }

    fn sync_folder(&self) -> Result<(), SpoolError> {
        Ok(File::open(&self.inner.folder)?.sync_all()?)
    }
}

fn check(input: &UploadInput) -> Result<(), SpoolError> {
    let good_name =
        (1..=255).contains(&input.name.len()) && !input.name.chars().any(char::is_control);
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let good_digest =
        input.sha256.as_ref().is_none_or(|text| text.len() == 64 && text.chars().all(hex));
    if !good_name {
        return Err(SpoolError::Invalid("name: must be 1 to 255 bytes without control characters"));
    }
    if !(1..=LARGEST).contains(&input.size) {
        return Err(SpoolError::Invalid("size: must be 1 byte to 16 TiB"));
    }
    if !good_digest {
        return Err(SpoolError::Invalid("sha256: must be 64 lower-case hex digits"));
    }
    Ok(())
}

/// Length of a file; nothing if it is not there.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(size: u64) -> UploadInput {
        UploadInput { name: "a.qcow2".to_owned(), size, sha256: None }
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn an_upload_is_what_lies_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(&folder.path().join("spool"));
        let made = spool.create(id(1), input(5)).unwrap();
        assert_eq!((made.offset, made.complete), (0, false));
        fs::write(spool.part(id(1)), "abc").unwrap();
        // Another process, after a restart.
        let spool = Spool::new(&folder.path().join("spool"));
        assert_eq!(spool.get(id(1)).unwrap().offset, 3);
        fs::write(spool.part(id(1)), "abcde").unwrap();
        spool.finish(id(1)).unwrap();
        let whole = spool.get(id(1)).unwrap();
        assert_eq!((whole.offset, whole.complete), (5, true));
        assert_eq!(spool.list().unwrap(), [whole]);
        spool.remove(id(1)).unwrap();
        assert!(matches!(spool.remove(id(1)), Err(SpoolError::NotFound)));
        assert_eq!(fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_or_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        for bad in [
            input(0),
            input(u64::MAX),
            UploadInput { name: String::new(), ..input(1) },
            UploadInput { name: "a\nb".to_owned(), ..input(1) },
            UploadInput { sha256: Some("A".repeat(64)), ..input(1) },
        ] {
            assert!(matches!(spool.create(id(1), bad), Err(SpoolError::Invalid(_))));
        }
        let all = spool.room().unwrap().free;
        // Others on the machine of this test take and give back room meanwhile.
        let most = all / 4 * 3;
        spool.create(id(1), input(most)).unwrap();
        let error = spool.create(id(2), input(most)).unwrap_err();
        assert!(matches!(error, SpoolError::NoRoom { .. }), "{error}");
        for n in 2..=32 {
            spool.create(id(n), input(1)).unwrap();
        }
        assert!(matches!(spool.create(id(33), input(1)), Err(SpoolError::TooMany)));
    }

    #[test]
    fn what_nobody_goes_on_with_is_removed_after_a_week() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        spool.create(id(1), input(5)).unwrap();
        fs::write(spool.part(id(1)), "abc").unwrap();
        fs::write(folder.path().join("README"), "not ours").unwrap();
        let later = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 3600);
        assert_eq!(spool.tidy(later(6)).unwrap(), 0);
        assert_eq!(spool.tidy(later(8)).unwrap(), 1);
        assert_eq!(spool.tidy(later(8)).unwrap(), 1, "the record goes after its bytes");
        assert!(spool.list().unwrap().is_empty() && folder.path().join("README").exists());
    }

    #[tokio::test]
    async fn the_newest_sender_has_the_turn() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path());
        let first = spool.turn(id(1)).await.unwrap();
        let other = spool.turn(id(2)).await.unwrap();
        let second = tokio::spawn({
            let spool = spool.clone();
            async move { spool.turn(id(1)).await.map(drop) }
        });
        first.end.cancelled().await;
        drop(first);
        second.await.unwrap().unwrap();
        assert!(!other.end.is_cancelled());
    }
}
