use std::io::Write;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::*;
use skerry_containers::oci::Blob;

use crate::testing::{Layer, OciArchive, sha256, unpacking};
use crate::unpack::Limits;

struct Shelf {
    folder: tempfile::TempDir,
    library: ImageLibrary,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = open(folder.path());
        Self { folder, library }
    }

    /// Writes archive bytes to a file and names it.
    fn archive(&self, bytes: &[u8]) -> ImageArchive {
        let sha256 = sha256(bytes);
        let path = self.folder.path().join(&sha256);
        fs::write(&path, bytes).unwrap();
        ImageArchive { name: "tiny".parse().unwrap(), path: path.display().to_string(), sha256 }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("layers")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_clean(&self) -> bool {
        fs::read_dir(self.library.temporary()).unwrap().count() == 0
    }
}

fn open(folder: &Path) -> ImageLibrary {
    let blobs = BlobStore::new(folder.join("blobs"));
    ImageLibrary::open(folder.join("layers"), blobs, unpacking(Limits::default())).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_image_is_unpacked_once_and_layers_are_shared() {
    let shelf = Shelf::new();
    let base = Layer::default().folder("bin").file("bin/a", "one").end();
    let first = OciArchive::new().layer(&base).cmd(&["/bin/a"]).tar();
    let image = shelf.archive(&first);
    shelf.library.import(&image).unwrap();
    let record = shelf.library.record(&image.sha256).unwrap();
    assert_eq!(record.cmd, ["/bin/a"]);
    let file = shelf.library.layer(&record.layers[0]).join("bin/a");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    // Unpacked again it would lose this mark.
    fs::write(&file, "marked").unwrap();
    shelf.library.import(&image).unwrap();
    let top = Layer::default().file("b", "two").end();
    let second = shelf.archive(&OciArchive::new().layer(&base).layer(&top).tar());
    shelf.library.import(&second).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "marked");
    assert_eq!(shelf.library.present(), BTreeSet::from([image.sha256, second.sha256]));
    assert_eq!(shelf.names().len(), 4, "two layers, images, tmp");
    assert!(shelf.is_clean());
}

#[test]
fn every_compression_is_unpacked() {
    let base = Layer::default().file("a", "one").end();
    let zstd = zstd::encode_all(base.as_slice(), 1).unwrap();
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let shelf = Shelf::new();
    for (blob, media) in [
        (base.clone(), layer.to_owned()),
        (gzip(&base), format!("{layer}+gzip")),
        (zstd, format!("{layer}+zstd")),
    ] {
        let image =
            shelf.archive(&OciArchive::new().blob_layer(&blob, &media, &sha256(&base)).tar());
        shelf.library.import(&image).unwrap();
        assert!(shelf.library.record(&image.sha256).is_ok());
    }
    assert_eq!(shelf.library.present().len(), 3);
    assert_eq!(shelf.names().len(), 5, "each blob is a layer of its own; images, tmp");
}

#[test]
fn an_archive_with_other_bytes_than_recorded_is_refused() {
    let shelf = Shelf::new();
    let mut image = shelf.archive(&OciArchive::new().layer(&Layer::default().end()).tar());
    image.sha256 = "0".repeat(64);
    let error = shelf.library.import(&image).unwrap_err();
    assert!(
        matches!(error, ImageError::Source(SourceError::Archive(ArchiveError::Digest { .. }))),
        "{error:?}"
    );
    assert!(error.is_images_fault());
}

