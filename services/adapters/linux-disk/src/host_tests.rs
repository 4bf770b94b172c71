use std::process::Command;

use skerry_model::Name;
use skerry_storage::NOTE_SCHEMA;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const MIB: u64 = 1 << 20;

struct Ground {
    folder: TempDir,
    disk: LinuxDisk,
    pool: PoolRef,
}

fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = LinuxDisk::new(folder.path().join("pools"), None);
    // However full the disk is on which this runs.
    disk.kept_free = |_| 0;
    let pool = PoolRef { id: id(900), name: name("default"), source: PoolSource::DataPartition };
    Ground { folder, disk, pool }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn id<K>(n: u128) -> Id<K> {
    Id::new(Uuid::from_u128(n))
}

impl Ground {
    async fn create(&self, n: u128, mib: u64, content: Content) -> Result<(), StorageError> {
        let note = VolumeNote {
            schema: NOTE_SCHEMA,
            volume: id(n),
            name: name("data"),
            base: None,
            size_bytes: None,
        };
        let size_bytes = Some(mib * MIB).filter(|size| *size > 0);
        self.disk.apply(&self.pool, &StorageStep::Create { note, size_bytes, content }).await
    }

    async fn take(&self, n: u128, volumes: &[u128]) {
        let volumes = volumes.iter().map(|v| (id(*v), name("data"))).collect();
        let note = SnapshotNote { schema: NOTE_SCHEMA, snapshot: id(n), name: name("s"), volumes };
        self.disk.apply(&self.pool, &StorageStep::Take { note }).await.unwrap();
    }

    async fn apply(&self, step: StorageStep) {
        self.disk.apply(&self.pool, &step).await.unwrap();
    }

    async fn seen(&self) -> PoolObserved {
        self.disk.observe(&self.pool).await.unwrap()
    }

    fn path(&self, n: u128) -> PathBuf {
        self.disk.path(&self.pool, id(n))
    }

    /// Writes a byte over the first 64 KiB, as a guest would.
    fn write(&self, n: u128, byte: u8) {
        run("qemu-io", &["-f", "qcow2", "-c", &format!("write -P {byte} 0 65536")], &self.path(n));
    }

