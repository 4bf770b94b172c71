use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

struct Ground {
    folder: TempDir,
    roots: Roots,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::below(folder.path());
        fs::create_dir_all(folder.path().join("sys/block")).unwrap();
        Self { folder, roots }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A disk with a partition that has a file system.
    fn disk(&self, name: &str, number: u32, bus: &str, kind: &str, label: &str) {
        let real = format!("sys/devices/{bus}/block/{name}");
        self.write(&format!("{real}/removable"), "0\n");
        self.write(&format!("{real}/{name}1/partition"), "1\n");
        self.write(&format!("{real}/{name}1/dev"), &format!("8:{number}\n"));
        self.write(&format!("{real}/{name}1/size"), "2048\n");
        let uuid = format!("E:ID_FS_UUID=00-{number}\nE:ID_FS_LABEL={label}\n");
        let udev = format!("E:ID_FS_TYPE={kind}\n{uuid}");
        self.write(&format!("run/udev/data/b8:{number}"), &udev);
        let link = self.folder.path().join("sys/block").join(name);
        symlink(self.folder.path().join(real), link).unwrap();
    }

    fn found(&self) -> Vec<(String, String)> {
        let taken = ["ARCHIVE".to_owned()].into();
        let found = sticks(&self.roots, &self.folder.path().join("run/skerry/media"), &taken);
        found.into_iter().map(|stick| (stick.name, stick.device)).collect()
    }
}

#[test]
fn what_is_on_usb_is_a_medium_with_a_name_that_stays() {
    let ground = Ground::new();
    ground.disk("sda", 1, "pci0/ata1", "vfat", "INTERNAL");
    ground.disk("sdb", 17, "pci0/usb1/1-1", "vfat", "STICK");
    ground.disk("sdd", 49, "pci0/usb1/1-3", "ext4", "STICK");
    ground.disk("sde", 65, "pci0/usb1/1-4", "exfat", "../../etc");
    ground.disk("sdf", 81, "pci0/usb1/1-5", "iso9660", "");
    ground.disk("sdg", 97, "pci0/usb1/1-6", "vfat", "ARCHIVE");
    let pair = |name: &str, device: &str| (name.to_owned(), device.to_owned());
    let expected = [
        pair("STICK-00-17", "sdb1"),
        pair("STICK-00-49", "sdd1"),
        pair("_.._etc", "sde1"),
        pair("00-81", "sdf1"),
        pair("ARCHIVE-00-97", "sdg1"),
    ];
    assert_eq!(ground.found(), expected);
    // One that was left mounted for reading is still a medium.
    let media = ground.folder.path().join("run/skerry/media/STICK");
    let line = format!("31 1 8:49 / {} ro - ext4 /dev/sdd1 ro\n", media.display());
    ground.write("proc/self/mountinfo", &line);
    assert_eq!(ground.found(), expected);
}

#[test]
fn disks_that_the_node_uses_are_no_media() {
    let ground = Ground::new();
    ground.disk("sdb", 17, "pci0/usb1/1-1", "vfat", "ESP");
    ground.write("sys/block/sdb/sdb2/partition", "2\n");
    ground.write("sys/block/sdb/sdb2/dev", "8:18\n");
    ground.write("sys/block/sdb/sdb2/size", "2048\n");
    ground.disk("sdc", 33, "pci0/usb1/1-2", "vfat", "HELD");
    assert_eq!(ground.found().len(), 3);
    // The system was started from the one, of which another partition is mounted; the other is part of a mapping.
    ground.write("proc/self/mountinfo", "30 1 8:18 / /var ro - ext4 /dev/sdb2 ro\n");
    ground.write("sys/block/sdc/sdc1/holders/dm-0", "");
    assert_eq!(ground.found(), []);
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let ground = Ground::new();
    ground.disk("sdc", 33, "pci0/usb1/1-2", "LVM2_member", "");
    ground.disk("sdd", 49, "pci0/usb1/1-3", "", "NOTHING");
    ground.disk("sde", 65, "pci0/usb1/1-4", "vfat", "GOOD");
    let media =
        Media::new(Systemd::at("unix:path=/none"), ground.roots.clone(), ground.folder.path());
    let listed = media.list().await;
    let reason = |at: usize| listed[at].reason.as_str();
    assert!(reason(0).contains("it holds `LVM2_member`; what can be read is vfat"), "{listed:?}");
    assert!(reason(1).contains("there is no file system on it"), "{listed:?}");
    assert!(!reason(2).is_empty(), "nobody is there who could mount it");
    let error = media.read("NOTHING/a.img", true).await.unwrap_err();
    assert!(error.to_string().contains("no file system"), "{error}");
}

#[test]
fn image_files_are_listed_and_links_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let stick = place.path().join("stick");
    fs::create_dir_all(stick.join("a/b/c")).unwrap();
    for path in ["debian.qcow2", "note.txt", "a/old.ISO", "a/b/raw.img", "a/b/c/deep.img"] {
        fs::write(stick.join(path), "12").unwrap();
    }
    fs::write(place.path().join("outside.img"), "").unwrap();
    fs::create_dir(stick.join("c")).unwrap();
    fs::write(stick.join("c/own.img"), "12").unwrap();
    symlink("../outside.img", stick.join("link.img")).unwrap();
    symlink(place.path(), stick.join("up")).unwrap();
    let found = images_below(&stick, Some(&stick.join("c")));
    let paths: Vec<_> = found.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a/b/raw.img", "a/old.ISO", "debian.qcow2"]);
    assert!(found.iter().all(|file| file.size_bytes == 2));
}

#[tokio::test]
async fn a_path_on_no_known_medium_is_read_as_it_is() {
    let ground = Ground::new();
    let media =
        Media::new(Systemd::at("unix:path=/none"), ground.roots.clone(), ground.folder.path());
    assert_eq!(media.list().await, []);
    media.read("folder/debian.qcow2", false).await.unwrap().end().await;
}
