//! The simulated machine's pools. Each file holds one word that stands for its data; all of it outlives power.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skerry_compute::{DomainPower, Hold, HypervisorEvent};
use skerry_model::{Id, Name, Pool, PoolDisk, PoolFileSystem, PoolSource, Snapshot, Vm, Volume};
use skerry_storage::{
    Content, DiskFormat, DiskSeen, FileSystemSeen, FolderSeen, GuestPower, Guests, KeptSeen,
    PlaceSeen, PlaceStep, PoolObserved, PoolRef, Rest, Shape, SnapshotFiles, Soundness,
    StorageError, StorageStep, Usage, VolumeFile, VolumeHost,
};

use crate::world::{SimHost, World};

const GIB: u64 = 1 << 30;

/// Size that images show.
const IMAGE: u64 = 2 * GIB;

/// Size of disks beside the one with the data partition.
const DISK: u64 = 32 * GIB;

/// A file and the word that it holds.
#[derive(Debug, Clone)]
pub(crate) struct SimFile {
    pool: Name,
    seen: VolumeFile,
    word: String,
}

type Files = BTreeMap<Id<Volume>, SimFile>;

/// The files of all pools.
#[derive(Debug)]
pub(crate) struct SimDisk {
    volumes: BTreeMap<Id<Volume>, SimFile>,
    snapshots: BTreeMap<Id<Snapshot>, (String, Files)>,
    bases: BTreeSet<String>,
    /// Copies of images that have other bytes than they should.
    spoiled: BTreeSet<String>,
    free: u64,
    /// Further disks by their stable names; whether each is plugged in.
    disks: BTreeMap<String, (DiskSeen, bool)>,
    /// Pools whose file system has been made, and on which disk.
    formatted: BTreeMap<Id<Pool>, String>,
    mounted: BTreeSet<Id<Pool>>,
    /// File systems that are kept, by UUID.
    kept: BTreeMap<String, SimFileSystem>,
    /// Pools on them that are mounted, with the UUID of each.
    beside: BTreeMap<Name, String>,
}

/// A file system with other files on it; where a pool has its folder, and what else that folder holds.
#[derive(Debug, Clone)]
struct SimFileSystem {
    seen: FileSystemSeen,
    plugged: bool,
    /// Room that other files take.
    taken: u64,
    /// The folders that are there, and the pool that each belongs to; that of others to none.
    folders: BTreeMap<String, Option<Id<Pool>>>,
    /// Image files outside of these.
    images: BTreeMap<String, Vec<u8>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self {
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            bases: BTreeSet::new(),
            spoiled: BTreeSet::new(),
            free: 48 * GIB,
            disks: BTreeMap::new(),
            formatted: BTreeMap::new(),
            mounted: BTreeSet::new(),
            kept: BTreeMap::new(),
            beside: BTreeMap::new(),
        }
    }
}

impl SimHost {
    /// Sets how much of the data partition's 64 GiB is free.
    pub fn set_free_space(&self, bytes: u64) {
        self.world().disk.free = bytes;
    }

    /// Plugs in a disk of 32 GiB, on which this is found.
    pub fn add_disk(&self, id: &str, content: Option<&str>) {
        let content = content.map(ToOwned::to_owned);
        let seen = DiskSeen { name: "sdx".to_owned(), size_bytes: DISK, content, busy: None };
        self.world().disk.disks.insert(id.to_owned(), (seen, true));
    }

    /// Takes a disk out, or puts it back as it was.
    pub fn plug_disk(&self, id: &str, there: bool) {
        let mut world = self.world();
        let disk = &mut world.disk;
        if let Some((_, plugged)) = disk.disks.get_mut(id) {
            *plugged = there;
        }
        let formatted = &disk.formatted;
        disk.mounted.retain(|pool| there || formatted.get(pool).is_none_or(|on| on != id));
    }

    /// Plugs in a file system of 32 GiB of this kind, with the folder `family` on it that holds other files.
    pub fn add_file_system(&self, uuid: &str, kind: &str) {
        let (name, kind) = ("sdx1".to_owned(), kind.to_owned());
        let seen = FileSystemSeen { name, kind, size_bytes: DISK, busy: None };
        let folders = [("family".to_owned(), None)].into();
        let (taken, images) = (0, BTreeMap::new());
        let there = SimFileSystem { seen, plugged: true, taken, folders, images };
        self.world().disk.kept.insert(uuid.to_owned(), there);
    }

