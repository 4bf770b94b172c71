//! What containers take, read from the control groups of their units. A controller that is not switched on counts nothing,
//! which is told from a count of nothing. It changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skerry_model::{ContainerStats, Name};

use crate::reserve::{GROUPS, slices_above};

/// The control group of a unit in a slice.
pub fn group(slice: &str, unit: &str) -> PathBuf {
    let slice = slices_above(slice).pop().map(|(_, path)| path).unwrap_or_default();
    Path::new(GROUPS).join(slice).join(unit)
}

/// What a container in this control group has taken; `None` if the group is gone.
pub fn read(name: &Name, group: &Path) -> io::Result<Option<ContainerStats>> {
    let file = |file: &str| match fs::read_to_string(group.join(file)) {
        Ok(text) => Ok(Some(text)),
        // The group went while it was read, or the controller is off.
        Err(error)
            if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENODEV)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    };
    let Some(cpu) = file("cpu.stat")? else { return Ok(None) };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse().ok());
    let current: Option<u64> = number(file("memory.current")?);
    let events = file("memory.events")?.unwrap_or_default();
    let disks = file("io.stat")?;
    let of_disks = |key: &str| disks.as_deref().map(|text| sum(text, key));
    Ok(Some(ContainerStats {
        name: name.clone(),
        cpu_us: field(&cpu, "usage_usec").unwrap_or_default(),
        throttled_us: field(&cpu, "throttled_usec"),
        memory_bytes: current.unwrap_or_default(),
        memory_peak_bytes: number(file("memory.peak")?).or(current).unwrap_or_default(),
        memory_limit_bytes: number(file("memory.max")?),
        oom_kills: field(&events, "oom_kill").unwrap_or_default(),
        tasks: number(file("pids.current")?).unwrap_or_default(),
        read_bytes: of_disks("rbytes"),
        written_bytes: of_disks("wbytes"),
    }))
}

/// The number after a word at the beginning of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(word, _)| *word == key)?.1.trim().parse().ok()
}

/// All numbers `<key>=<number>`, of which each line has one for a disk.
fn sum(text: &str, key: &str) -> u64 {
    let words = text.split_whitespace().filter_map(|word| word.split_once('='));
    let numbers = words.filter(|(word, _)| *word == key);
    numbers.filter_map(|(_, number)| number.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(files: &[(&str, &str)]) -> Option<ContainerStats> {
        let group = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(group.path().join(name), text).unwrap();
        }
        read(&"web".parse().unwrap(), group.path()).unwrap()
    }

    #[test]
    fn what_the_kernel_counts_is_told() {
        let all = stats(&[
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nnr_throttled 2\nthrottled_usec 70\n"),
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.max", "67108864\n"),
            ("memory.events", "low 0\noom 3\noom_kill 1\noom_group_kill 0\n"),
            ("pids.current", "7\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n253:1 rbytes=5 wbytes=6 rios=1\n"),
        ])
        .unwrap();
        assert_eq!((all.cpu_us, all.throttled_us), (1500, Some(70)));
        assert_eq!((all.memory_bytes, all.memory_peak_bytes), (4096, 8192));
        assert_eq!((all.memory_limit_bytes, all.oom_kills, all.tasks), (Some(64 << 20), 1, 7));
        assert_eq!((all.read_bytes, all.written_bytes), (Some(15), Some(26)));
    }

    #[test]
    fn what_is_not_counted_is_not_nothing_and_a_group_that_is_gone_has_no_counts() {
        assert_eq!(stats(&[]), None);
        let few = stats(&[("cpu.stat", "usage_usec 1\n"), ("memory.max", "max\n")]).unwrap();
        assert_eq!((few.throttled_us, few.memory_limit_bytes, few.read_bytes), (None, None, None));
        let idle = stats(&[("cpu.stat", "usage_usec 1\n"), ("io.stat", "")]).unwrap();
        assert_eq!(idle.written_bytes, Some(0), "nothing was written");
        let odd = stats(&[("cpu.stat", "usage_usec x\n\n"), ("io.stat", "= rbytes=-1 wbytes\n")]);
        assert_eq!(odd.map(|it| (it.cpu_us, it.read_bytes)), Some((0, Some(0))));
    }

    #[test]
    fn a_group_lies_in_its_slices() {
        assert_eq!(
            group("skerry-pods.slice", "a.service"),
            Path::new("/sys/fs/cgroup/skerry.slice/skerry-pods.slice/a.service")
        );
    }
}
