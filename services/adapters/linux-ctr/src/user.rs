//! The user that an image names, as numbers.
//!
//! Names are looked up in the image's own `/etc/passwd` and `/etc/group`, found without following a link of the
//! image. What the image does not say is not guessed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Most bytes read of a list of users.
const MAX_LIST: u64 = 1 << 20;

/// Who a container's first process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// A user that the image does not know.
#[derive(Debug, thiserror::Error)]
#[error("there is no user `{user}`: the image's {list} does not hold it")]
pub struct UnknownUser {
    user: String,
    list: &'static str,
}

/// Finds the numbers for `user`, `user:group`, by name or number. `layers` are the image's, topmost first.
pub fn find(user: &str, layers: &[PathBuf]) -> Result<User, UnknownUser> {
    if user.is_empty() {
        return Ok(User::default());
    }
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let unknown = |list| UnknownUser { user: user.chars().take(64).collect(), list };
    let passwd = read(layers, "etc/passwd");
    let groups = read(layers, "etc/group");
    let mut found = match (name.parse::<u32>(), line(&passwd, name)) {
        (Ok(uid), _) => {
            let gid = rows(&passwd).find(|row| number(row, 2) == Some(uid));
            User { uid, gid: gid.and_then(|row| number(&row, 3)).unwrap_or(0), groups: vec![] }
        }
        (Err(_), Some(row)) => User {
            uid: number(&row, 2).ok_or_else(|| unknown("/etc/passwd"))?,
            gid: number(&row, 3).ok_or_else(|| unknown("/etc/passwd"))?,
            groups: memberships(&groups, name),
        },
        (Err(_), None) => return Err(unknown("/etc/passwd")),
    };
    if let Some(group) = group {
        let by_name = || line(&groups, group).and_then(|row| number(&row, 2));
        found.gid = group.parse().ok().or_else(by_name).ok_or_else(|| unknown("/etc/group"))?;
        found.groups.clear();
    }
    Ok(found)
}

fn rows(list: &str) -> impl Iterator<Item = Vec<&str>> {
    list.lines().map(|line| line.split(':').collect())
}

fn line<'l>(list: &'l str, name: &str) -> Option<Vec<&'l str>> {
    rows(list).find(|row| row.first() == Some(&name))
}

fn number(row: &[&str], column: usize) -> Option<u32> {
    row.get(column)?.parse().ok().filter(|id| *id != u32::MAX)
}

fn memberships(groups: &str, name: &str) -> Vec<u32> {
    rows(groups)
        .filter(|row| row.get(3).is_some_and(|members| members.split(',').any(|m| m == name)))
        .filter_map(|row| number(&row, 2))
        .collect()
}

/// The file as the topmost layer that speaks of it has it; empty if none does.
fn read(layers: &[PathBuf], path: &str) -> String {
    for layer in layers {
        match open(layer, path) {
            Ok(file) => {
                let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
                let mut text = Vec::new();
                // A deletion mark is a device: the file is gone. One that cannot be read counts as empty.
                if is_file {
                    let _ = file.take(MAX_LIST).read_to_end(&mut text);
                }
                return String::from_utf8_lossy(&text).into_owned();
            }
            Err(Errno::ENOENT) => {}
            Err(_) => return String::new(),
        }
    }
    String::new()
}

fn open(layer: &Path, path: &str) -> Result<File, Errno> {
    let folder = File::open(layer).map_err(|_| Errno::ENOENT)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(folder, path, how).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let (top, base) = (folder.path().join("top"), folder.path().join("base"));
        std::fs::create_dir_all(top.join("etc")).unwrap();
        std::fs::create_dir_all(base.join("etc")).unwrap();
        std::fs::write(base.join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:34::/:\nbad\n").unwrap();
        std::fs::write(base.join("etc/group"), "web:x:34:\nlog:x:7:a,web\n").unwrap();
        (folder, vec![top, base])
    }

    #[test]
    fn names_and_numbers_are_found() {
        let (_folder, layers) = image();
        let user = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
        for (text, expected) in [
            ("", user(0, 0, &[])),
            ("web", user(33, 34, &[7])),
            ("web:log", user(33, 7, &[])),
            ("33", user(33, 34, &[])),
            ("99", user(99, 0, &[])),
            ("99:98", user(99, 98, &[])),
        ] {
            assert_eq!(find(text, &layers).unwrap(), expected, "{text}");
        }
        for text in ["nobody", "bad", "web:nogroup", "-1", ":"] {
            assert!(find(text, &layers).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_that_is_a_link_out_of_the_image_is_not_read() {
        let (_folder, layers) = image();
        std::os::unix::fs::symlink("/etc/passwd", layers[0].join("etc/passwd")).unwrap();
        assert!(find("root", &layers).is_err());
    }
}
