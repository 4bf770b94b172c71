//! Who uses a disk, and which file systems there are: what `/sys/block`, udev, the table of mounts and that of swap
//! tell. It opens no disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::roots::{Roots, Udev, link_name, names, number, text};

/// The kernel counts sizes in these, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// A file system as udev found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// The folder of its disk, partition or mapping below `/sys/block`.
    pub folder: PathBuf,
    /// What the kernel calls that now.
    pub name: String,
    /// Its number, `major:minor`.
    pub number: String,
    /// The kind of the file system, such as `ext4`.
    pub kind: String,
    /// Its UUID, as its kind writes it.
    pub uuid: String,
    /// Its label, if it has one. A stranger's text.
    pub label: Option<String>,
    /// Size of its device in bytes.
    pub size_bytes: u64,
}

/// The file systems on one disk or mapping: on its partitions, or on the whole of it.
#[must_use]
pub fn file_systems_on(roots: &Roots, disk: &Path) -> Vec<FileSystem> {
    let places = [disk.to_owned()].into_iter().chain(partitions(disk));
    places.filter_map(|folder| file_system(roots, folder)).collect()
}

/// The file systems of this machine.
#[must_use]
pub fn file_systems(roots: &Roots) -> Vec<FileSystem> {
    let block = roots.sys.join("block");
    names(&block).iter().flat_map(|name| file_systems_on(roots, &block.join(name))).collect()
}

fn file_system(roots: &Roots, folder: PathBuf) -> Option<FileSystem> {
    let number_of = text(folder.join("dev"))?;
    let udev = Udev::read(roots, &format!("b{number_of}"));
    // Not what is part of a larger whole, such as a RAID member, nor a partition table or swap.
    if udev.get("ID_FS_USAGE").is_some_and(|usage| usage != "filesystem") {
        return None;
    }
    Some(FileSystem {
        name: folder.file_name()?.to_str()?.to_owned(),
        number: number_of,
        kind: udev.get("ID_FS_TYPE")?,
        uuid: udev.get("ID_FS_UUID")?,
        label: udev.get("ID_FS_LABEL"),
        size_bytes: number(folder.join("size")).unwrap_or(0).saturating_mul(SECTOR),
        folder,
    })
}

/// Which of the node's own partitions a device is, by the links that the node's rules make; mounted or not.
#[must_use]
pub fn own_partition(roots: &Roots, device: &str) -> Option<String> {
    let folder = roots.dev.join("skerry");
    let is = |name: &String| link_name(folder.join(name)).as_deref() == Some(device);
    names(&folder).into_iter().find(is)
}

/// The folders of a disk's partitions.
#[must_use]
pub fn partitions(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let parts = entries.map(|entry| entry.path()).filter(|path| path.join("partition").exists());
    let mut parts: Vec<PathBuf> = parts.collect();
    parts.sort();
    parts
}

/// Who uses a disk or partition, as the rest of a sentence. Mounts below the folder `but` do not count.
#[must_use]
pub fn busy(roots: &Roots, folder: &Path, but: Option<&Path>) -> Option<String> {
    let holder = fs::read_dir(folder.join("holders")).ok().and_then(|mut all| all.next()?.ok());
    if let Some(holder) = holder {
        return Some(format!("is part of {}", holder.file_name().display()));
    }
    let number = text(folder.join("dev"))?;
    let mounts = text(roots.proc.join("self/mountinfo")).unwrap_or_default();
    // Fields: id, parent, major:minor, root, mount point, … (proc_pid_mountinfo(5)).
    let mut points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == number).then(|| fields.nth(1).map(ToOwned::to_owned))?
    });
    let point = points.find(|point| but.is_none_or(|but| !Path::new(point).starts_with(but)));
    if let Some(point) = point {
        return Some(format!("is mounted at {point}"));
    }
    let device = format!("/dev/{}", folder.file_name()?.to_str()?);
    let swaps = text(roots.proc.join("swaps")).unwrap_or_default();
    let swap = swaps.lines().any(|line| line.split_whitespace().next() == Some(device.as_str()));
    swap.then(|| "is used for swapping".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_found_by_what_udev_says_of_them() {
        let place = tempfile::tempdir().unwrap();
        let roots = Roots::below(place.path());
        let write = |path: &str, text: &str| {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/block/sdb/dev", "8:16\n");
        write("run/udev/data/b8:16", "E:ID_PART_TABLE_TYPE=gpt\n");
        for (part, number, udev) in [
            (
                "sdb1",
                "8:17",
                "E:ID_FS_TYPE=ext4\nE:ID_FS_UUID=1a2b\nE:ID_FS_USAGE=filesystem\nE:ID_FS_LABEL=old\n",
            ),
            ("sdb2", "8:18", "E:ID_FS_TYPE=LVM2_member\nE:ID_FS_UUID=x\nE:ID_FS_USAGE=raid\n"),
            ("sdb3", "8:19", "E:ID_FS_TYPE=ext4\n"),
        ] {
            write(&format!("sys/block/sdb/{part}/partition"), "1\n");
            write(&format!("sys/block/sdb/{part}/dev"), &format!("{number}\n"));
            write(&format!("sys/block/sdb/{part}/size"), "4096\n");
            write(&format!("run/udev/data/b{number}"), udev);
        }
        write("sys/block/vda/dev", "252:0\n");
        write(
            "run/udev/data/b252:0",
            "E:ID_FS_TYPE=xfs\nE:ID_FS_UUID=2b3c\nE:ID_FS_USAGE=filesystem\n",
        );
        let found = file_systems(&roots);
        let words: Vec<_> =
            found.iter().map(|f| (f.name.as_str(), f.kind.as_str(), f.uuid.as_str())).collect();
        assert_eq!(words, [("sdb1", "ext4", "1a2b"), ("vda", "xfs", "2b3c")]);
        let first = &found[0];
        assert_eq!((first.number.as_str(), first.label.as_deref()), ("8:17", Some("old")));
        assert_eq!(first.size_bytes, 2 << 20);
        fs::create_dir_all(place.path().join("dev/skerry")).unwrap();
        std::os::unix::fs::symlink("../sdb1", place.path().join("dev/skerry/state")).unwrap();
        assert_eq!(own_partition(&roots, "sdb1").as_deref(), Some("state"));
        assert_eq!(own_partition(&roots, "vda"), None);
    }
}
