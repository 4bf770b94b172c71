//! `cargo xtask test`: every check of the project, one after another, with the closing lines of each at the end.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::builder::Builder;
use crate::image::{self, Compression};
use crate::outputs::Effort;
use crate::paths::Paths;
use crate::test_log::{self, TestLog};
use crate::{check, command, under_systemd, web};

/// Tools that are built from crates.io when this machine has none: name, version.
const TOOLS: &[(&str, &str)] = &[("cargo-nextest", "0.9.151"), ("cargo-deny", "0.20.2")];

/// What tells the tests with containers which runtime they are of, by its whole path; crun without it.
pub const TESTED_RUNTIME: &str = "SKERRY_TESTED_RUNTIME";

/// The other runtime that is tested: one that does not stay and looks after control groups in any case.
pub const OTHER_RUNTIME: &str = "/usr/sbin/runc";

/// Which checks to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Leave out the image and the tests that boot it.
    pub quick: bool,
    /// This step alone.
    pub only: Option<String>,
}

/// Asks the Internet whether anything is known against the crates we use.
///
/// # Errors
/// When cargo-deny cannot be installed or finds something.
pub fn audit(paths: &Paths) -> Result<()> {
    for (name, version) in TOOLS.iter().filter(|(name, _)| *name == "cargo-deny") {
        install(paths, name, version)?;
    }
    command::run(cargo(paths).args(["deny", "--workspace", "check", "advisories"]))
}

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<String> + 'a>);

