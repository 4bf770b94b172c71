//! The program that reads layers cannot do anything else.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skerry-unpack");
const SIGSYS: i32 = 31;

#[test]
fn it_is_killed_when_it_opens_a_file() {
    let status = Command::new(PROGRAM).arg("--check").status().unwrap();
    assert_eq!(status.signal(), Some(SIGSYS), "{status}");
}

#[test]
fn it_runs_locked_in_with_limits_and_no_privileges() {
    let mut child = Command::new(PROGRAM)
        .args(["none", "1000000", "10"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The header of a file, so that its first frame shows that it has locked itself in.
    let mut header = tar::Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(1000);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    stdin.write_all(header.as_bytes()).unwrap();
    // Its output is gathered, so enough for a full buffer follows.
    stdin.write_all(&[0; 1024]).unwrap();
    let read =
        |what: &str| std::fs::read_to_string(format!("/proc/{}/{what}", child.id())).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !read("status").contains("Seccomp:\t2") {
        assert!(std::time::Instant::now() < end, "{}", read("status"));
        std::thread::yield_now();
    }
    let (status, limits) = (read("status"), read("limits"));
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Threads:\t1"), "{status}");
    for limit in [
        "Max file size             0",
        "Max processes             0",
        "Max core file size        0",
    ] {
        assert!(limits.contains(limit), "{limits}");
    }
    assert!(limits.contains("Max address space         402653184"), "{limits}");
    assert_eq!(read("oom_score_adj").trim(), "1000", "the first to go when memory runs short");
    drop(stdin);
    let mut frames = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut frames).unwrap();
    assert_eq!(frames.first(), Some(&b'E'), "the entry came through");
    child.wait().unwrap();
}
