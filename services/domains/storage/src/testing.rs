//! A pool in memory for tests: each file holds one word that stands for its data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use skerry_model::{Id, Pool, PoolSource, Snapshot, Vm, Volume};

use crate::{
    BaseImage, Content, DiskFormat, DiskSeen, FileSystemSeen, FolderSeen, GuestPower, Guests,
    KeptSeen, PlaceSeen, PlaceStep, PoolObserved, PoolRef, Rest, Shape, SnapshotFiles, Soundness,
    StorageError, StorageStep, Usage, VolumeFile, VolumeHost,
};

const GIB: u64 = 1 << 30;

/// A file: who it is, and the word that it holds.
#[derive(Debug, Clone)]
pub struct File {
    pub seen: VolumeFile,
    pub data: String,
}

/// The pool.
#[derive(Debug, Default)]
pub struct Disk {
    pub volumes: BTreeMap<Id<Volume>, File>,
    pub snapshots: BTreeMap<Id<Snapshot>, BTreeMap<Id<Volume>, File>>,
    pub bases: BTreeSet<String>,
    /// Copies of images that have other bytes than they should.
    pub damaged_bases: BTreeSet<String>,
    pub free: u64,
    /// Whether guests can be kept from the reserve.
    pub holds: bool,
    /// The machine's disks by their stable names.
    pub disks: BTreeMap<String, DiskSeen>,
    /// Pools whose file system is there, and on which disk.
    pub formatted: BTreeMap<Id<Pool>, String>,
    pub mounted: BTreeSet<Id<Pool>>,
    /// File systems that are kept, by UUID, and the pool's folder on each.
    pub file_systems: BTreeMap<String, (FileSystemSeen, FolderSeen)>,
    /// Names of steps that fail once.
    pub failing: Vec<&'static str>,
    /// Volumes whose check finds damage.
    pub damaged: BTreeSet<Id<Volume>>,
    pub steps: Vec<&'static str>,
    /// What was copied to places outside the pool.
    pub copies: BTreeMap<PathBuf, String>,
    pub guests: BTreeMap<Id<Vm>, GuestPower>,
    /// What the TPM of each machine keeps, and what was kept of it for snapshots.
    pub tpms: BTreeMap<Id<Vm>, String>,
    pub kept_tpms: BTreeMap<(Id<Vm>, Id<Snapshot>), String>,
    /// Guests with an agent: whether it obeys, and whether the file systems are at rest.
    pub agents: BTreeMap<Id<Vm>, (bool, bool)>,
    /// Whether every guest with an agent was at rest when a snapshot was last taken.
    pub taken_at_rest: bool,
    /// Whether a guest ran while a snapshot was taken or a volume was set back.
    pub torn: bool,
}

impl Disk {
    pub fn new() -> Self {
        Self { free: 50 * GIB, holds: true, ..Self::default() }
    }

    pub fn observed(&self) -> PoolObserved {
        PoolObserved {
            usage: Usage { size: 100 * GIB, free: self.free },
            volumes: self.volumes.values().map(|file| file.seen.clone()).collect(),
            snapshots: self
                .snapshots
                .iter()
                .map(|(id, files)| SnapshotFiles {
                    snapshot: *id,
                    name: None,
                    volumes: files.values().map(|file| file.seen.clone()).collect(),
                })
                .collect(),
            bases: self.bases.iter().cloned().collect(),
        }
    }

    /// A disk is taken out, with what is on it.
    pub fn pull(&mut self, disk: &str) -> Option<DiskSeen> {
        let formatted = &self.formatted;
        self.mounted.retain(|pool| formatted.get(pool).is_none_or(|on| on != disk));
        self.disks.remove(disk)
    }

    fn place_step(&mut self, pool: &PoolRef, step: PlaceStep) -> Result<(), StorageError> {
        self.steps.push(step.name());
        if let Some(index) = self.failing.iter().position(|name| *name == step.name()) {
            self.failing.remove(index);
            let message = "as ordered".to_owned();
            return Err(StorageError::Failed { what: step.name(), message });
        }
        match (step, &pool.source) {
            (PlaceStep::Format, PoolSource::Disk(disk)) => {
                self.formatted.insert(pool.id, disk.id.clone());
            }
            (PlaceStep::Settle, PoolSource::FileSystem(kept)) => {
                self.set_folder(&kept.uuid, FolderSeen::Own)
            }
            (PlaceStep::Clear, PoolSource::FileSystem(kept)) => {
                self.set_folder(&kept.uuid, FolderSeen::Absent)
            }
            (PlaceStep::Mount, _) => drop(self.mounted.insert(pool.id)),
            (PlaceStep::Unmount, _) => drop(self.mounted.remove(&pool.id)),
            other => panic!("no step for this pool: {other:?}"),
        }
        Ok(())
    }

