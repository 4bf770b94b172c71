//! Folders of a pod's volumes.
//!
//! ```text
//! <run>/pod-volumes/<pod>/<volume>/     made, tree/: files, and folders in memory
//! <data>/pod-volumes/<pod>/<volume>/    made, tree/: folders on disk
//! ```
//!
//! Files are exchanged all at once, as programs in containers expect: each name is a link by way of `..data`, which
//! is a link to the folder of the present files and is renamed over the old one.

use std::fs;
use std::io;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use skerry_containers::{Part, VolumeContent, VolumeDesired, VolumeFile};
use skerry_model::{Id, Name, Pod};

use crate::folders;
use crate::places::Places;

const DATA: &str = "..data";
const NEXT: &str = "..data.next";

/// Where a volume lies.
pub fn folder(places: &Places, pod: Id<Pod>, name: &Name, content: &VolumeContent) -> PathBuf {
    match content {
        VolumeContent::Disk => places.pod_disk_volumes(pod).join(name.as_str()),
        _ => places.pod_run_volumes(pod).join(name.as_str()),
    }
}

/// What containers see of a volume.
pub fn tree(folder: &Path) -> PathBuf {
    folder.join("tree")
}

/// A pod's volumes as their marks say.
pub fn observed(places: &Places, pod: Id<Pod>) -> Vec<(Name, PathBuf, Part)> {
    let mut found = Vec::new();
    for all in [places.pod_run_volumes(pod), places.pod_disk_volumes(pod)] {
        for name in folders::names(&all) {
            if let Ok(volume) = Name::new(name.clone()) {
                let folder = all.join(name);
                let part = folders::part(&folder);
                found.push((volume, folder, part));
            }
        }
    }
    found
}

/// Makes a volume's folder, or exchanges its files. What is to be mounted is mounted by others before the mark.
pub fn make(folder: &Path, volume: &VolumeDesired) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        folders::make_all(above)?;
    }
    folders::make(folder, 0o700)?;
    match &volume.content {
        VolumeContent::Files { files, mode, uid, gid } => {
            folders::make(&tree(folder), 0o755)?;
            let version = version(&volume.made_from);
            exchange(&tree(folder), files, &version, Owner { mode: *mode, uid: *uid, gid: *gid })
        }
        VolumeContent::Disk | VolumeContent::Memory { .. } | VolumeContent::HugePages { .. } => {
            folders::make(&tree(folder), 0o777)
        }
    }
}

#[derive(Clone, Copy)]
struct Owner {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// The name of the folder of files made from this.
fn version(made_from: &str) -> String {
    let digits = made_from.chars().filter(char::is_ascii_hexdigit).take(32).collect::<String>();
    format!("..{digits}")
}

fn exchange(tree: &Path, files: &[VolumeFile], version: &str, owner: Owner) -> io::Result<()> {
    let present = tree.join(version);
    // One that was cut short is made from the start.
    folders::absent_is_fine(fs::remove_dir_all(&present))?;
    folders::make(&present, 0o755)?;
    for file in files {
        let path = present.join(&file.name);
        folders::write(&path, file.content.reveal().as_bytes(), owner.mode)?;
        chown(&path, Some(owner.uid), Some(owner.gid))?;
    }
    folders::absent_is_fine(fs::remove_file(tree.join(NEXT)))?;
    symlink(version, tree.join(NEXT))?;
    fs::rename(tree.join(NEXT), tree.join(DATA))?;
    for file in files {
        let link = tree.join(&file.name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(&file.name), link)?;
        }
    }
    for name in folders::names(tree) {
        if name.starts_with("..") {
            if name != DATA && name != version {
                folders::absent_is_fine(fs::remove_dir_all(tree.join(&name)))?;
            }
        } else if !files.iter().any(|file| file.name == name) {
            folders::absent_is_fine(fs::remove_file(tree.join(&name)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use skerry_model::Hidden;

    use super::*;

    fn volume(files: &[(&str, &str)]) -> VolumeDesired {
        let files = files
            .iter()
            .map(|(name, text)| VolumeFile {
                name: (*name).to_owned(),
                content: Hidden::new(*text),
            })
            .collect();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let content = VolumeContent::Files { files, mode: 0o640, uid, gid };
        VolumeDesired::new("v".parse().unwrap(), content)
    }

    #[test]
    fn files_come_change_and_go_without_a_moment_between() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("above/v");
        make(&folder, &volume(&[("a", "1"), ("b", "2")])).unwrap();
        let read = |name: &str| fs::read_to_string(tree(&folder).join(name));
        assert_eq!((read("a").unwrap().as_str(), read("b").unwrap().as_str()), ("1", "2"));
        let mode = fs::metadata(tree(&folder).join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let inode = fs::metadata(tree(&folder)).unwrap();
        make(&folder, &volume(&[("a", "3"), ("c", "4")])).unwrap();
        assert_eq!((read("a").unwrap().as_str(), read("c").unwrap().as_str()), ("3", "4"));
        assert!(read("b").is_err() && fs::symlink_metadata(tree(&folder).join("b")).is_err());
        let folders = folders::names(&tree(&folder)).into_iter().filter(|n| n.starts_with(".."));
        assert_eq!(folders.count(), 2, "the old files are gone");
        // It is the same folder, which a container goes on seeing.
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(tree(&folder)).unwrap().ino(), inode.ino());
        make(&folder, &volume(&[("a", "3"), ("c", "4")])).unwrap();
        assert_eq!(read("a").unwrap(), "3", "done already is done");
    }
}
