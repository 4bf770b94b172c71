//! Volumes of a pod as plans and adapters take them.

use skerry_model::{Hidden, HugePageSize, Medium, Name};

use crate::desired::Fingerprint;

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Its name, one part of a path.
    pub name: String,
    /// What is in it.
    pub content: Hidden,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeContent {
    /// Files that containers cannot write. They are exchanged all at once, also while containers run.
    Files {
        /// The files.
        files: Vec<VolumeFile>,
        /// Their permissions.
        mode: u32,
        /// Their owner.
        uid: u32,
        /// Their group.
        gid: u32,
    },
    /// An empty folder on disk.
    Disk,
    /// An empty folder in memory.
    Memory {
        /// Most that fits, in MiB.
        size_mib: u64,
    },
    /// An empty folder in huge pages.
    HugePages {
        /// Their size.
        size: HugePageSize,
        /// Most that fits, in MiB, if it is limited by itself.
        size_mib: Option<u64>,
    },
}

/// A volume as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDesired {
    /// Unique within the pod.
    pub name: Name,
    /// What it holds.
    pub content: VolumeContent,
    /// Names what it is made from: its sort, and for files what is in them.
    pub made_from: String,
}

/// What stands before the digest of files.
const FILES: &str = "files:";
/// What stands before the sort of huge pages.
const PAGES: &str = "huge_pages:";

impl VolumeDesired {
    /// Names what it is made from.
    pub fn new(name: Name, content: VolumeContent) -> Self {
        let made_from = match &content {
            VolumeContent::Files { files, mode, uid, gid } => {
                let mut print = Fingerprint::default();
                print.add("owner", &format!("{mode:o} {uid} {gid}"));
                files.iter().for_each(|file| print.add(&file.name, file.content.reveal()));
                format!("{FILES}{}", print.finish())
            }
            VolumeContent::Disk => "disk".to_owned(),
            VolumeContent::Memory { size_mib } => format!("memory:{size_mib}"),
            VolumeContent::HugePages { size, size_mib } => {
                format!("{PAGES}{}:{}", size.mib(), size_mib.unwrap_or(0))
            }
        };
        Self { name, content, made_from }
    }

    /// An empty folder.
    pub fn empty(name: Name, medium: Medium, size_mib: Option<u64>) -> Self {
        let content = match medium {
            Medium::HugePages2Mi => VolumeContent::HugePages { size: HugePageSize::Mib2, size_mib },
            Medium::HugePages1Gi => VolumeContent::HugePages { size: HugePageSize::Gib1, size_mib },
            Medium::Disk => VolumeContent::Disk,
            Medium::Memory => VolumeContent::Memory { size_mib: size_mib.unwrap_or(64) },
        };
        Self::new(name, content)
    }

    /// Whether what was made from this is in huge pages.
    pub fn is_of_pages(made_from: &str) -> bool {
        made_from.starts_with(PAGES)
    }

    /// Whether what is there can be brought to this while containers look at it.
    pub fn fits(&self, made_from: &str) -> bool {
        self.made_from == made_from
            || (self.made_from.starts_with(FILES) && made_from.starts_with(FILES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn files(content: &str) -> VolumeDesired {
        let file = VolumeFile { name: "a".into(), content: Hidden::new(content) };
        let content = VolumeContent::Files { files: vec![file], mode: 0o644, uid: 0, gid: 0 };
        VolumeDesired::new(name("v"), content)
    }

    #[test]
    fn files_are_exchanged_in_place_and_nothing_else_is() {
        let memory = VolumeDesired::empty(name("v"), Medium::Memory, None);
        let larger = VolumeDesired::empty(name("v"), Medium::Memory, Some(65));
        assert_ne!(files("x").made_from, files("y").made_from);
        assert!(files("x").fits(&files("y").made_from));
        assert!(memory.fits("memory:64") && !memory.fits(&larger.made_from));
        let pages = |size| VolumeDesired::empty(name("v"), Medium::HugePages2Mi, size);
        assert_eq!(pages(Some(64)).made_from, "huge_pages:2:64");
        assert!(VolumeDesired::is_of_pages(&pages(None).made_from));
        assert!(!pages(None).fits(&pages(Some(64)).made_from) && !pages(None).fits("memory:64"));
        assert!(!VolumeDesired::is_of_pages(&memory.made_from));
        assert!(!files("x").fits("disk") && !memory.fits(&files("x").made_from));
    }
}
