use skerry_model::{Id, PoolSource};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const UUID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

/// A machine of made-up files with a disk `sdb` and a file system on `sdb1`.
struct Ground {
    folder: TempDir,
    kept: KeptFileSystems,
}

fn ground(kind: &str) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::below(folder.path());
    let systemd = Systemd::at("unix:path=/none");
    let kept = KeptFileSystems::new(systemd, roots, folder.path().join("pools"));
    let ground = Ground { folder, kept };
    ground.part("sdb", "sdb1", "8:17", kind);
    ground.write("proc/self/mountinfo", "20 1 8:1 / / rw - erofs /dev/dm-0 ro\n");
    ground
}

impl Ground {
    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn part(&self, disk: &str, name: &str, number: &str, kind: &str) {
        let folder = format!("sys/block/{disk}/{name}");
        self.write(&format!("{folder}/partition"), "1\n");
        self.write(&format!("{folder}/dev"), &format!("{number}\n"));
        self.write(&format!("{folder}/size"), "16777216\n");
        self.write(&format!("{folder}/ro"), "0\n");
        let udev = format!("E:ID_FS_TYPE={kind}\nE:ID_FS_UUID={UUID}\nE:ID_FS_USAGE=filesystem\n");
        self.write(&format!("run/udev/data/b{number}"), &udev);
    }

    fn busy(&self) -> Option<String> {
        self.kept.look(UUID, Some(&self.kept.mounts.join("fast"))).unwrap().busy
    }

    /// What is mounted in the place of the pool `fast` is the file system, for the device below the folder is said to be.
    fn mount(&self) -> PathBuf {
        let mount = self.kept.mounts.join("fast");
        fs::create_dir_all(&mount).unwrap();
        let number = fs::metadata(&mount).unwrap().dev();
        self.part("sdb", "sdb1", &format!("{}:{}", major(number), minor(number)), "ext4");
        mount
    }
}

fn wanted() -> PoolFileSystem {
    PoolFileSystem { uuid: UUID.into(), folder: "skerry".into() }
}

fn pool() -> PoolRef {
    let source = PoolSource::FileSystem(wanted());
    PoolRef { id: Id::new(Uuid::from_u128(7)), name: Name::new("fast").unwrap(), source }
}

#[test]
fn a_file_system_is_found_by_its_uuid_and_whoever_uses_it_is_named() {
    let ground = ground("ext4");
    assert_eq!(ground.kept.look("1a2b-3c4d", None), None);
    let seen = ground.kept.look(&UUID.to_uppercase(), None).unwrap();
    assert_eq!((seen.name.as_str(), seen.kind.as_str()), ("sdb1", "ext4"));
    assert_eq!((seen.size_bytes, seen.busy), (8 << 30, None));
    let own = ground.kept.mounts.join("fast");
    let line = |point: &str| format!("30 1 8:17 / {point} rw - ext4 /dev/sdb1 rw\n");
    ground.write("proc/self/mountinfo", &line(&own.display().to_string()));
    assert_eq!(ground.busy(), None, "its own mount");
    ground.write("proc/self/mountinfo", &line("/srv"));
    assert_eq!(ground.busy().as_deref(), Some("is mounted at /srv"));
    ground.write("proc/self/mountinfo", "");
    ground.write("sys/block/sdb/sdb1/ro", "1\n");
    assert_eq!(ground.busy().as_deref(), Some("is write-protected"));
    fs::create_dir_all(ground.folder.path().join("dev/skerry")).unwrap();
    let link = ground.folder.path().join("dev/skerry/state");
    std::os::unix::fs::symlink("../sdb1", link).unwrap();
    assert_eq!(ground.busy().as_deref(), Some("is the node's own partition `state`"));
    ground.part("sdc", "sdc1", "8:33", "ext4");
    let twice = ground.busy().unwrap();
    assert!(twice.contains("more than once (sdb1 and sdc1)"), "{twice}");
}

#[tokio::test]
async fn a_pool_is_usable_when_its_file_system_is_mounted_and_its_folder_marked() {
    let ground = ground("ext4");
    let (pool, wanted) = (pool(), wanted());
    let seen = || ground.kept.seen(&pool, &wanted);
    let apply = |step| ground.kept.apply(&pool, &wanted, step);
    assert_eq!((seen().mounted, seen().folder), (false, FolderSeen::Unknown));
    for step in [PlaceStep::Settle, PlaceStep::Clear, PlaceStep::Format, PlaceStep::Mount] {
        assert!(apply(step).await.is_err(), "{step:?}");
    }
    let mount = ground.mount();
    fs::set_permissions(&mount, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(mount.join("letter"), "kept").unwrap();
    assert_eq!((seen().mounted, seen().folder), (true, FolderSeen::Absent));
    assert!(!ground.kept.is_usable(&pool, &wanted));
    apply(PlaceStep::Settle).await.unwrap();
    assert_eq!(seen().folder, FolderSeen::Own);
    assert!(ground.kept.is_usable(&pool, &wanted));
    let places = ground.kept.places().all();
    assert_eq!(places[&pool.name].folder, mount.join("skerry"));
    // Another device of the same number of its folder is not the file system: it is away.
    ground.part("sdb", "sdb1", "8:17", "ext4");
    assert!(!seen().mounted && !ground.kept.is_usable(&pool, &wanted));
    assert!(ground.kept.places().all().is_empty(), "nobody reads there any more");
    ground.mount();
    apply(PlaceStep::Clear).await.unwrap();
    assert_eq!(seen().folder, FolderSeen::Absent);
    assert_eq!(fs::read_to_string(mount.join("letter")).unwrap(), "kept");
}

#[tokio::test]
async fn what_is_of_another_kind_is_not_mounted() {
    let ground = ground("vfat");
    let refused = ground.kept.apply(&pool(), &wanted(), PlaceStep::Mount).await.unwrap_err();
    assert!(refused.to_string().contains("of the kind `vfat`"), "{refused}");
}