    /// Takes a file system out with its disk, or puts it back as it was.
    pub fn plug_file_system(&self, uuid: &str, there: bool) {
        if let Some(file_system) = self.world().disk.kept.get_mut(uuid) {
            file_system.plugged = there;
        }
    }

    /// Puts an image file on a file system, or has other files take so much of its room.
    pub fn put_on_file_system(&self, uuid: &str, path: &str, bytes: &[u8], taken: u64) {
        if let Some(file_system) = self.world().disk.kept.get_mut(uuid) {
            file_system.images.insert(path.to_owned(), bytes.to_vec());
            file_system.taken = taken;
        }
    }

    /// The folders on a file system.
    pub fn folders_on(&self, uuid: &str) -> Vec<String> {
        let world = self.world();
        let there = world.disk.kept.get(uuid);
        there.map(|there| there.folders.keys().cloned().collect()).unwrap_or_default()
    }

    /// Changes a bit of every copy of an image in pools, as a failing disk does.
    pub fn spoil_bases(&self) {
        let mut world = self.world();
        world.disk.spoiled = world.disk.bases.clone();
    }

    /// Writes the word that stands for a volume's data, as a guest would.
    pub fn write_volume(&self, volume: Id<Volume>, word: &str) {
        if let Some(file) = self.world().disk.volumes.get_mut(&volume) {
            word.clone_into(&mut file.word);
        }
    }

    /// The word that stands for a volume's data.
    pub fn read_volume(&self, volume: Id<Volume>) -> Option<String> {
        self.world().disk.volumes.get(&volume).map(|file| file.word.clone())
    }
}

impl SimDisk {
    /// Nothing is mounted when the machine is switched on.
    pub(crate) fn power_cut(&mut self) {
        self.mounted.clear();
        self.beside.clear();
    }

    fn is_there(&self, pool: &PoolRef) -> Result<(), StorageError> {
        let there = match &pool.source {
            PoolSource::DataPartition => true,
            PoolSource::Disk(_) => self.mounted.contains(&pool.id),
            PoolSource::FileSystem(wanted) => {
                self.kept_place(pool, wanted).folder == FolderSeen::Own
            }
        };
        if there {
            return Ok(());
        }
        let message = "its disk is not mounted".to_owned();
        Err(StorageError::PoolAway { pool: pool.name.clone(), message })
    }

    fn file_system(&self, uuid: &str) -> Option<&SimFileSystem> {
        self.kept.get(uuid).filter(|there| there.plugged)
    }

    fn kept_place(&self, pool: &PoolRef, wanted: &PoolFileSystem) -> KeptSeen {
        let Some(there) = self.file_system(&wanted.uuid) else { return KeptSeen::default() };
        let file_system = Some(there.seen.clone());
        if !self.mounted.contains(&pool.id) {
            return KeptSeen { file_system, ..KeptSeen::default() };
        }
        let folder = match there.folders.get(&wanted.folder) {
            None => FolderSeen::Absent,
            Some(Some(of)) if *of == pool.id => FolderSeen::Own,
            Some(_) => FolderSeen::Taken("holds other files".to_owned()),
        };
        KeptSeen { file_system, mounted: true, read_only: false, folder }
    }

    fn kept_step(&mut self, pool: &PoolRef, wanted: &PoolFileSystem, step: PlaceStep) {
        let there = self.kept.get_mut(&wanted.uuid).filter(|there| there.plugged);
        match (step, there) {
            (PlaceStep::Mount, Some(_)) => {
                self.mounted.insert(pool.id);
                self.beside.insert(pool.name.clone(), wanted.uuid.clone());
            }
            (PlaceStep::Unmount, _) => {
                self.mounted.remove(&pool.id);
                self.beside.remove(&pool.name);
            }
            (PlaceStep::Settle, Some(there)) => {
                there.folders.insert(wanted.folder.clone(), Some(pool.id));
            }
            (PlaceStep::Clear, Some(there)) => drop(there.folders.remove(&wanted.folder)),
            _ => {}
        }
    }

    /// Whether a medium is what lies beside a pool.
    pub(crate) fn has_beside(&self, medium: &str) -> bool {
        self.beside.keys().any(|pool| pool.as_str() == medium)
    }