#[test]
fn wrong_blobs_and_odd_archives_are_refused_and_leave_nothing() {
    let base = Layer::default().file("a", "one").end();
    let evil = Layer::default().file("../a", "one").end();
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let edit = |change: fn(&mut Value)| {
        let mut archive = OciArchive::new().layer(&base);
        archive.edit_index(change);
        archive.tar()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no archive", b"not a tar".to_vec()),
        ("empty", Vec::new()),
        ("harmful layer", OciArchive::new().layer(&evil).tar()),
        ("wrong identity", OciArchive::new().blob_layer(&base, plain, &"1".repeat(64)).tar()),
        ("wrong blob", OciArchive::new().layer(&base).with_damaged_blobs().tar()),
        ("no layers", OciArchive::new().tar()),
        ("too many layers", (0..128).fold(OciArchive::new(), |a, _| a.layer(&base)).tar()),
        ("other compression", OciArchive::new().blob_layer(&base, "x/y", &sha256(&base)).tar()),
        ("broken gzip", {
            let mut blob = gzip(&base);
            blob.truncate(blob.len() - 9);
            OciArchive::new().blob_layer(&blob, &format!("{plain}+gzip"), &sha256(&base)).tar()
        }),
        (
            "other machine",
            edit(|index| {
                index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "arm64"});
            }),
        ),
        (
            "two images",
            edit(|index| {
                let again = index["manifests"][0].clone();
                index["manifests"].as_array_mut().unwrap().push(again);
            }),
        ),
        (
            "digest that is a path",
            edit(|index| {
                index["manifests"][0]["digest"] = json!("sha256:../../../../etc/passwd");
            }),
        ),
        (
            "other digest",
            edit(|index| {
                index["manifests"][0]["digest"] = json!(format!("sha512:{}", "a".repeat(128)));
            }),
        ),
        ("no manifest", edit(|index| index["manifests"] = json!([]))),
    ];
    for (what, bytes) in cases {
        let shelf = Shelf::new();
        let image = shelf.archive(&bytes);
        let error = shelf.library.import(&image).expect_err(what);
        assert!(error.is_images_fault(), "{what}: {error:?}");
        assert!(shelf.library.present().is_empty(), "{what}");
        assert!(shelf.is_clean(), "{what}");
        assert_eq!(shelf.names(), ["images", "tmp"], "{what}");
    }
}

#[test]
fn leftovers_are_swept_and_a_record_without_its_layer_counts_for_nothing() {
    let shelf = Shelf::new();
    let image =
        shelf.archive(&OciArchive::new().layer(&Layer::default().file("a", "x").end()).tar());
    shelf.library.import(&image).unwrap();
    let root = shelf.folder.path().join("layers");
    fs::create_dir_all(root.join("tmp/layer-half/tree")).unwrap();
    let place = || fs::metadata(shelf.library.temporary()).unwrap().ino();
    let before = place();
    let library = open(shelf.folder.path());
    assert_eq!(place(), before, "a full disk may have no block for a new folder");
    assert!(shelf.is_clean());
    let layer = library.layer(&library.record(&image.sha256).unwrap().layers[0]);
    fs::remove_dir_all(layer).unwrap();
    assert!(library.present().is_empty());
    library.import(&image).unwrap();
    assert_eq!(library.present().len(), 1);
}

/// Puts every blob of an image into the store and names the image.
#[test]
fn the_highest_owner_of_an_images_files_is_found_once_and_goes_with_the_layer() {
    let shelf = Shelf::new();
    let base = Layer::default().folder("bin").file("bin/a", "one").end();
    let high = Layer::default().folder("etc").file_with_owner("0210560").end();
    let archive = shelf.archive(&OciArchive::new().layer(&base).layer(&high).tar());
    shelf.library.import(&archive).unwrap();
    let record = shelf.library.record(&archive.sha256).unwrap();
    assert_eq!(shelf.library.highest_owner(&record).unwrap(), 70_000);
    let owners = || folders::names(&shelf.folder.path().join("layers/owners"));
    assert_eq!(owners().len(), 2);
    // What was found counts; what was cut short does not.
    let kept = |layer: &str| shelf.library.owners_path(&shelf.library.layer(layer));
    fs::write(kept(&record.layers[1]), "80000\n").unwrap();
    fs::write(kept(&record.layers[0]), "").unwrap();
    assert_eq!(shelf.library.highest_owner(&record).unwrap(), 80_000);
    assert_eq!(shelf.library.sweep(&BTreeSet::new()).unwrap(), 2);
    assert_eq!(owners(), Vec::<String>::new());
    assert!(shelf.library.highest_owner(&record).is_err() && shelf.is_clean());
}

fn stored(shelf: &Shelf, archive: OciArchive) -> (ImageArchive, Vec<String>) {
    let (manifest, blobs) = archive.blobs();
    let digests = blobs.iter().map(|bytes| put(shelf, bytes)).collect();
    let image =
        ImageArchive { name: "tiny".parse().unwrap(), path: String::new(), sha256: manifest };
    (image, digests)
}

fn put(shelf: &Shelf, bytes: &[u8]) -> String {
    let path = shelf.folder.path().join("incoming");
    fs::write(&path, bytes).unwrap();
    let blob = Blob { digest: sha256(bytes), size: bytes.len() as u64 };
    shelf.library.blobs.adopt(&path, &blob).unwrap();
    blob.digest
}