    fn set_folder(&mut self, uuid: &str, folder: FolderSeen) {
        self.file_systems.get_mut(uuid).expect("the file system is there").1 = folder;
    }

    fn kept_place(&self, pool: &PoolRef) -> KeptSeen {
        let PoolSource::FileSystem(kept) = &pool.source else { return KeptSeen::default() };
        let Some((file_system, folder)) = self.file_systems.get(&kept.uuid).cloned() else {
            return KeptSeen::default();
        };
        let mounted = self.mounted.contains(&pool.id);
        let folder = if mounted { folder } else { FolderSeen::Unknown };
        KeptSeen { file_system: Some(file_system), mounted, read_only: false, folder }
    }

    /// A step to a TPM; it is done while no guest runs.
    fn tpm_step(&mut self, name: &'static str) -> Result<(), StorageError> {
        self.torn |= self.guests.values().any(|power| *power == GuestPower::Running);
        self.steps.push(name);
        let Some(index) = self.failing.iter().position(|other| *other == name) else {
            return Ok(());
        };
        self.failing.remove(index);
        Err(StorageError::Failed { what: name, message: "as ordered".to_owned() })
    }

    fn is_there(&self, pool: &PoolRef) -> Result<(), StorageError> {
        if matches!(pool.source, PoolSource::FileSystem(_)) {
            let own = self.kept_place(pool).folder == FolderSeen::Own;
            let message = "its folder is not there".to_owned();
            let away = StorageError::PoolAway { pool: pool.name.clone(), message };
            return if own { Ok(()) } else { Err(away) };
        }
        if pool.source == PoolSource::DataPartition || self.mounted.contains(&pool.id) {
            return Ok(());
        }
        let message = "its disk is not mounted".to_owned();
        Err(StorageError::PoolAway { pool: pool.name.clone(), message })
    }

    pub fn apply(&mut self, step: &StorageStep) -> Result<(), StorageError> {
        self.steps.push(step.name());
        if let Some(index) = self.failing.iter().position(|name| *name == step.name()) {
            self.failing.remove(index);
            let message = "as ordered".to_owned();
            return Err(StorageError::Failed { what: step.name(), message });
        }
        let running = self.guests.values().any(|power| *power == GuestPower::Running);
        match step {
            StorageStep::Create { note, size_bytes, content } => {
                let made = self.content(note.volume, *size_bytes, content)?;
                self.volumes.entry(note.volume).or_insert(made);
            }
            StorageStep::Grow { volume, size_bytes } => {
                if let Some(file) = self.volumes.get_mut(volume) {
                    file.seen.size_bytes = file.seen.size_bytes.max(*size_bytes);
                }
            }
            StorageStep::Remove { volume, .. } => {
                self.volumes.remove(volume);
            }
            StorageStep::Take { note } => {
                self.torn |= running;
                self.taken_at_rest = self.agents.values().all(|(_, at_rest)| *at_rest);
                let mut files = BTreeMap::new();
                for (volume, _) in &note.volumes {
                    files.insert(*volume, self.volume(*volume)?);
                }
                self.snapshots.entry(note.snapshot).or_insert(files);
            }
            StorageStep::Examine { snapshot, volumes } => {
                volumes.iter().try_for_each(|volume| self.kept(*snapshot, *volume).map(drop))?;
            }
            StorageStep::Revert { snapshot, volume } => {
                self.torn |= running;
                let kept = self.kept(*snapshot, *volume)?;
                self.volumes.insert(*volume, kept);
            }
            StorageStep::Drop { snapshot } => {
                self.snapshots.remove(snapshot);
            }
            StorageStep::RenewBase { image } => {
                self.bases.insert(image.sha256.clone());
                self.damaged_bases.remove(&image.sha256);
            }
            StorageStep::DropBase { sha256 } => {
                self.bases.remove(sha256);
            }
        }
        Ok(())
    }

