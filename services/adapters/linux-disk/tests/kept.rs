//! Pools on real file systems that are kept: ext4 and XFS in a file behind a loop device, mounted by the test itself. That
//! guests are held to the reserve on XFS needs a kernel that counts by project: that is seen on the booted node.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skerry_linux_disk::{LinuxDisk, PoolDisks};
use skerry_linux_host::Roots;
use skerry_linux_host::systemd::Systemd;
use skerry_model::{Id, Name, PoolFileSystem, PoolSource};
use skerry_storage::{
    Content, FolderSeen, NOTE_SCHEMA, PlaceStep, PoolRef, SnapshotNote, Soundness, StorageError,
    StorageStep, VolumeHost, VolumeNote,
};
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const UUID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

/// A file system with a letter on it, mounted where the pool `fast` is looked for.
struct Ground {
    folder: tempfile::TempDir,
    device: String,
    disk: LinuxDisk,
    pool: PoolRef,
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Ground {
    fn new(make: &[&str], kind: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path).display().to_string();
        fs::File::create(at("disk")).unwrap().set_len(1300 * MIB).unwrap();
        run(make[0], &[&make[1..], &[at("disk").as_str()]].concat());
        let device = run("losetup", &["--find", "--show", &at("disk")]);
        let name = device.strip_prefix("/dev/").unwrap();
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
        let write = |path: String, text: &str| {
            fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(at(&format!("sys/block/{name}/dev")), &number);
        write(at(&format!("sys/block/{name}/size")), &(1300 * MIB / 512).to_string());
        let udev = format!("E:ID_FS_TYPE={kind}\nE:ID_FS_UUID={UUID}\nE:ID_FS_USAGE=filesystem\n");
        write(at(&format!("run/udev/data/b{}", number.trim())), &udev);
        fs::create_dir_all(at("pools/fast")).unwrap();
        run("mount", &["-t", kind, "-o", options, &device, &at("pools/fast")]);
        fs::write(at("pools/fast/letter"), "dear friend").unwrap();
        let roots = Roots::below(folder.path());
        let disks = PoolDisks::new(Systemd::at("unix:path=/none"), roots, at("pools"));
        let disk = LinuxDisk::new(folder.path().join("data"), None).with_disks(disks);
        let kept = PoolFileSystem { uuid: UUID.into(), folder: "skerry".into() };
        let (id, name) = (Id::new(Uuid::from_u128(9)), Name::new("fast").unwrap());
        let pool = PoolRef { id, name, source: PoolSource::FileSystem(kept) };
        Self { folder, device, disk, pool }
    }

    fn mount(&self) -> PathBuf {
        self.folder.path().join("pools/fast")
    }

    async fn step(&self, step: StorageStep) -> Result<(), StorageError> {
        self.disk.apply(&self.pool, &step).await
    }

    async fn folder_seen(&self) -> FolderSeen {
        self.disk.kept(&self.pool).await.unwrap().folder
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let mount = self.mount();
        for (program, words) in
            [("umount", ["-l", mount.to_str().unwrap()]), ("losetup", ["-d", &self.device])]
        {
            let _ = Command::new(program).args(words).status();
        }
    }
}

fn id<K>(number: u128) -> Id<K> {
    Id::new(Uuid::from_u128(number))
}

fn create(number: u128, content: Content) -> StorageStep {
    let name = Name::new("data").unwrap();
    let note =
        VolumeNote { schema: NOTE_SCHEMA, volume: id(number), name, base: None, size_bytes: None };
    let size_bytes = matches!(content, Content::Empty { .. }).then_some(64 * MIB);
    StorageStep::Create { note, size_bytes, content }
}

fn take(number: u128) -> StorageStep {
    let name = Name::new("one").unwrap();
    let volumes = vec![(id(1), Name::new("data").unwrap())];
    let note = SnapshotNote { schema: NOTE_SCHEMA, snapshot: id(number), name, volumes };
    StorageStep::Take { note }
}

/// Settled on, filled, given back; `shares`: whether copies share blocks.
async fn a_pool_lives_beside_a_letter(ground: &Ground, shares: bool) {
    let (disk, pool) = (&ground.disk, &ground.pool);
    let seen = disk.kept(pool).await.unwrap();
    assert!(seen.mounted && seen.file_system.is_some(), "{seen:?}");
    assert_eq!(seen.folder, FolderSeen::Absent);
    assert!(matches!(disk.observe(pool).await, Err(StorageError::PoolAway { .. })));
    disk.apply_place(pool, PlaceStep::Settle).await.unwrap();
    disk.recover(pool).await.unwrap();
    let before = disk.observe(pool).await.unwrap().usage;
    ground.step(create(1, Content::Empty { preallocated: true })).await.unwrap();
    let file = disk.path(pool, id(1)).display().to_string();
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 5 0 48M", &file]);
    ground.step(create(2, Content::Volume(id(1)))).await.unwrap();
    ground.step(take(10)).await.unwrap();
    assert_eq!(disk.check(pool, id(1)).await.unwrap(), Soundness::Sound);
    let after = disk.observe(pool).await.unwrap();
    assert_eq!((after.volumes.len(), after.snapshots.len()), (2, 1));
    let taken = (before.free - after.usage.free) / MIB;
    assert_eq!(taken < 100, shares, "{taken} MiB are taken");

    // What others put there takes room too; what needs room then is refused, and leaves nothing.
    let filler = ground.mount().join("filler");
    let room = after.usage.free - skerry_storage::reserve(after.usage.size);
    run("fallocate", &["-l", &(room - 32 * MIB).to_string(), filler.to_str().unwrap()]);
    let more = ground.step(take(11)).await;
    assert_eq!(matches!(more, Err(StorageError::NoSpace { .. })), !shares, "{more:?}");
    let tmp = ground.mount().join("skerry/tmp");
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0);
    ground.step(StorageStep::Drop { snapshot: id(11) }).await.unwrap();
    fs::remove_file(filler).unwrap();

    ground.step(StorageStep::Revert { snapshot: id(10), volume: id(1) }).await.unwrap();
    ground.step(StorageStep::Drop { snapshot: id(10) }).await.unwrap();
    for number in [1, 2] {
        let step = StorageStep::Remove { volume: id(number), erase: false };
        ground.step(step).await.unwrap();
    }
    disk.apply_place(pool, PlaceStep::Clear).await.unwrap();
    assert_eq!(ground.folder_seen().await, FolderSeen::Absent);
    assert_eq!(fs::read_to_string(ground.mount().join("letter")).unwrap(), "dear friend");
}

#[tokio::test]
#[ignore = "needs root, loop devices, qemu-img and e2fsprogs"]
async fn on_ext4_copies_take_room_and_nobody_is_held_to_the_reserve() {
    let make = ["mkfs.ext4", "-q", "-F"];
    let ground = Ground::new(&make, "ext4", "nosuid,nodev,noexec,noatime");
    a_pool_lives_beside_a_letter(&ground, false).await;
    ground.disk.apply_place(&ground.pool, PlaceStep::Settle).await.unwrap();
    assert_eq!(ground.disk.keep_reserve(&ground.pool, MIB).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs root, loop devices, qemu-img and xfsprogs"]
async fn on_xfs_copies_share_blocks() {
    let make = ["mkfs.xfs", "-q", "-f"];
    let ground = Ground::new(&make, "xfs", "nosuid,nodev,noexec,noatime");
    a_pool_lives_beside_a_letter(&ground, true).await;
}
