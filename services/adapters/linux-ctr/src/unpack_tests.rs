//! A corpus of layers that mean harm, and of layers that do not.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use skerry_containers::oci::Compression;

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

#[test]
fn every_harmful_layer_is_refused_and_reaches_nothing() {
    let deep = "d/".repeat(200) + "x";
    let long = "n".repeat(300);
    let corpus: Vec<(&str, Layer)> = vec![
        ("climbs by its name", Layer::default().file("../secret", "x")),
        ("climbs in the middle", Layer::default().folder("a").file("a/../../secret", "x")),
        ("absolute path", Layer::default().file("/tmp/skerry-absolute", "x")),
        ("writes through a link", Layer::default().symlink("a", "..").file("a/secret", "x")),
        ("writes through an absolute link", Layer::default().symlink("a", "/tmp").file("a/x", "x")),
        (
            "writes through a chain of links",
            Layer::default()
                .folder("d")
                .symlink("d/up", ".")
                .symlink("e", "d/up/..")
                .file("e/x", ""),
        ),
        ("hard link out", Layer::default().link(b'1', "a", "../secret")),
        ("absolute hard link", Layer::default().link(b'1', "a", "/etc/passwd")),
        ("hard link through a link", Layer::default().symlink("d", ".").link(b'1', "a", "d/x")),
        (
            "writes through a link that climbs",
            Layer::default().symlink("a", "../..").file("a/secret", "x"),
        ),
        (
            "writes through another name of a link",
            Layer::default().symlink("s", "..").link(b'1', "a", "s").file("a/secret", "x"),
        ),
        ("writes below a pipe", Layer::default().link(b'6', "p", "").file("p/x", "x")),
        ("directory in place of a pipe", Layer::default().link(b'6', "p", "").folder("p")),
        ("pipe in place of a directory", Layer::default().folder("p").link(b'6', "p", "")),
        ("device in place of a directory", Layer::default().folder("p").link(b'3', "p", "")),
        ("pipe that climbs", Layer::default().link(b'6', "../secret", "")),
        ("device that climbs", Layer::default().link(b'3', "../secret", "")),
        ("hard link to a device", Layer::default().link(b'3', "null", "").link(b'1', "a", "null")),
        ("hard link to nothing", Layer::default().link(b'1', "a", "missing")),
        ("sparse file", Layer::default().link(b'S', "sparse", "")),
        ("sparse file by extended header", Layer::default().extended(&[("GNU.sparse.major", "1")])),
        ("unknown sort", Layer::default().link(b'Z', "x", "")),
        ("name that is too long", Layer::default().extended(&[("path", &long)]).file("x", "")),
        ("path that is too deep", Layer::default().extended(&[("path", &deep)]).file("x", "")),
        ("climbs by extended header", Layer::default().extended(&[("path", "../x")]).file("x", "")),
        ("climbs by long name", Layer::default().raw(b'L', b"l", b"", b"../x\0", 0).file("x", "")),
        ("two sizes", Layer::default().extended(&[("size", "1")]).file("x", "abc")),
        (
            "long name that fills memory",
            Layer::default().raw(b'L', b"l", b"", &vec![b'a'; 100_000], 0).file("x", ""),
        ),
        (
            "owner that means no change",
            Layer::default().extended(&[("uid", "4294967295")]).file("x", ""),
        ),
        ("owner beyond 32 bits", Layer::default().extended(&[("gid", "4294967296")]).file("x", "")),
        ("empty path", Layer::default().file("", "x")),
        ("root that is a file", Layer::default().file("./", "x")),
        ("deletion of `..`", Layer::default().file(".wh...", "")),
        ("deletion of nothing", Layer::default().file(".wh.", "")),
        ("unknown deletion mark", Layer::default().file(".wh..wh.plnk", "")),
        ("file below a deletion mark", Layer::default().file(".wh.a/x", "")),
        ("file in place of a directory", Layer::default().folder("a").file("a", "x")),
        ("directory in place of a file", Layer::default().file("a", "x").folder("a")),
        ("deletes what it brings", Layer::default().file("a", "x").file(".wh.a", "")),
        ("larger than allowed", Layer::default().file("a", &"x".repeat(2 << 20))),
        ("deletion of the root by its path", Layer::default().file("./.wh...", "")),
        ("opaque mark that is deleted", Layer::default().file(".wh..wh..opq/x", "")),
        ("deletion of a deletion", Layer::default().file("a/.wh..wh.b", "")),
        (
            "link with a name without end",
            Layer::default().extended(&[("linkpath", &"x/".repeat(3000))]).symlink("a", ""),
        ),
        ("link to nothing", Layer::default().symlink("a", "")),
        (
            "hard link to itself through `..`",
            Layer::default().folder("a").link(b'1', "a/x", "a/../x"),
        ),
        ("hard link to a folder", Layer::default().folder("a").link(b'1', "b", "a")),
        ("hard link to a deletion", Layer::default().file(".wh.a", "").link(b'1', "b", "a")),
        ("zero byte in a path", Layer::default().extended(&[("path", "a\0b")]).file("x", "")),
        (
            "negative owner",
            Layer::default().extended(&[("uid", "-5")]).file("x", "").file_with_owner("-5"),
        ),
        ("owner that is no number", Layer::default().file_with_owner("zzzzzzz")),
        (
            "extended header of nothing but keys",
            Layer::default().raw(b'x', b"p", b"", &b"9 a=b\n\n\n".repeat(9000), 0),
        ),
        (
            "extended header whose length lies",
            Layer::default().raw(b'x', b"p", b"", b"999 path=x\n", 0).file("x", ""),
        ),
        ("directory over a link", Layer::default().symlink("a", "b").folder("a")),
        ("link through a file", Layer::default().file("a", "").symlink("a/b", "c")),
        ("too many entries", (0..101).fold(Layer::default(), |l, n| l.file(&format!("{n}"), ""))),
    ];
    assert!(corpus.len() >= 50, "{} layers", corpus.len());
    for (what, layer) in corpus {
        let ground = Ground::new();
        let result = ground.unpack(&layer.end(), SMALL);
        let error = result.expect_err(what);
        assert!(!matches!(error, UnpackError::System { .. }), "{what}: {error:?}");
        assert!(ground.is_untouched(), "{what}");
        assert!(!Path::new("/tmp/skerry-absolute").exists(), "{what}");
    }
}

