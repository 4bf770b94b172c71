//! Why a file does not become an image.

use skerry_model::ImageFormat;

/// What is wrong with a file that was to become an image. Its bytes are removed; nothing of it was run or followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeRefusal {
    /// It has other bytes than it should have.
    #[error(
        "the SHA-256 of the file is {found}, not {expected}: it is another file, or damaged on its way"
    )]
    Digest {
        /// What was asked for.
        expected: String,
        /// What it has.
        found: String,
    },
    /// It is of another format than declared.
    #[error("the file is declared {} but is {found}: declare what it is", declared.word())]
    Format {
        /// What was declared.
        declared: ImageFormat,
        /// What it looks like.
        found: &'static str,
    },
    /// It builds on another file.
    #[error(
        "the disk builds on another file ({name}): merge them first (qemu-img convert) and bring in the result"
    )]
    BackingFile {
        /// That file's name, cut and escaped.
        name: String,
    },
    /// Its content lies in another file.
    #[error(
        "the content of the disk lies in other files ({name}): put it into one file first (qemu-img convert)"
    )]
    OtherFile {
        /// That file's name, cut and escaped.
        name: String,
    },
    /// It is encrypted, and the node has no key.
    #[error("the disk is encrypted: the node has no key for it; bring in the plain disk")]
    Encrypted,
    /// It says of itself that it is damaged, or a check found that.
    #[error("the disk is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
    /// It ends before its content does.
    #[error("the file is cut off: it has {bytes} bytes and needs {needed}")]
    CutOff {
        /// What it has.
        bytes: u64,
        /// What it needs.
        needed: u64,
    },
    /// The disk inside is larger than this node can hold.
    #[error(
        "the disk inside has {size} bytes, more than the {limit} bytes that this node can hold"
    )]
    TooLarge {
        /// What the guest would see.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// It holds no container image that this node could run.
    #[error(
        "no container can be made of it: {detail}; save it anew, as an OCI archive or by `docker save`, for linux/amd64"
    )]
    Archive {
        /// What is wrong, cut and escaped.
        detail: String,
    },
    /// It holds no kernel with an initial file system.
    #[error(
        "nothing can be started from it: {detail}; bring in an uncompressed tar archive of the files `kernel`, `initrd` and, if wanted, `cmdline`"
    )]
    Boot {
        /// What is wrong, cut and escaped.
        detail: String,
    },
    /// It uses something of its format that this node does not know.
    #[error("the disk uses a feature that is not supported: {detail}")]
    Feature {
        /// Which.
        detail: String,
    },
}

impl IntakeRefusal {
    /// Of an archive in which something is wrong, which may be said in words out of it.
    pub fn archive(detail: &str) -> Self {
        let detail = detail.chars().take(300).flat_map(char::escape_default).collect();
        Self::Archive { detail }
    }

    /// One CamelCase word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "DigestMismatch",
            Self::Format { .. } => "WrongFormat",
            Self::BackingFile { .. } => "BackingFile",
            Self::OtherFile { .. } => "OtherFile",
            Self::Encrypted => "Encrypted",
            Self::Damaged { .. } => "Damaged",
            Self::CutOff { .. } => "CutOff",
            Self::TooLarge { .. } => "TooLarge",
            Self::Archive { .. } => "UnusableArchive",
            Self::Boot { .. } => "UnusableKernel",
            Self::Feature { .. } => "UnsupportedFeature",
        }
    }
}

/// A name that came out of a file, for a message: short, and without control characters.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_default).collect()
}
