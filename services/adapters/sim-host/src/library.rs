//! The simulated library: files are bytes in memory, the look into them is the real one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use skerry_model::ImageFormat;
use skerry_storage::BaseImage;
use skerry_upkeep::{
    Arrived, BootParts, DiskBase, FileDigest, HEAD, ImageLibrary, ImportMedium, Incoming,
    IntakeRefusal, LibraryError, LibraryKeep, MediaList, MediumFile, MediumKind, Meter, Promises,
    Room, check_head, check_initrd, check_kernel, read_arguments,
};
use uuid::Uuid;

use crate::world::{SimHost, World};

/// Room on the simulated disk unless a test says otherwise.
const GIB: u64 = 1 << 30;
const FOLDER: &str = "/sim/images";

/// What lies on the simulated disk.
#[derive(Debug)]
pub(crate) struct SimLibrary {
    pub spool: BTreeMap<Uuid, Vec<u8>>,
    pub media: BTreeMap<String, Vec<u8>>,
    pub work: BTreeMap<Uuid, Vec<u8>>,
    /// What archives of kernels were taken apart into.
    pub boot_parts: BTreeMap<(Uuid, String), Vec<u8>>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Words of volumes that were copied here.
    pub lent: BTreeMap<PathBuf, String>,
    pub free: u64,
    /// Sizes of files in the spool that have not come whole.
    pub parts: BTreeMap<Uuid, u64>,
    /// Whether copies share their blocks.
    pub shares: bool,
    pub promises: Promises,
}

impl Default for SimLibrary {
    fn default() -> Self {
        Self {
            spool: BTreeMap::new(),
            media: BTreeMap::new(),
            work: BTreeMap::new(),
            boot_parts: BTreeMap::new(),
            files: BTreeMap::new(),
            lent: BTreeMap::new(),
            free: GIB,
            parts: BTreeMap::new(),
            shares: false,
            promises: Promises::default(),
        }
    }
}

impl SimLibrary {
    fn take(
        &mut self,
        job: Uuid,
        what: &Incoming,
        bytes: Option<Vec<u8>>,
    ) -> Result<u64, LibraryError> {
        let bytes = bytes.ok_or_else(|| LibraryError::Missing {
            what: format!("{what:?}"),
            hint: "bring it in first",
        })?;
        let (size, copy) = (size_of(&bytes), self.copy_of(&bytes));
        let claimed = self.promises.claim(job, copy, self.free);
        claimed.map_err(|free| LibraryError::NoSpace { needed: copy, free })?;
        self.work.insert(job, bytes);
        Ok(size)
    }

    /// Whether an image's file has the bytes that were recorded.
    pub(crate) fn is_intact(&self, image: &BaseImage) -> bool {
        self.files.get(&image.path).is_some_and(|bytes| digest_of(bytes).sha256 == image.sha256)
    }

    fn copy_of(&self, bytes: &[u8]) -> u64 {
        if self.shares { 0 } else { size_of(bytes) }
    }

    fn working(&self, job: Uuid) -> Result<&Vec<u8>, LibraryError> {
        self.work.get(&job).ok_or(LibraryError::Tool {
            tool: "the simulated disk",
            detail: "there is no work of this job".to_owned(),
        })
    }

    fn take_apart(&mut self, job: Uuid) -> Result<BootParts, LibraryError> {
        let refused = |detail: &str| IntakeRefusal::Boot { detail: detail.to_owned() };
        let mut found = BTreeMap::new();
        let mut archive = tar::Archive::new(self.working(job)?.as_slice());
        for entry in archive.entries().map_err(|_| refused("no archive"))? {
            let mut entry = entry.map_err(|_| refused("a damaged archive"))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|_| refused("a damaged archive"))?;
            found.insert(name, bytes);
        }
        let mut part = |role: &str| found.remove(role).ok_or_else(|| refused(role));
        let (kernel, initrd) = (part("kernel")?, part("initrd")?);
        let arguments = part("cmdline").unwrap_or_default();
        check_kernel(&kernel, size_of(&kernel))?;
        check_initrd(&initrd, size_of(&initrd))?;
        let parts = BootParts {
            kernel: digest_of(&kernel),
            initrd: digest_of(&initrd),
            arguments: read_arguments(&arguments)?,
        };
        self.boot_parts.insert((job, "kernel".to_owned()), kernel);
        self.boot_parts.insert((job, "initrd".to_owned()), initrd);
        Ok(parts)
    }

    fn adopt(&mut self, job: Uuid, sha256: &str) -> Result<PathBuf, LibraryError> {
        let place = Path::new(FOLDER).join(sha256);
        if let Some(bytes) = self.work.remove(&job) {
            self.files.insert(place.clone(), bytes);
        } else if !self.files.contains_key(&place) {
            self.working(job)?;
        }
        Ok(place)
    }
}

