//! The library of image files: takes copies of what came in, looks into them, moves them to their place.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, chown};
use sha2::{Digest, Sha256};
use skerry_model::ImageFormat;
use skerry_upkeep::{
    ArchiveReader, Arrived, BootParts, DiskBase, FileDigest, HEAD, ImageLibrary, Incoming,
    IntakeRefusal, LibraryError, LibraryKeep, MediaList, Meter, Promises, Room, check_head,
    judge_check, judge_disk,
};
use uuid::Uuid;

use super::folders::FolderPlace;
use super::incoming::{announced, copy, missing, open_incoming, part_length, take};
use super::media::{Media, Reading};
use super::places::DiskPlaces;
use super::tool::{QemuImg, QemuImgError};
use crate::copy::can_share;

/// Bytes between two looks at the meter.
pub(super) const STEP: u64 = 16 << 20;
/// The library on the data partition.
#[derive(Clone)]
pub struct LinuxLibrary {
    places: DiskPlaces,
    tool: QemuImg,
    media: Option<Media>,
    archives: Arc<dyn ArchiveReader>,
    promises: Promises,
    /// Set once files of the library were seen to share blocks with their copies.
    shares: Arc<OnceLock<()>>,
}

impl LinuxLibrary {
    /// The library in these places, with who looks into container images. Nothing is made yet.
    pub fn new(places: DiskPlaces, tool: QemuImg, archives: Arc<dyn ArchiveReader>) -> Self {
        let (promises, shares) = (Promises::default(), Arc::default());
        Self { places, tool, media: None, archives, promises, shares }
    }

    /// The same, which mounts import media itself.
    #[must_use]
    pub fn with_media(self, media: Media) -> Self {
        Self { media: Some(media), ..self }
    }

    /// Makes the medium readable on which something lies. `long`: whether another import is waited for.
    async fn medium(
        &self,
        what: &Incoming,
        long: bool,
    ) -> Result<Option<Reading<'_>>, LibraryError> {
        match (what, &self.media) {
            (Incoming::Medium(path), Some(media)) => media.read(path, long).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Where things lie.
    pub(super) const fn places(&self) -> &DiskPlaces {
        &self.places
    }

    /// Who reads archives.
    pub(super) fn archives(&self) -> &dyn ArchiveReader {
        self.archives.as_ref()
    }

    /// The tool.
    pub(super) const fn tool(&self) -> &QemuImg {
        &self.tool
    }

    /// Whether a copy of a file of the library takes no room.
    pub(super) async fn shares(&self) -> Result<bool, LibraryError> {
        let shares = Arc::clone(&self.shares);
        self.blocking(move |places| {
            if shares.get().is_some() {
                return Ok(true);
            }
            let trial = places.all_work().join("share");
            folder(&places.images())?;
            folder(&trial)?;
            let shared = can_share(&trial);
            // A disk that is full now cannot tell, so a no is asked for again.
            if shared {
                shares.get_or_init(|| ());
            }
            remove_tree(&trial)?;
            Ok(shared)
        })
        .await
    }

    /// Size of what came in, and the room that a copy takes.
    async fn arrived(
        &self,
        what: &Incoming,
        place: Option<FolderPlace>,
    ) -> Result<Option<Arrived>, LibraryError> {
        let (shares, what) = (self.shares().await?, what.clone());
        self.blocking(move |places| {
            let Some(file) = open_incoming(places, &what, place.as_ref())? else { return Ok(None) };
            let found = file.metadata().map_err(fault("look at", places.data()))?;
            let images = places.images();
            let here = fs::metadata(&images).map_err(fault("look at", &images))?.dev();
            let copy = if shares && found.dev() == here { 0 } else { found.len() };
            Ok(Some(Arrived { size: found.len(), copy }))
        })
        .await
    }

    async fn take_from(
        &self,
        job: Uuid,
        what: &Incoming,
        place: Option<FolderPlace>,
        meter: Arc<dyn Meter>,
    ) -> Result<u64, LibraryError> {
        // What an earlier run left gives its room back first.
        self.blocking(move |places| make_work(places, job)).await?;
        let arrived = self.arrived(what, place.clone()).await?.ok_or_else(|| missing(what))?;
        self.claim(job, arrived.copy).await?;
        let what = what.clone();
        self.blocking(move |places| take(places, job, &what, place.as_ref(), meter.as_ref())).await
    }

    /// Runs blocking work on a thread of its own.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DiskPlaces) -> Result<T, LibraryError> + Send + 'static,
    ) -> Result<T, LibraryError> {
        let places = self.places.clone();
        match tokio::task::spawn_blocking(move || work(&places)).await {
            Ok(result) => result,
            // Only while the process ends, or if the work panicked.
            Err(_) => Err(LibraryError::Stopped),
        }
    }
}