    /// Image files beside pools on kept file systems that are mounted, by medium and path.
    pub(crate) fn images_beside(&self) -> impl Iterator<Item = (String, &Vec<u8>)> {
        self.beside.iter().flat_map(|(pool, uuid)| {
            let images = self.file_system(uuid).map(|there| there.images.iter());
            images.into_iter().flatten().map(move |(path, bytes)| (format!("{pool}/{path}"), bytes))
        })
    }

    fn place(&self, pool: &PoolRef, wanted: &PoolDisk) -> PlaceSeen {
        let there = |id: &String| self.disks.get(id).filter(|(_, there)| *there);
        PlaceSeen {
            file_system: self.formatted.get(&pool.id).and_then(there).is_some(),
            mounted: self.mounted.contains(&pool.id),
            disk: there(&wanted.id).map(|(seen, _)| seen.clone()),
        }
    }

    fn place_step(&mut self, pool: &PoolRef, wanted: &PoolDisk, step: PlaceStep) {
        match step {
            PlaceStep::Format => {
                self.formatted.insert(pool.id, wanted.id.clone());
                if let Some((seen, _)) = self.disks.get_mut(&wanted.id) {
                    seen.content = Some("data of the kind xfs".to_owned());
                }
            }
            PlaceStep::Mount => drop(self.mounted.insert(pool.id)),
            PlaceStep::Unmount => drop(self.mounted.remove(&pool.id)),
            PlaceStep::Settle | PlaceStep::Clear => {}
        }
    }

    fn usage(&self, pool: &PoolRef) -> Usage {
        match &pool.source {
            PoolSource::DataPartition => Usage { size: 64 * GIB, free: self.free },
            PoolSource::Disk(_) => Usage { size: DISK, free: DISK },
            PoolSource::FileSystem(wanted) => {
                let taken = self.file_system(&wanted.uuid).map_or(0, |there| there.taken);
                Usage { size: DISK, free: DISK.saturating_sub(taken) }
            }
        }
    }

    fn observed(&self, pool: &PoolRef) -> PoolObserved {
        let own = |file: &&SimFile| file.pool == pool.name;
        let of = |entry: &(&Id<Snapshot>, &(String, Files))| entry.1.1.values().any(|f| own(&f));
        let files = |(snapshot, (name, files)): (&Id<Snapshot>, &(String, Files))| SnapshotFiles {
            snapshot: *snapshot,
            name: Some(name.clone()),
            volumes: files.values().map(|file| file.seen.clone()).collect(),
        };
        PoolObserved {
            usage: self.usage(pool),
            volumes: self.volumes.values().filter(own).map(|file| file.seen.clone()).collect(),
            snapshots: self.snapshots.iter().filter(of).map(files).collect(),
            bases: self.bases.iter().cloned().collect(),
        }
    }

    fn take(&mut self, pool: &PoolRef, step: &StorageStep) -> Result<(), StorageError> {
        self.is_there(pool)?;
        match step {
            StorageStep::Create { note, size_bytes, content } => {
                if !self.volumes.contains_key(&note.volume) {
                    let (word, own, base) = self.content(content)?;
                    let shape = match content {
                        Content::Folder => Shape::Folder { limited: true },
                        _ => Shape::Disk,
                    };
                    let seen = VolumeFile {
                        volume: note.volume,
                        shape,
                        size_bytes: size_bytes.unwrap_or(own).max(own),
                        used_bytes: 0,
                        base,
                        name: Some(note.name.to_string()),
                    };
                    self.volumes
                        .insert(note.volume, SimFile { pool: pool.name.clone(), seen, word });
                }
            }
            StorageStep::Grow { volume, size_bytes } => self.grow(*volume, *size_bytes),
            StorageStep::Remove { volume, .. } => {
                self.volumes.remove(volume);
            }
            StorageStep::Take { note } => {
                let mut files = BTreeMap::new();
                for (volume, _) in &note.volumes {
                    files.insert(*volume, self.file(*volume)?);
                }
                self.snapshots.entry(note.snapshot).or_insert((note.name.to_string(), files));
            }
            StorageStep::Examine { snapshot, volumes } => {
                volumes.iter().try_for_each(|volume| self.kept(*snapshot, *volume).map(drop))?;
            }
            StorageStep::Revert { snapshot, volume } => {
                let file = self.kept(*snapshot, *volume)?;
                self.volumes.insert(*volume, file);
            }
            StorageStep::Drop { snapshot } => {
                self.snapshots.remove(snapshot);
            }
            StorageStep::RenewBase { image } => {
                self.bases.insert(image.sha256.clone());
                self.spoiled.remove(&image.sha256);
            }
            StorageStep::DropBase { sha256 } => {
                self.bases.remove(sha256);
            }
        }
        Ok(())
    }

