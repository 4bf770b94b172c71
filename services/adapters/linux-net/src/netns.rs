//! The program that makes and removes named network namespaces, `skerry-netns`.
//!
//! ```text
//! skerry-netns add NAME          one that is the machine's
//! skerry-netns add NAME FIRST    one that is of the 65536 users from FIRST on, with a user namespace for them
//! skerry-netns delete NAME       both, if they are there
//! ```
//!
//! noded cannot do this: what it mounts is not seen by others, and its sandbox lets it make no user namespace. It must
//! have one thread only, and changes nothing but the two files of the name.
//!
//! Who makes a user namespace cannot say which users are in it, once there. A second process, started before and still
//! outside, does that and gives both namespaces their names.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::namespace;

/// Users of one pod, as the domain of containers gives them out.
const USERS: u32 = 1 << 16;

/// The program.
pub fn program(arguments: impl Iterator<Item = String>) -> ExitCode {
    let words: Vec<String> = arguments.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The service manager hands it to noded; should it not listen, the code says enough.
            let _ = writeln!(io::stderr(), "{}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<()> {
    match words {
        ["add", name] => add(checked(name)?),
        ["add", name, first] => add_for(checked(name)?, number(first)?),
        // Of its second process alone.
        ["name", name, first] => name_both(checked(name)?, number(first)?),
        ["delete", name] => delete(checked(name)?),
        _ => Err(wrong("use: skerry-netns add NAME [FIRST] | delete NAME")),
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A name is a file's name in two folders.
fn checked(name: &str) -> io::Result<&str> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fine = !name.is_empty() && name.len() <= 64 && name.chars().all(good);
    if fine { Ok(name) } else { Err(wrong("the name is not of letters, digits, `-` and `_`")) }
}

fn number(first: &str) -> io::Result<u32> {
    let number = first.parse::<u32>().ok().filter(|first| first.checked_add(USERS).is_some());
    number.filter(|first| *first >= USERS).ok_or_else(|| wrong("the first user is not one of many"))
}

fn add(name: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    bind("/proc/self/ns/net", &namespace::path(name))
}

/// Both at a time, so that the network's namespace is the users'.
fn add_for(name: &str, first: u32) -> io::Result<()> {
    let mut other = Command::new(std::env::current_exe()?)
        .args(["name", name, &first.to_string()])
        .stdin(Stdio::piped())
        .spawn()?;
    let made = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET);
    if made.is_err() {
        // It would name ours.
        other.kill()?;
    }
    // Its input ends: they are there.
    drop(other.stdin.take());
    let ended = other.wait()?;
    made?;
    if ended.success() { Ok(()) } else { Err(io::Error::other("they could not be named")) }
}

fn name_both(name: &str, first: u32) -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    let maker = PathBuf::from(format!("/proc/{}", std::os::unix::process::parent_id()));
    let map = format!("0 {first} {USERS}\n");
    for list in ["uid_map", "gid_map"] {
        fs::write(maker.join(list), &map)?;
    }
    // What is half named is seen as such by the first name, and made anew.
    bind(maker.join("ns/net"), &namespace::path(name))?;
    bind(maker.join("ns/user"), &namespace::users_path(name))
}

fn bind(from: impl AsRef<Path>, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    File::create_new(to)?;
    mount(Some(from.as_ref()), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn delete(name: &str) -> io::Result<()> {
    for path in [namespace::path(name), namespace::users_path(name)] {
        match umount2(&path, MntFlags::MNT_DETACH) {
            // A file without a namespace, or none at all.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_would_reach_elsewhere_are_refused() {
        for words in [
            &["add", "../x"] as &[&str],
            &["add", ""],
            &["add", "a/b", "655360"],
            &["add", "a", "0"],
            &["add", "a", "65535"],
            &["add", "a", "4294901761"],
            &["add", "a", "x"],
            &["delete", "."],
            &["delete"],
            &["other", "a"],
            &[],
        ] {
            let error = run(words).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{words:?}: {error}");
        }
        assert_eq!(checked("skerry-pod-0b6d1a52").unwrap(), "skerry-pod-0b6d1a52");
        assert_eq!(number("655360").unwrap(), 655_360);
    }
}