pub(super) fn fault<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> LibraryError + use<'a> {
    move |source| LibraryError::Io { action, path: path.to_owned(), source }
}

/// Makes a folder that everybody on the node may enter; one that is there is good.
pub(super) fn folder(path: &Path) -> Result<(), LibraryError> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(fault("make", path))?;
    // The process's own mask would leave it closed to the tool's user.
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(fault("open", path))
}

/// Opens a file below a folder without following any link, and only if it is a plain file with one name.
pub(super) fn open_plain(base: &Path, below: &str) -> Result<Option<File>, LibraryError> {
    let path = base.join(below);
    let open = || -> io::Result<OwnedFd> {
        let base = File::open(base)?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        Ok(openat2(&base, below, how)?)
    };
    let file = match open() {
        Ok(descriptor) => File::from(descriptor),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fault("open", &path)(source)),
    };
    plain(file, &path).map(Some)
}

pub(super) fn plain(file: File, path: &Path) -> Result<File, LibraryError> {
    let found = file.metadata().map_err(fault("look at", path))?;
    if found.is_file() && found.nlink() == 1 {
        return Ok(file);
    }
    let source = io::Error::other("it is not a plain file with one name");
    Err(fault("take", path)(source))
}

pub(super) fn room(places: &DiskPlaces) -> Result<Room, LibraryError> {
    let path = places.data();
    let found = statvfs(path).map_err(|error| fault("look at", path)(error.into()))?;
    let block = found.fragment_size();
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    Ok(Room::of(bytes(found.blocks()), bytes(found.blocks_available())))
}

/// The folder of a job, empty: what an earlier run of it left gives its room back first.
pub(super) fn make_work(places: &DiskPlaces, job: Uuid) -> Result<(), LibraryError> {
    remove_tree(&places.work(job))?;
    folder(&places.images())?;
    folder(&places.all_work())?;
    folder(&places.work(job))
}

/// An empty folder that the tool's user may write into.
pub(super) fn make_out(
    places: &DiskPlaces,
    job: Uuid,
    owner: Option<(u32, u32)>,
) -> Result<(), LibraryError> {
    let made = places.out(job);
    remove_tree(&made)?;
    folder(&made)?;
    if let Some((user, group)) = owner {
        chown(&made, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
            .map_err(|error| fault("hand over", &made)(error.into()))?;
    }
    Ok(())
}

/// Makes what the tool wrote the job's file. The tool's user owns what it made, so it is copied: nobody else may have
/// the library's files open.
pub(super) fn take_over(places: &DiskPlaces, job: Uuid) -> Result<(), LibraryError> {
    let (out, source) = (places.out(job), places.source(job));
    let made = out.join("disk");
    let file = open_plain(&out, "disk")?.ok_or_else(|| LibraryError::Tool {
        tool: "qemu-img",
        detail: "it made no file".to_owned(),
    })?;
    let size = file.metadata().map_err(fault("look at", &made))?.len();
    remove_file(&source)?;
    remove_file(&places.lent(job))?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o644);
    let copied = options.open(&source).map_err(fault("make", &source))?;
    copy(&file, &copied, size, &skerry_upkeep::Quiet).map_err(fault("copy to", &source))?;
    copied.set_permissions(Permissions::from_mode(0o644)).map_err(fault("open", &source))?;
    remove_tree(&out)
}