    fn content(
        &mut self,
        id: Id<Volume>,
        size: Option<u64>,
        content: &Content,
    ) -> Result<File, StorageError> {
        let (data, own_size, base) = match content {
            Content::Empty { .. } | Content::Folder => (String::new(), 0, None),
            Content::Image(BaseImage { sha256, .. }) => {
                self.bases.insert(sha256.clone());
                (format!("image {sha256}"), GIB, Some(sha256.clone()))
            }
            Content::Volume(from) => {
                let file = self.volume(*from)?;
                (file.data, file.seen.size_bytes, file.seen.base)
            }
            Content::Snapshot(snapshot, volume) => {
                let file = self.kept(*snapshot, *volume)?;
                (file.data, file.seen.size_bytes, file.seen.base)
            }
        };
        let size_bytes = size.unwrap_or(own_size).max(own_size);
        let shape = match content {
            Content::Folder => Shape::Folder { limited: true },
            _ => Shape::Disk,
        };
        let seen = VolumeFile { volume: id, shape, size_bytes, used_bytes: 4096, base, name: None };
        Ok(File { seen, data })
    }

    fn volume(&self, id: Id<Volume>) -> Result<File, StorageError> {
        self.volumes.get(&id).cloned().ok_or_else(missing)
    }

    fn kept(&self, snapshot: Id<Snapshot>, volume: Id<Volume>) -> Result<File, StorageError> {
        self.snapshots.get(&snapshot).and_then(|f| f.get(&volume)).cloned().ok_or_else(missing)
    }
}

fn missing() -> StorageError {
    StorageError::Refused { what: "reading", message: "there is no such file".to_owned() }
}

/// The pool behind the ports.
#[derive(Debug)]
pub struct ModelHost {
    disk: Mutex<Disk>,
    /// Holds up the making of a volume from an image when the image's copy is in place and the volume is not.
    pub halfway: tokio::sync::Mutex<()>,
}

impl Default for ModelHost {
    fn default() -> Self {
        Self { disk: Mutex::new(Disk::new()), halfway: tokio::sync::Mutex::default() }
    }
}