#[test]
fn an_image_in_the_store_is_unpacked_and_a_damaged_blob_is_set_aside_and_mended() {
    let shelf = Shelf::new();
    let base = Layer::default().file("a", &"one".repeat(1000)).end();
    let (image, digests) = stored(&shelf, OciArchive::new().layer(&base).cmd(&["/bin/a"]));
    assert_eq!(digests.len(), 3);
    let layer = sha256(&base);
    let path = shelf.folder.path().join("blobs/sha256").join(&layer);
    let mut damaged = base.clone();
    damaged[700] ^= 1;
    fs::write(&path, damaged).unwrap();
    let error = shelf.library.import(&image).unwrap_err();
    assert!(
        matches!(error, ImageError::Source(SourceError::Blob(BlobError::Damaged { .. }))),
        "{error:?}"
    );
    assert!(!error.is_images_fault(), "it can be fetched again");
    assert!(!shelf.library.blobs.present().contains(&layer), "set aside");
    assert!(shelf.is_clean() && shelf.library.present().is_empty());
    let error = shelf.library.import(&image).unwrap_err();
    assert!(matches!(error, ImageError::Source(SourceError::Blob(BlobError::Missing { .. }))));
    put(&shelf, &base);
    shelf.library.import(&image).unwrap();
    assert_eq!(shelf.library.record(&image.sha256).unwrap().cmd, ["/bin/a"]);
}

#[test]
fn a_layer_is_not_shared_on_the_word_of_what_it_unpacks_to() {
    let shelf = Shelf::new();
    let good = Layer::default().file("a", "good").end();
    let evil = Layer::default().file("a", "evil").end();
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let lie = OciArchive::new().blob_layer(&evil, plain, &sha256(&good));
    let (image, _) = stored(&shelf, lie);
    assert!(shelf.library.import(&image).is_err());
    let (image, _) = stored(&shelf, OciArchive::new().layer(&good));
    shelf.library.import(&image).unwrap();
    let record = shelf.library.record(&image.sha256).unwrap();
    let file = shelf.library.layer(&record.layers[0]).join("a");
    assert_eq!(fs::read_to_string(file).unwrap(), "good");
}

#[test]
fn archives_of_docker_are_unpacked_in_their_old_and_new_forms() {
    let base = Layer::default().file("a", "one").end();
    let top = gzip(&Layer::default().file("b", "two").end());
    let id = |bytes: &[u8]| format!("sha256:{}", sha256(bytes));
    let plain_top = Layer::default().file("b", "two").end();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": [id(&base), id(&plain_top), id(&base)]}});
    let config = config.to_string();
    let save = |layers: Value, images: usize| {
        let entry = json!({"Config": "c.json", "RepoTags": ["a:1"], "Layers": layers});
        let list = Value::from(vec![entry; images]).to_string();
        Layer::default()
            .file("c.json", &config)
            .program("1/layer.tar", &base)
            .program("2/layer.tar", &top)
            .symlink("3/layer.tar", "../1/layer.tar")
            .symlink("out/layer.tar", "../../etc/passwd")
            .file("manifest.json", &list)
            .end()
    };
    let shelf = Shelf::new();
    let good = json!(["1/layer.tar", "2/layer.tar", "3/layer.tar"]);
    let image = shelf.archive(&save(good.clone(), 1));
    shelf.library.import(&image).unwrap();
    let record = shelf.library.record(&image.sha256).unwrap();
    assert_eq!((record.layers.len(), record.cmd.as_slice()), (3, &["/a".to_owned()][..]));
    let file = shelf.library.layer(&record.layers[1]).join("b");
    assert_eq!(fs::read_to_string(file).unwrap(), "two");
    for (what, bytes) in [
        ("two images", save(good.clone(), 2)),
        ("no image", save(good, 0)),
        ("no layers", save(json!([]), 1)),
        ("a layer that is missing", save(json!(["1/layer.tar", "2/layer.tar", "4/layer.tar"]), 1)),
        ("a link that leads out", save(json!(["1/layer.tar", "2/layer.tar", "out/layer.tar"]), 1)),
        ("layers in another order", save(json!(["2/layer.tar", "1/layer.tar", "3/layer.tar"]), 1)),
        ("a path that leads out", save(json!(["1/layer.tar", "2/layer.tar", "../1/layer.tar"]), 1)),
    ] {
        let shelf = Shelf::new();
        let error = shelf.library.import(&shelf.archive(&bytes)).expect_err(what);
        assert!(error.is_images_fault(), "{what}: {error:?}");
    }
}

