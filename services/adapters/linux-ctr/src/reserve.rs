//! Memory that is kept for containers.
//!
//! The kernel keeps no more for a control group than is kept for the one above it, so what is kept for the slices that a
//! container is in must be at least the sum. It is raised before a container starts, and set again once it has started,
//! since those that start at the same time do not see each other before; what is left of one that ended does no harm,
//! and is gone with the next start.

use std::fs;
use std::path::{Path, PathBuf};

use skerry_linux_host::systemd::{Properties, Systemd, SystemdError};

use tokio::sync::Mutex;

use crate::service::ContainerUnit;

/// Where control groups are.
pub const GROUPS: &str = "/sys/fs/cgroup";

/// One at a time adds up and sets, so that the last to set has seen all that have started.
static TURN: Mutex<()> = Mutex::const_new(());

/// Sees to it that what is kept for a container counts.
pub async fn reserve(systemd: &Systemd, unit: &ContainerUnit) -> Result<(), SystemdError> {
    let Some(own) = unit.memory_kept() else { return Ok(()) };
    let _turn = TURN.lock().await;
    let (mut total, mut below) = (own, unit.name.clone());
    for (slice, group) in slices_above(unit.slice()).into_iter().rev() {
        total = total.saturating_add(kept(&Path::new(GROUPS).join(group), &below));
        let properties = Properties::new().number("MemoryLow", total);
        systemd.set_properties(&slice, &properties).await?;
        below = slice;
    }
    Ok(())
}

/// A slice and those that it lies in by its name, `a-b.slice` within `a.slice`, outermost first, with the paths of their
/// control groups.
pub fn slices_above(slice: &str) -> Vec<(String, PathBuf)> {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let mut path = PathBuf::new();
    let mut found = Vec::new();
    for name in ends.filter_map(|end| Some(format!("{}.slice", stem.get(..end)?))) {
        path.push(&name);
        found.push((name, path.clone()));
    }
    found
}

/// What is kept for all groups below this one but one.
fn kept(slice: &Path, except: &str) -> u64 {
    let Ok(groups) = fs::read_dir(slice) else { return 0 };
    let groups = groups.flatten().filter(|group| group.file_name() != except);
    let amounts = groups.filter_map(|group| {
        fs::read_to_string(group.path().join("memory.low")).ok()?.trim().parse::<u64>().ok()
    });
    amounts.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lies_in_those_that_its_name_begins_with() {
        let found = slices_above("skerry-pods-0b6d1a52.slice");
        let text: Vec<String> =
            found.iter().map(|(slice, path)| format!("{slice} {}", path.display())).collect();
        assert_eq!(
            text,
            [
                "skerry.slice skerry.slice",
                "skerry-pods.slice skerry.slice/skerry-pods.slice",
                "skerry-pods-0b6d1a52.slice \
                 skerry.slice/skerry-pods.slice/skerry-pods-0b6d1a52.slice",
            ]
        );
        assert_eq!(slices_above("a.slice"), [("a.slice".to_owned(), PathBuf::from("a.slice"))]);
    }

    #[test]
    fn what_is_kept_is_added_up() {
        let slice = tempfile::tempdir().unwrap();
        assert_eq!(kept(&slice.path().join("none"), ""), 0);
        for (group, text) in [("a", "5\n"), ("b", "7\n"), ("c", "0\n"), ("d", "max\n")] {
            fs::create_dir(slice.path().join(group)).unwrap();
            fs::write(slice.path().join(group).join("memory.low"), text).unwrap();
        }
        fs::write(slice.path().join("memory.low"), "100\n").unwrap();
        assert_eq!(kept(slice.path(), ""), 12);
        assert_eq!(kept(slice.path(), "b"), 5);
    }
}
