//! Images: brought in from a file or an address, pinned, deleted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use skerry_ipc::{Json, Request};
use skerry_model::{Kind, Name};

use crate::args::{ImageVerb, NewImage, Wait};
use crate::shell::{Done, Failure, Shell};
use crate::text;
use crate::transport::{CallError, UploadStep};
use crate::verbs::create::report;
use crate::verbs::wait::{Goal, wait_for};
use crate::verbs::{image_export, read, registry, workload};

/// What a file on a stick in the node, or in a folder of the node, begins with.
const MEDIA: [&str; 2] = ["usb:", "folder:"];

/// Bytes that go with one request: each is acknowledged when it is on the node's disk.
const PIECE: usize = 8 << 20;
/// How often a piece is sent again in a row, and the pause before.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(3);

pub(super) async fn run(shell: &mut Shell<'_, '_>, verb: ImageVerb) -> Done {
    match verb {
        ImageVerb::Read(verb) => read(shell, Kind::Image, verb).await,
        ImageVerb::Pull { reference, name, wait } => {
            registry::pull(shell, &reference, name, wait).await
        }
        ImageVerb::Import { new } => import(shell, new).await,
        ImageVerb::Export { name, format, output } => {
            image_export::export(shell, name, format, &output).await
        }
        ImageVerb::Media => {
            let media = shell.document(Request::Media).await?;
            shell.show(&media, |media| text::outline(media, 0))
        }
        ImageVerb::Prune { dry_run } => prune(shell, dry_run).await,
        ImageVerb::Pin { name } => pin(shell, name, true).await,
        ImageVerb::Unpin { name } => pin(shell, name, false).await,
        ImageVerb::Delete { target } => workload::delete(shell, Kind::Image, target).await,
    }
}

/// Images that nothing uses.
async fn prune(shell: &mut Shell<'_, '_>, dry_run: bool) -> Done {
    let report = shell.document(Request::PruneImages { dry_run }).await?;
    shell.show(&report, |report| {
        let items = report.get("items").and_then(Value::as_array);
        let bytes = |of: &Value| text::size(of.get("bytes").and_then(Value::as_u64).unwrap_or(0));
        let line = |item: &Value| {
            let last_used = text::cell(item, "/last_used");
            format!(
                "{:<30} {:>10}  last used {last_used}\n",
                text::cell(item, "/name"),
                bytes(item)
            )
        };
        let lines: String = items.into_iter().flatten().map(line).collect();
        let word = if dry_run { "would be freed" } else { "are freed" };
        match lines.as_str() {
            "" => "There is no image that nothing uses.\n".to_owned(),
            lines => format!("{lines}{} {word}\n", bytes(report)),
        }
    })
}

async fn import(shell: &mut Shell<'_, '_>, new: NewImage) -> Done {
    let is_address = ["https://", "http://"].iter().any(|scheme| new.source.starts_with(scheme));
    let format = match &new.format {
        Some(format) => format.clone(),
        None => format_of(&new.source)?,
    };
    let on_medium = MEDIA.iter().find_map(|prefix| new.source.strip_prefix(prefix));
    let (source, sha256) = if let Some(path) = on_medium {
        (json!({ "folder": path }), new.sha256.clone())
    } else if is_address {
        (json!({ "url": new.source }), new.sha256.clone())
    } else {
        let path = Path::new(&new.source);
        let sha256 = digest(shell, path)?;
        if let Some(expected) = new.sha256.as_ref().filter(|expected| **expected != sha256) {
            let text = format!("the SHA-256 of {} is {sha256}, not {expected}", path.display());
            return Err(Failure::Usage(text));
        }
        (json!({ "upload": upload(shell, path).await? }), Some(sha256))
    };
    let spec = spec(&new, &format, source, sha256);
    let document = json!({ "metadata": { "name": new.name }, "spec": spec });
    bring_in(shell, &new.name, &document, new.wait).await
}

/// Makes an image, and waits for the job that brings it in.
pub(super) async fn bring_in(
    shell: &mut Shell<'_, '_>,
    name: &Name,
    document: &Value,
    wait: Wait,
) -> Done {
    let document = Json(document.to_string());
    let request = Request::Create { kind: Kind::Image, document, dry_run: false };
    let made = shell.document(request).await?;
    let job = text::cell(&made, "/status/job");
    if !wait.wait {
        let sentence = format!("{name} is being brought in; see `skerry job show {job}`.");
        return report(shell, &made, &sentence);
    }
    let job = shell.document(Request::Get { kind: Kind::Job, key: job }).await?;
    wait_for(shell, Kind::Job, &job, Goal::Completed).await?;
    let request = Request::Get { kind: Kind::Image, key: name.to_string() };
    let there = shell.document(request).await?;
    report(shell, &there, &format!("{name} is in the library."))
}

fn spec(new: &NewImage, format: &str, source: Value, sha256: Option<String>) -> Value {
    let mut spec = Map::new();
    let mut put = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    put("format", json!(format));
    put("source", source);
    put("architecture", json!(new.architecture));
    put("pinned", json!(new.pinned));
    if new.allow_unsigned {
        put("allow_unsigned", json!(true));
    }
    for (key, value) in [
        ("sha256", sha256.map(Value::from)),
        ("firmware", new.firmware.clone().map(Value::from)),
        ("min_memory_mib", new.min_memory.map(Value::from)),
        ("min_vcpus", new.min_vcpus.map(Value::from)),
        ("family", new.family.as_ref().map(|name| json!(name))),
        ("os", new.os.clone().map(Value::from)),
        ("default_user", new.default_user.clone().map(Value::from)),
        ("version", new.version.clone().map(Value::from)),
        ("description", new.description.clone().map(Value::from)),
    ] {
        if let Some(value) = value {
            put(key, value);
        }
    }
    Value::Object(spec)
}

