//! Memory of the idle node, read inside it through the debug shell.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use skerry_system_tests::NodeUnderTest;

use crate::figures::{Figure, Figures};

/// Name and proportional share of every process with memory of its own. Written for a shell without awk.
const PROCESSES: &str = r#"for p in /proc/[0-9]*; do n=$(cat $p/comm); while read k v u; do [ "$k" = Pss: ] && echo "$n $v"; done < $p/smaps_rollup; done 2>/dev/null; true"#;

/// Our services: name of the process, what the table calls it.
const SERVICES: [(&str, &str); 3] =
    [("noded", "noded"), ("northd", "northd"), ("skerry-console", "consoles")];

/// Adds memory in all, of our services together and each, and names the largest others.
pub fn idle(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let info = node.shell("cat /proc/meminfo")?;
    let field = |name: &str| kib(&info, name).with_context(|| format!("no {name} in meminfo"));
    let used = field("MemTotal:")? - field("MemAvailable:")?;
    figures.add(Figure::at_most("memory of the idle node", mib(used), 256.0, "MiB").remark(
        "no claim, no workload, two and a half minutes after the boot; MemTotal − MemAvailable",
    ));
    let mut processes: BTreeMap<String, (u32, f64)> = BTreeMap::new();
    for line in node.shell(PROCESSES)?.lines() {
        if let Some((name, size)) = line.rsplit_once(' ')
            && let Ok(size) = size.parse::<f64>()
        {
            let entry = processes.entry(name.to_owned()).or_default();
            *entry = (entry.0 + 1, entry.1 + size);
        }
    }
    let mut sum = 0.0;
    let mut parts = Vec::new();
    for (process, name) in SERVICES {
        let (count, size) = processes.remove(process).unwrap_or_default();
        sum += size;
        let of = if count > 1 { format!(" ({count})") } else { String::new() };
        parts.push(format!("{name}{of} {:.1}", mib(size)));
    }
    figures.add(
        Figure::at_most("noded, northd and consoles together", mib(sum), 60.0, "MiB")
            .remark(format!("PSS; {} MiB", parts.join(", "))),
    );
    others(processes, figures);
    kernel(&info, figures);
    Ok(())
}

fn others(processes: BTreeMap<String, (u32, f64)>, figures: &mut Figures) {
    let mut rest: Vec<(String, f64)> =
        processes.into_iter().map(|(name, (_, size))| (name, size)).collect();
    rest.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = rest.iter().map(|(_, size)| size).sum();
    let largest: Vec<String> =
        rest.iter().take(8).map(|(name, size)| format!("{name} {:.1}", mib(*size))).collect();
    figures.add(
        Figure::new("all other processes", format!("{:.1} MiB", mib(sum)))
            .remark(format!("PSS; {} MiB", largest.join(", "))),
    );
}

fn kernel(info: &str, figures: &mut Figures) {
    let names = ["SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:", "Shmem:"];
    let parts: Vec<String> = names
        .iter()
        .filter_map(|name| Some(format!("{name} {:.1}", mib(kib(info, name)?))))
        .collect();
    let sum: f64 = names.iter().filter_map(|name| kib(info, name)).sum();
    figures.add(
        Figure::new("kernel's own and tmpfs", format!("{:.1} MiB", mib(sum)))
            .remark(format!("{} MiB", parts.join(", ").replace(':', ""))),
    );
}

fn kib(info: &str, name: &str) -> Option<f64> {
    let line = info.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn mib(kib: f64) -> f64 {
    kib / 1024.0
}
