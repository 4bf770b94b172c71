//! Who uses a disk: what `/sys/block`, the table of mounts and that of swap tell. It opens no disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::roots::{Roots, text};

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
