//! Reads archives that come in. What is to become a container image is looked into with the eyes of the start of a container: what would keep
//! one from being made of it keeps it from coming in.
//!
//! Only layers stay packed: what they hold is looked at when they are unpacked, in a process without rights. The time goes
//! with the size of the archive, of which no byte is read more than twice; of what is read whole into memory nothing is
//! larger than 4 MiB.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skerry_containers::oci::{Blob, Compression};
use skerry_upkeep::{ArchiveReader, IntakeRefusal, LibraryError};

use crate::archive::{ArchiveError, ImageArchiveFile, invalid};
use crate::blobs;
use crate::entry::shown;
use crate::places::Places;
use crate::unpack::{Limits, UnpackError};
use crate::unpacker::Unpacking;

/// Archives on this machine.
#[derive(Debug, Clone)]
pub struct ArchiveInspector {
    /// The program that unpacks.
    program: PathBuf,
}

impl ArchiveInspector {
    /// Which unpacks by the program in these places.
    pub fn new(places: &Places) -> Self {
        Self { program: places.unpack.clone() }
    }
}

#[async_trait]
impl ArchiveReader for ArchiveInspector {
    async fn check(&self, path: &Path) -> Result<(), LibraryError> {
        let path = path.to_owned();
        let work = move || inspect(&path).map_err(|error| failed(error, &path));
        // Only while the process ends, or if the work panicked, does it break off.
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(LibraryError::Stopped))
    }

    async fn unpack(
        &self,
        path: &Path,
        into: &Path,
        bytes: u64,
        entries: u64,
    ) -> Result<(), LibraryError> {
        let limits = Limits { bytes, entries };
        let unpacking = Unpacking { limits, ..Unpacking::new(self.program.clone()) };
        let (path, into) = (path.to_owned(), into.to_owned());
        let work = move || unpack(&unpacking, &path, &into);
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(LibraryError::Stopped))
    }
}

fn unpack(unpacking: &Unpacking, path: &Path, into: &Path) -> Result<(), LibraryError> {
    let io = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| LibraryError::Io { action, path, source }
    };
    let archive = File::open(path).map_err(io("open", path))?;
    let size = archive.metadata().map_err(io("look at", path))?.len();
    let root = File::open(into).map_err(io("open", into))?;
    let (_, told) = unpacking
        .unpack(archive, Compression::None, &root)
        .map_err(|error| LibraryError::Tool { tool: "skerry-unpack", detail: error.to_string() })?;
    let detail = match told {
        Ok(_) => return Ok(()),
        Err(error) if error.is_no_space() => {
            return Err(LibraryError::NoSpace { needed: size, free: 0 });
        }
        Err(UnpackError::System { source, .. }) => return Err(io("unpack into", into)(source)),
        Err(UnpackError::Refused { path, why }) => format!("`{path}`: {why}"),
        Err(UnpackError::Damaged { why }) => why,
        Err(error @ UnpackError::CutShort { .. }) => error.to_string(),
        Err(UnpackError::TooLarge { limit, what }) => format!("it holds more than {limit} {what}"),
    };
    Err(IntakeRefusal::Boot { detail: shown(&detail) }.into())
}

fn failed(error: ArchiveError, path: &Path) -> LibraryError {
    match error {
        ArchiveError::Read { source, .. } => {
            LibraryError::Io { action: "read", path: path.to_owned(), source }
        }
        error => IntakeRefusal::archive(&error.to_string()).into(),
    }
}

/// Whether the archive holds an image for this machine, all parts of which are there with the sizes and the bytes that are
/// named.
fn inspect(path: &Path) -> Result<(), ArchiveError> {
    let shown = path.display().to_string();
    let file =
        File::open(path).map_err(|source| ArchiveError::Read { path: shown.clone(), source })?;
    let archive = ImageArchiveFile::of(file, shown)?;
    archive.image()?;
    let mut seen = BTreeSet::new();
    for blob in archive.parts()? {
        if seen.insert(blob.digest.clone()) {
            part(&archive, &blob)?;
        }
    }
    Ok(())
}

