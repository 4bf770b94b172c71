//! The port over files.

#[path = "host/snapshots.rs"]
mod snapshots;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use skerry_model::{Id, PoolSource, Snapshot, Volume};
use skerry_storage::{
    BaseImage, Content, DiskFormat, DiskSeen, FileSystemSeen, KeptSeen, PlaceSeen, PlaceStep,
    PoolObserved, PoolRef, SnapshotNote, Soundness, StorageError, StorageStep, VolumeFile,
    VolumeHost, VolumeNote,
};

use crate::copy::{KeptFree, copy, free_for, room_for};
use crate::disks::PoolDisks;
use crate::erase::overwrite;
use crate::files::{
    make_folder, place, read_note, remove_all, remove_file, sync_folder, write_note,
};
use crate::folder::{limit, mount_of, overwrite_all};
use crate::places::Places;
use crate::qemu_img::QemuImg;
use crate::reserve::Reserve;
use crate::{header, observe};

/// Who may open the files of volumes beside root.
pub type Owner = Option<(u32, u32)>;

/// Pools below a folder of the data partition.
#[derive(Debug, Clone)]
pub struct LinuxDisk {
    data: PathBuf,
    owner: Owner,
    qemu_img: QemuImg,
    reserve: Reserve,
    kept_free: KeptFree,
    /// Held from a look at what is free until that has been taken, where much is taken at once.
    taking: Arc<tokio::sync::Mutex<()>>,
    disks: Option<PoolDisks>,
}

impl LinuxDisk {
    /// Pools below `data`; volumes belong to `owner`, as whom guests run.
    pub fn new(data: impl Into<PathBuf>, owner: Owner) -> Self {
        let (qemu_img, reserve) = (QemuImg::default(), Reserve::default());
        let kept_free = skerry_storage::reserve;
        let taking = Arc::default();
        Self { data: data.into(), owner, qemu_img, reserve, kept_free, taking, disks: None }
    }

    /// The same, with pools on these disks.
    #[must_use]
    pub fn with_disks(self, disks: PoolDisks) -> Self {
        Self { disks: Some(disks), ..self }
    }

    /// The same, where containers write to these folders of the data partition.
    #[must_use]
    pub fn with_containers(self, folders: Vec<PathBuf>) -> Self {
        Self { reserve: self.reserve.with_containers(folders), ..self }
    }

    /// Where a pool's files lie. What is below must not be touched while its file system is not mounted there.
    fn named(&self, pool: &PoolRef) -> Places {
        Places::new(match (&pool.source, &self.disks) {
            (PoolSource::Disk(_), Some(disks)) => disks.target(&pool.name),
            (PoolSource::FileSystem(wanted), Some(disks)) => {
                disks.kept().folder(&pool.name, wanted)
            }
            _ => self.data.join(pool.name.as_str()),
        })
    }

    fn places(&self, pool: &PoolRef) -> Result<Places, StorageError> {
        let away = |message: &str| {
            let (pool, message) = (pool.name.clone(), message.to_owned());
            Err(StorageError::PoolAway { pool, message })
        };
        let disks = self.disks.as_ref();
        match &pool.source {
            PoolSource::Disk(_) if !disks.is_some_and(|disks| disks.is_mounted(pool)) => {
                away("its disk is not mounted")
            }
            PoolSource::FileSystem(wanted)
                if !disks.is_some_and(|disks| disks.kept().is_usable(pool, wanted)) =>
            {
                away("its file system is not mounted, or the pool's folder is not on it")
            }
            _ => Ok(self.named(pool)),
        }
    }

    fn disks(&self) -> Result<&PoolDisks, StorageError> {
        self.disks.as_ref().ok_or_else(|| StorageError::Refused {
            what: "making a pool of a disk",
            message: "this machine's disks cannot be taken".to_owned(),
        })
    }

