//! The tools of XFS, run with argument vectors and a deadline: projects of files, and limits of projects.
//!
//! A project is a number that files carry. The file system counts the space of all files of a project, and a write
//! that goes over the project's limit finds no space, whoever writes.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::statfs::{XFS_SUPER_MAGIC, statfs};
use tokio::process::Command;
use tokio::time::timeout;

/// Asks for limits and sets them.
const XFS_QUOTA: &str = "/usr/sbin/xfs_quota";
/// Gives files and folders a project.
const XFS_IO: &str = "/usr/sbin/xfs_io";
/// Time for either.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether a path lies on a file system that knows projects.
pub fn knows_projects(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == XFS_SUPER_MAGIC)
}

/// Gives a file a project. What lies in its folder is not touched, and the folder has none, so that the file may be
/// moved.
pub async fn set_project(file: &Path, project: u32) -> Result<(), String> {
    let set = format!("chproj {project}");
    let arguments = ["-r".as_ref(), "-c".as_ref(), set.as_ref(), file.as_os_str()];
    said(XFS_IO, &arguments).await.map(drop)
}

/// Gives a folder a project, which what is made in it has, too. Asked for its space, it tells what the project's limit
/// leaves.
pub async fn set_folder_project(folder: &Path, project: u32) -> Result<(), String> {
    let set = format!("chproj {project}");
    let arguments = ["-r", "-c", &set, "-c", "chattr +P"].map(OsStr::new);
    said(XFS_IO, &[&arguments[..], &[folder.as_os_str()]].concat()).await.map(drop)
}

/// Limits what the files of a project take, in bytes.
pub async fn set_limit(mount: &Path, project: u32, bytes: u64) -> Result<(), String> {
    // Without a limit there would be none at all; a project that may have nothing has the least of them.
    let set = format!("limit -p bhard={} {project}", bytes.max(1024));
    let arguments = ["-x".as_ref(), "-c".as_ref(), set.as_ref(), mount.as_os_str()];
    said(XFS_QUOTA, &arguments).await.map(drop)
}

/// What the files of a project take, in bytes.
pub async fn used(mount: &Path, project: u32) -> Result<u64, String> {
    let ask = format!("quota -p -b -N -v {project}");
    let arguments = ["-x".as_ref(), "-c".as_ref(), ask.as_ref(), mount.as_os_str()];
    said(XFS_QUOTA, &arguments).await.map(|text| used_in(&text))
}

/// The device, then what is used in units of 1 KiB. Of a project that nothing belongs to, nothing is said.
fn used_in(text: &str) -> u64 {
    let kib = text.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Runs a tool; what it said, or what it complained of.
pub async fn said(program: &str, arguments: &[&OsStr]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) if output.status.success() && output.stderr.is_empty() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(complaint.trim().chars().filter(|c| !c.is_control()).take(300).collect())
        }
        Ok(Err(error)) => Err(format!("{program} cannot be run: {error}")),
        Err(_) => Err(format!("{program} did not end in time")),
    }
}

/// Has the file system hold a folder, and what is made in it, to so many bytes.
pub async fn hold_folder(
    mount: &Path,
    folder: &Path,
    project: u32,
    bytes: u64,
) -> Result<(), String> {
    set_folder_project(folder, project).await?;
    set_limit(mount, project, bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_read_from_the_tools_table() {
        let line = "/dev/vda7              200900          0     204800   00 [--------] /data\n";
        assert_eq!(used_in(line), 200_900 * 1024);
        assert_eq!(used_in(""), 0);
        assert_eq!(used_in("nothing of that kind"), 0);
    }
}
