//! Where a pool lies: disks are judged before they are taken, made ready once, and mounted.
//!
//! Pure. A disk is formatted only for a pool that has not been prepared, and only if nothing is found on it or
//! whoever asked for the pool said that it may be overwritten. The file system carries the pool's id; by that it is
//! found again, whatever the disk is called then.

use skerry_model::PoolDisk;

/// A smaller disk is not worth a pool.
const LEAST_DISK: u64 = 1 << 30;

/// A disk as it is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskSeen {
    /// What the kernel calls it now.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What is on it, such as `2 partitions` or `an ext4 file system`.
    pub content: Option<String>,
    /// Who uses it, as the rest of a sentence: `is mounted at /`.
    pub busy: Option<String>,
}

/// The place of a pool as it is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceSeen {
    /// Whether the pool's file system is there.
    pub file_system: bool,
    /// Whether it is mounted where the pool's files are looked for.
    pub mounted: bool,
    /// The disk that the pool's record names.
    pub disk: Option<DiskSeen>,
}

/// One thing to do to the place of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceStep {
    /// Make its file system; what is on the disk is lost.
    Format,
    /// Mount it.
    Mount,
    /// Make the pool's folder on a file system that is kept, with the pool's mark in it.
    Settle,
    /// Remove the pool's folders from a file system that is kept, as far as they are empty, and its mark.
    Clear,
    /// Take the mount away. Nothing is removed.
    Unmount,
}

impl PlaceStep {
    /// The name of the step, for logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Format => "format pool",
            Self::Mount => "mount pool",
            Self::Settle => "settle pool",
            Self::Clear => "clear pool",
            Self::Unmount => "unmount pool",
        }
    }
}

/// Why a disk is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskRefused {
    /// There is no such disk.
    #[error("there is no disk `{0}` below /dev/disk/by-id; `skerry inventory` lists the disks")]
    Absent(String),
    /// Somebody uses it.
    #[error("the disk `{id}` ({name}) {why}; a pool takes only a disk that nobody uses")]
    Busy {
        /// Its stable name.
        id: String,
        /// What the kernel calls it.
        name: String,
        /// Who uses it.
        why: String,
    },
    /// There is something on it.
    #[error("the disk `{id}` ({name}) holds {content}; set `erase` to true to overwrite it")]
    Occupied {
        /// Its stable name.
        id: String,
        /// What the kernel calls it.
        name: String,
        /// What is on it.
        content: String,
    },
    /// It is too small.
    #[error("the disk `{id}` has {mib} MiB; a pool needs at least 1024")]
    Small {
        /// Its stable name.
        id: String,
        /// Its size.
        mib: u64,
    },
}

/// What keeps a pool away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceAway {
    /// Its disk is not taken.
    #[error(transparent)]
    Refused(#[from] DiskRefused),
    /// The file system is not there, nor is the disk.
    #[error("its disk `{0}` is not there; put it back")]
    DiskAbsent(String),
    /// The disk is there, and holds something else.
    #[error(
        "the disk `{0}` does not hold the pool's file system any more; put the pool's disk back, or delete \
         the pool"
    )]
    OtherContent(String),
}

/// Whether a pool may be made of a disk.
pub fn judge_disk(wanted: &PoolDisk, seen: Option<&DiskSeen>) -> Result<(), DiskRefused> {
    let id = wanted.id.clone();
    let Some(seen) = seen else { return Err(DiskRefused::Absent(id)) };
    let name = seen.name.clone();
    if let Some(why) = seen.busy.clone() {
        return Err(DiskRefused::Busy { id, name, why });
    }
    if seen.size_bytes < LEAST_DISK {
        return Err(DiskRefused::Small { id, mib: seen.size_bytes >> 20 });
    }
    match &seen.content {
        Some(content) if !wanted.erase => {
            Err(DiskRefused::Occupied { id, name, content: content.clone() })
        }
        _ => Ok(()),
    }
}

/// The next step that makes a pool's place usable; `None` if it is.
pub fn plan_place(
    wanted: &PoolDisk,
    prepared: bool,
    seen: &PlaceSeen,
) -> Result<Option<PlaceStep>, PlaceAway> {
    if seen.mounted {
        return Ok(None);
    }
    if seen.file_system {
        return Ok(Some(PlaceStep::Mount));
    }
    if prepared {
        let id = wanted.id.clone();
        return Err(match seen.disk {
            None => PlaceAway::DiskAbsent(id),
            Some(_) => PlaceAway::OtherContent(id),
        });
    }
    judge_disk(wanted, seen.disk.as_ref())?;
    Ok(Some(PlaceStep::Format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(erase: bool) -> PoolDisk {
        PoolDisk { id: "wwn-1".into(), erase }
    }

    fn disk(content: Option<&str>, busy: Option<&str>) -> DiskSeen {
        DiskSeen {
            name: "sdb".into(),
            size_bytes: 8 << 30,
            content: content.map(Into::into),
            busy: busy.map(Into::into),
        }
    }

    /// In every situation there is, a disk is formatted only if it is the pool's first, unused, and empty or given up.
    #[test]
    fn nothing_is_overwritten_that_was_not_given_up() {
        for bits in 0..128_u8 {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let (erase, prepared) = (on(0), on(1));
            let found = disk(on(2).then_some("an ext4 file system"), on(3).then_some("is mounted"));
            let seen = PlaceSeen {
                mounted: on(4),
                file_system: on(5),
                disk: on(6).then_some(found.clone()),
            };
            let step = plan_place(&wanted(erase), prepared, &seen);
            let may = !prepared
                && !seen.mounted
                && !seen.file_system
                && seen.disk.is_some()
                && found.busy.is_none()
                && (erase || found.content.is_none());
            assert_eq!(step == Ok(Some(PlaceStep::Format)), may, "{bits:07b} {step:?}");
            let mounts = !seen.mounted && seen.file_system;
            assert_eq!(step == Ok(Some(PlaceStep::Mount)), mounts, "{bits:07b} {step:?}");
            assert_eq!(step == Ok(None), seen.mounted, "{bits:07b} {step:?}");
        }
    }

    #[test]
    fn what_keeps_a_pool_away_says_what_to_do() {
        let away = |prepared, disk| {
            let seen = PlaceSeen { disk, ..PlaceSeen::default() };
            plan_place(&wanted(false), prepared, &seen).unwrap_err().to_string()
        };
        assert_eq!(away(true, None), "its disk `wwn-1` is not there; put it back");
        assert!(away(true, Some(disk(None, None))).contains("put the pool's disk back"));
        assert_eq!(
            away(false, Some(disk(Some("2 partitions"), None))),
            "the disk `wwn-1` (sdb) holds 2 partitions; set `erase` to true to overwrite it"
        );
        assert!(away(false, Some(disk(None, Some("is mounted at /")))).contains("is mounted at /"));
        assert!(away(false, None).contains("no disk `wwn-1`"));
        let small = DiskSeen { size_bytes: 1 << 20, ..disk(None, None) };
        assert_eq!(
            away(false, Some(small)),
            "the disk `wwn-1` has 1 MiB; a pool needs at least 1024"
        );
    }
}