impl ModelHost {
    pub fn model(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

#[async_trait]
impl VolumeHost for ModelHost {
    async fn observe(&self, pool: &PoolRef) -> Result<PoolObserved, StorageError> {
        let disk = self.model();
        disk.is_there(pool)?;
        Ok(disk.observed())
    }

    async fn disk(&self, id: &str) -> Result<Option<DiskSeen>, StorageError> {
        Ok(self.model().disks.get(id).cloned())
    }

    async fn place(&self, pool: &PoolRef) -> Result<PlaceSeen, StorageError> {
        let model = self.model();
        let PoolSource::Disk(wanted) = &pool.source else { return Ok(PlaceSeen::default()) };
        let on = model.formatted.get(&pool.id);
        Ok(PlaceSeen {
            file_system: on.is_some_and(|disk| model.disks.contains_key(disk)),
            mounted: model.mounted.contains(&pool.id),
            disk: model.disks.get(&wanted.id).cloned(),
        })
    }

    async fn file_system(&self, uuid: &str) -> Result<Option<FileSystemSeen>, StorageError> {
        Ok(self.model().file_systems.get(uuid).map(|(seen, _)| seen.clone()))
    }

    async fn kept(&self, pool: &PoolRef) -> Result<KeptSeen, StorageError> {
        Ok(self.model().kept_place(pool))
    }

    async fn apply_place(&self, pool: &PoolRef, step: PlaceStep) -> Result<(), StorageError> {
        self.model().place_step(pool, step)
    }

    async fn keep_reserve(
        &self,
        _pool: &PoolRef,
        reserve_bytes: u64,
    ) -> Result<Option<u64>, StorageError> {
        let disk = self.model();
        Ok(disk.holds.then(|| disk.free.saturating_sub(reserve_bytes)))
    }

    async fn apply(&self, _pool: &PoolRef, step: &StorageStep) -> Result<(), StorageError> {
        if let StorageStep::Create { note, content: Content::Image(base), .. } = step {
            let there = !self.model().bases.insert(base.sha256.clone());
            let _go_on = self.halfway.lock().await;
            let mut disk = self.model();
            let kept = disk.bases.contains(&base.sha256);
            let done = disk.apply(step);
            if !there && !kept {
                // As on a disk: the volume names a file that has been removed meanwhile.
                disk.bases.remove(&base.sha256);
                disk.damaged.insert(note.volume);
            }
            return done;
        }
        self.model().apply(step)
    }

    async fn check(&self, _pool: &PoolRef, volume: Id<Volume>) -> Result<Soundness, StorageError> {
        let mut disk = self.model();
        disk.steps.push("check");
        if disk.damaged.contains(&volume) {
            return Err(StorageError::Damaged { message: "refcount errors".to_owned() });
        }
        Ok(Soundness::Sound)
    }

    async fn check_base(&self, _pool: &PoolRef, sha256: &str) -> Result<bool, StorageError> {
        let mut disk = self.model();
        disk.steps.push("check base");
        Ok(!disk.damaged_bases.contains(sha256))
    }

    async fn copy_out(
        &self,
        _pool: &PoolRef,
        volume: Id<Volume>,
        snapshot: Option<Id<Snapshot>>,
        to: &Path,
    ) -> Result<Option<(PathBuf, DiskFormat)>, StorageError> {
        let mut disk = self.model();
        disk.steps.push("copy out");
        disk.torn |=
            snapshot.is_none() && disk.guests.values().any(|power| *power == GuestPower::Running);
        let file = match snapshot {
            Some(snapshot) => disk.kept(snapshot, volume)?,
            None => disk.volume(volume)?,
        };
        disk.copies.insert(to.to_owned(), file.data);
        Ok(file.seen.base.map(|sha256| (sha256.into(), DiskFormat::Qcow2)))
    }

    async fn recover(&self, _pool: &PoolRef) -> Result<(), StorageError> {
        Ok(())
    }

    fn path(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf {
        PathBuf::from(format!("/pools/{}/{volume}", pool.name))
    }

    fn folder(&self, pool: &PoolRef, volume: Id<Volume>) -> PathBuf {
        PathBuf::from(format!("/pools/{}/{volume}.folder", pool.name))
    }
}

#[async_trait]
impl Guests for ModelHost {
    async fn power(&self, vm: Id<Vm>) -> Result<GuestPower, StorageError> {
        Ok(self.model().guests.get(&vm).copied().unwrap_or(GuestPower::Off))
    }

    async fn hold(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        if let Some(power) = self.model().guests.get_mut(&vm) {
            *power = GuestPower::Held;
        }
        Ok(())
    }

    async fn release(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        if let Some(power) = self.model().guests.get_mut(&vm) {
            *power = GuestPower::Running;
        }
        Ok(())
    }

    async fn freeze(&self, vm: Id<Vm>) -> Rest {
        match self.model().agents.get_mut(&vm) {
            None => Rest::NoAgent,
            Some((false, _)) => Rest::Unknown("its agent does not answer".to_owned()),
            Some((true, at_rest)) => {
                *at_rest = true;
                Rest::AtRest
            }
        }
    }

    async fn thaw(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        match self.model().agents.get_mut(&vm) {
            Some((true, at_rest)) => {
                *at_rest = false;
                Ok(())
            }
            _ => {
                let message = "its agent does not answer".to_owned();
                Err(StorageError::Failed { what: "thaw", message })
            }
        }
    }

    async fn keep_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<bool, StorageError> {
        let mut disk = self.model();
        disk.tpm_step("keep TPM")?;
        disk.kept_tpms.remove(&(vm, snapshot));
        let Some(state) = disk.tpms.get(&vm).cloned() else { return Ok(false) };
        disk.kept_tpms.insert((vm, snapshot), state);
        Ok(true)
    }

    async fn revert_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError> {
        let mut disk = self.model();
        disk.tpm_step("revert TPM")?;
        let kept = disk.kept_tpms.get(&(vm, snapshot)).cloned().ok_or_else(missing)?;
        disk.tpms.insert(vm, kept);
        Ok(())
    }

    async fn drop_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> Result<(), StorageError> {
        let mut disk = self.model();
        disk.steps.push("drop TPM");
        disk.kept_tpms.remove(&(vm, snapshot));
        Ok(())
    }

    async fn grow(
        &self,
        _vm: Id<Vm>,
        path: &std::path::Path,
        size_bytes: u64,
    ) -> Result<(), StorageError> {
        let mut disk = self.model();
        disk.steps.push("grow live");
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|n| n.parse().ok());
        if let Some(file) = id.and_then(|id| disk.volumes.get_mut(&id)) {
            file.seen.size_bytes = size_bytes;
        }
        Ok(())
    }
}
