use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use futures::StreamExt;
use serde_json::Value;

use super::*;
use crate::testing::{Layer, OciArchive, sha256};

const FORMS: [ImageArchiveForm; 2] = [ImageArchiveForm::Oci, ImageArchiveForm::Docker];

struct Place {
    folder: tempfile::TempDir,
    blobs: BlobStore,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(folder.path().join("blobs"));
        Self { folder, blobs }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// An image as it is kept that came from a registry.
    fn pulled(&self, image: OciArchive) -> Vec<ImageFile> {
        let (manifest, all) = image.blobs();
        let mut files = Vec::new();
        for bytes in all {
            let blob =
                skerry_containers::oci::Blob { digest: sha256(&bytes), size: bytes.len() as u64 };
            self.blobs.adopt(&self.file("coming", &bytes), &blob).unwrap();
            let role = if blob.digest == manifest { "manifest" } else { "layer" };
            files.push(ImageFile::new(role, "", blob.digest, blob.size));
        }
        files
    }

    /// An image as it is kept that was brought in by hand.
    fn imported(&self, bytes: &[u8]) -> Vec<ImageFile> {
        let path = self.file(&sha256(bytes), bytes).display().to_string();
        vec![ImageFile::new("archive", path, sha256(bytes), bytes.len() as u64)]
    }

    async fn export(
        &self,
        files: &[ImageFile],
        form: ImageArchiveForm,
    ) -> Result<Vec<u8>, BlobFault> {
        let name = "x.y/lab/app:1".parse().unwrap();
        let mut export = Leaving::of(&self.blobs, files, form, &name)?.stream();
        let mut bytes = Vec::new();
        while let Some(piece) = export.pieces.next().await {
            let piece = piece?;
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            bytes.extend(piece);
        }
        assert_eq!(bytes.len() as u64, export.size, "as many as announced");
        Ok(bytes)
    }
}

/// With an empty layer, one twice, and one that takes several pieces.
fn image() -> OciArchive {
    let base = Layer::default().file("etc/base", "shared").end();
    let large = Layer::default().file("large", &"0123456789abcdef".repeat(20_000)).end();
    OciArchive::new().layer(&base).layer(&large).layer(&base).cmd(&["/bin/sh"])
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
            (0, 0, 0)
        );
        assert_eq!(header.mode().unwrap(), 0o644);
        entry.path().unwrap().display().to_string()
    });
    entries.collect()
}

#[tokio::test]
async fn the_same_image_gives_the_same_archive_each_time_sorted() {
    let place = Place::new();
    let files = place.pulled(image());
    for form in FORMS {
        let first = place.export(&files, form).await.unwrap();
        let mut reversed = files.clone();
        reversed.reverse();
        assert!(first == place.export(&reversed, form).await.unwrap(), "{form}");
        let names = names(&first);
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
    }
}

#[tokio::test]
async fn an_export_that_is_brought_in_again_is_the_same_image() {
    let place = Place::new();
    let pulled = place.pulled(image());
    let manifest = pulled.iter().find(|file| file.role == "manifest").unwrap().sha256.clone();
    let archive = image().tar();
    for files in [pulled, place.imported(&archive)] {
        let oci = place.export(&files, ImageArchiveForm::Oci).await.unwrap();
        let path = place.file("again.tar", &oci);
        let again = ImageArchiveFile::open(&path, &sha256(&oci)).unwrap();
        let found = again.image().unwrap();
        assert_eq!(found.manifest, manifest);
        let twice = place.export(&place.imported(&oci), ImageArchiveForm::Oci).await.unwrap();
        assert!(twice == oci, "an export of an export is the same");

        let docker = place.export(&files, ImageArchiveForm::Docker).await.unwrap();
        let path = place.file("docker.tar", &docker);
        let layers = |archive: &ImageArchiveFile| {
            let image = archive.image().unwrap();
            image.layers.into_iter().map(|l| (l.digest, l.diff_id)).collect::<Vec<_>>()
        };
        let docker_file = ImageArchiveFile::open(&path, &sha256(&docker)).unwrap();
        assert_eq!(layers(&docker_file), layers(&again));
        // It has no manifest; the one that is made up names the same parts.
        let from_docker =
            place.export(&place.imported(&docker), ImageArchiveForm::Oci).await.unwrap();
        let path = place.file("from-docker.tar", &from_docker);
        let from_docker = ImageArchiveFile::open(&path, &sha256(&from_docker)).unwrap();
        assert_eq!(layers(&from_docker), layers(&again));
    }
}

