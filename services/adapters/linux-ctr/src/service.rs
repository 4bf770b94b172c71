//! The transient unit that a container runs under.
//!
//! Its main process is the runtime, or what stands in for it (`oci`), which stays as the container's parent, hands
//! signals on and ends with the container's own exit code. For a container with a terminal it is the program that holds
//! that, with the runtime for a child, and ends as that does. The container lives in the unit's control group, so limits,
//! device rules, the kill of everything left and the out-of-memory verdict are systemd's.
//! `RemainAfterExit` keeps how it ended until we have read it.
//!
//! There is no clearing command after the end: `crun delete --force` kills the control group that the container
//! was in, which is the unit's and so its own. What a runtime leaves is a folder, removed with the bundle
//! and before a start.

use std::path::PathBuf;

use skerry_containers::ContainerDesired;
use skerry_linux_host::systemd::{Exec, Properties};
use skerry_model::{Id, LogRate, Pod};

use crate::images::ImageRecord;
use crate::oci::{Oci, Overhead};
use crate::pages::Allotment;
use crate::places::{Places, unit_name};

/// What all containers are in.
pub const SLICE: &str = "skerry-pods.slice";
/// Memory and tasks of the program that holds a terminal, in the same control group as the container.
const HOLDER_MEMORY: u64 = 6 << 20;
const HOLDER_TASKS: u64 = 1;
/// systemd kills this long after the controller should have; it is what is left when noded is down.
const KILL_SLACK_S: u64 = 10;

/// All that a container's unit is made from.
#[derive(Debug, Clone)]
pub struct ContainerUnit {
    /// The unit's name.
    pub name: String,
    /// The pod.
    pub pod: Id<Pod>,
    /// What is wanted.
    pub desired: ContainerDesired,
    /// The program that runs it.
    pub start: Vec<String>,
    /// What the runtime takes itself, in the same control group.
    pub overhead: Overhead,
    /// How it is held to its huge pages, if it has to be.
    pub allotment: Option<Allotment>,
    /// The mounted root file system.
    pub root: PathBuf,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// How fast its log may grow.
    pub log_rate: LogRate,
    /// The pipe that is its standard input, if it has one.
    pub input: Option<PathBuf>,
    /// A folder on the disk to which its limits of traffic apply.
    pub disk: PathBuf,
}

impl ContainerUnit {
    /// The unit of a container. `usual` is how fast its log may grow if it does not say.
    pub fn new(
        pod: Id<Pod>,
        desired: &ContainerDesired,
        image: &ImageRecord,
        places: &Places,
        usual: LogRate,
    ) -> Self {
        let bundle = places.bundle(pod, &desired.name);
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let stop_signal = signal_number(&image.stop_signal);
        let mut start = Vec::new();
        if desired.tty {
            start.push(text(places.terminal.clone()));
            start.push(stop_signal.to_string());
            start.push(text(bundle.clone()));
        }
        let oci = Oci::present(places);
        start.extend(oci.run(pod, &desired.name, &bundle, desired.tty));
        Self {
            name: unit_name(pod, &desired.name),
            pod,
            desired: desired.clone(),
            start,
            overhead: oci.overhead(),
            allotment: Allotment::of(pod, desired, places),
            root: places.root(pod, &desired.name),
            stop_signal,
            log_rate: desired.log_rate.unwrap_or(usual),
            input: (desired.stdin && !desired.tty).then(|| places.input(pod, &desired.name)),
            disk: places.all_layers(),
        }
    }

    /// The unit's properties.
    pub fn properties(&self) -> Properties {
        let desired = &self.desired;
        let seconds = |seconds: u64| seconds.saturating_mul(1_000_000);
        let (more_memory, more_tasks) =
            if desired.tty { (HOLDER_MEMORY, HOLDER_TASKS) } else { (0, 0) };
        let memory = desired.memory_mib.saturating_mul(1 << 20);
        let memory = memory.saturating_add(self.overhead.memory + more_memory);
        let stop = u64::from(desired.stop_timeout_s).saturating_add(KILL_SLACK_S);
        let mut properties = Properties::new()
            .text("Description", &format!("Skerry container {} of pod {}", desired.name, self.pod))
            .text("Type", "exec")
            .text("Slice", self.slice())
            .texts("RequiresMountsFor", [self.root.to_string_lossy()])
            .exec("ExecStart", [Exec::new(self.main_program())])
            .flag("RemainAfterExit", true)
            .text("KillMode", "mixed")
            .signal("KillSignal", self.stop_signal)
            .number("TimeoutStopUSec", seconds(stop))
            .number("TimeoutStartUSec", seconds(60))
            .number("MemoryMax", memory)
            .number("MemorySwapMax", 0)
            .text("OOMPolicy", "kill")
            .signal("OOMScoreAdjust", 300)
            .number(
                "TasksMax",
                u64::from(desired.pids).saturating_add(self.overhead.tasks + more_tasks),
            )
            .number("CPUWeight", cpu_weight(desired.cpu_request_m));
        if let Some(limit) = desired.cpu_limit_m {
            // Thousandths of a CPU are milliseconds of it a second.
            properties = properties.number("CPUQuotaPerSecUSec", u64::from(limit) * 1000);
        }
        if let Some(kept) = self.memory_kept() {
            properties = properties.number("MemoryLow", kept);
        }
        let usual = [("/dev/tty", "rwm"), ("/dev/ptmx", "rwm"), ("char-pts", "rwm")];
        // `m`: the runtime makes them in the container's own folder of devices.
        let own = desired.devices.iter().map(|path| (path.as_str(), "rwm"));
        self.with_io_limits(properties)
            .flag("IOAccounting", true)
            .text("DevicePolicy", "closed")
            .pairs("DeviceAllow", usual.into_iter().chain(own))
            .text("StandardOutput", "journal")
            .text("StandardError", "journal")
            .text("SyslogIdentifier", desired.name.as_str())
            .bytes(
                "LogExtraFields",
                [
                    format!("{POD_FIELD}={}", self.pod),
                    format!("{CONTAINER_FIELD}={}", desired.name),
                ],
            )
            .number("LogRateLimitIntervalUSec", seconds(self.log_rate.interval_s.into()))
            .count("LogRateLimitBurst", self.log_rate.lines)
    }
}