fn part(archive: &ImageArchiveFile, blob: &Blob) -> Result<(), ArchiveError> {
    let short = blob.digest.get(..12).unwrap_or(&blob.digest);
    let size = archive.size(&blob.digest)?;
    if size != blob.size {
        return Err(invalid(format!(
            "its part {short}… has {size} bytes, and its manifest says {}",
            blob.size
        )));
    }
    let mut reader = archive.blob(&blob.digest)?;
    let found = blobs::hash(&mut reader).map_err(|error| archive.failed(error))?;
    if found == blob.digest {
        return Ok(());
    }
    Err(ArchiveError::Digest { what: format!("its part {short}…"), digest: blob.digest.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Layer, OciArchive};

    fn outcome(bytes: &[u8]) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        inspect(file.path()).map_err(|error| error.to_string())
    }

    fn image() -> OciArchive {
        OciArchive::new().layer(&Layer::default().file("a", "one").end()).cmd(&["/a"])
    }

    /// An archive with the files of another, each as it is or as it is made to be; without those that are made nothing.
    fn rewritten(bytes: &[u8], change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
        let mut made = tar::Builder::new(Vec::new());
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut header = entry.header().clone();
            if let Some(content) = change(&path, content) {
                header.set_size(content.len() as u64);
                made.append_data(&mut header, &path, content.as_slice()).unwrap();
            }
        }
        made.into_inner().unwrap()
    }

    fn is_blob(path: &str) -> bool {
        path.starts_with("blobs/sha256/")
    }

    #[test]
    fn an_image_for_this_machine_is_taken() {
        assert_eq!(outcome(&image().tar()), Ok(()));
    }

    #[test]
    fn what_no_container_could_be_made_of_is_refused() {
        let plain = Layer::default().file("readme", "a tar archive").end();
        assert!(outcome(&plain).unwrap_err().contains("has no oci-layout"));
        let mut foreign = image();
        foreign.edit_index(|index| {
            index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "arm64"});
        });
        assert!(outcome(&foreign.tar()).unwrap_err().contains("no image for Linux on x86-64"));
        let short = image().tar();
        let short = &short[..short.len() / 2];
        assert!(outcome(short).is_err());
        assert!(outcome(b"").is_err() && outcome(&[0; 4096]).is_err());
    }

    #[test]
    fn what_lies_of_its_parts_is_refused_with_the_reason() {
        let liars = skerry_corpus_tests::liars();
        assert!(liars.len() >= 9);
        for liar in liars {
            let said = outcome(&liar.bytes).expect_err(liar.what);
            assert!(said.contains(liar.says), "{}: {said}", liar.what);
        }
    }

    #[test]
    fn each_part_has_to_be_there_as_it_is_named() {
        let whole = image().tar();
        let mut parts = 0;
        for entry in tar::Archive::new(whole.as_slice()).entries().unwrap() {
            let name = entry.unwrap().path().unwrap().display().to_string();
            if !is_blob(&name) || name == "blobs/sha256/" {
                continue;
            }
            parts += 1;
            let without = rewritten(&whole, |path, bytes| (path != name).then_some(bytes));
            assert!(outcome(&without).unwrap_err().contains("has no blobs"), "{name}");
            let longer = rewritten(&whole, |path, mut bytes| {
                bytes.extend((path == name).then_some(b' '));
                Some(bytes)
            });
            assert!(outcome(&longer).is_err(), "{name}");
            let other = rewritten(&whole, |path, mut bytes| {
                if path == name {
                    bytes[0] ^= 1;
                }
                Some(bytes)
            });
            assert!(outcome(&other).unwrap_err().contains("digest"), "{name}");
        }
        assert_eq!(parts, 3, "a manifest, a configuration and a layer");
    }

    #[test]
    fn an_archive_of_docker_is_taken_for_what_its_configuration_names() {
        let layer = Layer::default().file("a", "one").end();
        let docker = |layer: &[u8], named: &[u8]| {
            let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
                "type": "layers", "diff_ids": [format!("sha256:{}", crate::testing::sha256(named))]}});
            let list = json!([{"Config": "config.json", "Layers": ["1/layer.tar"]}]);
            let mut made = tar::Builder::new(Vec::new());
            for (path, content) in [
                ("manifest.json", list.to_string().into_bytes()),
                ("config.json", config.to_string().into_bytes()),
                ("1/layer.tar", layer.to_vec()),
            ] {
                let mut header = tar::Header::new_ustar();
                header.set_size(content.len() as u64);
                header.set_mode(0o644);
                made.append_data(&mut header, path, content.as_slice()).unwrap();
            }
            made.into_inner().unwrap()
        };
        assert_eq!(outcome(&docker(&layer, &layer)), Ok(()));
        let other = outcome(&docker(&layer, b"another")).unwrap_err();
        assert!(other.contains("not what its configuration names"), "{other}");
    }

    fn inspector() -> ArchiveInspector {
        ArchiveInspector { program: crate::testing::unpacking(Limits::default()).program }
    }

    #[tokio::test]
    async fn files_come_out_within_limits() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, into) = (folder.path().join("a.tar"), folder.path().join("out"));
        std::fs::create_dir(&into).unwrap();
        let tar = Layer::default().file("kernel", "one").file("initrd", "two").end();
        std::fs::write(&archive, tar).unwrap();
        inspector().unpack(&archive, &into, 1 << 20, 4).await.unwrap();
        assert_eq!(std::fs::read_to_string(into.join("initrd")).unwrap(), "two");
        for (bytes, entries) in [(1 << 20, 1), (5, 4)] {
            let out = folder.path().join(format!("{bytes}"));
            std::fs::create_dir(&out).unwrap();
            let refused = inspector().unpack(&archive, &out, bytes, entries).await.unwrap_err();
            let LibraryError::Refused(refusal) = refused else { panic!("{refused:?}") };
            assert_eq!(refusal.reason(), "UnusableKernel");
        }
        std::fs::write(&archive, b"no archive").unwrap();
        let refused = inspector().unpack(&archive, &into, 1 << 20, 4).await;
        assert!(matches!(refused, Err(LibraryError::Refused(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_refusal_says_why_and_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), Layer::default().file("a", "b").end()).unwrap();
        let refused = inspector().check(file.path()).await.unwrap_err();
        let LibraryError::Refused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.reason(), "UnusableArchive");
        assert!(refusal.to_string().contains("docker save"), "{refusal}");
        let gone = inspector().check(Path::new("/nowhere")).await.unwrap_err();
        assert!(matches!(gone, LibraryError::Io { .. }));
    }
}