    fn grow(&mut self, volume: Id<Volume>, size_bytes: u64) {
        if let Some(file) = self.volumes.get_mut(&volume) {
            file.seen.size_bytes = file.seen.size_bytes.max(size_bytes);
        }
    }

    fn content(
        &mut self,
        content: &Content,
    ) -> Result<(String, u64, Option<String>), StorageError> {
        let of = |file: SimFile| (file.word, file.seen.size_bytes, file.seen.base);
        match content {
            Content::Empty { .. } | Content::Folder => Ok((String::new(), 0, None)),
            Content::Image(image) => {
                self.bases.insert(image.sha256.clone());
                Ok((image.sha256.clone(), IMAGE, Some(image.sha256.clone())))
            }
            Content::Volume(volume) => self.file(*volume).map(of),
            Content::Snapshot(snapshot, volume) => self.kept(*snapshot, *volume).map(of),
        }
    }

    fn file(&self, volume: Id<Volume>) -> Result<SimFile, StorageError> {
        self.volumes.get(&volume).cloned().ok_or_else(missing)
    }

    fn kept(&self, snapshot: Id<Snapshot>, volume: Id<Volume>) -> Result<SimFile, StorageError> {
        let files = self.snapshots.get(&snapshot).map(|(_, files)| files);
        files.and_then(|files| files.get(&volume)).cloned().ok_or_else(missing)
    }
}

fn missing() -> StorageError {
    let message = "there is no such file on the simulated machine".to_owned();
    StorageError::Failed { what: "reading", message }
}

fn ordered(what: &'static str) -> impl Fn(String) -> StorageError {
    move |message| StorageError::Failed { what, message }
}

#[async_trait]
impl VolumeHost for SimHost {
    async fn observe(&self, pool: &PoolRef) -> Result<PoolObserved, StorageError> {
        let world = self.world();
        world.disk.is_there(pool)?;
        Ok(world.disk.observed(pool))
    }

    async fn disk(&self, id: &str) -> Result<Option<DiskSeen>, StorageError> {
        let world = self.world();
        Ok(world.disk.disks.get(id).filter(|(_, there)| *there).map(|(seen, _)| seen.clone()))
    }

    async fn place(&self, pool: &PoolRef) -> Result<PlaceSeen, StorageError> {
        match &pool.source {
            PoolSource::DataPartition | PoolSource::FileSystem(_) => Ok(PlaceSeen::default()),
            PoolSource::Disk(wanted) => Ok(self.world().disk.place(pool, wanted)),
        }
    }

    async fn file_system(&self, uuid: &str) -> Result<Option<FileSystemSeen>, StorageError> {
        Ok(self.world().disk.file_system(uuid).map(|there| there.seen.clone()))
    }

    async fn kept(&self, pool: &PoolRef) -> Result<KeptSeen, StorageError> {
        let PoolSource::FileSystem(wanted) = &pool.source else { return Ok(KeptSeen::default()) };
        Ok(self.world().disk.kept_place(pool, wanted))
    }

    async fn apply_place(&self, pool: &PoolRef, step: PlaceStep) -> Result<(), StorageError> {
        let done = self.step(step.name(), |world| match &pool.source {
            PoolSource::DataPartition => {}
            PoolSource::Disk(wanted) => world.disk.place_step(pool, wanted, step),
            PoolSource::FileSystem(wanted) => world.disk.kept_step(pool, wanted, step),
        });
        done.await.map_err(ordered(step.name()))
    }

    async fn keep_reserve(
        &self,
        pool: &PoolRef,
        reserve_bytes: u64,
    ) -> Result<Option<u64>, StorageError> {
        let world = self.world();
        let knows_quota = match &pool.source {
            PoolSource::FileSystem(wanted) => {
                world.disk.file_system(&wanted.uuid).is_some_and(|there| there.seen.kind == "xfs")
            }
            _ => true,
        };
        Ok(knows_quota.then(|| world.disk.usage(pool).free.saturating_sub(reserve_bytes)))
    }

    async fn apply(&self, pool: &PoolRef, step: &StorageStep) -> Result<(), StorageError> {
        let name = step.name();
        let done = self.step(name, |world| match step {
            StorageStep::RenewBase { image } if !world.library.is_intact(image) => {
                let message = "the image is damaged".to_owned();
                Err(StorageError::Refused { what: name, message })
            }
            step => world.disk.take(pool, step),
        });
        done.await.map_err(ordered(name))?
    }

