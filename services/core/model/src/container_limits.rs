//! What a container may take of the machine beyond its hard limits of memory and processes: its memory that is kept
//! for it, and its disk traffic.

use serde::{Deserialize, Serialize};

use crate::{Container, Invalid};

/// What a container may do with the data partition's disk per second. What the kernel still has in memory is not
/// counted when it is read, and when it is written it is counted as it goes to disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct IoLimits {
    /// Bytes read, 65536 to 1099511627776; no limit if absent.
    pub read_bytes_per_s: Option<u64>,
    /// Bytes written, 65536 to 1099511627776; no limit if absent.
    pub write_bytes_per_s: Option<u64>,
    /// Read operations, 10 to 10000000; no limit if absent.
    pub read_iops: Option<u64>,
    /// Write operations, 10 to 10000000; no limit if absent.
    pub write_iops: Option<u64>,
}

impl IoLimits {
    fn validate(&self, found: &mut Invalid) {
        for (name, value) in [
            ("io.read_bytes_per_s", self.read_bytes_per_s),
            ("io.write_bytes_per_s", self.write_bytes_per_s),
        ] {
            let good = value.is_none_or(|bytes| (65_536..=1 << 40).contains(&bytes));
            found.require(good, name, "must be 65536 to 1099511627776");
        }
        for (name, value) in [("io.read_iops", self.read_iops), ("io.write_iops", self.write_iops)]
        {
            let good = value.is_none_or(|count| (10..=10_000_000).contains(&count));
            found.require(good, name, "must be 10 to 10000000");
        }
    }
}

impl Container {
    pub(crate) fn validate_limits(&self, found: &mut Invalid) {
        found.require(
            (4..=1_048_576).contains(&self.memory_mib),
            "memory_mib",
            "must be 4 to 1048576",
        );
        if let Some(request) = self.memory_request_mib {
            found.require(
                (1..=self.memory_mib).contains(&request),
                "memory_request_mib",
                "must be 1 to the limit, `memory_mib`",
            );
        }
        if let Some(reservation) = self.memory_reservation_mib {
            found.require(
                (1..=self.memory_taken_mib()).contains(&reservation),
                "memory_reservation_mib",
                "must be 1 to what the node counts as taken, `memory_request_mib` or else `memory_mib`",
            );
        }
        let milli = 10..=1_024_000;
        if let Some(limit) = self.cpu_limit_m {
            found.require(milli.contains(&limit), "cpu_limit_m", "must be 10 to 1024000");
        }
        found.require(
            milli.contains(&self.cpu_request_m),
            "cpu_request_m",
            "must be 10 to 1024000",
        );
        found.require((1..=32_768).contains(&self.pids), "pids", "must be 1 to 32768");
        if let Some(io) = &self.io {
            io.validate(found);
        }
        if let Some(rate) = self.log_rate {
            rate.validate_at("log_rate", found);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Container, Invalid, Validate};

    fn violations(fields: &str) -> Vec<String> {
        let text = format!(r#"{{"name": "a", "image": "tiny", {fields}}}"#);
        let container: Container = serde_json::from_str(&text).unwrap();
        let mut found = Invalid::default();
        container.validate(&mut found);
        found.violations().iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn good_limits_pass() {
        let none = Vec::<String>::new();
        assert_eq!(violations(r#""memory_mib": 64, "memory_reservation_mib": 64"#), none);
        assert_eq!(violations(r#""io": {"read_iops": 10, "write_bytes_per_s": 65536}"#), none);
        assert_eq!(violations(r#""log_rate": {"lines": 5}"#), none);
    }

    #[test]
    fn memory_is_kept_only_if_it_is_counted() {
        let fields = r#""memory_mib": 64, "memory_request_mib": 32, "memory_reservation_mib": 33"#;
        assert_eq!(violations(fields), ["memory_reservation_mib"]);
        assert_eq!(violations(r#""memory_reservation_mib": 0"#), ["memory_reservation_mib"]);
    }

    #[test]
    fn limits_that_would_stop_everything_are_refused() {
        let fields = r#""io": {"read_bytes_per_s": 1, "write_bytes_per_s": 1099511627777,
            "read_iops": 9, "write_iops": 0}, "log_rate": {"lines": 0, "interval_s": 0}"#;
        assert_eq!(
            violations(fields),
            [
                "io.read_bytes_per_s",
                "io.write_bytes_per_s",
                "io.read_iops",
                "io.write_iops",
                "log_rate.lines",
                "log_rate.interval_s"
            ]
        );
    }
}
