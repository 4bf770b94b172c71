//! The program `skerry-pages`: limits the huge pages of the control group that it was started in, and becomes another
//! program there.
//!
//! It is what a container's unit starts before the runtime, since the service manager has no such limits and noded may not write
//! to control groups. `hugetlb` has to be switched on in every group above; the manager switches on and off only what it
//! knows, so it stays until a group goes, and is looked after with each start. A size that is not named gets none. It must
//! not start the other program unless all limits are written, and knows nothing of pods.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// The kernel's word for what counts huge pages.
const CONTROLLER: &str = "hugetlb";

/// Bytes by the kernel's word for a size, such as `2MB`.
type Limits = Vec<(String, String)>;

/// What it is told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Limits of the group above, if they are its to write.
    above: Option<Limits>,
    /// Limits of its own group.
    own: Limits,
    /// The program to become.
    program: Vec<String>,
}

/// The program itself: `skerry-pages [above SIZE=BYTES …] own [SIZE=BYTES …] -- PROGRAM ARGUMENTS`.
pub fn program(words: impl Iterator<Item = String>) -> ExitCode {
    let Some(told) = Told::parse(words) else {
        say("usage: skerry-pages [above SIZE=BYTES ...] own [SIZE=BYTES ...] -- PROGRAM ARGUMENTS");
        return ExitCode::from(2);
    };
    let held = own_group(Path::new(GROUPS)).and_then(|group| {
        switch_on(Path::new(GROUPS), &group)?;
        if let (Some(limits), Some(above)) = (&told.above, group.parent()) {
            limit(above, limits)?;
        }
        limit(&group, &told.own)
    });
    if let Err(error) = held {
        say(&format!(
            "the container's huge pages cannot be limited, so it is not started: {error}"
        ));
        return ExitCode::FAILURE;
    }
    let [name, arguments @ ..] = told.program.as_slice() else { return ExitCode::from(2) };
    let error = Command::new(name).args(arguments).exec();
    say(&format!("{name} cannot be started: {error}"));
    ExitCode::FAILURE
}

fn say(text: &str) {
    // It is for the log; without one there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

impl Told {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut told = Self::default();
        let mut in_own = false;
        loop {
            match words.next()?.as_str() {
                "above" if told.above.is_none() && !in_own => told.above = Some(Vec::new()),
                "own" if !in_own => in_own = true,
                "--" if in_own => break,
                word => {
                    let (size, bytes) = word.split_once('=')?;
                    bytes.parse::<u64>().ok()?;
                    let list = if in_own { &mut told.own } else { told.above.as_mut()? };
                    list.push((size.to_owned(), bytes.to_owned()));
                }
            }
        }
        told.program = words.collect();
        (!told.program.is_empty()).then_some(told)
    }
}

/// The control group that this process is in.
fn own_group(groups: &Path) -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.filter(|path| !path.is_empty() && !path.split('/').any(|part| part == ".."));
    path.map(|path| groups.join(path))
        .ok_or_else(|| io::Error::other("this process is in no control group of its own"))
}

/// Lets the kernel count huge pages in a group: switched on from the top in all groups above it.
fn switch_on(groups: &Path, group: &Path) -> io::Result<()> {
    let mut above: Vec<&Path> = group.ancestors().skip(1).collect();
    above.retain(|path| path.starts_with(groups));
    for path in above.into_iter().rev() {
        let file = path.join("cgroup.subtree_control");
        let on = fs::read_to_string(&file).map_err(|error| about(&file, &error))?;
        if !on.split_whitespace().any(|word| word == CONTROLLER) {
            write(&file, &format!("+{CONTROLLER}"))?;
        }
    }
    Ok(())
}

/// Limits a group, both what its processes use and what they reserve. What was reserved is there when it is used: without
/// that limit a program would be killed by a signal where it could have been refused.
fn limit(group: &Path, limits: &[(String, String)]) -> io::Result<()> {
    let sizes = sizes(group)?;
    if let Some((size, _)) = limits.iter().find(|(size, _)| !sizes.contains(size)) {
        return Err(io::Error::other(format!("the kernel has no huge pages of {size}")));
    }
    for size in &sizes {
        let bytes = limits.iter().find(|(other, _)| other == size).map_or("0", |(_, it)| it);
        for file in ["rsvd.max", "max"] {
            write(&group.join(format!("{CONTROLLER}.{size}.{file}")), bytes)?;
        }
    }
    Ok(())
}