    async fn check_base(&self, _pool: &PoolRef, sha256: &str) -> Result<bool, StorageError> {
        Ok(!self.world().disk.spoiled.contains(sha256))
    }

    async fn check(&self, _pool: &PoolRef, _volume: Id<Volume>) -> Result<Soundness, StorageError> {
        self.step("check volume", |_| Soundness::Sound).await.map_err(ordered("check volume"))
    }

    async fn copy_out(
        &self,
        _pool: &PoolRef,
        volume: Id<Volume>,
        snapshot: Option<Id<Snapshot>>,
        to: &Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, StorageError> {
        let copy = |world: &mut World| {
            let file = match snapshot {
                Some(snapshot) => world.disk.kept(snapshot, volume)?,
                None => world.disk.file(volume)?,
            };
            world.library.lent.insert(to.to_owned(), file.word);
            Ok(file.seen.base.map(|sha256| (PathBuf::from(sha256), DiskFormat::Qcow2)))
        };
        self.step("copy out", copy).await.map_err(ordered("copying a volume"))?
    }

    async fn recover(&self, _pool: &PoolRef) -> Result<(), StorageError> {
        Ok(())
    }

    fn path(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf {
        PathBuf::from(format!("/simulated/{}/{volume}.qcow2", pool.name))
    }

    fn folder(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf {
        PathBuf::from(format!("/simulated/{}/{volume}.folder", pool.name))
    }
}

fn set_power(world: &mut World, vm: Id<Vm>, from: DomainPower, to: DomainPower) {
    if let Some(domain) = world.domains.get_mut(&vm).filter(|domain| domain.power == from) {
        domain.power = to;
    }
}

#[async_trait]
impl Guests for SimHost {
    async fn power(&self, vm: Id<Vm>) -> Result<GuestPower, StorageError> {
        let power = self.world().domains.get(&vm).map(|domain| domain.power);
        Ok(match power {
            None | Some(DomainPower::Off(_)) => GuestPower::Off,
            Some(DomainPower::Running) => GuestPower::Running,
            Some(DomainPower::Paused(_)) => GuestPower::Held,
        })
    }

    async fn hold(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        let (from, to) = (DomainPower::Running, DomainPower::Paused(Hold::Asked));
        let held = self.step("hold", |world| set_power(world, vm, from, to)).await;
        self.hypervisor_news(HypervisorEvent::Changed(vm));
        held.map_err(ordered("hold"))
    }

    async fn release(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        let (from, to) = (DomainPower::Paused(Hold::Asked), DomainPower::Running);
        let gone = self.step("release", |world| set_power(world, vm, from, to)).await;
        self.hypervisor_news(HypervisorEvent::Changed(vm));
        gone.map_err(ordered("release"))
    }

    async fn freeze(&self, vm: Id<Vm>) -> Rest {
        self.bring_to_rest(vm).await
    }

    async fn thaw(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        self.let_go_on(vm).await
    }

    async fn keep_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<bool, StorageError> {
        let keep = |world: &mut World| match world.tpms.get(&vm).copied() {
            Some(state) => {
                world.kept_tpms.insert((vm, snapshot), state);
                true
            }
            None => false,
        };
        self.step("keep TPM", keep).await.map_err(ordered("keep TPM"))
    }

    async fn revert_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError> {
        let revert = |world: &mut World| {
            let state = *world.kept_tpms.get(&(vm, snapshot))?;
            world.tpms.insert(vm, state);
            Some(())
        };
        let reverted = self.step("revert TPM", revert).await.map_err(ordered("revert TPM"))?;
        let message = "what was kept of it is gone".to_owned();
        reverted.ok_or(StorageError::Refused { what: "revert TPM", message })
    }

    async fn drop_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError> {
        let drop = |world: &mut World| world.kept_tpms.remove(&(vm, snapshot));
        self.step("drop TPM", drop).await.map(|_| ()).map_err(ordered("drop TPM"))
    }

    async fn grow(&self, _vm: Id<Vm>, path: &Path, size_bytes: u64) -> Result<(), StorageError> {
        let volume = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
        let grow = |world: &mut World| volume.map(|volume| world.disk.grow(volume, size_bytes));
        self.step("grow", grow).await.map(drop).map_err(ordered("grow"))
    }
}
