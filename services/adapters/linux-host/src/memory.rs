//! Main memory: what the kernel can use, the modules, and huge pages.

use skerry_upkeep::{HugePages, MemoryInfo};

use crate::dmi;
use crate::roots::{Roots, names, number, text};

pub(crate) fn memory(roots: &Roots) -> MemoryInfo {
    MemoryInfo {
        total_bytes: total(roots).unwrap_or(0),
        modules: dmi::memory_modules(roots),
        huge_pages: huge_pages(roots),
    }
}

/// `MemTotal` of `/proc/meminfo`, which counts in KiB.
fn total(roots: &Roots) -> Option<u64> {
    let meminfo = text(roots.proc.join("meminfo"))?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

fn huge_pages(roots: &Roots) -> Vec<HugePages> {
    let folder = roots.sys.join("kernel/mm/hugepages");
    let pages = |name: String| {
        let size_kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = |file: &str| number(folder.join(&name).join(file)).unwrap_or(0);
        Some(HugePages { size_kib, total: count("nr_hugepages"), free: count("free_hugepages") })
    };
    let mut found: Vec<_> = names(&folder).into_iter().filter_map(pages).collect();
    found.sort_by_key(|pages| pages.size_kib);
    found
}