pub(super) fn digest(path: &Path, meter: &dyn Meter) -> Result<FileDigest, LibraryError> {
    let mut file = File::open(path).map_err(fault("open", path))?;
    let total = file.metadata().map_err(fault("look at", path))?.len();
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).map_err(fault("read", path))?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(count as u64);
        meter.bytes(size, total);
        if meter.is_stopped() {
            return Err(LibraryError::Stopped);
        }
    }
    Ok(FileDigest { sha256: hex::encode(hash.finalize()), size })
}

fn head_of(path: &Path) -> Result<(Vec<u8>, u64), LibraryError> {
    let file = File::open(path).map_err(fault("open", path))?;
    let size = file.metadata().map_err(fault("look at", path))?.len();
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head).map_err(fault("read", path))?;
    Ok((head, size))
}

fn sync(path: &Path) -> Result<(), LibraryError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(fault("flush", path))
}

fn adopt(places: &DiskPlaces, job: Uuid, sha256: &str) -> Result<PathBuf, LibraryError> {
    adopt_file(places, &places.source(job), sha256)
}

/// Moves a file of a job into the library, durably.
pub(super) fn adopt_file(
    places: &DiskPlaces,
    source: &Path,
    sha256: &str,
) -> Result<PathBuf, LibraryError> {
    let target = places.images().join(sha256);
    match fs::metadata(source) {
        Ok(_) => {}
        // A run before this one came as far as this.
        Err(error) if error.kind() == io::ErrorKind::NotFound && target.exists() => {
            return Ok(target);
        }
        Err(error) => return Err(fault("look at", source)(error)),
    }
    fs::set_permissions(source, Permissions::from_mode(0o444)).map_err(fault("seal", source))?;
    sync(source)?;
    // A file of this name has these bytes, or has been damaged and is mended by this.
    fs::rename(source, &target).map_err(fault("move to", &target))?;
    sync(&places.images())?;
    Ok(target)
}