/// Where a copy of a volume is put for a job.
fn lent(job: Uuid) -> PathBuf {
    Path::new(FOLDER).join(job.to_string())
}

fn size_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The head of a qcow2 disk of this size, with something in it that tells one from another.
fn disk_of(size: u64, word: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; 512];
    let fields: [(usize, &[u8]); 5] = [
        (0, b"QFI\xfb"),
        (4, &3_u32.to_be_bytes()),
        (24, &size.to_be_bytes()),
        (100, &104_u32.to_be_bytes()),
        (256, word.get(..word.len().min(200)).unwrap_or_default()),
    ];
    for (at, bytes) in fields {
        if let Some(place) = disk.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }
    disk
}

/// Size and SHA-256 of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> FileDigest {
    FileDigest { sha256: hex::encode(Sha256::digest(bytes)), size: size_of(bytes) }
}

impl SimHost {
    /// Puts a finished file into the spool, as the north side does.
    pub fn spool(&self, id: Uuid, bytes: &[u8]) {
        self.world().library.spool.insert(id, bytes.to_vec());
    }

    /// So many bytes have come of a file of the spool.
    pub fn spool_part(&self, id: Uuid, bytes: u64) {
        self.world().library.parts.insert(id, bytes);
    }

    /// Has copies of files share their blocks, or not.
    pub fn set_sharing(&self, shares: bool) {
        self.world().library.shares = shares;
    }

    /// Puts a file onto the import medium.
    pub fn put_medium(&self, path: &str, bytes: &[u8]) {
        self.world().library.media.insert(path.to_owned(), bytes.to_vec());
    }

    /// Takes an import medium out.
    pub fn pull_medium(&self, name: &str) {
        let below = format!("{name}/");
        self.world().library.media.retain(|path, _| !path.starts_with(&below));
    }

    /// What lies in spool, work and library: counts of files.
    pub fn image_files(&self) -> (usize, usize, usize) {
        let world = self.world();
        (world.library.spool.len(), world.library.work.len(), world.library.files.len())
    }

    /// Sets the room on the simulated disk.
    pub fn set_free(&self, bytes: u64) {
        self.world().library.free = bytes;
    }

    /// Changes a bit of every library file, as a failing disk does.
    pub fn spoil_images(&self) {
        for bytes in self.world().library.files.values_mut() {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        }
    }

    async fn image_step<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut SimLibrary) -> Result<T, LibraryError>,
    ) -> Result<T, LibraryError> {
        let done = self.step(name, |world| effect(&mut world.library)).await;
        done.unwrap_or_else(|detail| Err(ordered(detail)))
    }
}

fn ordered(detail: String) -> LibraryError {
    LibraryError::Tool { tool: "the simulated disk", detail }
}

impl World {
    /// What came in: in the spool, on a stick, or beside a pool.
    fn incoming(&self, what: &Incoming) -> Option<Vec<u8>> {
        match what {
            Incoming::Spooled(id) => self.library.spool.get(id).cloned(),
            Incoming::Medium(path) => {
                let mut beside = self.disk.images_beside();
                let beside = beside.find(|(other, _)| other == path).map(|(_, bytes)| bytes);
                beside.or_else(|| self.library.media.get(path)).cloned()
            }
        }
    }
}

#[async_trait]
impl ImageLibrary for SimHost {
    async fn room(&self) -> Result<Room, LibraryError> {
        let free = self.world().library.free;
        Ok(Room { free, total: 4 * GIB })
    }

    async fn media(&self) -> Result<MediaList, LibraryError> {
        let world = self.world();
        let mut items: Vec<ImportMedium> = Vec::new();
        let of_sticks = world.library.media.iter().map(|(path, bytes)| (path.clone(), bytes));
        for (path, bytes) in of_sticks.chain(world.disk.images_beside()) {
            let Some((name, path)) = path.split_once('/') else { continue };
            if items.last().is_none_or(|last| last.name != name) {
                let beside = world.disk.has_beside(name);
                let inbox = name == "import";
                let kind = if beside || inbox { MediumKind::Folder } else { MediumKind::Stick };
                let device = if inbox { String::new() } else { "sdz1".to_owned() };
                let name = name.to_owned();
                items.push(ImportMedium { kind, name, device, ..ImportMedium::default() });
            }
            let file = MediumFile { path: path.to_owned(), size_bytes: size_of(bytes) };
            if let Some(medium) = items.last_mut() {
                medium.files.push(file);
            }
        }
        Ok(MediaList { items })
    }

    fn promises(&self) -> Promises {
        self.world().library.promises.clone()
    }

    async fn announced(&self) -> Result<u64, LibraryError> {
        Ok(0)
    }

