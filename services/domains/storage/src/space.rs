//! Space: what a pool may still promise and take, and when to warn.
//!
//! Two rules. What is promised to volumes in all may exceed the pool, by the pool's overcommit. What is
//! really free below the reserve is never given to new data: the node itself lives on the same disk.

use std::fmt;

const MIB: u64 = 1024 * 1024;

/// Below this a pool's reserve never goes, except on a pool that is smaller than ten times as much.
const LEAST_RESERVE: u64 = 256 * MIB;

/// Space of a pool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of its file system.
    pub size: u64,
    /// Free.
    pub free: u64,
    /// Sum of the sizes of its volumes.
    pub committed: u64,
    /// How much may be committed, in percent of the size.
    pub overcommit_percent: u32,
}

impl Space {
    /// What new data may not take: a tenth, at least 256 MiB, at most half.
    pub fn reserve(&self) -> u64 {
        reserve(self.size)
    }

    /// How much may be committed in all.
    pub fn limit(&self) -> u64 {
        let limit = u128::from(self.size) * u128::from(self.overcommit_percent) / 100;
        u64::try_from(limit).unwrap_or(u64::MAX)
    }

    /// Used, in percent of the size.
    pub fn used_percent(&self) -> u8 {
        let used = u128::from(self.size.saturating_sub(self.free)) * 100;
        u8::try_from(used.checked_div(u128::from(self.size)).unwrap_or(0)).unwrap_or(100)
    }

    /// Free beyond the reserve.
    pub fn available(&self) -> u64 {
        self.free.saturating_sub(self.reserve())
    }
}

/// The reserve of a file system of this size.
pub fn reserve(size: u64) -> u64 {
    (size / 10).max(LEAST_RESERVE).min(size / 2)
}

/// What a new or growing volume asks for, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// More that its guest sees.
    pub promised: u64,
    /// More that is taken at once.
    pub taken: u64,
}

/// One thing that a pool has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// `committed space` or `free space`.
    pub resource: &'static str,
    /// Asked for, in bytes.
    pub requested: u64,
    /// Left, in bytes.
    pub free: u64,
    /// In all, in bytes.
    pub total: u64,
}

/// A refusal with all shortages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoRoom {
    /// Name of the pool.
    pub pool: String,
    /// What there is too little of.
    pub shortages: Vec<Shortage>,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool `{}` has no room: ", self.pool)?;
        for (index, short) in self.shortages.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(
                f,
                "{separator}{}: {} MiB needed, {} of {} MiB left",
                short.resource,
                short.requested.div_ceil(MIB),
                short.free / MIB,
                short.total / MIB,
            )?;
        }
        f.write_str("; ask for less, or delete volumes or snapshots")
    }
}

/// Whether a pool can take it.
pub fn admit(pool: &str, space: &Space, demand: Demand) -> Result<(), NoRoom> {
    let mut shortages = Vec::new();
    let left = space.limit().saturating_sub(space.committed);
    if demand.promised > left {
        shortages.push(Shortage {
            resource: "committed space",
            requested: demand.promised,
            free: left,
            total: space.limit(),
        });
    }
    // Even what is not taken at once is refused when there is nothing left to begin with.
    if demand.taken.max(1) > space.available() {
        shortages.push(Shortage {
            resource: "free space",
            requested: demand.taken,
            free: space.available(),
            total: space.size.saturating_sub(space.reserve()),
        });
    }
    if shortages.is_empty() { Ok(()) } else { Err(NoRoom { pool: pool.to_owned(), shortages }) }
}

/// How scarce space is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough.
    #[default]
    Enough,
    /// From 80 % used on.
    Minor,
    /// From 90 % used on.
    Major,
    /// From 95 % used on.
    Critical,
}

impl Level {
    const STEPS: [(Self, u8); 3] = [(Self::Critical, 95), (Self::Major, 90), (Self::Minor, 80)];

    /// The level now. One that was reached is left only 5 points below where it began, so that it
    /// does not come and go with every file.
    pub fn now(before: Self, used_percent: u8) -> Self {
        let reached = |from: u8| {
            Self::STEPS
                .into_iter()
                .find(|(_, at)| used_percent >= at.saturating_sub(from))
                .map_or(Self::Enough, |(level, _)| level)
        };
        let (up, down) = (reached(0), reached(5));
        if up >= before { up } else { down.min(before) }
    }

    /// One CamelCase word for programs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Enough => "Enough",
            Self::Minor => "Minor",
            Self::Major => "Major",
            Self::Critical => "Critical",
        }
    }

    /// The level that [`Self::reason`] wrote.
    pub fn of_reason(reason: &str) -> Self {
        [Self::Minor, Self::Major, Self::Critical]
            .into_iter()
            .find(|level| level.reason() == reason)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1024 * MIB;

    fn space(size: u64, free: u64, committed: u64) -> Space {
        Space { size, free, committed, overcommit_percent: 200 }
    }

    #[test]
    fn the_reserve_suits_small_and_large_disks() {
        assert_eq!(reserve(3 * GIB), 3 * GIB / 10);
        assert_eq!(reserve(GIB), 256 * MIB);
        assert_eq!(reserve(100 * MIB), 50 * MIB);
        assert_eq!(reserve(1000 * GIB), 100 * GIB);
    }

    #[test]
    fn a_refusal_names_all_shortages_with_numbers() {
        let space = space(4 * GIB, GIB / 2, 7 * GIB);
        let demand = Demand { promised: 2 * GIB, taken: 2 * GIB };
        let refused = admit("default", &space, demand).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "pool `default` has no room: committed space: 2048 MiB needed, 1024 of 8192 MiB left; \
             free space: 2048 MiB needed, 102 of 3686 MiB left; ask for less, or delete volumes or \
             snapshots"
        );
        let thin = Demand { promised: GIB, taken: 0 };
        assert_eq!(admit("default", &space, thin), Ok(()));
    }

    #[test]
    fn below_the_reserve_nothing_new_is_taken() {
        let space = space(10 * GIB, GIB, 0);
        let refused = admit("p", &space, Demand { promised: MIB, taken: 0 }).unwrap_err();
        assert_eq!(refused.shortages[0].resource, "free space");
    }

    #[test]
    fn levels_come_at_their_marks_and_go_five_points_below() {
        let mut level = Level::Enough;
        for (used, expected) in [
            (79, Level::Enough),
            (80, Level::Minor),
            (76, Level::Minor),
            (74, Level::Enough),
            (97, Level::Critical),
            (91, Level::Critical),
            (89, Level::Major),
            (86, Level::Major),
            (84, Level::Minor),
            (90, Level::Major),
            (10, Level::Enough),
        ] {
            level = Level::now(level, used);
            assert_eq!(level, expected, "{used} %");
            assert_eq!(Level::of_reason(level.reason()), level);
        }
    }

    proptest! {
        #[test]
        fn what_is_admitted_keeps_both_rules(
            size in 1_u64..1 << 45, free in 0_u64..1 << 45, committed in 0_u64..1 << 46,
            promised in 0_u64..1 << 46, taken in 0_u64..1 << 46,
        ) {
            let space = space(size, free.min(size), committed);
            if admit("p", &space, Demand { promised, taken }).is_ok() {
                prop_assert!(committed + promised <= space.limit().max(committed));
                prop_assert!(space.free - taken >= space.reserve());
            }
        }
    }
}