    /// Whether the first 64 KiB are this byte.
    fn reads(&self, n: u128, byte: u8) {
        let command = format!("read -P {byte} 0 65536");
        let said = run("qemu-io", &["-f", "qcow2", "-r", "-c", &command], &self.path(n));
        assert!(!said.contains("verification failed"), "{said}");
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn empty() -> Content {
    Content::Empty { preallocated: false }
}

fn image(ground: &Ground, format: DiskFormat) -> BaseImage {
    let path = ground.folder.path().join("image");
    let raw = ground.folder.path().join("image.raw");
    std::fs::write(&raw, vec![9; 4 << 20]).unwrap();
    let word = if format == DiskFormat::Raw { "raw" } else { "qcow2" };
    let output = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", word])
        .args([&raw, &path])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let sha256 = hex::encode(Sha256::digest(std::fs::read(&path).unwrap()));
    BaseImage { sha256, path, format }
}

#[tokio::test]
async fn a_volume_is_made_grown_checked_and_removed() {
    let ground = ground();
    ground.create(1, 64, empty()).await.unwrap();
    ground.create(1, 64, empty()).await.unwrap();
    let seen = ground.seen().await;
    assert_eq!(seen.volumes.len(), 1);
    assert_eq!(seen.volumes[0].size_bytes, 64 * MIB);
    assert!(seen.volumes[0].used_bytes < MIB);
    assert_eq!(seen.volumes[0].name.as_deref(), Some("data"));
    assert!(seen.usage.size > 0 && seen.usage.free > 0);
    ground.apply(StorageStep::Grow { volume: id(1), size_bytes: 128 * MIB }).await;
    ground.apply(StorageStep::Grow { volume: id(1), size_bytes: 96 * MIB }).await;
    let file = ground.disk.observe_volume(&ground.pool, id(1)).await.unwrap().unwrap();
    assert_eq!(file.size_bytes, 128 * MIB);
    assert_eq!(ground.disk.check(&ground.pool, id(1)).await.unwrap(), Soundness::Sound);
    ground.apply(StorageStep::Remove { volume: id(1), erase: true }).await;
    ground.apply(StorageStep::Remove { volume: id(1), erase: true }).await;
    assert_eq!(ground.seen().await.volumes, []);
    let left: Vec<_> = std::fs::read_dir(ground.path(1).parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_preallocated_volume_takes_its_space() {
    let ground = ground();
    ground.create(1, 8, Content::Empty { preallocated: true }).await.unwrap();
    assert!(ground.seen().await.volumes[0].used_bytes >= 8 * MIB);
}

#[tokio::test]
async fn space_below_the_reserve_is_not_taken() {
    let ground = ground();
    ground.create(1, 8, Content::Empty { preallocated: true }).await.unwrap();
    let full = LinuxDisk { kept_free: |size| size, ..ground.disk.clone() };
    let ground = Ground { disk: full, ..ground };
    let refused = ground.create(2, 8, Content::Empty { preallocated: true }).await;
    assert!(matches!(refused, Err(StorageError::NoSpace { .. })), "{refused:?}");
    ground.create(3, 8, empty()).await.unwrap();
    let places = ground.disk.places(&ground.pool).unwrap();
    assert_eq!(std::fs::read_dir(places.tmp()).unwrap().count(), 0);
    assert_eq!(ground.seen().await.volumes.len(), 2);
}

#[tokio::test]
async fn a_copy_for_an_image_leaves_the_reserve_alone() {
    let ground = ground();
    ground.create(1, 8, Content::Empty { preallocated: true }).await.unwrap();
    ground.write(1, 5);
    let work = ground.folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let to = work.join("lent");
    let full = LinuxDisk { kept_free: |size| size, ..ground.disk.clone() };
    if !crate::copy::can_share(&work) {
        let refused = full.copy_out(&ground.pool, id(1), None, &to).await;
        assert!(matches!(refused, Err(StorageError::NoSpace { .. })), "{refused:?}");
        assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    }
    ground.disk.copy_out(&ground.pool, id(1), None, &to).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(ground.path(1)).unwrap());
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 1);
}

#[tokio::test]
async fn snapshots_keep_revert_and_go_in_any_order() {
    let ground = ground();
    ground.create(1, 16, empty()).await.unwrap();
    for (snapshot, byte) in [(10, 1), (11, 2), (12, 3)] {
        ground.write(1, byte);
        ground.take(snapshot, &[1]).await;
        ground.take(snapshot, &[1]).await;
    }
    ground.write(1, 4);
    assert_eq!(ground.seen().await.snapshots.len(), 3);
    ground.apply(StorageStep::Drop { snapshot: id(11) }).await;
    ground.apply(StorageStep::Drop { snapshot: id(11) }).await;
    ground.reads(1, 4);
    ground.apply(StorageStep::Revert { snapshot: id(10), volume: id(1) }).await;
    ground.reads(1, 1);
    ground.apply(StorageStep::Revert { snapshot: id(12), volume: id(1) }).await;
    ground.reads(1, 3);
    ground.create(2, 32, Content::Snapshot(id(10), id(1))).await.unwrap();
    ground.reads(2, 1);
    ground.write(2, 7);
    ground.create(3, 0, Content::Volume(id(2))).await.unwrap();
    ground.reads(3, 7);
    ground.reads(1, 3);
    let seen = ground.seen().await;
    assert_eq!(seen.volume(id(2)).unwrap().size_bytes, 32 * MIB);
    assert_eq!(seen.volume(id(3)).unwrap().size_bytes, 32 * MIB);
    assert_eq!(seen.snapshots.len(), 2);
}

#[tokio::test]
async fn volumes_of_an_image_share_the_pools_own_copy() {
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        let ground = ground();
        let image = image(&ground, format);
        ground.create(1, 64, Content::Image(image.clone())).await.unwrap();
        ground.create(2, 0, Content::Image(image.clone())).await.unwrap();
        std::fs::remove_file(&image.path).unwrap();
        ground.reads(1, 9);
        ground.reads(2, 9);
        ground.create(3, 0, Content::Volume(id(1))).await.unwrap();
        let seen = ground.seen().await;
        assert_eq!(seen.bases, std::slice::from_ref(&image.sha256));
        assert_eq!(seen.volume(id(1)).unwrap().size_bytes, 64 * MIB);
        assert_eq!(seen.volume(id(2)).unwrap().size_bytes, 4 * MIB);
        assert_eq!(seen.volume(id(3)).unwrap().base, Some(image.sha256));
        assert!(seen.volume(id(1)).unwrap().used_bytes < MIB);
    }
}

#[tokio::test]
async fn damage_in_an_image_or_in_the_copy_of_one_is_found_and_a_copy_is_renewed() {
    let ground = ground();
    let image = image(&ground, DiskFormat::Raw);
    ground.create(1, 64, Content::Image(image.clone())).await.unwrap();
    let sha256 = image.sha256.clone();
    assert!(ground.disk.check_base(&ground.pool, &sha256).await.unwrap());
    let base = ground.disk.places(&ground.pool).unwrap().base(&sha256, image.format);
    let spoil = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[100] ^= 1;
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, bytes).unwrap();
        std::fs::rename(&fresh, path).unwrap();
    };
    spoil(&base);
    assert!(!ground.disk.check_base(&ground.pool, &sha256).await.unwrap());
    let whole = std::fs::read(&image.path).unwrap();
    spoil(&image.path);
    let renew = StorageStep::RenewBase { image: image.clone() };
    let refused = ground.disk.apply(&ground.pool, &renew).await;
    assert!(matches!(refused, Err(StorageError::Refused { .. })), "{refused:?}");
    std::fs::write(&image.path, whole).unwrap();
    ground.apply(renew).await;
    assert!(ground.disk.check_base(&ground.pool, &sha256).await.unwrap());
    ground.reads(1, 9);
    assert_eq!(ground.seen().await.bases, [sha256]);
    // Where nothing is shared, what is read is compared.
    ground.apply(StorageStep::Remove { volume: id(1), erase: false }).await;
    ground.apply(StorageStep::DropBase { sha256: image.sha256.clone() }).await;
    spoil(&image.path);
    if !crate::copy::can_share(ground.folder.path()) {
        let refused = ground.create(2, 64, Content::Image(image)).await.unwrap_err();
        assert!(refused.to_string().contains("the image is damaged"), "{refused}");
        assert_eq!(ground.seen().await.bases, [""; 0]);
    }
}