/// The sizes of huge pages that are counted in a group.
fn sizes(group: &Path) -> io::Result<Vec<String>> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(group).map_err(|error| about(group, &error))? {
        let name = entry?.file_name();
        let size = name.to_str().and_then(|name| {
            let size = name.strip_prefix(CONTROLLER)?.strip_prefix('.')?.strip_suffix(".max")?;
            (!size.contains('.')).then(|| size.to_owned())
        });
        sizes.extend(size);
    }
    sizes.sort();
    Ok(sizes)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    // Not made if it is not there.
    let opened = fs::OpenOptions::new().write(true).truncate(true).open(file);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|e| about(file, &e))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Told> {
        Told::parse(text.split_whitespace().map(str::to_owned))
    }

    fn pairs(list: &[(&str, &str)]) -> Limits {
        list.iter().map(|(size, bytes)| ((*size).to_owned(), (*bytes).to_owned())).collect()
    }

    #[test]
    fn words_are_understood_or_nothing_is_done() {
        let all = told("above 2MB=4 1GB=0 own 2MB=2 -- crun run own").unwrap();
        assert_eq!(all.above, Some(pairs(&[("2MB", "4"), ("1GB", "0")])));
        assert_eq!(all.own, pairs(&[("2MB", "2")]));
        assert_eq!(all.program, ["crun", "run", "own"]);
        let least = told("own -- crun").unwrap();
        assert_eq!((least.above, least.own, least.program.len()), (None, vec![], 1));
        for bad in [
            "",
            "crun",
            "own",
            "own --",
            "-- crun",
            "2MB=1 own -- crun",
            "own 2MB -- crun",
            "own 2MB=x -- crun",
            "own above -- crun",
            "above above own -- crun",
            "own own -- crun",
        ] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }

    /// A tree of groups as the kernel has them.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, control) in
            [("", "cpu hugetlb"), ("a.slice", "memory"), ("a.slice/b.service", "")]
        {
            let group = root.path().join(path);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("cgroup.subtree_control"), control).unwrap();
        }
        for size in ["2MB", "1GB"] {
            for file in ["max", "rsvd.max", "current", "events", "numa_stat"] {
                let name = format!("a.slice/b.service/hugetlb.{size}.{file}");
                fs::write(root.path().join(name), "max").unwrap();
            }
        }
        root
    }

    fn read(root: &tempfile::TempDir, path: &str) -> String {
        fs::read_to_string(root.path().join(path)).unwrap()
    }

    #[test]
    fn it_is_switched_on_above_and_not_in_the_group_itself() {
        let root = tree();
        switch_on(root.path(), &root.path().join("a.slice/b.service")).unwrap();
        assert_eq!(read(&root, "cgroup.subtree_control"), "cpu hugetlb");
        // A true one would have both words.
        assert_eq!(read(&root, "a.slice/cgroup.subtree_control"), "+hugetlb");
        assert_eq!(read(&root, "a.slice/b.service/cgroup.subtree_control"), "");
        let error = switch_on(root.path(), &root.path().join("none/b")).unwrap_err().to_string();
        assert!(error.contains("none/cgroup.subtree_control"), "{error}");
    }

    #[test]
    fn a_size_that_is_not_named_gets_none() {
        let root = tree();
        let group = root.path().join("a.slice/b.service");
        limit(&group, &pairs(&[("2MB", "4194304")])).unwrap();
        let at = |file: &str| read(&root, &format!("a.slice/b.service/hugetlb.{file}"));
        assert_eq!((at("2MB.max"), at("2MB.rsvd.max")), ("4194304".into(), "4194304".into()));
        assert_eq!((at("1GB.max"), at("1GB.rsvd.max")), ("0".into(), "0".into()));
        assert_eq!((at("2MB.current"), at("2MB.events")), ("max".into(), "max".into()));
        let error = limit(&group, &pairs(&[("16MB", "1")])).unwrap_err().to_string();
        assert!(error.contains("no huge pages of 16MB"), "{error}");
    }

    #[test]
    fn without_the_limit_of_reservations_nothing_is_started() {
        let root = tree();
        let group = root.path().join("a.slice/b.service");
        fs::remove_file(group.join("hugetlb.2MB.rsvd.max")).unwrap();
        assert!(limit(&group, &[]).unwrap_err().to_string().contains("2MB.rsvd.max"));
    }
}
