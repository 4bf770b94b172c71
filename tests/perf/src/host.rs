//! The machine that the figures were taken on.

use std::fmt;

use xtask::qemu::kvm_is_usable;

/// What a reader needs to know to compare figures.
pub struct Host {
    processor: String,
    cores: usize,
    memory_mib: u64,
    /// Over the last minute, before measuring began: other work on the machine makes everything slower.
    load: String,
    kvm: bool,
}

/// Reads it from `/proc`.
pub fn describe() -> Host {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    Host {
        processor: after(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_mib: memory / 1024,
        load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        kvm: kvm_is_usable(),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mib, load, kvm } = self;
        write!(f, "Taken on: {processor}, {cores} cores, {memory_mib} MiB, load {load} before. ")?;
        let node = "The node: QEMU, 2 processors, 1 GiB, 8 GiB disk";
        if *kvm {
            write!(f, "{node}, KVM.")
        } else {
            write!(
                f,
                "{node}, **emulation without KVM**: every time inside the node is 10 or more \
                 times what hardware takes, and the aims are for hardware."
            )
        }
    }
}
