//! Folders of the node that images are brought in from: the inbox on the data partition, those that the settings name,
//! and what the kept file systems of pools hold beside the pool. They are read as sticks are: plain files alone, no link
//! followed, nothing outside the folder, and nothing of a pool's own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statvfs::statvfs;
use skerry_model::Name;
use skerry_upkeep::{ImportMedium, MediumKind};

use super::media::images_below;
use crate::kept::KeptPlaces;
use crate::reserve::GUESTS;
use crate::xfs;

/// The folders of this node.
#[derive(Debug, Clone, Default)]
pub struct ImportFolders {
    named: Vec<(Name, PathBuf)>,
    kept: KeptPlaces,
}

/// A folder that is there for reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderPlace {
    /// Its name, which no other medium has.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// A folder below it that is not read: the pool's own.
    pub but: Option<PathBuf>,
    device: String,
    file_system: String,
}

impl ImportFolders {
    /// With these folders, whose names come first, and the kept file systems of pools.
    pub const fn new(named: Vec<(Name, PathBuf)>, kept: KeptPlaces) -> Self {
        Self { named, kept }
    }

    /// All folders, each with a name of its own. A kept file system is called like its pool; where another folder is
    /// called so, its UUID is added.
    pub fn places(&self) -> Vec<FolderPlace> {
        let plain = |(name, path): &(Name, PathBuf)| FolderPlace {
            name: name.to_string(),
            path: path.clone(),
            but: None,
            device: String::new(),
            file_system: String::new(),
        };
        let mut places: Vec<FolderPlace> = self.named.iter().map(plain).collect();
        let mut taken: BTreeSet<String> = places.iter().map(|place| place.name.clone()).collect();
        for (pool, kept) in self.kept.all() {
            let mut name = pool.to_string();
            if taken.contains(&name) {
                name = format!("{name}-{}", kept.uuid);
            }
            if !taken.insert(name.clone()) {
                continue;
            }
            let (path, but) = (kept.mount, Some(kept.folder));
            let (device, file_system) = (kept.device, kept.kind);
            places.push(FolderPlace { name, path, but, device, file_system });
        }
        places
    }

    /// All folders, with the image files in them.
    pub fn list(&self) -> Vec<ImportMedium> {
        self.places().into_iter().map(FolderPlace::listed).collect()
    }
}

impl FolderPlace {
    fn listed(self) -> ImportMedium {
        let (size_bytes, reason) = match size_of(&self.path) {
            Ok(size) => (size, String::new()),
            Err(error) => (0, format!("{} cannot be read: {error}", self.path.display())),
        };
        let files = images_below(&self.path, self.but.as_deref());
        let path = self.path.display().to_string();
        let Self { name, device, file_system, .. } = self;
        let kind = MediumKind::Folder;
        ImportMedium { kind, name, device, file_system, path, size_bytes, files, reason }
    }

    /// Opens a file in it, by its path below; `None` if there is none. What is opened may be anything but a link.
    pub fn open(&self, below: &str) -> io::Result<Option<File>> {
        match self.open_there(below) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn open_there(&self, below: &str) -> io::Result<File> {
        let base = File::open(&self.path)?;
        // By number and not by name: names may differ and mean the same folder.
        if let Some(own) = self.but.as_ref().and_then(|own| fs::symlink_metadata(own).ok()) {
            let ends = below.match_indices('/').map(|(end, _)| end);
            for above in ends.filter_map(|end| below.get(..end)) {
                let meta = File::from(open_below(&base, above, OFlag::O_PATH)?).metadata()?;
                if (meta.dev(), meta.ino()) == (own.dev(), own.ino()) {
                    return Err(io::Error::other("it lies in the pool's own folder"));
                }
            }
        }
        open_below(&base, below, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(File::from)
    }
}

fn open_below(base: &File, below: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    Ok(openat2(base, below, how)?)
}

fn size_of(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?;
    let space = statvfs(folder)?;
    Ok(space.blocks().saturating_mul(space.fragment_size()))
}

/// Has what is put into the inbox keep to the reserve of the data partition, as the disks of guests do: it belongs to
/// the same project, so a write that would take the reserve finds no space. Where the file system knows no projects,
/// nothing holds it.
pub async fn hold_inbox(folder: &Path) {
    let held = match xfs::knows_projects(folder) {
        Ok(true) => xfs::set_folder_project(folder, GUESTS).await,
        Ok(false) => Err("its file system knows no quota".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = held {
        tracing::warn!(folder = %folder.display(), why, "the inbox does not keep to the reserve");
    }
}

#[cfg(test)]
#[path = "folders_tests.rs"]
mod tests;