    async fn fetched(&self, id: Uuid) -> Result<u64, LibraryError> {
        Ok(self.world().library.parts.get(&id).copied().unwrap_or(0))
    }

    async fn incoming(&self, what: &Incoming) -> Result<Option<Arrived>, LibraryError> {
        let world = self.world();
        let bytes = world.incoming(what);
        Ok(bytes.map(|b| Arrived { size: size_of(&b), copy: world.library.copy_of(&b) }))
    }

    async fn take(
        &self,
        job: Uuid,
        what: &Incoming,
        meter: Arc<dyn Meter>,
    ) -> Result<u64, LibraryError> {
        let take = |world: &mut World| {
            let bytes = world.incoming(what);
            world.library.take(job, what, bytes)
        };
        let taken = self.step("TakeImage", take).await;
        let size = taken.unwrap_or_else(|detail| Err(ordered(detail)))?;
        meter.bytes(size, size);
        Ok(size)
    }

    async fn digest(&self, job: Uuid, _meter: Arc<dyn Meter>) -> Result<FileDigest, LibraryError> {
        self.image_step("DigestImage", |library| Ok(digest_of(library.working(job)?))).await
    }

    async fn inspect(
        &self,
        job: Uuid,
        format: ImageFormat,
        limit: u64,
    ) -> Result<Option<u64>, LibraryError> {
        self.image_step("InspectImage", |library| {
            let bytes = library.working(job)?;
            let head = bytes.get(..bytes.len().min(HEAD)).unwrap_or_default();
            let size = check_head(format, head, size_of(bytes))?;
            match size {
                Some(size) if size > limit => Err(IntakeRefusal::TooLarge { size, limit }.into()),
                size => Ok(size),
            }
        })
        .await
    }

    async fn convert(
        &self,
        job: Uuid,
        _from: ImageFormat,
        meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        meter.bytes(0, 512);
        self.image_step("ConvertImage", |library| {
            let size = size_of(library.working(job)?);
            let disk = disk_of(size, b"");
            library.work.insert(job, disk);
            Ok(())
        })
        .await
    }

    async fn take_apart(
        &self,
        job: Uuid,
        _meter: Arc<dyn Meter>,
    ) -> Result<BootParts, LibraryError> {
        self.image_step("TakeApart", |library| library.take_apart(job)).await
    }

    async fn adopt_part(
        &self,
        job: Uuid,
        role: &'static str,
        sha256: &str,
    ) -> Result<PathBuf, LibraryError> {
        self.image_step("AdoptPart", |library| {
            let place = Path::new(FOLDER).join(sha256);
            let part = library.boot_parts.remove(&(job, role.to_owned()));
            if let Some(bytes) = part {
                library.files.insert(place.clone(), bytes);
            }
            Ok(place)
        })
        .await
    }

    async fn lend(&self, job: Uuid) -> Result<PathBuf, LibraryError> {
        self.image_step("LendPlace", |library| {
            library.work.remove(&job);
            Ok(lent(job))
        })
        .await
    }

    async fn flatten(
        &self,
        job: Uuid,
        _base: Option<&DiskBase>,
        meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        meter.bytes(0, 512);
        self.image_step("FlattenDisk", |library| {
            let word = library.lent.remove(&lent(job)).ok_or_else(|| LibraryError::Tool {
                tool: "the simulated disk",
                detail: "no disk was put there".to_owned(),
            })?;
            library.work.insert(job, disk_of(GIB, word.as_bytes()));
            Ok(())
        })
        .await
    }

    async fn adopt(&self, job: Uuid, sha256: &str) -> Result<PathBuf, LibraryError> {
        self.image_step("AdoptImage", |library| library.adopt(job, sha256)).await
    }

    async fn discard(&self, job: Uuid) -> Result<(), LibraryError> {
        self.image_step("DiscardImage", |library| {
            library.work.remove(&job);
            library.boot_parts.retain(|(other, _), _| *other != job);
            library.lent.remove(&lent(job));
            Ok(())
        })
        .await
    }

    async fn drop_spooled(&self, id: Uuid) -> Result<(), LibraryError> {
        self.image_step("DropSpooled", |library| {
            library.spool.remove(&id);
            Ok(())
        })
        .await
    }

    async fn remove(&self, path: &Path) -> Result<(), LibraryError> {
        self.image_step("RemoveImage", |library| {
            library.files.remove(path);
            Ok(())
        })
        .await
    }

    async fn tidy(&self, keep: &LibraryKeep) -> Result<usize, LibraryError> {
        self.image_step("TidyImages", |library| {
            let before = library.files.len() + library.work.len();
            library.files.retain(|path, _| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                keep.digests.contains(name)
            });
            library.work.retain(|job, _| keep.jobs.contains(job));
            Ok(before - library.files.len() - library.work.len())
        })
        .await
    }
}
