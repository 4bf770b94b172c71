//! The images that come with the operating system, listed in `/usr/share/skerry/images/images.toml`.
//!
//! The image build writes that file; the node registers what it lists at every start. It must name every
//! file with its digest, so that a damaged system partition shows as a damaged image and not as a broken
//! workload. Form:
//!
//! ```toml
//! schema = 1
//!
//! [[image]]
//! name = "tiny"                       # a resource name, used once per file
//! format = "oci_archive"              # or "kernel_initrd"
//! architecture = "x86_64"
//! description = "One line for people."            # may be left out
//! kernel_arguments = "console=ttyS0"              # may be left out; only for kernel_initrd
//!
//! [[image.file]]
//! role = "archive"                    # oci_archive: archive; kernel_initrd: kernel and initrd
//! path = "tiny-oci.tar"               # absolute, or relative to the folder of images.toml; no `..`
//! sha256 = "…"                        # 64 lower-case hex digits
//! size = 1234567                      # bytes
//! ```
//!
//! An unknown key is an error. This module reads text only; it opens no file.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use skerry_model::{
    Id, Image, ImageFile, ImageFormat, ImageSource, ImageSpec, Name, NewResource, Owner,
    TomlTextError, read_toml,
};
use uuid::Uuid;

/// A list of built-in images that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageListError {
    /// Not TOML, or not of the right shape.
    #[error(transparent)]
    Text(#[from] TomlTextError),
    /// Well formed, but a value cannot be.
    #[error("{}: {key}: {reason}", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, such as `image[0].file[1].path`.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    schema: u32,
    #[serde(default)]
    image: Vec<RawImage>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    name: Name,
    format: ImageFormat,
    architecture: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    kernel_arguments: String,
    #[serde(default)]
    file: Vec<RawFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    role: String,
    path: PathBuf,
    sha256: String,
    size: u64,
}

/// Reads the list of built-in images. `file` is named in errors, and its folder is where relative paths start.
///
/// Each gets a fresh id; an image that the store already knows by name keeps its own.
pub fn builtin_images(text: &str, file: &Path) -> Result<Vec<NewResource<Image>>, ImageListError> {
    let list: RawList = read_toml(text, file)?;
    let wrong = |key: String, reason: &str| ImageListError::Value {
        file: file.to_owned(),
        key,
        reason: reason.to_owned(),
    };
    if list.schema != 1 {
        return Err(wrong(
            "schema".to_owned(),
            "must be 1; this file was made for another version",
        ));
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut images: Vec<NewResource<Image>> = Vec::new();
    for (index, raw) in list.image.into_iter().enumerate() {
        let image = resource(raw, folder)
            .map_err(|(key, reason)| wrong(format!("image[{index}].{key}"), &reason))?;
        if images.iter().any(|other| other.name == image.name) {
            return Err(wrong(format!("image[{index}].name"), "is given twice"));
        }
        images.push(image);
    }
    Ok(images)
}

fn resource(raw: RawImage, folder: &Path) -> Result<NewResource<Image>, (String, String)> {
    let mut files = Vec::new();
    for (index, file) in raw.file.into_iter().enumerate() {
        let wrong = |key: &str, reason: &str| (format!("file[{index}].{key}"), reason.to_owned());
        if file.path.components().any(|part| part == Component::ParentDir) {
            return Err(wrong("path", "must not contain `..`"));
        }
        if file.sha256.len() != 64 || !file.sha256.chars().all(is_lower_hex) {
            return Err(wrong("sha256", "must be 64 lower-case hex digits"));
        }
        let path = folder.join(file.path);
        let path = path.to_str().ok_or_else(|| wrong("path", "must be UTF-8"))?.to_owned();
        files.push(ImageFile::new(file.role, path, file.sha256, file.size));
    }
    let spec = ImageSpec {
        files,
        kernel_arguments: raw.kernel_arguments,
        description: raw.description,
        ..ImageSpec::new(raw.format, ImageSource::BuiltIn, raw.architecture)
    };
    let mut image = NewResource::new(Id::new(Uuid::new_v4()), raw.name, spec);
    image.owner = Owner::System;
    image.validate().map_err(|invalid| ("file".to_owned(), invalid.to_string()))?;
    Ok(image)
}

fn is_lower_hex(c: char) -> bool {
    c.is_ascii_digit() || ('a'..='f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../../config/examples/images.toml");

    fn read(text: &str) -> Result<Vec<NewResource<Image>>, ImageListError> {
        builtin_images(text, Path::new("/usr/share/skerry/images/images.toml"))
    }

    #[test]
    fn the_sample_lists_one_image_of_each_format() {
        let images = read(SAMPLE).unwrap();
        let names: Vec<_> = images.iter().map(|i| (i.name.as_str(), i.spec.format)).collect();
        assert_eq!(
            names,
            [("tiny", ImageFormat::OciArchive), ("tiny-vm", ImageFormat::KernelInitrd)]
        );
        assert_eq!(images[0].spec.files[0].path, "/usr/share/skerry/images/tiny-oci.tar");
        assert_eq!(images[0].owner, Owner::System);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = "schema = 1\n[[image]]\nname = \"a\"\nfromat = \"oci_archive\"\n";
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with("/usr/share/skerry/images/images.toml:4: image[0]"), "{error}");
        assert!(error.contains("fromat"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let change = |from: &str, to: &str| {
            assert!(SAMPLE.contains(from), "the sample has `{from}`");
            read(&SAMPLE.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(change("schema = 1", "schema = 2").contains("schema: must be 1"));
        assert!(
            change("path = \"tiny-oci.tar\"", "path = \"../x\"").contains("image[0].file[0].path")
        );
        assert!(change("name = \"tiny-vm\"", "name = \"tiny\"").contains("image[1].name"));
        assert!(change("role = \"archive\"", "role = \"x\"").contains("role `archive`"));
        assert!(change("sha256 = \"", "sha256 = \"Z").contains("64 lower-case hex"));
        assert!(change("schema = 1", "schema = ").contains("images.toml:"));
        assert!(change("name = \"tiny\"", "name = \"../x\"").contains("image[0].name"));
    }
}
