//! Node facts, inventory, images, jobs and power actions.
//!
//! Holds the port to the machine ([`Host`]), the reports that faces show ([`Summary`], [`Inventory`]) and the
//! rules of the image library and of jobs. It must not read the machine itself: an adapter does that.

mod blobs;
mod builtin;
mod host;
mod images;
mod intake;
mod inventory;
mod jobs;
mod prune;
mod summary;

pub use blobs::{BlobContents, BlobFault, BlobKeep, BlobTrouble, ImageBlobs, ImageExport, Swept};
pub use builtin::{ImageListError, builtin_images};
pub use host::{FileDigest, Host, HostError, HostFacts, JournalLines, JournalQuery, PowerAction};
pub use images::{IMAGE_FINALIZER, ImageController, image_users};
pub use intake::{
    ArchiveReader, Arrived, BOOT_FILES, BOOT_HEAD, BootParts, CheckReport, DiskBase, DiskReport,
    HEAD, ImageLibrary, ImportMedium, Incoming, IntakeRefusal, LARGEST_DISK, LARGEST_INITRD,
    LARGEST_KERNEL, LONGEST_ARGUMENTS, LibraryError, LibraryKeep, MediaList, MediumFile,
    MediumKind, Meter, Promise, Promises, Quiet, Room, check_head, check_initrd, check_kernel,
    judge_check, judge_disk, read_arguments,
};
pub use inventory::{
    BiosInfo, BoardInfo, Disk, DiskFileSystem, HugePages, Inventory, MemoryInfo, MemoryModule, Nic,
    PciAccelerator, PciPart, Processor, SystemInfo, VirtualPart,
};
pub use jobs::{
    JobClass, JobEffect, JobEvent, JobPace, JobPlaces, JobRefused, JobTurn, choose_jobs,
    job_retry_pause, next_job, outdated_jobs,
};
pub use prune::{
    PRUNE_REST, PruneImage, PruneMarks, PruneReport, PruneStep, Pruned, carry_out_prune,
    plan_prune, prune_images,
};
pub use summary::{AlarmCounts, MemoryUse, Summary, WorkloadCounts};
