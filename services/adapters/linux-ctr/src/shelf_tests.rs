use std::os::unix::fs::MetadataExt;

use super::*;
use crate::testing::{Layer, OciArchive, sha256, unpacking};
use crate::unpack::Limits;

struct Place {
    folder: tempfile::TempDir,
    blobs: LinuxBlobs,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut places = Places::below(&folder.path().join("data"), &folder.path().join("run"));
        places.unpack = unpacking(Limits::default()).program;
        let blobs = BlobStore::new(places.blobs());
        Self { folder, blobs: LinuxBlobs::new(places, blobs, Some((1234, 1234))) }
    }

    /// Downloads and takes over every blob of an image; gives its manifest.
    async fn bring(&self, image: OciArchive, job: u128) -> String {
        let (manifest, blobs) = image.blobs();
        let folder = self.blobs.open_folder(Uuid::from_u128(job)).await.unwrap();
        for bytes in blobs {
            let path = folder.join(sha256(&bytes));
            fs::write(&path, &bytes).unwrap();
            self.blobs.adopt(&path, &sha256(&bytes), bytes.len() as u64).await.unwrap();
        }
        manifest
    }

    fn library(&self) -> ImageLibrary {
        let places = &self.blobs.places;
        let unpacking = Unpacking::new(places.unpack.clone());
        ImageLibrary::open(places.layers(), self.blobs.blobs.clone(), unpacking).unwrap()
    }
}

fn image(words: &[&str]) -> OciArchive {
    let base = Layer::default().file("base", "shared").end();
    words.iter().fold(OciArchive::new().layer(&base), |image, word| {
        image.layer(&Layer::default().file(word, word).end())
    })
}

#[tokio::test]
async fn an_image_is_what_its_own_blobs_say() {
    let place = Place::new();
    let manifest = place.bring(image(&["a", "b"]), 1).await;
    let contents = place.blobs.contents(&manifest).await.unwrap();
    let roles: Vec<_> = contents.files.iter().map(|file| file.role.as_str()).collect();
    assert_eq!(roles, ["manifest", "config", "layer", "layer", "layer"]);
    assert_eq!(contents.files[0].sha256, manifest);
    for file in &contents.files {
        assert_eq!(sha256(&fs::read(&file.path).unwrap()), file.sha256);
    }
    // Without one of its blobs it is none.
    fs::remove_file(&contents.files[3].path).unwrap();
    let error = place.blobs.contents(&manifest).await.unwrap_err();
    assert_eq!(error.trouble, BlobTrouble::Wrong);
    assert!(place.blobs.contents(&"0".repeat(64)).await.is_err());
    assert!(place.blobs.contents("../x").await.is_err());
}

#[tokio::test]
async fn a_folder_for_downloads_belongs_to_who_downloads() {
    let place = Place::new();
    let folder = place.blobs.open_folder(Uuid::from_u128(7)).await.unwrap();
    let meta = fs::metadata(&folder).unwrap();
    if Uid::effective().is_root() {
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (1234, 0o700));
    }
    fs::write(folder.join("x.part"), "x").unwrap();
    place.blobs.open_folder(Uuid::from_u128(7)).await.unwrap();
    assert!(folder.join("x.part").exists(), "what is there is gone on with");
    place.blobs.remove_folder(Uuid::from_u128(7)).await.unwrap();
    place.blobs.remove_folder(Uuid::from_u128(7)).await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_sweep_takes_what_nobody_names_and_nothing_else() {
    let place = Place::new();
    let (first, second) =
        (place.bring(image(&["a"]), 1).await, place.bring(image(&["b"]), 2).await);
    let library = place.library();
    for manifest in [&first, &second] {
        let name = "x".parse().unwrap();
        let image =
            skerry_containers::ImageArchive { name, path: String::new(), sha256: manifest.clone() };
        library.import(&image).unwrap();
    }
    let of = |manifest: &str| {
        let contents = place.blobs.read_contents(manifest).unwrap();
        contents.files.into_iter().map(|file| file.sha256).collect::<BTreeSet<_>>()
    };
    let (mine, theirs) = (of(&first), of(&second));
    let keep = BlobKeep {
        digests: mine.clone(),
        images: BTreeSet::from([first.clone()]),
        jobs: BTreeSet::from([Uuid::from_u128(2)]),
    };
    let swept = place.blobs.sweep(&keep).await.unwrap();
    assert_eq!(swept.blobs, theirs.difference(&mine).count());
    assert_eq!((swept.layers, swept.folders), (1, 1), "the shared layer stays");
    assert_eq!(place.blobs.present().await.unwrap(), mine);
    assert!(library.record(&first).is_ok());
    assert!(library.record(&second).is_err());
    assert!(place.folder.path().join("data/pulls").join(Uuid::from_u128(2).to_string()).exists());
    assert_eq!(place.blobs.sweep(&keep).await.unwrap(), Swept::default(), "once is enough");
}

#[tokio::test]
async fn damage_is_told() {
    let place = Place::new();
    let manifest = place.bring(image(&["a"]), 1).await;
    let file = place.blobs.contents(&manifest).await.unwrap().files.pop().unwrap();
    let mut lost = place.blobs.lost();
    let mut bytes = fs::read(&file.path).unwrap();
    bytes[100] ^= 1;
    fs::write(&file.path, bytes).unwrap();
    assert!(!place.blobs.check(&file.sha256).await.unwrap());
    assert_eq!(lost.recv().await.unwrap(), file.sha256);
    assert!(!place.blobs.check(&file.sha256).await.unwrap());
    assert!(place.blobs.check(&manifest).await.unwrap());
}