/// What the end of a name declares. `.img` may be anything.
fn format_of(source: &str) -> Result<String, Failure> {
    let path = source.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "qcow2" | "vmdk" | "vdi" | "iso" | "raw" => Ok(ending),
        _ => Err(Failure::Usage(format!(
            "say what {source} is: --format qcow2, raw, vmdk, vdi, iso, oci_archive or kernel_initrd"
        ))),
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", path.display()))
}

fn digest(shell: &mut Shell<'_, '_>, path: &Path) -> Result<String, Failure> {
    shell.progress(&format!("reading {}", path.display()))?;
    let fault = |error: std::io::Error| cannot_read(path, &error);
    let mut file = File::open(path).map_err(fault)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(fault)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// Sends a file, going on with what an earlier try has brought there. Gives the upload's id.
async fn upload(shell: &mut Shell<'_, '_>, path: &Path) -> Result<String, Failure> {
    let fault = |error: std::io::Error| cannot_read(path, &error);
    let mut file = File::open(path).map_err(fault)?;
    let size = file.metadata().map_err(fault)?.len();
    let name =
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut state = begin(shell, &name, size).await?;
    let id = text::cell(&state, "/id");
    let (mut shown, mut failed) = (None, 0);
    loop {
        let offset = state.get("offset").and_then(Value::as_u64).unwrap_or_default();
        let percent = u128::from(offset) * 100 / u128::from(size.max(1));
        if shown != Some(percent) {
            shell.progress(&format!("{name}: sent {percent} % ({offset} of {size} bytes)"))?;
            shown = Some(percent);
        }
        if state.get("complete").and_then(Value::as_bool).unwrap_or_default() {
            return Ok(id);
        }
        let bytes = piece(&mut file, offset).map_err(fault)?;
        if bytes.is_empty() {
            let text = format!("{} became shorter while it was being sent", path.display());
            return Err(Failure::Usage(text));
        }
        let step = UploadStep::Append { id: id.clone(), offset, bytes };
        match shell.transport.upload(step).await {
            Ok(next) => (state, failed) = (next, 0),
            Err(error) if failed < TRIES && may_heal(&error) => {
                failed += 1;
                shell.progress(&format!("{error}; trying again"))?;
                tokio::time::sleep(PAUSE).await;
                // Where the node really is: the lost answer may have been a good one.
                if let Ok(found) = shell.transport.upload(UploadStep::Get { id: id.clone() }).await
                {
                    state = found;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// An upload of the same file that was not finished, or a new one.
async fn begin(shell: &Shell<'_, '_>, name: &str, size: u64) -> Result<Value, Failure> {
    let all = shell.transport.upload(UploadStep::List).await?;
    let items = all.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let same = |upload: &Value| {
        upload.get("name").and_then(Value::as_str) == Some(name)
            && upload.get("size").and_then(Value::as_u64) == Some(size)
            && upload.get("complete").and_then(Value::as_bool) == Some(false)
    };
    match items.into_iter().find(same) {
        Some(found) => Ok(found),
        None => {
            Ok(shell.transport.upload(UploadStep::Create { name: name.to_owned(), size }).await?)
        }
    }
}

fn piece(file: &mut File, offset: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(PIECE as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the same piece may go through later.
fn may_heal(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. } => true,
        CallError::Refused(refusal) => matches!(
            refusal.class,
            skerry_ipc::RefusalClass::Unavailable
                | skerry_ipc::RefusalClass::Conflict
                | skerry_ipc::RefusalClass::TooMany { .. }
        ),
        _ => false,
    }
}

async fn pin(shell: &mut Shell<'_, '_>, name: String, pinned: bool) -> Done {
    let patch = Json(json!({ "spec": { "pinned": pinned } }).to_string());
    let request = Request::Patch { kind: Kind::Image, key: name.clone(), patch, if_revision: None };
    let document = shell.document(request).await?;
    let word = if pinned { "is pinned" } else { "is no longer pinned" };
    report(shell, &document, &format!("{name} {word}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_declares_the_format() {
        for (source, format) in
            [("a/b.qcow2", "qcow2"), ("https://x/y/Disk.VMDK?token=1", "vmdk"), ("cd.iso", "iso")]
        {
            assert_eq!(format_of(source).unwrap(), format);
        }
        for unclear in ["disk.img", "disk", "https://x/y.tar"] {
            assert!(format_of(unclear).is_err(), "{unclear}");
        }
    }

    #[test]
    fn pieces_begin_where_the_node_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, b"hello world").unwrap();
        let mut file = File::open(&path).unwrap();
        assert_eq!(piece(&mut file, 6).unwrap(), b"world");
        assert_eq!(piece(&mut file, 0).unwrap(), b"hello world");
        assert!(piece(&mut file, 11).unwrap().is_empty());
    }
}
