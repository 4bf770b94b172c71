//! Archives that are no images: what is wrong with them shows before a layer is unpacked.

use crate::{Layer, OciArchive, sha256};

/// An archive that nobody may bring in.
#[derive(Debug, Clone)]
pub struct Liar {
    /// What it tries.
    pub what: &'static str,
    /// The archive.
    pub bytes: Vec<u8>,
    /// Words of the refusal.
    pub says: &'static str,
}

/// All of them.
#[must_use]
pub fn liars() -> Vec<Liar> {
    let layer = Layer::default().file("a", "x").end();
    let image = || OciArchive::new().layer(&layer).cmd(&["/a"]);
    let blob = format!("blobs/sha256/{}", sha256(&layer));
    let many = (0..128).fold(OciArchive::new(), |image, _| image.layer(&layer));
    let media = "application/x-executable";
    let cases = vec![
        (
            "a bit that differs",
            image().with_damaged_blobs().tar(),
            "does not have the bytes that its digest",
        ),
        ("a layer that says less", image().with_size(1).tar(), "and its manifest says 1"),
        ("a layer that says more", image().with_size(1 << 30).tar(), "and its manifest says"),
        ("a layer that says 1 TiB", image().with_size(1 << 40).tar(), "are allowed"),
        ("too many layers", many.tar(), "it has 128 layers"),
        (
            "a layer of no sort",
            OciArchive::new().blob_layer(&layer, media, "a").tar(),
            "which is not supported",
        ),
        (
            "a layer that leads out",
            with(image(), &blob, |tar| leads(tar, &blob)),
            "it has no blobs",
        ),
        (
            "two layers of one name",
            with(image(), "", |tar| tar.file(&blob, "another")),
            "it holds a file twice",
        ),
        (
            "a part that climbs",
            with(image(), &blob, |tar| tar.file(&format!("../../{blob}"), "x")),
            "it has no blobs",
        ),
        (
            "an index without end",
            Layer::default()
                .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
                .file(
                    "index.json",
                    &(r#"{"schemaVersion":2,"x":"#.to_owned() + &"[".repeat(1 << 20)),
                )
                .end(),
            "EOF while parsing",
        ),
    ];
    cases.into_iter().map(|(what, bytes, says)| Liar { what, bytes, says }).collect()
}

/// A link where the layer should be, to what the node has.
fn leads(tar: Layer, blob: &str) -> Layer {
    tar.symlink(blob, "../../../../../../../../../../etc/shadow")
}

/// The archive of an image without this file, and with more.
fn with(image: OciArchive, without: &str, more: impl Fn(Layer) -> Layer) -> Vec<u8> {
    let files = image.files().into_iter().filter(|(path, _)| path != without);
    let tar = files.fold(Layer::default(), |tar, (path, bytes)| tar.program(&path, &bytes));
    more(tar).end()
}
