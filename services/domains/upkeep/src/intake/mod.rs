//! Bringing images in: what is refused and why, and the port to the library of files.
//!
//! The format of a file is declared by whoever brings it, checked here once, and named in every later call: no
//! program ever guesses it. A file that would lead to other files is refused before a program opens it. Pure but
//! for the port, which an adapter fills.

mod boot;
mod head;
mod library;
mod promises;
mod refusal;
mod verdict;

pub use boot::{
    BOOT_FILES, BOOT_HEAD, BootParts, LARGEST_INITRD, LARGEST_KERNEL, LONGEST_ARGUMENTS,
    check_initrd, check_kernel, read_arguments,
};
pub use head::{HEAD, check_head};
pub use library::{
    ArchiveReader, Arrived, CheckReport, DiskBase, DiskReport, ImageLibrary, ImportMedium,
    Incoming, LibraryError, LibraryKeep, MediaList, MediumFile, MediumKind, Meter, Quiet, Room,
};
pub use promises::{Promise, Promises};
pub use refusal::IntakeRefusal;
pub use verdict::{LARGEST_DISK, judge_check, judge_disk};