pub(super) fn remove_tree(path: &Path) -> Result<(), LibraryError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", path)(error)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), LibraryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Names in a folder; none if it is not there.
pub(super) fn names(path: &Path) -> Result<Vec<String>, LibraryError> {
    match fs::read_dir(path) {
        Ok(entries) => {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            Ok(names.collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(fault("list", path)(error)),
    }
}

fn tidy(places: &DiskPlaces, keep: &LibraryKeep) -> Result<usize, LibraryError> {
    let mut removed = 0;
    for name in names(&places.images())? {
        let is_digest = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if is_digest && !keep.digests.contains(&name) {
            remove_file(&places.images().join(name))?;
            removed += 1;
        }
    }
    for name in names(&places.all_work())? {
        if !Uuid::try_parse(&name).is_ok_and(|job| keep.jobs.contains(&job)) {
            remove_tree(&places.all_work().join(name))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn tool(error: QemuImgError) -> LibraryError {
    LibraryError::Tool { tool: "qemu-img", detail: error.to_string() }
}

fn folder_of(reading: Option<&Reading<'_>>) -> Option<FolderPlace> {
    reading.and_then(Reading::folder).cloned()
}

async fn end(reading: Option<Reading<'_>>) {
    if let Some(reading) = reading {
        reading.end().await;
    }
}

#[async_trait]
impl ImageLibrary for LinuxLibrary {
    async fn room(&self) -> Result<Room, LibraryError> {
        self.blocking(room).await
    }

    async fn media(&self) -> Result<MediaList, LibraryError> {
        Ok(match &self.media {
            Some(media) => MediaList { items: media.list().await },
            None => MediaList::default(),
        })
    }

    fn promises(&self) -> Promises {
        self.promises.clone()
    }

    async fn announced(&self) -> Result<u64, LibraryError> {
        self.blocking(announced).await
    }

    async fn fetched(&self, id: Uuid) -> Result<u64, LibraryError> {
        self.blocking(move |places| Ok(part_length(places, id))).await
    }

    async fn incoming(&self, what: &Incoming) -> Result<Option<Arrived>, LibraryError> {
        let reading = self.medium(what, false).await?;
        let arrived = self.arrived(what, folder_of(reading.as_ref())).await;
        end(reading).await;
        arrived
    }

    async fn take(
        &self,
        job: Uuid,
        what: &Incoming,
        meter: Arc<dyn Meter>,
    ) -> Result<u64, LibraryError> {
        let reading = self.medium(what, true).await?;
        let folder = folder_of(reading.as_ref());
        let taken = self.take_from(job, what, folder, meter).await;
        self.promises.release(job);
        end(reading).await;
        taken
    }

    async fn digest(&self, job: Uuid, meter: Arc<dyn Meter>) -> Result<FileDigest, LibraryError> {
        self.blocking(move |places| digest(&places.source(job), meter.as_ref())).await
    }

    async fn inspect(
        &self,
        job: Uuid,
        format: ImageFormat,
        limit: u64,
    ) -> Result<Option<u64>, LibraryError> {
        let source = self.places.source(job);
        let (path, size) =
            (source.clone(), self.blocking(move |places| head_of(&places.source(job))));
        let (head, size) = size.await?;
        check_head(format, &head, size)?;
        if format == ImageFormat::OciArchive {
            self.archives.check(&path).await?;
        }
        if !format.is_disk() {
            return Ok(None);
        }
        let report = self.tool.info(&path, format).await.map_err(refused_or_tool)?;
        let virtual_size = judge_disk(format, &report, limit)?;
        if let Some(mut check) = self.tool.check(&path, format).await.map_err(refused_or_tool)? {
            check.cluster_size = report.cluster_size;
            judge_check(&check, size)?;
        }
        Ok(Some(virtual_size))
    }

    async fn convert(
        &self,
        job: Uuid,
        from: ImageFormat,
        meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        self.convert_taken(job, from, meter).await
    }

    async fn take_apart(
        &self,
        job: Uuid,
        meter: Arc<dyn Meter>,
    ) -> Result<BootParts, LibraryError> {
        self.take_boot_apart(job, meter).await
    }

    async fn adopt_part(
        &self,
        job: Uuid,
        role: &'static str,
        sha256: &str,
    ) -> Result<PathBuf, LibraryError> {
        self.adopt_boot(job, role, sha256).await
    }

    async fn lend(&self, job: Uuid) -> Result<PathBuf, LibraryError> {
        self.lend_place(job).await
    }

    async fn flatten(
        &self,
        job: Uuid,
        base: Option<&DiskBase>,
        meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        self.flatten_lent(job, base, meter).await
    }

    async fn adopt(&self, job: Uuid, sha256: &str) -> Result<PathBuf, LibraryError> {
        let sha256 = sha256.to_owned();
        self.blocking(move |places| adopt(places, job, &sha256)).await
    }

    async fn discard(&self, job: Uuid) -> Result<(), LibraryError> {
        self.blocking(move |places| remove_tree(&places.work(job))).await
    }

    async fn drop_spooled(&self, id: Uuid) -> Result<(), LibraryError> {
        self.blocking(move |places| {
            let done = places.spooled(id);
            for name in [done.clone(), done.with_extension("part"), done.with_extension("json")] {
                remove_file(&name)?;
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, path: &Path) -> Result<(), LibraryError> {
        let path = path.to_owned();
        self.blocking(move |places| {
            let ours = path.parent() == Some(places.images().as_path());
            if ours { remove_file(&path) } else { Ok(()) }
        })
        .await
    }

    async fn tidy(&self, keep: &LibraryKeep) -> Result<usize, LibraryError> {
        let keep = keep.clone();
        self.blocking(move |places| tidy(places, &keep)).await
    }
}

/// What the tool itself refuses is the disk's fault; that the tool could not be run is not.
pub(super) fn refused_or_tool(error: QemuImgError) -> LibraryError {
    match error {
        QemuImgError::Failed { verb, detail } => {
            let detail = format!("qemu-img {verb} says: {detail}");
            LibraryError::Refused(IntakeRefusal::Damaged { detail })
        }
        other => tool(other),
    }
}