impl ContainerUnit {
    /// The slice that it is in.
    pub fn slice(&self) -> &str {
        self.allotment.as_ref().map_or(SLICE, |held| &held.slice)
    }

    /// What the manager starts.
    fn main_program(&self) -> Vec<String> {
        let start = self.start.clone();
        match &self.allotment {
            Some(held) => held.before(start),
            None => start,
        }
    }

    /// Bytes of memory that are kept for it. It counts only as far as as much is kept for the slice.
    pub fn memory_kept(&self) -> Option<u64> {
        Some(self.desired.memory_reservation_mib?.saturating_mul(1 << 20))
    }

    /// Limits of its disk traffic. The manager finds the device that a path's file system lies on.
    fn with_io_limits(&self, mut properties: Properties) -> Properties {
        let io = self.desired.io.unwrap_or_default();
        for (name, value) in [
            ("IOReadBandwidthMax", io.read_bytes_per_s),
            ("IOWriteBandwidthMax", io.write_bytes_per_s),
            ("IOReadIOPSMax", io.read_iops),
            ("IOWriteIOPSMax", io.write_iops),
        ] {
            if let Some(value) = value {
                properties = properties.amounts(name, [(self.disk.to_string_lossy(), value)]);
            }
        }
        properties
    }
}

/// The kernel's weight for a share of a processor: one processor is the usual weight of 100.
fn cpu_weight(request_m: u32) -> u64 {
    u64::from(request_m / 10).clamp(1, 10_000)
}

/// The journal field that names a line's pod.
pub const POD_FIELD: &str = "SKERRY_POD";
/// The journal field that names a line's container.
pub const CONTAINER_FIELD: &str = "SKERRY_CONTAINER";

