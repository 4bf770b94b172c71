//! `qemu-img`, run with an argument vector, a deadline and bounded output. The form of every file is named.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use skerry_storage::{DiskFormat, Soundness, StorageError};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Time for work on structure only.
const SHORT: Duration = Duration::from_secs(60);

/// Time for work that grows with the data.
const LONG: Duration = Duration::from_secs(3600);

/// Bytes of output that are kept.
const MOST_OUTPUT: u64 = 64 * 1024;

/// The program.
#[derive(Debug, Clone)]
pub struct QemuImg {
    program: PathBuf,
}

impl Default for QemuImg {
    fn default() -> Self {
        Self { program: "/usr/bin/qemu-img".into() }
    }
}

/// What the program said.
struct Said {
    code: Option<i32>,
    output: Vec<u8>,
    errors: String,
}

/// The parts of `qemu-img check --output=json` that matter.
#[derive(Debug, Deserialize)]
struct CheckReport {
    #[serde(default)]
    corruptions: u64,
    #[serde(default, rename = "leaks-fixed")]
    leaks_fixed: u64,
}

fn word(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

impl QemuImg {
    /// Makes a qcow2 file that reads as zeros.
    pub async fn create(
        &self,
        path: &Path,
        size: u64,
        preallocated: bool,
    ) -> Result<(), StorageError> {
        let mode = if preallocated { "falloc" } else { "off" };
        let options = format!("preallocation={mode}");
        let arguments: [OsString; 7] = [
            "create".into(),
            "-q".into(),
            "-fqcow2".into(),
            format!("-o{options}").into(),
            "--".into(),
            path.into(),
            size.to_string().into(),
        ];
        self.must("making a volume", LONG, &arguments).await
    }

    /// Makes a qcow2 file that reads as another file until it is written.
    pub async fn create_on(
        &self,
        path: &Path,
        base: &Path,
        format: DiskFormat,
        size: u64,
    ) -> Result<(), StorageError> {
        let arguments: [OsString; 9] = [
            "create".into(),
            "-q".into(),
            "-fqcow2".into(),
            format!("-F{}", word(format)).into(),
            "-b".into(),
            base.into(),
            "--".into(),
            path.into(),
            size.to_string().into(),
        ];
        self.must("making a volume from an image", SHORT, &arguments).await
    }

    /// Makes a qcow2 file larger.
    pub async fn grow(&self, path: &Path, size: u64) -> Result<(), StorageError> {
        let arguments: [OsString; 6] = [
            "resize".into(),
            "-q".into(),
            "-fqcow2".into(),
            "--".into(),
            path.into(),
            size.to_string().into(),
        ];
        self.must("growing a volume", SHORT, &arguments).await
    }

    /// Checks a qcow2 file and gives back space that nothing in it refers to.
    pub async fn check(&self, path: &Path) -> Result<Soundness, StorageError> {
        self.check_with(path, &["-rleaks"]).await
    }

    /// Checks a qcow2 file and leaves it as it is.
    pub async fn examine(&self, path: &Path) -> Result<(), StorageError> {
        self.check_with(path, &[]).await.map(drop)
    }

    async fn check_with(&self, path: &Path, more: &[&str]) -> Result<Soundness, StorageError> {
        let what = "checking a volume";
        let mut arguments: Vec<OsString> = vec!["check".into(), "-q".into(), "-fqcow2".into()];
        arguments.extend(more.iter().map(Into::into));
        arguments.extend(["--output=json".into(), "--".into(), path.into()]);
        let said = self.run(what, LONG, &arguments).await?;
        let report: Option<CheckReport> = serde_json::from_slice(&said.output).ok();
        match (said.code, report) {
            (Some(0), Some(report)) if report.leaks_fixed > 0 => Ok(Soundness::Repaired),
            // 3: space that nothing refers to, which harms nobody.
            (Some(0 | 3), _) => Ok(Soundness::Sound),
            (Some(2), report) => {
                let count = report.map_or(0, |report| report.corruptions);
                let message = format!("{count} errors in its structure");
                Err(StorageError::Damaged { message })
            }
            // It could not even be opened as what it is.
            (Some(1), _) if said.errors.contains("not in qcow2 format") => {
                let message = "it is no qcow2 file any more".to_owned();
                Err(StorageError::Damaged { message })
            }
            _ => Err(failed(what, &said)),
        }
    }

    async fn must(
        &self,
        what: &'static str,
        limit: Duration,
        arguments: &[OsString],
    ) -> Result<(), StorageError> {
        let said = self.run(what, limit, arguments).await?;
        if said.code == Some(0) { Ok(()) } else { Err(failed(what, &said)) }
    }

    async fn run(
        &self,
        what: &'static str,
        limit: Duration,
        arguments: &[OsString],
    ) -> Result<Said, StorageError> {
        let files = |source| StorageError::Files { what, source };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(files)?;
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let work = async {
            tokio::try_join!(bounded(out, &mut output), bounded(err, &mut errors))?;
            child.wait().await
        };
        let Ok(ended) = timeout(limit, work).await else {
            // The child is killed when it is dropped.
            let message = format!("it took longer than {} s", limit.as_secs());
            return Err(StorageError::Failed { what, message });
        };
        let code = ended.map_err(files)?.code();
        Ok(Said { code, output, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}

/// Reads a pipe to its end and keeps the beginning.
async fn bounded(
    pipe: Option<impl tokio::io::AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
) -> std::io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    (&mut pipe).take(MOST_OUTPUT).read_to_end(kept).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(())
}

fn failed(what: &'static str, said: &Said) -> StorageError {
    if said.errors.contains("No space left on device") {
        return StorageError::NoSpace { what };
    }
    let line = said.errors.lines().next().unwrap_or("it said nothing");
    let message: String = line
        .trim_start_matches("qemu-img: ")
        .chars()
        .filter(|c| !c.is_control())
        .take(400)
        .collect();
    StorageError::Failed { what, message }
}
