//! QEMU's tool for disk images (`qemu-img`), always in a cage and always told the format.
//!
//! Paths are absolute, so that none is taken for a protocol (`nbd:`, `json:`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use skerry_model::ImageFormat;
use skerry_upkeep::{CheckReport, DiskBase, DiskReport};

use super::cage::{Cage, CageError, Ended, Order};

/// Where the tool is.
const PROGRAM: &str = "/usr/bin/qemu-img";
const MIB: u64 = 1 << 20;
/// The largest piece that it writes at once.
const PIECE: u64 = 4 * MIB;
/// What the system says when a file cannot grow.
const FULL: [&str; 3] = ["No space left on device", "File too large", "Disk quota exceeded"];
/// Enough for the tables of the largest disk that is taken; a disk that needs more is refused.
const MEMORY: u64 = 512 * MIB;

/// Why the tool gave no report.
#[derive(Debug, thiserror::Error)]
pub enum QemuImgError {
    /// It could not be run.
    #[error("qemu-img: {source}")]
    Cage {
        /// Why.
        #[from]
        source: CageError,
    },
    /// It said no, or was ended by a limit.
    #[error("qemu-img {verb} failed: {detail}")]
    Failed {
        /// What it was to do.
        verb: &'static str,
        /// What it said, cut.
        detail: String,
    },
    /// What it wrote found no room, or was larger than it might be.
    #[error("qemu-img {verb} found no room for what it writes")]
    Full {
        /// What it was to do.
        verb: &'static str,
    },
    /// Its report cannot be read.
    #[error("the report of qemu-img {verb} cannot be read")]
    Report {
        /// What it was to do.
        verb: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// The tool. Clones are the same.
#[derive(Clone)]
pub struct QemuImg {
    cage: Arc<dyn Cage>,
}

impl QemuImg {
    /// In this cage.
    pub fn new(cage: Arc<dyn Cage>) -> Self {
        Self { cage }
    }

    /// The cage, for what its user has to own.
    pub fn cage(&self) -> &dyn Cage {
        self.cage.as_ref()
    }

    /// What kind of disk a file is. Follows no backing file (without `--backing-chain` none is opened for it).
    pub async fn info(&self, path: &Path, format: ImageFormat) -> Result<DiskReport, QemuImgError> {
        let argv = [PROGRAM, "info", "--output=json", "-f", format.word(), &path.to_string_lossy()];
        let ended = self.cage.run(reading("qemu-img-info", &argv)).await?;
        if ended.code != Some(0) {
            return Err(failed("info", &ended));
        }
        read_info(&ended.stdout).map_err(|source| QemuImgError::Report { verb: "info", source })
    }

    /// Whether the tables of a disk are sound. `None` for a format that cannot be checked.
    pub async fn check(
        &self,
        path: &Path,
        format: ImageFormat,
    ) -> Result<Option<CheckReport>, QemuImgError> {
        let argv =
            [PROGRAM, "check", "--output=json", "-f", format.word(), &path.to_string_lossy()];
        let ended = self.cage.run(reading("qemu-img-check", &argv)).await?;
        match ended.code {
            // 2: errors found; 3: leaks found. Both come with a report.
            Some(0 | 2 | 3) => read_check(&ended.stdout)
                .map(Some)
                .map_err(|source| QemuImgError::Report { verb: "check", source }),
            Some(63) => Ok(None),
            _ => Err(failed("check", &ended)),
        }
    }

    /// Bytes that the same disk takes as qcow2, at most.
    pub async fn measure(&self, path: &Path, format: ImageFormat) -> Result<u64, QemuImgError> {
        let path = path.to_string_lossy();
        let argv = [PROGRAM, "measure", "--output=json", "-O", "qcow2", "-f", format.word(), &path];
        let ended = self.cage.run(reading("qemu-img-measure", &argv)).await?;
        if ended.code != Some(0) {
            return Err(failed("measure", &ended));
        }
        let report: Measure = serde_json::from_slice(&ended.stdout)
            .map_err(|source| QemuImgError::Report { verb: "measure", source })?;
        Ok(report.required)
    }

    /// Writes the same disk as qcow2 into a folder that the cage's user owns, of at most `limit` bytes.
    pub async fn convert(
        &self,
        from: &Path,
        format: ImageFormat,
        folder: &Path,
        name: &str,
        limit: u64,
    ) -> Result<(), QemuImgError> {
        let source = ["-f", format.word(), &from.to_string_lossy()].map(ToOwned::to_owned);
        self.write(&source, folder, name, limit).await
    }

    /// Writes what a `qcow2` disk and its base read as, as one disk that stands for itself, in the same way. The base is
    /// the one that is given, or none, whatever the disk itself names.
    pub async fn flatten(
        &self,
        disk: &Path,
        base: Option<&DiskBase>,
        folder: &Path,
        name: &str,
        limit: u64,
    ) -> Result<(), QemuImgError> {
        self.write(&[format!("json:{}", chain(disk, base))], folder, name, limit).await
    }

    async fn write(
        &self,
        source: &[String],
        folder: &Path,
        name: &str,
        limit: u64,
    ) -> Result<(), QemuImgError> {
        let to = folder.join(name).to_string_lossy().into_owned();
        let (options, source): (&[String], _) = match source.split_last() {
            Some((source, options)) => (options, source.as_str()),
            None => (&[], ""),
        };
        let mut argv = vec![PROGRAM, "convert"];
        argv.extend(options.iter().map(String::as_str));
        argv.extend(["-O", "qcow2", "-o", "compat=1.1", source, to.as_str()]);
        let order = Order {
            writes: Some(folder.to_owned()),
            file_size: limit,
            cpu: Duration::from_secs(3 * 3600),
            deadline: Duration::from_secs(6 * 3600),
            ..reading("qemu-img-convert", &argv)
        };
        let ended = self.cage.run(order).await?;
        let written = std::fs::metadata(&to).map_or(0, |found| found.len());
        match ended.code {
            Some(0) => Ok(()),
            // The limit of size ended it. It writes in pieces, so that the last one was not begun.
            None if written.saturating_add(PIECE) >= limit => {
                Err(QemuImgError::Full { verb: "convert" })
            }
            _ => Err(failed("convert", &ended)),
        }
    }
}

#[derive(Deserialize)]
struct Measure {
    required: u64,
}

/// A `qcow2` disk with what it is based on, in the tool's own words.
fn chain(disk: &Path, base: Option<&DiskBase>) -> Value {
    let node = |driver: &str, path: &Path| json!({ "driver": driver, "file": { "driver": "file", "filename": path.to_string_lossy() } });
    let backing = base.map(|base| {
        let mut backing = node(base.format.word(), &base.path);
        if let (ImageFormat::Qcow2, Value::Object(fields)) = (base.format, &mut backing) {
            fields.insert("backing".to_owned(), Value::Null);
        }
        backing
    });
    let mut chain = node("qcow2", disk);
    if let Value::Object(fields) = &mut chain {
        fields.insert("backing".to_owned(), backing.unwrap_or_default());
    }
    chain
}

/// An order that writes nothing.
fn reading(label: &'static str, argv: &[&str]) -> Order {
    Order {
        label,
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        writes: None,
        memory: MEMORY,
        cpu: Duration::from_secs(300),
        file_size: 0,
        deadline: Duration::from_secs(900),
    }
}

fn failed(verb: &'static str, ended: &Ended) -> QemuImgError {
    let text = String::from_utf8_lossy(&ended.stderr);
    if FULL.iter().any(|words| text.contains(words)) {
        return QemuImgError::Full { verb };
    }
    let line = text.lines().next().unwrap_or_default();
    let said: String = line.chars().take(200).flat_map(char::escape_default).collect();
    let detail = match ended.code {
        Some(_) if !said.is_empty() => said,
        Some(code) => format!("it ended with code {code}"),
        None => "it was ended by a limit of memory, time or size".to_owned(),
    };
    QemuImgError::Failed { verb, detail }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
    #[serde(default)]
    cluster_size: u64,
    #[serde(default)]
    encrypted: bool,
    backing_filename: Option<String>,
    full_backing_filename: Option<String>,
    #[serde(default)]
    filename: String,
    #[serde(default)]
    format_specific: Value,
}

/// Reads the report of `info`.
fn read_info(text: &[u8]) -> Result<DiskReport, serde_json::Error> {
    let info: Info = serde_json::from_slice(text)?;
    let data = info.format_specific.get("data").cloned().unwrap_or_default();
    let mut other_files: Vec<String> = Vec::new();
    if let Some(name) = data.get("data-file") {
        other_files.push(name.as_str().unwrap_or("a data file").to_owned());
    }
    let extents = data.get("extents").and_then(Value::as_array);
    let names = extents.into_iter().flatten().filter_map(|extent| extent.get("filename")?.as_str());
    other_files.extend(names.filter(|name| *name != info.filename).map(ToOwned::to_owned));
    let is_true = |key: &str| data.get(key).and_then(Value::as_bool).unwrap_or(false);
    Ok(DiskReport {
        format: info.format,
        virtual_size: info.virtual_size,
        cluster_size: info.cluster_size,
        backing_file: info.backing_filename.or(info.full_backing_filename),
        other_files,
        encrypted: info.encrypted || data.get("encrypt").is_some_and(|value| !value.is_null()),
        corrupt: is_true("corrupt"),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Check {
    #[serde(default)]
    corruptions: u64,
    #[serde(default)]
    leaks: u64,
    #[serde(default)]
    check_errors: u64,
    image_end_offset: Option<u64>,
}

/// Reads the report of `check`. The cluster size is not in it.
fn read_check(text: &[u8]) -> Result<CheckReport, serde_json::Error> {
    let check: Check = serde_json::from_slice(text)?;
    Ok(CheckReport {
        corruptions: check.corruptions,
        leaks: check.leaks,
        errors: check.check_errors,
        end_offset: check.image_end_offset,
        cluster_size: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reports_are_read() {
        let plain = br#"{"virtual-size": 1048576, "filename": "/w/source", "cluster-size": 65536, "format": "qcow2",
            "actual-size": 200704, "format-specific": {"type": "qcow2", "data": {"compat": "1.1",
            "refcount-bits": 16, "corrupt": false, "extended-l2": false}}, "dirty-flag": false,
            "children": [{"name": "file", "info": {"virtual-size": 1, "filename": "x", "format": "file"}}]}"#;
        let report = read_info(plain).unwrap();
        assert_eq!((report.virtual_size, report.cluster_size), (1 << 20, 65_536));
        assert!(
            report.backing_file.is_none() && report.other_files.is_empty() && !report.encrypted
        );
        let linked = br#"{"virtual-size": 1, "filename": "/w/source", "format": "vmdk", "backing-filename": "b",
            "format-specific": {"data": {"data-file": "d", "corrupt": true, "encrypt": {"format": "luks"},
            "extents": [{"filename": "/w/source"}, {"filename": "/etc/passwd"}]}}}"#;
        let report = read_info(linked).unwrap();
        assert_eq!(report.other_files, ["d", "/etc/passwd"]);
        assert_eq!(report.backing_file.as_deref(), Some("b"));
        assert!(report.encrypted && report.corrupt);
        let check = read_check(
            br#"{"image-end-offset": 262144, "total-clusters": 16, "check-errors": 0,
            "corruptions": 2, "leaks": 1, "filename": "x", "format": "qcow2"}"#,
        );
        let check = check.unwrap();
        assert_eq!((check.corruptions, check.leaks, check.end_offset), (2, 1, Some(262_144)));
    }

    proptest! {
        #[test]
        fn no_output_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_info(&bytes), read_check(&bytes));
            let ended = Ended { code: Some(1), stdout: Vec::new(), stderr: bytes };
            let text = failed("info", &ended).to_string();
            prop_assert!(text.len() < 2000 && text.chars().all(|c| !c.is_control()));
        }
    }
}