#[tokio::test]
async fn a_damaged_part_breaks_the_stream_off_and_is_set_aside() {
    for at in 0..3 {
        let place = Place::new();
        let files = place.pulled(image());
        let mut lost = place.blobs.lost();
        let digest = &files[at].sha256;
        let path = place.blobs.place(digest).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        match at {
            0 => bytes[10] ^= 1,
            // Shorter and longer than recorded.
            1 => bytes.truncate(bytes.len() - 1),
            _ => bytes.insert(0, b' '),
        }
        fs::write(&path, bytes).unwrap();
        let fault = place.export(&files, ImageArchiveForm::Oci).await.unwrap_err();
        assert_eq!(fault.trouble, BlobTrouble::Wrong, "{fault}");
        assert!(fault.message.contains(digest.as_str()), "{fault}");
        assert_eq!(lost.recv().await.unwrap(), *digest);
        assert!(!path.exists());
        let fault = place.export(&files, ImageArchiveForm::Oci).await.unwrap_err();
        assert!(fault.message.contains("is not on this node"), "{fault}");
    }
    // The manifest, before anything has gone out.
    let place = Place::new();
    let files = place.pulled(image());
    let manifest = &files.iter().find(|file| file.role == "manifest").unwrap().sha256;
    fs::write(place.blobs.place(manifest).unwrap(), "{}").unwrap();
    let name = "a".parse().unwrap();
    let fault = Leaving::of(&place.blobs, &files, ImageArchiveForm::Oci, &name).err().unwrap();
    assert_eq!(fault.trouble, BlobTrouble::Wrong);
    assert!(!place.blobs.place(manifest).unwrap().exists());
}

#[tokio::test]
async fn a_damaged_archive_and_what_is_no_container_image_are_refused() {
    let place = Place::new();
    let files = place.imported(&image().tar());
    let mut bytes = fs::read(&files[0].path).unwrap();
    bytes[700] ^= 1;
    fs::write(&files[0].path, bytes).unwrap();
    for files in [files, vec![ImageFile::new("disk", "/x", "0".repeat(64), 1)], Vec::new()] {
        let fault = place.export(&files, ImageArchiveForm::Oci).await.unwrap_err();
        assert_eq!(fault.trouble, BlobTrouble::Wrong, "{fault}");
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("skopeo and umoci are installed (cargo xtask setup)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn skopeo(arguments: &[&str]) -> String {
    let policy = ["--insecure-policy", "--override-os", "linux", "--override-arch", "amd64"];
    run("/usr/bin/skopeo", &[&policy[..], arguments].concat())
}

#[tokio::test]
async fn skopeo_and_umoci_take_what_is_exported() {
    let place = Place::new();
    let files = place.pulled(image());
    let digest = |role: &str| files.iter().find(|f| f.role == role).unwrap().sha256.clone();
    let text = |name: &str| place.folder.path().join(name).display().to_string();
    for form in FORMS {
        let archive = place.export(&files, form).await.unwrap();
        place.file("image.tar", &archive);
        let source = format!("{form}-archive:{}", text("image.tar"));
        let shown: Value = serde_json::from_str(&skopeo(&["inspect", &source])).unwrap();
        assert_eq!(shown["Layers"].as_array().unwrap().len(), 3, "{shown}");
        let named = format!("{source}:x.y/lab/app:1");
        let layout = format!("oci:{}:again", text(&format!("layout-{form}")));
        skopeo(&["copy", "--preserve-digests", &named, &layout]);
        if form == ImageArchiveForm::Oci {
            let shown: Value = serde_json::from_str(&skopeo(&["inspect", &layout])).unwrap();
            assert_eq!(shown["Digest"], format!("sha256:{}", digest("manifest")));
        }
    }
    fs::create_dir(text("unpacked")).unwrap();
    let archive = place.export(&files, ImageArchiveForm::Oci).await.unwrap();
    tar::Archive::new(archive.as_slice()).unpack(text("unpacked")).unwrap();
    let image = format!("{}:x.y/lab/app:1", text("unpacked"));
    run("/usr/bin/umoci", &["unpack", "--rootless", "--image", &image, &text("bundle")]);
    let base = place.folder.path().join("bundle/rootfs/etc/base");
    assert_eq!(fs::read_to_string(base).unwrap(), "shared");
}