#[test]
fn a_size_that_lies_is_found_out() {
    let ground = Ground::new();
    let mut layer = Layer::header(b'0', b"a", b"", 1 << 40, 0o644).to_vec();
    layer.extend([b'x'; 512]);
    let error = ground.unpack(&layer, SMALL).unwrap_err();
    assert!(matches!(error, UnpackError::TooLarge { .. }), "{error:?}");
    let mut layer = Layer::header(b'0', b"a", b"", 4096, 0o644).to_vec();
    layer.extend([b'x'; 512]);
    let error = ground.unpack(&layer, SMALL).unwrap_err();
    assert!(matches!(error, UnpackError::Damaged { .. }), "{error:?}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_small_stream_cannot_become_a_big_one() {
    let limits = Limits { bytes: 4 << 20, entries: 10 };
    let bomb = Layer::default().file("bomb", &"0".repeat(16 << 20)).end();
    let zstd = zstd::encode_all(bomb.as_slice(), 1).unwrap();
    // All is small in the layer itself; what follows its end is not.
    let mut tail = Layer::default().file("a", "x").end();
    tail.resize(32 << 20, 0);
    // Broken off behind the header of a large file.
    let mut cut = Layer::header(b'0', b"bomb", b"", 1 << 21, 0o644).to_vec();
    cut.resize(1 << 20, 0);
    for (what, packed, compression) in [
        ("gzip", gzip(&bomb), Compression::Gzip),
        ("gzip in many members", gzip(&bomb[..4096]).repeat(9000), Compression::Gzip),
        ("zstd", zstd, Compression::Zstd),
        ("zeros at the end", gzip(&tail), Compression::Gzip),
        ("cut off", gzip(&cut), Compression::Gzip),
        ("no gzip", bomb.clone(), Compression::Gzip),
        ("no zstd", bomb.clone(), Compression::Zstd),
        ("zstd with a window of 2 GiB", zstd_window(31), Compression::Zstd),
    ] {
        assert!(packed.len() < 20 << 20, "{what}");
        let ground = Ground::new();
        let error = ground.unpack_packed(&packed, compression, limits).expect_err(what);
        assert!(!matches!(error, UnpackError::System { .. }), "{what}: {error:?}");
        assert!(ground.is_untouched(), "{what}");
    }
}

/// The head of a frame that wants a window of two to this power.
fn zstd_window(power: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (power - 10) << 3];
    // One last block of one byte, repeated a million times.
    frame.extend([0x03, 0x00, 0x80, b'x']);
    frame
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
    let layer = Layer::default()
        .symlink("up", "../../etc/passwd")
        .symlink("far", "/x/../../etc/passwd")
        .link(b'1', "again", "up")
        .link(b'6', "run/pipe", "")
        .link(b'1', "run/pipe-2", "run/pipe")
        .file("null", "not a device")
        .link(b'3', "null", "")
        .link(b'4', "sda", "")
        .symlink("over", "..")
        .file("over", "a file now")
        .link(b'6', "was-pipe", "")
        .file("was-pipe", "a file now")
        .symlink("out", "../secret")
        .file("out", "mine")
        .end();
    ground.unpack(&layer, SMALL).unwrap();
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
