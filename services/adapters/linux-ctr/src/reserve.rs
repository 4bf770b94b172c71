//! Memory that is kept for containers.
//!
//! The kernel keeps no more for a control group than is kept for the one above it, so what is kept for the slice of
//! all containers must be at least the sum. It is raised before a container starts, and set again once it has started,
//! since those that start at the same time do not see each other before; what is left of one that ended does no harm,
//! and is gone with the next start.

use std::fs;
use std::path::Path;

use skerry_linux_host::systemd::{Properties, Systemd, SystemdError};

use tokio::sync::Mutex;

use crate::service::{ContainerUnit, SLICE};

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// One at a time adds up and sets, so that the last to set has seen all that have started.
static TURN: Mutex<()> = Mutex::const_new(());

/// Sees to it that what is kept for a container counts.
pub async fn reserve(systemd: &Systemd, unit: &ContainerUnit) -> Result<(), SystemdError> {
    let Some(own) = unit.memory_kept() else { return Ok(()) };
    let _turn = TURN.lock().await;
    let others = kept(&Path::new(GROUPS).join(SLICE), &unit.name);
    let properties = Properties::new().number("MemoryLow", own.saturating_add(others));
    systemd.set_properties(SLICE, &properties).await
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
