//! A corpus of layers that mean harm, and of layers that do not.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use skerry_containers::oci::Compression;
use skerry_corpus_tests::{CANARY, Harm, Packing, bombs, harmful, mispacked, more_than, odd};

use crate::testing::{Layer, sha256, unpacking};

/// A directory to unpack into, with a file beside it that no layer may reach.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        std::fs::write(folder.path().join("secret"), "untouched").unwrap();
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Through the real program.
    fn unpack(&self, layer: &[u8], limits: Limits) -> Result<(), UnpackError> {
        let digest = self.unpack_packed(layer, Compression::None, limits)?;
        assert_eq!(digest, sha256(layer));
        Ok(())
    }

    fn unpack_packed(
        &self,
        layer: &[u8],
        compression: Compression,
        limits: Limits,
    ) -> Result<String, UnpackError> {
        let root = File::open(self.root()).unwrap();
        let (blob, told) = unpacking(limits).unpack(layer, compression, &root).unwrap();
        assert_eq!(blob, sha256(layer), "the whole blob is hashed whatever came of it");
        told
    }

    fn is_untouched(&self) -> bool {
        let names = std::fs::read_dir(self.folder.path()).unwrap().count();
        names == 2 && std::fs::read(self.folder.path().join("secret")).unwrap() == b"untouched"
    }
}

const SMALL: Limits = Limits { bytes: 1 << 20, entries: 100 };

/// Through the real program: refused for the reason that stands in the corpus, with nothing left beside the root.
fn is_refused(harm: &Harm, limits: Limits) {
    let ground = Ground::new();
    let compression = match harm.packing {
        Packing::Plain => Compression::None,
        Packing::Gzip => Compression::Gzip,
        Packing::Zstd => Compression::Zstd,
    };
    let what = harm.what;
    let error = ground.unpack_packed(&harm.blob, compression, limits).expect_err(what);
    assert!(!matches!(error, UnpackError::System { .. }), "{what}: {error:?}");
    let said = error.to_string();
    assert!(said.contains(harm.says), "{what}: {said}");
    assert!(said.matches("damaged").count() <= 1 && !said.contains("\\'"), "{what}: {said}");
    assert!(ground.is_untouched(), "{what}");
    for outside in ["/tmp/skerry-absolute".to_owned(), format!("/run/{CANARY}")] {
        assert!(!Path::new(&outside).exists(), "{what}: {outside}");
    }
}

#[test]
fn every_harmful_layer_is_refused_and_reaches_nothing() {
    let mut corpus = harmful();
    corpus.extend(more_than(1 << 20, 100));
    assert!(corpus.len() >= 67, "{} layers", corpus.len());
    corpus.iter().for_each(|harm| is_refused(harm, SMALL));
}

#[test]
fn a_small_stream_cannot_become_a_big_one() {
    let limits = Limits { bytes: 4 << 20, entries: 10 };
    let mut corpus = bombs(4 << 20);
    corpus.extend(mispacked());
    assert_eq!(corpus.len(), 8);
    for harm in &corpus {
        assert!(harm.blob.len() < 20 << 20, "{}", harm.what);
        is_refused(harm, limits);
    }
}

/// Else the pod would wait for the disk to become another one, without a word.
#[test]
fn what_no_disk_of_the_node_takes_is_the_layers_fault() {
    let path = EntryPath::parse(b"a").unwrap();
    for errno in [Errno::ENAMETOOLONG, Errno::EMLINK] {
        let error = broken("make", &path, errno);
        assert!(matches!(error, UnpackError::Refused { .. }), "{error:?}");
    }
    for errno in [Errno::EIO, Errno::ENOSPC, Errno::EROFS, Errno::EACCES] {
        let error = broken("make", &path, errno);
        assert!(matches!(error, UnpackError::System { .. }), "{error:?}");
    }
}