#[tokio::test]
async fn an_image_that_names_another_file_is_refused() {
    let ground = ground();
    let base = image(&ground, DiskFormat::Qcow2);
    let bad = ground.folder.path().join("bad");
    let output = Command::new("qemu-img")
        .args(["create", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([&base.path, &bad])
        .output()
        .unwrap();
    assert!(output.status.success());
    let sha256 = hex::encode(Sha256::digest(std::fs::read(&bad).unwrap()));
    let bad = BaseImage { sha256, path: bad, ..base };
    let refused = ground.create(1, 64, Content::Image(bad)).await;
    assert!(matches!(refused, Err(StorageError::Refused { .. })), "{refused:?}");
    assert_eq!(ground.seen().await.volumes, []);
}

#[tokio::test]
async fn damage_is_found_and_never_replaces_what_is_there() {
    let ground = ground();
    ground.create(1, 16, empty()).await.unwrap();
    ground.write(1, 5);
    ground.take(10, &[1]).await;
    let kept = Places::kept(&ground.disk.places(&ground.pool).unwrap().snapshot(id(10)), id(1));
    std::fs::write(&kept, "not a disk").unwrap();
    let step = StorageStep::Revert { snapshot: id(10), volume: id(1) };
    assert!(ground.disk.apply(&ground.pool, &step).await.is_err());
    ground.reads(1, 5);
    std::fs::write(ground.path(1), "not a disk").unwrap();
    let found = ground.disk.check(&ground.pool, id(1)).await;
    assert!(matches!(found, Err(StorageError::Damaged { .. })), "{found:?}");
}

#[tokio::test]
async fn copies_are_looked_at_without_a_change_before_anything_is_set_back() {
    let ground = ground();
    for n in [1, 2] {
        ground.create(n, 16, empty()).await.unwrap();
        ground.write(n, 5);
    }
    ground.take(10, &[1, 2]).await;
    let kept = Places::kept(&ground.disk.places(&ground.pool).unwrap().snapshot(id(10)), id(2));
    let examine = StorageStep::Examine { snapshot: id(10), volumes: vec![id(1), id(2)] };
    let whole = std::fs::read(&kept).unwrap();
    ground.apply(examine.clone()).await;
    assert_eq!(std::fs::read(&kept).unwrap(), whole);
    std::fs::write(&kept, "not a disk").unwrap();
    let found = ground.disk.apply(&ground.pool, &examine).await;
    assert!(matches!(found, Err(StorageError::Damaged { .. })), "{found:?}");
    std::fs::remove_file(&kept).unwrap();
    let found = ground.disk.apply(&ground.pool, &examine).await;
    assert!(matches!(found, Err(StorageError::Refused { .. })), "{found:?}");
    std::fs::write(&kept, whole).unwrap();
    let full = LinuxDisk { kept_free: |size| size, ..ground.disk.clone() };
    if !crate::copy::can_share(ground.folder.path()) {
        let found = full.apply(&ground.pool, &examine).await;
        assert!(matches!(found, Err(StorageError::NoSpace { .. })), "{found:?}");
    }
}

#[tokio::test]
async fn what_a_power_cut_left_half_done_goes_and_nothing_else() {
    let ground = ground();
    ground.create(1, 16, empty()).await.unwrap();
    let places = ground.disk.places(&ground.pool).unwrap();
    std::fs::write(places.making("create", id::<Volume>(2)), "half").unwrap();
    std::fs::create_dir(places.making("take", id::<Snapshot>(3))).unwrap();
    std::fs::write(places.volumes().join("notes of a person.txt"), "keep").unwrap();
    ground.disk.recover(&ground.pool).await.unwrap();
    assert_eq!(std::fs::read_dir(places.tmp()).unwrap().count(), 0);
    assert_eq!(ground.seen().await.volumes.len(), 1);
    assert!(places.volumes().join("notes of a person.txt").exists());
}

#[tokio::test]
async fn a_folder_is_made_grown_and_removed_with_all_that_is_in_it() {
    let ground = ground();
    let size_bytes = Some(8 * MIB);
    let note = VolumeNote {
        schema: NOTE_SCHEMA,
        volume: id(7),
        name: name("data"),
        base: None,
        size_bytes,
    };
    let create = StorageStep::Create { note, size_bytes, content: Content::Folder };
    ground.apply(create.clone()).await;
    let folder = ground.disk.folder(&ground.pool, id(7));
    std::fs::write(folder.join("kept"), "x").unwrap();
    ground.apply(create).await;
    assert!(folder.join("kept").exists(), "done already is done");
    ground.apply(StorageStep::Grow { volume: id(7), size_bytes: 16 * MIB }).await;
    ground.apply(StorageStep::Grow { volume: id(7), size_bytes: 9 * MIB }).await;
    let seen = ground.seen().await;
    assert_eq!(seen.volumes.len(), 1);
    assert_eq!(seen.volumes[0].size_bytes, 16 * MIB, "nothing shrinks");
    assert_eq!(seen.volumes[0].name.as_deref(), Some("data"));
    assert!(matches!(seen.volumes[0].shape, skerry_storage::Shape::Folder { .. }));
    ground.disk.check(&ground.pool, id(7)).await.unwrap();
    for _ in 0..2 {
        ground.apply(StorageStep::Remove { volume: id(7), erase: true }).await;
    }
    assert!(!folder.exists());
    assert!(ground.seen().await.volumes.is_empty());
}

#[tokio::test]
async fn without_its_disk_nothing_is_written_where_a_pool_would_be() {
    let ground = ground();
    let disk = skerry_model::PoolDisk { id: "wwn-1".into(), erase: false };
    let pool = PoolRef { source: PoolSource::Disk(disk), ..ground.pool.clone() };
    let away = ground.disk.observe(&pool).await.unwrap_err();
    assert!(matches!(away, StorageError::PoolAway { .. }), "{away}");
    let kept = ground.disk.keep_reserve(&pool, MIB).await.unwrap_err();
    assert!(matches!(kept, StorageError::PoolAway { .. }), "{kept}");
    assert!(ground.disk.recover(&pool).await.is_err());
    assert_eq!(std::fs::read_dir(ground.folder.path()).unwrap().count(), 0);
}
