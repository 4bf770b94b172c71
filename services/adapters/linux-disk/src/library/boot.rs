//! From an archive to a kernel and its initial file system.
//!
//! The archive is unpacked by whoever unpacks container images: a process without rights reads it, and what it tells of is
//! made by the node itself. Here is looked at what came out: three names, plain files, of sizes that are known by then.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::PathBuf;
use std::sync::Arc;

use skerry_upkeep::{
    BOOT_FILES, BOOT_HEAD, BootParts, FileDigest, ImageLibrary, IntakeRefusal, LARGEST_INITRD,
    LARGEST_KERNEL, LONGEST_ARGUMENTS, LibraryError, Meter, check_initrd, check_kernel,
    read_arguments,
};
use uuid::Uuid;

use super::files::{
    LinuxLibrary, adopt_file, digest, fault, folder, names, open_plain, remove_tree,
};
use super::places::DiskPlaces;

/// Most that comes out of an archive: the files and a command line, each once, and a folder around them.
const MOST_BYTES: u64 = LARGEST_KERNEL + LARGEST_INITRD + (1 << 20);
const MOST_ENTRIES: u64 = 16;

impl LinuxLibrary {
    pub(super) async fn take_boot_apart(
        &self,
        job: Uuid,
        meter: Arc<dyn Meter>,
    ) -> Result<BootParts, LibraryError> {
        let (parts, needed) = self
            .blocking(move |places| {
                let (parts, source) = (places.parts(job), places.source(job));
                remove_tree(&parts)?;
                let needed = fs::metadata(&source).map_err(fault("look at", &source))?.len();
                folder(&parts)?;
                Ok((parts, needed))
            })
            .await?;
        self.claim(job, needed).await?;
        let source = self.places().source(job);
        let done = self.archives().unpack(&source, &parts, MOST_BYTES, MOST_ENTRIES).await;
        self.promises().release(job);
        done?;
        self.blocking(move |places| look(places, job, meter.as_ref())).await
    }

    pub(super) async fn adopt_boot(
        &self,
        job: Uuid,
        role: &'static str,
        sha256: &str,
    ) -> Result<PathBuf, LibraryError> {
        let sha256 = sha256.to_owned();
        self.blocking(move |places| adopt_file(places, &places.parts(job).join(role), &sha256))
            .await
    }
}

fn refused(detail: impl Into<String>) -> LibraryError {
    IntakeRefusal::Boot { detail: detail.into() }.into()
}

fn look(places: &DiskPlaces, job: Uuid, meter: &dyn Meter) -> Result<BootParts, LibraryError> {
    let parts = places.parts(job);
    if let Some(other) = names(&parts)?.iter().find(|name| !BOOT_FILES.contains(&name.as_str())) {
        let shown: String = other.chars().take(80).flat_map(char::escape_default).collect();
        return Err(refused(format!("it holds `{shown}`")));
    }
    let (_, head, size) = part(places, job, "kernel", BOOT_HEAD)?;
    check_kernel(&head, size)?;
    let (_, head, size) = part(places, job, "initrd", 16)?;
    check_initrd(&head, size)?;
    let arguments = if parts.join("cmdline").symlink_metadata().is_ok() {
        // One more than there may be shows that there are too many.
        let most = usize::try_from(LONGEST_ARGUMENTS).unwrap_or(usize::MAX).saturating_add(2);
        read_arguments(&part(places, job, "cmdline", most)?.1)?
    } else {
        String::new()
    };
    let digest_of = |role: &str| -> Result<FileDigest, LibraryError> {
        let path = parts.join(role);
        // Whatever the archive says of owner and mode, it is the node's.
        let file = File::open(&path).map_err(fault("open", &path))?;
        fchown(&file, Some(0), Some(0)).map_err(fault("take over", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(fault("open", &path))?;
        digest(&path, meter)
    };
    Ok(BootParts { kernel: digest_of("kernel")?, initrd: digest_of("initrd")?, arguments })
}

/// A file that came out, its first bytes, and its size.
fn part(
    places: &DiskPlaces,
    job: Uuid,
    role: &str,
    most: usize,
) -> Result<(File, Vec<u8>, u64), LibraryError> {
    let parts = places.parts(job);
    let path = parts.join(role);
    // A link to the other file would be one file of two names.
    let is_plain = path.symlink_metadata().is_ok_and(|found| found.is_file() && found.nlink() == 1);
    let file = if is_plain { open_plain(&parts, role)? } else { None };
    let file = file.ok_or_else(|| refused(format!("it has no file `{role}`")))?;
    let size = file.metadata().map_err(fault("look at", &path))?.len();
    let mut head = Vec::with_capacity(most);
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    (&file).take(limit).read_to_end(&mut head).map_err(fault("read", &path))?;
    Ok((file, head, size))
}
