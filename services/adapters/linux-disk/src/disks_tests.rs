use std::os::unix::fs::symlink;

use skerry_model::PoolSource;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

/// A machine of made-up files with one disk, `sdb`, called `wwn-1`.
struct Ground {
    folder: TempDir,
    roots: Roots,
}

fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::below(folder.path());
    let ground = Ground { folder, roots };
    fs::create_dir_all(ground.at("dev/disk/by-id")).unwrap();
    fs::create_dir_all(ground.at("dev/disk/by-uuid")).unwrap();
    fs::create_dir_all(ground.at("sys/block/sdb/holders")).unwrap();
    symlink("../../sdb", ground.at("dev/disk/by-id/wwn-1")).unwrap();
    ground.write("sys/block/sdb/size", "16777216\n");
    ground.write("sys/block/sdb/ro", "0\n");
    ground.write("sys/block/sdb/dev", "8:16\n");
    ground.write("proc/self/mountinfo", "20 1 8:1 / / rw - erofs /dev/dm-0 ro\n");
    ground
}

impl Ground {
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn partition(&self, name: &str, number: &str) {
        self.write(&format!("sys/block/sdb/{name}/partition"), "1\n");
        self.write(&format!("sys/block/sdb/{name}/dev"), number);
    }

    fn seen(&self) -> DiskSeen {
        look(&self.roots, "wwn-1").unwrap()
    }
}

#[test]
fn an_unused_disk_is_seen_with_its_size() {
    let ground = ground();
    let expected = DiskSeen { name: "sdb".into(), size_bytes: 8 << 30, content: None, busy: None };
    assert_eq!(ground.seen(), expected);
    assert_eq!(look(&ground.roots, "wwn-2"), None);
    symlink("../../sdb1", ground.at("dev/disk/by-id/odd")).unwrap();
    assert_eq!(look(&ground.roots, "odd"), None, "a partition is no disk");
}

#[test]
fn whoever_uses_a_disk_or_a_part_of_it_is_named() {
    let ground = ground();
    ground.partition("sdb1", "8:17");
    assert_eq!(ground.seen().content.as_deref(), Some("a partition"));
    ground.partition("sdb2", "8:18");
    assert_eq!(
        (ground.seen().content.as_deref(), ground.seen().busy),
        (Some("2 partitions"), None)
    );
    ground.write("proc/swaps", "Filename Type\n/dev/sdb2 partition 1 0 -2\n");
    assert_eq!(ground.seen().busy.as_deref(), Some("is used for swapping"));
    ground.write("proc/self/mountinfo", "30 1 8:17 / /srv rw - ext4 /dev/sdb1 rw\n");
    assert_eq!(ground.seen().busy.as_deref(), Some("is mounted at /srv"));
    fs::create_dir_all(ground.at("sys/block/sdb/holders/dm-0")).unwrap();
    assert_eq!(ground.seen().busy.as_deref(), Some("is part of dm-0"));
}

#[test]
fn a_write_protected_disk_is_busy() {
    let ground = ground();
    ground.write("sys/block/sdb/ro", "1\n");
    assert_eq!(ground.seen().busy.as_deref(), Some("is write-protected"));
}

#[test]
fn what_the_tool_finds_is_said_in_words() {
    let ext4 = "DEVNAME=/dev/sdb\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\n";
    assert_eq!(content_of(ext4), "data of the kind ext4");
    assert_eq!(content_of("DEVNAME=/dev/sdb\nPTTYPE=gpt\n"), "a partition table of the kind gpt");
    assert_eq!(content_of("DEVNAME=/dev/sdb\n"), "data of an unknown kind");
}

#[tokio::test]
async fn a_pool_is_mounted_only_if_it_is_its_own_file_system() {
    let ground = ground();
    let disks =
        PoolDisks::new(Systemd::at("unix:path=/none"), ground.roots.clone(), ground.at("pools"));
    let pool = PoolRef {
        id: Id::new(Uuid::from_u128(7)),
        name: Name::new("fast").unwrap(),
        source: PoolSource::DataPartition,
    };
    fs::create_dir_all(disks.target(&pool.name)).unwrap();
    assert!(!disks.is_mounted(&pool), "there is no such file system");
    // A file system that is there, but whose device is not the one below the folder.
    let by_uuid = "dev/disk/by-uuid/00000000-0000-0000-0000-000000000007";
    symlink("/dev/null", ground.at(by_uuid)).unwrap();
    assert!(!disks.is_mounted(&pool));
    let place = disks.place(&pool, "wwn-1").await.unwrap();
    assert_eq!(place, PlaceSeen { file_system: true, mounted: false, disk: None });
}