/// Runs the checks; all of them, even when one fails.
///
/// # Errors
/// When a tool cannot be installed, or any check failed.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let builder = prepare(paths)?;
    let mut lines = Vec::new();
    let mut said = Vec::new();
    let mut failed = false;
    for (name, step) in steps(paths, &builder, options)? {
        println!("== {name}");
        let started = Instant::now();
        let log = TestLog::before(paths);
        let result = step();
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(closing) => lines.push(format!("ok      {name:<22} {seconds:>5} s  {closing}")),
            Err(error) => {
                failed = true;
                said.extend(test_log::failures(&log.since()));
                println!("{error:#}");
                let first = format!("{error:#}");
                lines.push(format!(
                    "FAILED  {name:<22} {seconds:>5} s  {}",
                    first.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    println!("\n{}\n", lines.join("\n"));
    for line in said {
        println!("{line}");
    }
    // The runners' own closing lines once more, where whoever reads only the end will see them.
    for line in lines.iter().filter_map(|line| line.split_once("Summary")) {
        println!("     Summary{}", line.1);
    }
    if failed { bail!("not everything passed") } else { Ok(()) }
}

/// The builder root, which waits for the network, while the tools are built, which takes the processors.
fn prepare(paths: &Paths) -> Result<Builder> {
    std::thread::scope(|scope| {
        let tools = scope
            .spawn(|| TOOLS.iter().try_for_each(|(name, version)| install(paths, name, version)));
        let builder = Builder::ensure(paths);
        match tools.join() {
            Ok(installed) => installed?,
            Err(_) => bail!("installing the tools of the tests ended in a panic"),
        }
        builder
    })
}

fn steps<'a>(paths: &'a Paths, builder: &'a Builder, options: &Options) -> Result<Vec<Step<'a>>> {
    let mut steps: Vec<Step<'a>> = vec![
        ("format", Box::new(|| done(cargo(paths).args(["fmt", "--all", "--check"])))),
        ("page", Box::new(|| page(paths, builder))),
        (
            "clippy",
            Box::new(|| {
                done(cargo(paths).args([
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ]))
            }),
        ),
        (
            "dependencies",
            Box::new(|| {
                done(cargo(paths).args([
                    "deny",
                    "--workspace",
                    "check",
                    "bans",
                    "licenses",
                    "sources",
                ]))
            }),
        ),
        ("boards and layout", Box::new(|| check::data(paths).map(|()| String::new()))),
        ("exposure of units", Box::new(|| check::units(paths, builder).map(|()| String::new()))),
        ("tests", Box::new(|| nextest(paths, "not package(skerry-system-tests)", &[]))),
        (
            "tests with containers",
            Box::new(|| {
                // In a mount namespace of its own, so that the machine's control groups stay as they are. By the
                // process, not by its path: the builds before this step may have put a newer program there.
                let own = format!("/proc/{}/exe", std::process::id());
                let mut inner = command::as_root("unshare");
                inner.args(["--mount", "--propagation", "private"]).arg(own).arg("live-tests");
                // Said with the closing lines, where whoever reads only the end will see it.
                let left_out = if has_loop_devices() {
                    String::new()
                } else {
                    "NOT RUN: pools on kept file systems; no loop devices here".to_owned()
                };
                command::run(&mut inner).map(|()| left_out)
            }),
        ),
        ("tests under systemd", Box::new(|| under_systemd::run(paths, &|| cargo(paths)))),
    ];
    if !options.quick {
        let image = || {
            let options = image::Options {
                board: "qemu-q35".into(),
                compression: Compression::None,
                publish: Some(Effort::Quick),
                programs: true,
            };
            image::build(paths, &options).map(|raw| raw.display().to_string())
        };
        steps.push(("image", Box::new(image)));
        steps.push((
            "browser",
            Box::new(|| builder.add("chromium", "usr/bin/chromium").map(|()| String::new())),
        ));
        steps.push((
            "tests of the system",
            Box::new(|| {
                // The machine itself first: what drives the tests is tested too.
                let both = "package(xtask) or package(skerry-system-tests)";
                nextest(paths, both, &["--run-ignored", "all"])
            }),
        ));
    }
    if let Some(only) = &options.only {
        let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
        ensure!(names.contains(&only.as_str()), "no step is called {only}: {}", names.join(", "));
        steps.retain(|(name, _)| name == only);
    }
    Ok(steps)
}

fn done(command: &mut Command) -> Result<String> {
    command::run(command).map(|()| String::new())
}

fn page(paths: &Paths, builder: &Builder) -> Result<String> {
    web::build(paths, builder)?;
    web::install(paths, builder)?;
    for script in ["lint", "test"] {
        command::run(web::node_command(builder, paths, "npm").args(["run", "-s", script]))?;
    }
    Ok(String::new())
}

/// Runs the tests that start containers or mount file systems. To be called in a mount namespace of its own: crun refuses machines that
/// mix both versions of control groups, so the second is laid over what there is.
///
/// # Errors
/// When it cannot be mounted, or a test fails.
pub fn live_tests(paths: &Paths) -> Result<()> {
    let mut mount = Command::new("mount");
    command::run(mount.args(["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]))?;
    // The one that needs systemd as the first process runs under it.
    let containers = "package(skerry-linux-ctr) and test(live_tests::) and not test(under_systemd)";
    let mut live = format!("({containers})");
    if has_loop_devices() {
        live.push_str(" or (package(skerry-linux-disk) and test(/^on_(ext4|xfs)_/))");
    }
    let mount = newer_mount(paths)?;
    let ignored = ["--run-ignored", "only"];
    // One after the other: the runner's log, where failures are looked for, is that of its last run.
    let result = nextest(paths, &live, &ignored).context("with crun").and_then(|_| {
        println!("     The same with {OTHER_RUNTIME}");
        nextest_with(paths, containers, &ignored, &[(TESTED_RUNTIME, OTHER_RUNTIME)])
            .with_context(|| format!("with {OTHER_RUNTIME}"))
    });
    std::fs::remove_file(&mount)
        .with_context(|| format!("cannot remove {}", mount.display()))
        .and(result.map(drop))
}

/// Whether file systems in files can be mounted here.
fn has_loop_devices() -> bool {
    Command::new("losetup").arg("--find").output().is_ok_and(|found| found.status.success())
}

/// Puts the builder root's `mount` among our tools: the machine's may be too old for mounts that turn owners around, and
/// passes over what it does not know without a word.
fn newer_mount(paths: &Paths) -> Result<PathBuf> {
    let root = Builder::existing(paths)?.root().display().to_string();
    let script = format!(
        "#!/bin/sh\nexec {root}/lib64/ld-linux-x86-64.so.2 --library-path {root}/usr/lib/x86_64-linux-gnu \
         {root}/usr/bin/mount \"$@\"\n"
    );
    let (bin, program) = (paths.tools().join("bin"), paths.tools().join("bin/mount"));
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    std::fs::write(&program, script)
        .and_then(|()| std::fs::set_permissions(&program, Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", program.display()))?;
    Ok(program)
}

/// What cargo is to look at in every step: with fewer packages it would switch off features of their dependencies that
/// the others want, and build them anew.
pub const ALL: [&str; 2] = ["--locked", "--workspace"];

/// Runs the tests that the filter names and returns nextest's closing line.
fn nextest(paths: &Paths, filter: &str, more: &[&str]) -> Result<String> {
    nextest_with(paths, filter, more, &[])
}

/// The same for tests that are told more by their environment.
fn nextest_with(
    paths: &Paths,
    filter: &str,
    more: &[&str],
    told: &[(&str, &str)],
) -> Result<String> {
    let log = test_log::place(paths);
    let mut run = cargo(paths);
    run.envs(told.iter().copied());
    run.args(["nextest", "run", "--no-fail-fast", "--color", "never"]).args(ALL).args(more);
    run.args(["-E", filter]);
    let result = command::run_shown(&mut run, &log);
    let text =
        std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let summary = text
        .lines()
        .rev()
        .find(|l| l.trim_start().starts_with("Summary"))
        .unwrap_or_default()
        .trim()
        .to_owned();
    let longest = test_log::longest(&text, 12);
    println!("     The longest:\n     {}", longest.join("\n     "));
    match result {
        Ok(()) => Ok(summary),
        Err(error) => Err(error.context(summary)),
    }
}

/// Cargo in the repository, with the tools of the build before those of the host.
fn cargo(paths: &Paths) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&paths.repo);
    let own = paths.tools().join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(own).chain(std::env::split_paths(&path));
    if let Ok(joined) = std::env::join_paths(all) {
        command.env("PATH", joined);
    }
    command
}

fn install(paths: &Paths, name: &str, version: &str) -> Result<()> {
    // As cargo will look for it: our own tools first, then the machine's.
    let word = name.trim_start_matches("cargo-");
    if cargo(paths).args([word, "--version"]).output().is_ok_and(|o| o.status.success()) {
        return Ok(());
    }
    println!("Building {name} {version} (once, a few minutes)");
    let mut install = Command::new("cargo");
    // In its own folder, outside the workspace and its settings.
    install.current_dir("/").args(["install", "--locked", "--root"]).arg(paths.tools());
    // They check, and need not be fast; a build for speed takes twice as long as all their work.
    install
        .arg("--debug")
        .arg("--target-dir")
        .arg(paths.tools().join("build"))
        .arg(format!("{name}@{version}"));
    command::run(&mut install)
}
