//! Logs of workloads: from when on they are read, and how fast they may grow.
//!
//! Only the words for it are here. Which moment it is now, and what is kept of a log, is for others to say.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{Invalid, Timestamp};

/// From when on lines of a log are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// From this moment on.
    At(Timestamp),
    /// The last so many seconds, by the node's own clock.
    Ago(u32),
}

/// A text that is no moment and no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a time such as 2026-01-31T08:00:00Z, or a length of time such as 90s, 10m, 1h30m or 2d"
)]
pub struct SinceError;

impl Since {
    /// The moment that is meant, not before 1970.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        let moment = match self {
            Self::At(moment) => moment,
            Self::Ago(seconds) => {
                let length = SignedDuration::from_secs(seconds.into());
                now.checked_sub(length).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        };
        moment.max(Timestamp::UNIX_EPOCH)
    }
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        match text.parse::<Timestamp>() {
            Ok(moment) => Ok(Self::At(moment)),
            Err(_) => seconds(text).map(Self::Ago).ok_or(SinceError),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(moment) => write!(f, "{moment}"),
            Self::Ago(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// `1h30m` as seconds.
fn seconds(text: &str) -> Option<u32> {
    let mut total = 0_u32;
    let mut rest = text;
    loop {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = after.chars().next()?;
        let length = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        let part = number.parse::<u32>().ok()?.checked_mul(length)?;
        total = total.checked_add(part)?;
        rest = after.get(1..)?;
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// How fast a container may write to its log. What it writes beyond is dropped and counted: the next line that is
/// kept comes after one that says how many were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogRate {
    /// So many lines in each interval, 1 to 1000000. While much disk is free, the journal lets up to six times as
    /// many through.
    pub lines: u32,
    /// Seconds of an interval, 1 to 3600.
    #[serde(default = "LogRate::default_interval")]
    pub interval_s: u32,
}

impl Default for LogRate {
    fn default() -> Self {
        Self { lines: 10_000, interval_s: Self::default_interval() }
    }
}

impl LogRate {
    const fn default_interval() -> u32 {
        30
    }

    /// Notes what is wrong with it, below this field.
    pub fn validate_at(&self, field: &str, found: &mut Invalid) {
        let lines = (1..=1_000_000).contains(&self.lines);
        found.require(lines, &format!("{field}.lines"), "must be 1 to 1000000");
        let interval = (1..=3600).contains(&self.interval_s);
        found.require(interval, &format!("{field}.interval_s"), "must be 1 to 3600");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_and_lengths_of_time_are_understood() {
        let now: Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("2026-01-31T07:00:00Z", "2026-01-31T07:00:00Z"),
            ("2026-01-31T07:00:00.5+01:00", "2026-01-31T06:00:00.5Z"),
            ("90s", "2026-01-31T07:58:30Z"),
            ("10m", "2026-01-31T07:50:00Z"),
            ("1h30m", "2026-01-31T06:30:00Z"),
            ("2d", "2026-01-29T08:00:00Z"),
            ("1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("40000d", "1970-01-01T00:00:00Z"),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.moment(now).to_string(), moment, "{text}");
        }
        for bad in ["", "10", "m", "10x", "-5m", "1h 30m", "yesterday", "99999999999d", "5mé"] {
            assert_eq!(bad.parse::<Since>(), Err(SinceError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds: u32, second in -1_000_000_000_i64..4_000_000_000) {
            for since in [Since::Ago(seconds), Since::At(Timestamp::from_second(second).unwrap())] {
                prop_assert_eq!(since.to_string().parse::<Since>(), Ok(since));
            }
        }

        #[test]
        fn no_text_breaks_it(text in ".*") {
            let _ = text.parse::<Since>();
        }
    }
}