/// The number of a signal that an image names, such as `SIGQUIT`, `QUIT`, `3` or `SIGRTMIN+3`; SIGTERM if it
/// names none that is known.
fn signal_number(text: &str) -> i32 {
    const TERM: i32 = 15;
    // The first signal that programs see as SIGRTMIN: the C library keeps 32 and 33 for itself.
    const RTMIN: i32 = 34;
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { number } else { TERM };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = offset.strip_prefix('+').and_then(|n| n.parse().ok()).unwrap_or(0);
        return Some(RTMIN + offset).filter(|n| (RTMIN..=64).contains(n)).unwrap_or(TERM);
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().map_or(TERM, |signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{desired, pod, record};
    use skerry_model::IoLimits;
    use std::path::Path;

    fn unit() -> ContainerUnit {
        let places = Places::below(Path::new("/var/lib/skerry/data"), Path::new("/run/skerry"));
        let usual = LogRate { lines: 500, interval_s: 10 };
        ContainerUnit::new(pod(), &desired("web"), &record(), &places, usual)
    }

    #[test]
    fn the_runtime_is_started_as_it_wants_and_never_meets_a_shell() {
        let unit = unit();
        assert_eq!(unit.name, "skerry-pod-0b6d1a52-web.service");
        let id = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c";
        assert_eq!(
            unit.start,
            [
                "/usr/bin/crun",
                "--root",
                "/run/skerry/crun",
                "--cgroup-manager=disabled",
                "run",
                &format!("--bundle=/run/skerry/pods/{id}/web"),
                &format!("--pid-file=/run/skerry/pods/{id}/web/pid"),
                &format!("{id}-web"),
            ]
        );
    }

    #[test]
    fn a_terminal_is_held_by_the_units_main_process() {
        let mut desired = desired("web");
        (desired.stdin, desired.tty) = (true, true);
        let places = Places::below(Path::new("/d"), Path::new("/r"));
        let unit = ContainerUnit::new(pod(), &desired, &record(), &places, LogRate::default());
        let id = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c";
        let bundle = format!("/r/pods/{id}/web");
        assert_eq!(unit.start[..4], ["/usr/bin/skerry-terminal", "15", &bundle, "/usr/bin/crun"]);
        assert!(unit.input.is_none(), "what is typed comes on the terminal");
        let properties = unit.properties();
        assert_eq!(properties.show("MemoryMax").unwrap(), format!("uint64 {}", 74_u64 << 20));
        assert_eq!(properties.show("TasksMax").unwrap(), "uint64 1027");
    }

    #[test]
    fn limits_and_labels_are_on_the_unit() {
        let mut unit = unit();
        unit.desired.cpu_limit_m = Some(250);
        let properties = unit.properties();
        let show = |name: &str| properties.show(name).unwrap();
        assert_eq!(show("MemoryMax"), format!("uint64 {}", 68_u64 << 20));
        assert_eq!(show("TasksMax"), "uint64 1026");
        assert_eq!(show("CPUQuotaPerSecUSec"), "uint64 250000");
        assert_eq!(show("CPUWeight"), "uint64 10");
        assert_eq!(show("TimeoutStopUSec"), "uint64 40000000");
        assert_eq!(show("KillSignal"), "15");
        assert_eq!(show("RemainAfterExit"), "true");
        assert_eq!(show("KillMode"), "\"mixed\"");
        assert_eq!(show("LogRateLimitIntervalUSec"), "uint64 10000000");
        assert_eq!(show("LogRateLimitBurst"), "uint32 500");
    }

    #[test]
    fn what_is_kept_and_disk_limits_are_on_the_unit_only_if_wanted() {
        let mut unit = unit();
        let plain = unit.properties();
        let all = ["MemoryLow", "IOReadBandwidthMax", "IOWriteBandwidthMax", "IOReadIOPSMax"];
        assert!(plain.names().all(|name| !all.contains(&name)));
        unit.desired.memory_reservation_mib = Some(16);
        unit.desired.io = Some(IoLimits {
            read_bytes_per_s: Some(1 << 20),
            write_iops: Some(50),
            ..IoLimits::default()
        });
        let properties = unit.properties();
        assert_eq!(properties.show("MemoryLow").unwrap(), format!("uint64 {}", 16 << 20));
        let read = properties.show("IOReadBandwidthMax").unwrap();
        assert!(read.contains("/var/lib/skerry/data/pods") && read.contains("1048576"), "{read}");
        assert!(properties.show("IOWriteIOPSMax").unwrap().contains("50"));
        assert_eq!(properties.show("IOReadIOPSMax"), None);
    }

    #[test]
    fn limits_of_huge_pages_are_written_before_the_runtime_starts() {
        let plain = unit().properties();
        assert_eq!(plain.show("Slice").unwrap(), "\"skerry-pods.slice\"");
        assert!(!plain.show("ExecStartEx").unwrap().contains("skerry-pages"));
        let size = skerry_model::HugePageSize::Mib2;
        let mut desired = desired("web").with_pages(vec![(size, 2)], &[]);
        desired.huge_pages = vec![skerry_model::ContainerPages { size, mib: 4 }];
        let places = Places::below(Path::new("/d"), Path::new("/r"));
        let unit = ContainerUnit::new(pod(), &desired, &record(), &places, LogRate::default());
        let properties = unit.properties();
        assert_eq!(properties.show("Slice").unwrap(), "\"skerry-pods-0b6d1a52.slice\"");
        let start = properties.show("ExecStartEx").unwrap();
        let (before, after) = start.split_once("\"--\"").unwrap();
        assert!(before.contains("skerry-pages") && before.contains("2MB=4194304"), "{start}");
        assert!(after.contains("/usr/bin/crun"), "{start}");
    }

    #[test]
    fn devices_are_let_through_one_by_one() {
        let mut unit = unit();
        assert!(!unit.properties().show("DeviceAllow").unwrap().contains("tun"));
        unit.desired.devices = vec!["/dev/net/tun".to_owned()];
        let allowed = unit.properties().show("DeviceAllow").unwrap();
        assert!(allowed.contains("(\"/dev/net/tun\", \"rwm\")"), "{allowed}");
        assert_eq!(unit.properties().show("DevicePolicy").unwrap(), "\"closed\"");
    }

    #[test]
    fn a_log_rate_of_its_own_goes_before_the_nodes() {
        let mut desired = desired("web");
        desired.log_rate = Some(LogRate { lines: 7, interval_s: 1 });
        let places = Places::below(Path::new("/d"), Path::new("/r"));
        let unit = ContainerUnit::new(pod(), &desired, &record(), &places, LogRate::default());
        assert_eq!(unit.properties().show("LogRateLimitBurst").unwrap(), "uint32 7");
    }

    #[test]
    fn stop_signals_are_understood_however_written() {
        for (text, number) in [
            ("", 15),
            ("SIGQUIT", 3),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("SIGRTMIN+99", 15),
            ("0", 15),
            ("nonsense", 15),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