#[test]
fn an_honest_layer_is_unpacked_as_it_is() {
    let ground = Ground::new();
    let long = format!("usr/share/{}/x", "long-".repeat(30));
    let layer = Layer::default()
        .folder("./")
        .folder("usr/")
        .file("./usr/a", "one")
        .symlink("bin", "usr/bin")
        .symlink("etc/up", "../usr/a")
        .symlink("usr/abs", "/usr/a")
        .link(b'1', "usr/b", "usr/a")
        .raw(b'0', b"usr/suid", b"", b"x", 0o4755)
        .extended(&[("path", &long), ("uid", "70000"), ("mtime", "1.5")])
        .file("cut", "pax")
        .file("usr/twice", "first")
        .file("usr/twice", "second")
        .raw(b'g', b"global", b"", b"", 0o644)
        .end();
    ground.unpack(&layer, SMALL).unwrap();
    let read = |path: &str| std::fs::read_to_string(ground.root().join(path)).unwrap();
    assert_eq!((read("usr/a"), read("usr/b")), ("one".into(), "one".into()));
    assert_eq!(read("usr/twice"), "second");
    assert_eq!(read(&long), "pax");
    let meta = |path: &str| std::fs::symlink_metadata(ground.root().join(path)).unwrap();
    assert_eq!(meta(&long).uid(), 70_000);
    assert_eq!(meta("usr/suid").permissions().mode() & 0o7777, 0o4755);
    assert_eq!(meta("usr/a").mtime(), 0o17);
    assert_eq!(meta("usr/a").nlink(), 2);
    assert_eq!(std::fs::read_link(ground.root().join("usr/abs")).unwrap(), PathBuf::from("/usr/a"));
}

#[test]
fn what_only_looks_odd_is_taken_and_reaches_nothing() {
    let ground = Ground::new();
    ground.unpack(&odd(), SMALL).unwrap();
    let link = |path: &str| std::fs::read_link(ground.root().join(path)).unwrap();
    assert_eq!(link("up"), PathBuf::from("../../etc/passwd"));
    assert_eq!(link("far"), PathBuf::from("/x/../../etc/passwd"));
    let meta = |path: &str| std::fs::symlink_metadata(ground.root().join(path));
    let (up, again) = (meta("up").unwrap(), meta("again").unwrap());
    assert_eq!((up.ino(), again.ino(), up.nlink()), (again.ino(), up.ino(), 2));
    assert!(meta("run/pipe").unwrap().file_type().is_fifo());
    assert_eq!(meta("run/pipe").unwrap().permissions().mode() & 0o7777, 0o777);
    assert_eq!(meta("run/pipe").unwrap().ino(), meta("run/pipe-2").unwrap().ino());
    for device in ["null", "sda"] {
        assert!(meta(device).is_err(), "{device} is left out");
    }
    for file in ["over", "was-pipe", "out"] {
        assert!(meta(file).unwrap().is_file(), "{file}");
    }
    assert!(ground.is_untouched());
}

#[test]
fn deletions_become_marks_of_overlayfs() {
    let ground = Ground::new();
    let layer = Layer::default()
        .folder("etc")
        .file("etc/.wh.passwd", "")
        .file("opt/.wh..wh..opq", "")
        .end();
    ground.unpack(&layer, SMALL).unwrap();
    let mark = std::fs::symlink_metadata(ground.root().join("etc/passwd")).unwrap();
    assert!(mark.file_type().is_char_device() && mark.rdev() == 0);
    let opaque = xattr::get(ground.root().join("opt"), "user.overlay.opaque").unwrap();
    assert_eq!(opaque.as_deref(), Some(b"y".as_slice()));
}

proptest! {
    /// Damaged and random streams end in an error or in files below the root, never elsewhere.
    #[test]
    fn no_stream_reaches_outside(
        mut layer in Just(
            Layer::default().folder("a").file("a/b", "data").symlink("l", "a").end()
        ),
        flips in proptest::collection::vec((0_usize..4096, any::<u8>()), 0..8),
    ) {
        for (at, value) in flips {
            let at = at % layer.len();
            layer[at] = value;
        }
        let ground = Ground::new();
        let _ = ground.unpack(&layer, SMALL);
        prop_assert!(ground.is_untouched());
    }

    #[test]
    fn checked_paths_stay_below(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(path) = EntryPath::parse(&bytes) {
            let shown = path.to_string();
            prop_assert!(!shown.split('/').any(|part| part == ".."), "{}", shown);
        }
    }
}