    /// Lets guests open a file that is being made.
    fn give(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        match self.owner {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    async fn create(
        &self,
        places: &Places,
        note: &VolumeNote,
        size: Option<u64>,
        content: &Content,
    ) -> Result<(), StorageError> {
        let id = note.volume;
        let target = places.volume(id);
        if target.exists() {
            return Ok(());
        }
        if *content == Content::Folder {
            return self.create_folder(places, note).await;
        }
        let making = places.making("create", id);
        on_disk("making a volume", {
            let making = making.clone();
            move || remove_file(&making)
        })
        .await?;
        let base = match content {
            // Made above.
            Content::Folder => None,
            Content::Empty { preallocated } => {
                self.create_empty(places, &making, size.unwrap_or(0), *preallocated).await?;
                None
            }
            Content::Image(image) => {
                self.create_on(places, &making, image, size).await?;
                Some(image.sha256.clone())
            }
            Content::Volume(other) => {
                let from = (places.volume(*other), places.volume_note(*other));
                self.copy_of(places, from, &making, size).await?
            }
            Content::Snapshot(snapshot, volume) => {
                let folder = places.snapshot(*snapshot);
                let from = (Places::kept(&folder, *volume), folder.join(format!("{volume}.json")));
                self.copy_of(places, from, &making, size).await?
            }
        };
        self.reserve.take_in(places, &making).await;
        let (this, places) = (self.clone(), places.clone());
        let note = VolumeNote { base, ..note.clone() };
        on_disk("making a volume", move || {
            this.give(&making)?;
            write_note(&places.volume_note(id), &places.making("note", id), &note)?;
            place(&making, &target)
        })
        .await
    }

    /// A folder, and the limit of what fits. Without the right to be held to its size it is a folder all the same.
    async fn create_folder(&self, places: &Places, note: &VolumeNote) -> Result<(), StorageError> {
        let id = note.volume;
        let (target, making) = (places.folder(id), places.making("create", id));
        if !target.exists() {
            let (inner, note) = (places.clone(), note.clone());
            let target = target.clone();
            on_disk("making a volume", move || {
                remove_all(&making)?;
                fs::create_dir(&making)?;
                // Whoever a container runs as may write; others than containers cannot come here.
                fs::set_permissions(&making, Permissions::from_mode(0o777))?;
                write_note(&inner.volume_note(id), &inner.making("note", id), &note)?;
                place(&making, &target)
            })
            .await?;
        }
        self.hold(places, id, note.size_bytes).await
    }

    async fn hold(
        &self,
        places: &Places,
        volume: Id<Volume>,
        size: Option<u64>,
    ) -> Result<(), StorageError> {
        let folder = places.folder(volume);
        let on = folder.clone();
        let mount = on_disk("looking for the file system", move || mount_of(&on)).await?;
        if let Some(size) = size {
            limit(&mount, &folder, volume, size).await;
        }
        Ok(())
    }

    async fn grow_folder(
        &self,
        places: &Places,
        volume: Id<Volume>,
        size: u64,
    ) -> Result<(), StorageError> {
        let inner = places.clone();
        on_disk("growing a volume", move || {
            let Some(note) = read_note::<VolumeNote>(&inner.volume_note(volume)) else {
                let message = "the note beside the folder cannot be read";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            };
            let size_bytes = Some(note.size_bytes.unwrap_or(0).max(size));
            let note = VolumeNote { size_bytes, ..note };
            write_note(&inner.volume_note(volume), &inner.making("note", volume), &note)
        })
        .await?;
        self.hold(places, volume, Some(size)).await
    }

    /// A volume of zeros. Space that is taken at once comes out of what is free beyond the reserve, or nothing is taken.
    async fn create_empty(
        &self,
        places: &Places,
        making: &Path,
        size: u64,
        preallocated: bool,
    ) -> Result<(), StorageError> {
        if !preallocated {
            return self.qemu_img.create(making, size, false).await;
        }
        let _turn = self.taking.lock().await;
        let (tmp, kept_free) = (places.tmp(), self.kept_free);
        on_disk("making a volume", move || free_for(size, &tmp, kept_free)).await?;
        let made = self.qemu_img.create(making, size, true).await;
        if made.is_err() {
            // What was taken so far would be missed by others until the next try.
            let making = making.to_owned();
            on_disk("making a volume", move || remove_file(&making)).await?;
        }
        made
    }

    /// A volume that shares data with an image. The pool keeps a copy of the image, so that nothing
    /// outside it can take data away from its volumes.
    async fn create_on(
        &self,
        places: &Places,
        making: &Path,
        image: &BaseImage,
        size: Option<u64>,
    ) -> Result<(), StorageError> {
        let what = "making a volume from an image";
        let base = places.base(&image.sha256, image.format);
        if !base.exists() {
            self.bring_base(places, image, false).await?;
        }
        let (to, format) = (base.clone(), image.format);
        let own_size = on_disk(what, move || match format {
            DiskFormat::Raw => fs::metadata(&to).map(|meta| meta.len().div_ceil(512) * 512),
            DiskFormat::Qcow2 => sound_base(&to),
        })
        .await?;
        let size = size.unwrap_or(0).max(own_size);
        self.qemu_img.create_on(making, &base, image.format, size).await
    }

    /// Puts the pool's own copy of an image in its place, over one that may be there. What was read for it is compared with
    /// the image's digest; where blocks are shared nothing is read, and that is done only if `always`.
    async fn bring_base(
        &self,
        places: &Places,
        image: &BaseImage,
        always: bool,
    ) -> Result<(), StorageError> {
        let to = places.base(&image.sha256, image.format);
        let temporary = places.making("base", &image.sha256);
        let (image, tmp, kept_free) = (image.clone(), places.tmp(), self.kept_free);
        on_disk("copying an image into the pool", move || {
            room_for(&[&image.path], &tmp, kept_free)?;
            let shared = copy(&image.path, &temporary)?;
            if (always || !shared) && !is_intact(&temporary, &image.sha256)? {
                remove_file(&temporary)?;
                let message = format!(
                    "{} has other bytes than were recorded: the image is damaged; import it again",
                    image.path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            fs::set_permissions(&temporary, Permissions::from_mode(0o444))?;
            place(&temporary, &to)
        })
        .await
    }

    /// A copy of a volume's file; returns the image that it shares data with.
    async fn copy_of(
        &self,
        places: &Places,
        (from, note): (PathBuf, PathBuf),
        making: &Path,
        size: Option<u64>,
    ) -> Result<Option<String>, StorageError> {
        let (to, tmp, kept_free) = (making.to_owned(), places.tmp(), self.kept_free);
        let (own_size, base) = on_disk("copying a volume", move || {
            room_for(&[&from], &tmp, kept_free)?;
            copy(&from, &to)?;
            let note: Option<VolumeNote> = read_note(&note);
            Ok((header::read(&to)?.size, note.and_then(|note| note.base)))
        })
        .await?;
        self.qemu_img.check(making).await?;
        if let Some(size) = size.filter(|size| *size > own_size) {
            self.qemu_img.grow(making, size).await?;
        }
        Ok(base)
    }

    async fn remove(
        &self,
        places: &Places,
        volume: Id<Volume>,
        erase: bool,
    ) -> Result<(), StorageError> {
        let places = places.clone();
        on_disk("removing a volume", move || {
            let path = places.volume(volume);
            if erase && path.exists() {
                overwrite(&path)?;
            }
            remove_file(&path)?;
            remove_folder(&places, volume, erase)?;
            remove_file(&places.volume_note(volume))?;
            sync_folder(&places.volumes())
        })
        .await
    }

    async fn step(&self, places: &Places, step: &StorageStep) -> Result<(), StorageError> {
        match step {
            StorageStep::Create { note, size_bytes, content } => {
                on_disk("making the pool's folders", {
                    let folders = places.folders();
                    move || folders.iter().try_for_each(|folder| make_folder(folder))
                })
                .await?;
                self.create(places, note, *size_bytes, content).await
            }
            StorageStep::Grow { volume, size_bytes } if places.folder(*volume).is_dir() => {
                self.grow_folder(places, *volume, *size_bytes).await
            }
            StorageStep::Grow { volume, size_bytes } => {
                let path = places.volume(*volume);
                let now = header::read(&path).map(|header| header.size);
                // Shrinking would cut data off; the program would refuse it, too.
                if now.is_ok_and(|now| now >= *size_bytes) {
                    return Ok(());
                }
                self.qemu_img.grow(&path, *size_bytes).await
            }
            StorageStep::Remove { volume, erase } => self.remove(places, *volume, *erase).await,
            StorageStep::Take { note } => self.take(places, note).await,
            StorageStep::Examine { snapshot, volumes } => {
                self.examine(places, *snapshot, volumes).await
            }
            StorageStep::Revert { snapshot, volume } => {
                self.revert(places, *snapshot, *volume).await
            }
            StorageStep::Drop { snapshot } => {
                let (from, to) = (places.snapshot(*snapshot), places.making("drop", snapshot));
                let snapshots = places.snapshots();
                on_disk("removing a snapshot", move || {
                    remove_all(&to)?;
                    match fs::rename(&from, &to) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                        result => result?,
                    }
                    sync_folder(&snapshots)?;
                    remove_all(&to)
                })
                .await
            }
            StorageStep::RenewBase { image } => self.bring_base(places, image, true).await,
            StorageStep::DropBase { sha256 } => {
                let paths = [DiskFormat::Qcow2, DiskFormat::Raw].map(|f| places.base(sha256, f));
                on_disk("removing an unused image", move || {
                    paths.iter().try_for_each(|path| remove_file(path))
                })
                .await
            }
        }
    }
}

/// Out of its place first, so that what is half removed is not taken for a volume.
fn remove_folder(places: &Places, volume: Id<Volume>, erase: bool) -> io::Result<()> {
    let (from, to) = (places.folder(volume), places.making("remove", volume));
    if from.is_dir() {
        remove_all(&to)?;
        fs::rename(&from, &to)?;
        sync_folder(&places.volumes())?;
    }
    if erase && to.is_dir() {
        overwrite_all(&to)?;
    }
    remove_all(&to)
}

/// Whether a file has the bytes that a SHA-256 names.
fn is_intact(path: &Path, sha256: &str) -> io::Result<bool> {
    let (mut file, mut hash) = (fs::File::open(path)?, Sha256::new());
    io::copy(&mut file, &mut hash)?;
    Ok(hex::encode(hash.finalize()) == sha256)
}

/// The size of an image that names no other file.
fn sound_base(path: &Path) -> io::Result<u64> {
    let header = header::read(path)?;
    if header.has_backing || header.has_external_data {
        let message = format!("{} names another file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(header.size)
}

/// Runs file work where it may block, and sorts its errors.
async fn on_disk<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StorageError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(|source| {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StorageError::NoSpace { what }
            }
            io::ErrorKind::InvalidData => {
                StorageError::Refused { what, message: source.to_string() }
            }
            _ => StorageError::Files { what, source },
        }
    })
}

#[async_trait]
impl VolumeHost for LinuxDisk {
    async fn observe(&self, pool: &PoolRef) -> Result<PoolObserved, StorageError> {
        let places = self.places(pool)?;
        let seen = tokio::task::spawn_blocking(move || observe::pool(&places)).await;
        seen.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(|error| {
            StorageError::PoolAway { pool: pool.name.clone(), message: error.to_string() }
        })
    }

    async fn observe_volume(
        &self,
        pool: &PoolRef,
        volume: Id<Volume>,
    ) -> Result<Option<VolumeFile>, StorageError> {
        let places = self.places(pool)?;
        on_disk("looking at a volume", move || observe::volume(&places, volume)).await
    }

    async fn keep_reserve(
        &self,
        pool: &PoolRef,
        reserve_bytes: u64,
    ) -> Result<Option<u64>, StorageError> {
        let what = "keeping the reserve of a pool";
        let kept = self.reserve.keep(&self.places(pool)?, reserve_bytes).await;
        kept.map_err(|source| StorageError::Files { what, source })
    }

    async fn apply(&self, pool: &PoolRef, step: &StorageStep) -> Result<(), StorageError> {
        let places = self.places(pool)?;
        let done = self.step(&places, step).await;
        self.reserve.renew(&places).await;
        done
    }

    async fn check(&self, pool: &PoolRef, volume: Id<Volume>) -> Result<Soundness, StorageError> {
        let places = self.places(pool)?;
        if places.folder(volume).is_dir() {
            // A power cut may have come between the folder and its limit.
            let note = read_note::<VolumeNote>(&places.volume_note(volume));
            self.hold(&places, volume, note.and_then(|note| note.size_bytes)).await?;
            return Ok(Soundness::Sound);
        }
        // A power cut, or an earlier version of the node, may have left it out.
        self.reserve.take_in(&places, &places.volume(volume)).await;
        self.qemu_img.check(&places.volume(volume)).await
    }

    async fn check_base(&self, pool: &PoolRef, sha256: &str) -> Result<bool, StorageError> {
        let (places, sha256) = (self.places(pool)?, sha256.to_owned());
        on_disk("reading the copy of an image", move || {
            for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
                match is_intact(&places.base(&sha256, format), &sha256) {
                    Ok(true) => {}
                    // It may have been removed just now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    // Sectors that cannot be read are damage too.
                    Ok(false) | Err(_) => return Ok(false),
                }
            }
            Ok(true)
        })
        .await
    }

    async fn copy_out(
        &self,
        pool: &PoolRef,
        volume: Id<Volume>,
        snapshot: Option<Id<Snapshot>>,
        to: &Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, StorageError> {
        let (places, to) = (self.places(pool)?, to.to_owned());
        let kept_free = self.kept_free;
        let copied = move || {
            let (file, note) = match snapshot {
                Some(snapshot) => {
                    let folder = places.snapshot(snapshot);
                    (Places::kept(&folder, volume), folder.join(format!("{volume}.json")))
                }
                None => (places.volume(volume), places.volume_note(volume)),
            };
            // It lies on the node's own partition, whatever the pool lies on.
            room_for(&[&file], to.parent().unwrap_or(&to), kept_free)?;
            copy(&file, &to)?;
            let Some(base) = read_note::<VolumeNote>(&note).and_then(|note| note.base) else {
                return Ok(None);
            };
            let there = [DiskFormat::Qcow2, DiskFormat::Raw]
                .map(|format| (places.base(&base, format), format))
                .into_iter()
                .find(|(path, _)| path.exists());
            let gone = || io::Error::other("the image that it shares data with is gone");
            there.map(Some).ok_or_else(gone)
        };
        on_disk("copying a volume", copied).await
    }

    async fn disk(&self, id: &str) -> Result<Option<DiskSeen>, StorageError> {
        self.disks()?.disk(id).await
    }

    async fn place(&self, pool: &PoolRef) -> Result<PlaceSeen, StorageError> {
        match &pool.source {
            PoolSource::DataPartition | PoolSource::FileSystem(_) => {
                Ok(PlaceSeen { file_system: true, mounted: true, disk: None })
            }
            PoolSource::Disk(disk) => self.disks()?.place(pool, &disk.id).await,
        }
    }

    async fn file_system(&self, uuid: &str) -> Result<Option<FileSystemSeen>, StorageError> {
        let (kept, uuid) = (self.disks()?.kept().clone(), uuid.to_owned());
        on_disk("looking for a file system", move || Ok(kept.look(&uuid, None))).await
    }

    async fn kept(&self, pool: &PoolRef) -> Result<KeptSeen, StorageError> {
        let PoolSource::FileSystem(wanted) = &pool.source else { return Ok(KeptSeen::default()) };
        let kept = self.disks()?.kept().clone();
        let (pool, wanted) = (pool.clone(), wanted.clone());
        on_disk("looking for a file system", move || Ok(kept.seen(&pool, &wanted))).await
    }

    async fn apply_place(&self, pool: &PoolRef, step: PlaceStep) -> Result<(), StorageError> {
        match &pool.source {
            PoolSource::DataPartition => Ok(()),
            PoolSource::Disk(disk) => self.disks()?.apply(pool, &disk.id, step).await,
            PoolSource::FileSystem(wanted) => self.disks()?.kept().apply(pool, wanted, step).await,
        }
    }

    async fn recover(&self, pool: &PoolRef) -> Result<(), StorageError> {
        let places = self.places(pool)?;
        on_disk("tidying a pool", move || {
            remove_all(&places.tmp())?;
            places.folders().iter().try_for_each(|folder| make_folder(folder))
        })
        .await
    }

    fn path(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf {
        self.named(pool).volume(volume)
    }

    fn folder(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf {
        self.named(pool).folder(volume)
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
