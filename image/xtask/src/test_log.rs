//! What failed tests said and which took longest, short: for the end of a long run, where it is looked for. Reads the
//! test runner's log and nothing else.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::paths::Paths;

/// How much of one test's words is shown.
const LINES: usize = 8;
const WIDTH: usize = 600;

/// Where the test runner's words are kept.
#[must_use]
pub fn place(paths: &Paths) -> PathBuf {
    paths.target.join("nextest.log")
}

/// The log of the tests that one step runs: those of a step before it are not its own.
#[derive(Debug)]
pub struct TestLog {
    path: PathBuf,
    before: Option<SystemTime>,
}

impl TestLog {
    /// To be called before the step.
    #[must_use]
    pub fn before(paths: &Paths) -> Self {
        let path = place(paths);
        let before = modified(&path);
        Self { path, before }
    }

    /// What was written since; nothing where no test ran.
    #[must_use]
    pub fn since(&self) -> String {
        if modified(&self.path) == self.before {
            return String::new();
        }
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}

/// Each failed test with its first error.
#[must_use]
pub fn failures(log: &str) -> Vec<String> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut lines = log.lines();
    while let Some(line) = lines.next() {
        let Some(name) = failed(line) else { continue };
        if found.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let own = lines.clone().take_while(|line| result(line).is_none());
        let said = own.skip_while(|line| !is_error(line)).map(str::trim);
        let said = said.take_while(|line| !line.starts_with("stack backtrace"));
        let said: Vec<&str> = said.filter(|line| !line.is_empty()).take(LINES).collect();
        let said = said.iter().map(|line| format!("    {}\n", clip(line)));
        found.push((name, said.collect()));
    }
    found.into_iter().map(|(name, said)| format!("{name}\n{said}")).collect()
}

/// The tests that took longest, longest first: their seconds and names.
#[must_use]
pub fn longest(log: &str, many: usize) -> Vec<String> {
    let ended = log.lines().filter_map(result).filter(|(word, ..)| *word == "PASS");
    let mut all: Vec<_> = ended.map(|(_, name, seconds)| (seconds, name)).collect();
    all.sort_by(|one, other| other.0.total_cmp(&one.0));
    all.iter().take(many).map(|(seconds, name)| format!("{seconds:>6.0} s  {name}")).collect()
}

/// The name of the test that this line calls failed.
fn failed(line: &str) -> Option<&str> {
    let (word, name, _) = result(line)?;
    (!matches!(word, "PASS" | "SLOW" | "LEAK")).then_some(name)
}

/// A test's result: `WORD [ seconds ] (number/all) name`, as word, name, seconds.
fn result(line: &str) -> Option<(&str, &str, f64)> {
    let (word, rest) = line.trim_start().split_once(" [")?;
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    let (seconds, name) = rest.split_once("s]")?;
    let seconds = seconds.trim_start_matches('>').trim().parse().ok()?;
    let name = name.trim();
    let name = name.strip_prefix('(').and_then(|n| n.split_once(") ")).map_or(name, |(_, n)| n);
    is_word.then_some((word, name, seconds))
}

fn is_error(line: &str) -> bool {
    line.trim_start().starts_with("Error:") || line.contains(" panicked at ")
}

fn clip(line: &str) -> String {
    let mut short: String = line.chars().take(WIDTH).collect();
    if short.len() < line.len() {
        short.push_str(" ...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "
        PASS [   6.655s] (18/22) one runtime::good
        FAIL [   0.530s] (19/22) one runtime::bad
  stdout ───

    running 1 test
  stderr ───

    thread 'runtime::bad' panicked at src/bad.rs:80:9:
    assertion `left == right` failed: layer:
      left: \"65534:65534\"

    stack backtrace:
       0: __rustc::rust_begin_unwind

        SLOW [> 30.000s] (20/22) two slow
        FAIL [ 120.530s] (21/22) two::node holds
  stderr ───
    Error: pod `pair` is not ready

    Caused by:
        0: it waits
 TERMINATING [>1200.000s] (22/22) two hangs
     TIMEOUT [1200.000s] (22/22) two hangs
     Summary [3024.363s] 33 tests run: 32 passed (4 slow), 1 failed, 0 skipped
        FAIL [   0.530s] (19/22) one runtime::bad
";

    #[test]
    fn each_failed_test_is_told_once_with_its_first_error() {
        let told = failures(LOG);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("one runtime::bad\n    thread"), "{told:?}");
        assert!(told[0].contains("65534") && !told[0].contains("backtrace"), "{told:?}");
        assert_eq!(
            told[1],
            "two::node holds\n    Error: pod `pair` is not ready\n    Caused by:\n    0: it waits\n"
        );
        assert_eq!(told[2], "two hangs\n");
        assert!(failures("").is_empty());
    }

    #[test]
    fn the_longest_come_first() {
        let log = "PASS [ 1.2s] (1/3) a\nPASS [ 90.0s] (2/3) b\nPASS [ 8.5s] (3/3) c";
        assert_eq!(longest(log, 2), ["    90 s  b", "     8 s  c"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let log = format!("FAIL [ 1.0s] x\nError: {}", "é".repeat(5000));
        let told = failures(&log);
        assert!(told[0].ends_with(" ...\n") && told[0].chars().count() < 700);
    }
}