#[test]
fn a_sweep_takes_no_layer_that_an_import_or_a_mount_is_about_to_use() {
    let shelf = Shelf::new();
    let base = Layer::default().file("base", "shared").end();
    let (image, _) = stored(&shelf, OciArchive::new().layer(&base));
    shelf.library.import(&image).unwrap();
    let record = shelf.library.record(&image.sha256).unwrap();
    let layer = shelf.library.layer(&record.layers[0]);
    // Another instance, as the one who sweeps has it.
    let root = shelf.folder.path().join("layers");
    let blobs = shelf.library.blobs.clone();
    let sweeper = ImageLibrary::unswept(root, blobs.clone(), unpacking(Limits::default()));
    let (held, claim) = shelf.library.hold(&image.sha256).unwrap();
    assert_eq!(held, record);
    assert_eq!(sweeper.sweep(&BTreeSet::new()).unwrap(), 0);
    assert!(shelf.library.record(&image.sha256).is_ok() && layer.is_dir());
    drop(claim);
    // Kept, but not recorded yet: its layer counts as needed all the same.
    fs::remove_file(shelf.library.record_path(&image.sha256)).unwrap();
    assert_eq!(sweeper.sweep(&BTreeSet::from([image.sha256.clone()])).unwrap(), 0);
    assert!(layer.is_dir());
    assert_eq!(sweeper.sweep(&BTreeSet::new()).unwrap(), 1);
    assert!(!layer.exists() && shelf.library.hold(&image.sha256).is_err());
}

#[test]
fn imports_and_sweeps_at_the_same_time_leave_whole_images_alone() {
    let shelf = Shelf::new();
    let base = Layer::default().file("base", "shared").end();
    let images: Vec<ImageArchive> = (0..4)
        .map(|number| {
            let top = Layer::default().file("top", &number.to_string()).end();
            stored(&shelf, OciArchive::new().layer(&base).layer(&top)).0
        })
        .collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            let mut sweeps = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                // Nothing is to be kept: whatever nobody holds goes.
                shelf.library.sweep(&BTreeSet::new()).unwrap();
                sweeps += 1;
            }
            sweeps
        });
        for image in images.iter().cycle().take(24) {
            // An import may be swept before it is held; then it is made again, as the controller does.
            let mut held = None;
            for _ in 0..1000 {
                shelf.library.import(image).unwrap();
                held = shelf.library.hold(&image.sha256).ok();
                if held.is_some() {
                    break;
                }
            }
            let (record, claim) = held.expect("it was never there when it was to be held");
            for layer in &record.layers {
                let file = shelf.library.layer(layer);
                assert!(file.join("base").exists() || file.join("top").exists(), "{file:?}");
            }
            drop(claim);
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        assert!(sweeps.join().unwrap() > 0);
    });
}

/// Nobody may have a node unpack the same bomb again and again.
#[test]
fn what_was_refused_is_not_unpacked_again() {
    let shelf = Shelf::new();
    let evil = Layer::default().file("../evil", "x").end();
    let archive = shelf.archive(&OciArchive::new().layer(&evil).tar());
    let first = shelf.library.import(&archive).unwrap_err();
    let without = |library: &ImageLibrary| ImageLibrary {
        unpacking: Unpacking { program: "/nowhere".into(), ..library.unpacking.clone() },
        ..library.clone()
    };
    let again = without(&shelf.library).import(&archive).unwrap_err();
    assert!(first.is_images_fault() && again.is_images_fault());
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    // Another library, as of the next noded, looks for itself.
    let anew = without(&open(shelf.folder.path())).import(&archive).unwrap_err();
    assert!(matches!(anew, ImageError::Library { .. }), "{anew:?}");
    assert!(shelf.is_clean());
}

#[test]
fn a_layer_that_grows_leaves_the_disk_its_reserve() {
    let shelf = Shelf::new();
    let grows = Layer::default().file("a", &"0".repeat(10 << 20)).end();
    let archive = shelf.archive(&OciArchive::new().layer(&grows).tar());
    let mut library = shelf.library.clone();
    library.unpacking.kept_free = |size| size;
    let error = library.import(&archive).unwrap_err();
    assert!(error.is_no_space() && !error.is_images_fault(), "{error:?}");
    assert!(shelf.is_clean());
    // There is room again: that is no refusal to be remembered.
    library.unpacking.kept_free = |_| 0;
    library.import(&archive).unwrap();
}

/// Of the longest paths that a layer may have none could be named from the root of the machine.
#[test]
fn owners_are_found_below_the_longest_paths() {
    let shelf = Shelf::new();
    let layer = skerry_corpus_tests::longest_path(80_000);
    let archive = shelf.archive(&OciArchive::new().layer(&layer).tar());
    shelf.library.import(&archive).unwrap();
    let record = shelf.library.record(&archive.sha256).unwrap();
    assert_eq!(shelf.library.highest_owner(&record).unwrap(), 80_000);
    assert_eq!(shelf.library.sweep(&BTreeSet::new()).unwrap(), 1);
}
