//! Processors from `/proc/cpuinfo`, one entry for each socket.

use std::collections::{BTreeMap, BTreeSet};

use skerry_upkeep::Processor;

use crate::roots::{Roots, number, text};

/// The fields of one hardware thread.
type Thread<'a> = BTreeMap<&'a str, &'a str>;

/// One entry for each socket, by socket number.
pub(crate) fn processors(roots: &Roots) -> Vec<Processor> {
    let cpuinfo = text(roots.proc.join("cpuinfo")).unwrap_or_default();
    let mut sockets: BTreeMap<u32, Vec<Thread<'_>>> = BTreeMap::new();
    for thread in threads(&cpuinfo) {
        let socket = thread.get("physical id").and_then(|id| id.parse().ok()).unwrap_or(0);
        sockets.entry(socket).or_default().push(thread);
    }
    sockets.into_iter().map(|(socket, threads)| processor(roots, socket, &threads)).collect()
}

/// The flags of the first processor; empty if there are none to be read.
pub(crate) fn flags(roots: &Roots) -> Vec<String> {
    let cpuinfo = text(roots.proc.join("cpuinfo")).unwrap_or_default();
    threads(&cpuinfo).first().map(sorted_flags).unwrap_or_default()
}

fn threads(cpuinfo: &str) -> Vec<Thread<'_>> {
    let mut threads: Vec<Thread<'_>> = Vec::new();
    for line in cpuinfo.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            threads.push(Thread::new());
        }
        if let Some(thread) = threads.last_mut() {
            thread.insert(key, value);
        }
    }
    threads
}

fn sorted_flags(thread: &Thread<'_>) -> Vec<String> {
    let words = thread.get("flags").or_else(|| thread.get("Features")).copied().unwrap_or("");
    let unique: BTreeSet<_> = words.split_whitespace().collect();
    unique.into_iter().map(str::to_owned).collect()
}

fn processor(roots: &Roots, socket: u32, threads: &[Thread<'_>]) -> Processor {
    let first = threads.first();
    let field = |key: &str| {
        first.and_then(|t| t.get(key)).filter(|v| !v.is_empty()).map(|v| (*v).to_owned())
    };
    let cores: BTreeSet<_> = threads.iter().filter_map(|t| t.get("core id")).collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Processor {
        socket,
        vendor: field("vendor_id"),
        model: field("model name"),
        architecture: std::env::consts::ARCH.to_owned(),
        // A kernel that names no cores has one thread on each.
        cores: count(if cores.is_empty() { threads.len() } else { cores.len() }),
        threads: count(threads.len()),
        max_mhz: max_mhz(roots, threads),
        microcode: field("microcode"),
        flags: first.map(sorted_flags).unwrap_or_default(),
    }
}

fn max_mhz(roots: &Roots, threads: &[Thread<'_>]) -> Option<u32> {
    let khz = |thread: &Thread<'_>| {
        let cpu: u32 = thread.get("processor")?.parse().ok()?;
        number(roots.sys.join(format!("devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq")))
    };
    let highest = threads.iter().filter_map(khz).max()?;
    u32::try_from(highest / 1000).ok().filter(|mhz| *mhz > 0)
}
