//! An OCI image layout in one tar archive (OCI image specification 1.1, image-layout), or what `docker save` makes.
//!
//! The archive is read twice: once for where its blobs lie, then each blob by its place, hashed while it is
//! read. A blob is taken for what its digest says, or refused. Only SHA-256 is accepted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use oci_spec::image::ImageConfiguration;
use sha2::{Digest, Sha256};
use skerry_containers::oci::{self, Blob, Compression, Described, MAX_JSON, Manifest, OciError};
use tar::{Archive, EntryType};

use crate::blobs;
use crate::docker::{self, DockerImage};

/// Most files in an archive.
const MAX_FILES: usize = 10_000;

/// Why an archive is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("the image archive {path} cannot be read")]
    Read {
        /// The archive.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The archive is not what an image archive should be.
    #[error("the image archive is not usable: {why}")]
    Invalid {
        /// What is wrong.
        why: String,
    },
    /// What it holds is no image for this machine.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// Bytes are not those that a digest names.
    #[error("{what} does not have the bytes that its digest {digest} names")]
    Digest {
        /// Which part.
        what: String,
        /// The digest, as hex digits.
        digest: String,
    },
}

pub(crate) fn invalid(why: impl Into<String>) -> ArchiveError {
    ArchiveError::Invalid { why: why.into() }
}

/// Where a file of the archive lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    at: u64,
    size: u64,
}

/// One layer of the chosen image.
#[derive(Debug, Clone)]
pub struct LayerBlob {
    /// SHA-256 of the blob, under which the unpacked layer is kept.
    pub digest: String,
    /// SHA-256 of the unpacked stream, which the configuration names.
    pub diff_id: String,
    /// How it is compressed.
    pub compression: Compression,
}

impl Place {
    /// Where it begins.
    pub(crate) const fn at(self) -> u64 {
        self.at
    }

    /// Its bytes.
    pub(crate) const fn size(self) -> u64 {
        self.size
    }
}

impl LayerBlob {
    /// The layers of a manifest with the identities that its configuration gives them.
    pub fn list(manifest: &Manifest, identities: Vec<String>) -> Vec<Self> {
        let layers = manifest.layers.iter().zip(identities);
        layers
            .map(|((blob, compression), diff_id)| Self {
                digest: blob.digest.clone(),
                diff_id,
                compression: *compression,
            })
            .collect()
    }
}

/// What an archive holds for this machine.
pub struct OpenImage {
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// How to run it.
    pub configuration: ImageConfiguration,
    /// Its layers, lowest first.
    pub layers: Vec<LayerBlob>,
}

/// An archive whose bytes are those that its record names.
pub struct ImageArchiveFile {
    path: String,
    file: File,
    places: HashMap<String, Place>,
    docker: Option<Box<DockerImage>>,
}

impl ImageArchiveFile {
    /// Opens an archive and checks that it has the bytes that `sha256` names.
    pub fn open(path: &Path, sha256: &str) -> Result<Self, ArchiveError> {
        let shown = path.display().to_string();
        let read = |source| ArchiveError::Read { path: shown.clone(), source };
        let mut file = File::open(path).map_err(read)?;
        let found = blobs::hash(&mut file).map_err(read)?;
        if found != sha256 {
            return Err(ArchiveError::Digest { what: shown, digest: sha256.to_owned() });
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        Self::of(file, shown)
    }

    /// An archive whose bytes nothing names yet. `shown` is what it is called in messages.
    pub(crate) fn of(file: File, shown: String) -> Result<Self, ArchiveError> {
        let places = places(&file)?;
        let mut archive = Self { path: shown, file, places, docker: None };
        if !archive.places.contains_key("oci-layout") && archive.places.contains_key(docker::LIST) {
            archive.docker = Some(Box::new(DockerImage::read(&archive)?));
        }
        Ok(archive)
    }

    /// Finds the image for this machine.
    pub fn image(&self) -> Result<OpenImage, ArchiveError> {
        if let Some(docker) = &self.docker {
            return Ok(docker.image());
        }
        let (digest, manifest) = self.chosen()?;
        let bytes = self.document(&manifest.config.digest, "the configuration")?;
        let (configuration, ids) = oci::configuration(&bytes, manifest.layers.len())?;
        let layers = LayerBlob::list(&manifest, ids);
        Ok(OpenImage { manifest: digest, configuration, layers })
    }

    /// The manifest of the image for this machine; one that is made up if the archive has none.
    pub fn manifest_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        match &self.docker {
            Some(docker) => Ok(docker.manifest()),
            None => self.document(&self.chosen()?.0, "the manifest"),
        }
    }

    /// The parts that its manifest names, with the sizes that it gives them. None of an archive of docker, which names no
    /// digests: they are those of what was found.
    pub(crate) fn parts(&self) -> Result<Vec<Blob>, ArchiveError> {
        if self.docker.is_some() {
            return Ok(Vec::new());
        }
        let (_, manifest) = self.chosen()?;
        let layers = manifest.layers.into_iter().map(|(blob, _)| blob);
        Ok([manifest.config].into_iter().chain(layers).collect())
    }

    /// The size that a blob has in the archive.
    pub(crate) fn size(&self, digest: &str) -> Result<u64, ArchiveError> {
        Ok(self.place(&blob_name(digest))?.size)
    }

    fn chosen(&self) -> Result<(String, Manifest), ArchiveError> {
        let layout = self.bytes(self.place("oci-layout")?, "oci-layout")?;
        let layout: serde_json::Value = serde_json::from_slice(&layout).unwrap_or_default();
        if layout.get("imageLayoutVersion").and_then(|v| v.as_str()) != Some("1.0.0") {
            return Err(invalid("its oci-layout is not version 1.0.0"));
        }
        let index = self.bytes(self.place("index.json")?, "index.json")?;
        self.manifest(&index)
    }

    /// The manifest that the index leads to, over one more index at most.
    fn manifest(&self, index: &[u8]) -> Result<(String, Manifest), ArchiveError> {
        let mut described = oci::describe(index, None)?;
        for _ in 0..2 {
            let Described::Index(blob) = described else { break };
            described = oci::describe(&self.document(&blob.digest, "the manifest")?, None)?;
            if let Described::Manifest(manifest) = described {
                return Ok((blob.digest, manifest));
            }
        }
        Err(invalid("its index leads to no image"))
    }

    pub(crate) fn place(&self, name: &str) -> Result<Place, ArchiveError> {
        self.places.get(name).copied().ok_or_else(|| invalid(format!("it has no {name}")))
    }

    pub(crate) fn reader(&self, place: Place) -> Result<impl Read + Send + use<>, ArchiveError> {
        let mut file = self.file.try_clone().map_err(|e| self.failed(e))?;
        file.seek(SeekFrom::Start(place.at)).map_err(|e| self.failed(e))?;
        Ok(BufReader::new(file.take(place.size)))
    }

    pub(crate) fn bytes(&self, place: Place, what: &str) -> Result<Vec<u8>, ArchiveError> {
        if place.size > MAX_JSON {
            return Err(invalid(format!("{what} is larger than 4 MiB")));
        }
        let mut bytes = Vec::new();
        self.reader(place)?.read_to_end(&mut bytes).map_err(|e| self.failed(e))?;
        Ok(bytes)
    }

    pub(crate) fn failed(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Read { path: self.path.clone(), source }
    }

    fn document(&self, digest: &str, what: &str) -> Result<Vec<u8>, ArchiveError> {
        let bytes = self.bytes(self.place(&blob_name(digest))?, what)?;
        if hex::encode(Sha256::digest(&bytes)) != digest {
            let (what, digest) = (what.to_owned(), digest.to_owned());
            return Err(ArchiveError::Digest { what, digest });
        }
        Ok(bytes)
    }

    /// A layer's blob or the configuration as it lies in the archive; whoever reads it must check its digest.
    pub fn blob(&self, digest: &str) -> Result<impl Read + Send + use<>, ArchiveError> {
        let docker = self.docker.as_ref().and_then(|docker| docker.places.get(digest).copied());
        match docker {
            Some(place) => self.reader(place),
            None => self.reader(self.place(&blob_name(digest))?),
        }
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

/// The places of all files; two of one name are refused. A link counts for the file of the archive that it leads
/// to, as docker writes a layer that appears twice.
fn places(file: &File) -> Result<HashMap<String, Place>, ArchiveError> {
    let damaged = |error: io::Error| invalid(format!("damaged tar archive: {error}"));
    let mut places = HashMap::new();
    let mut links = Vec::new();
    let mut archive = Archive::new(file);
    let entries = archive.entries_with_seek().map_err(damaged)?;
    for (count, entry) in entries.raw(true).enumerate() {
        if count > MAX_FILES {
            return Err(invalid("it holds more than 10000 files"));
        }
        let entry = entry.map_err(damaged)?;
        let header = entry.header();
        let Some(name) = joined("", &header.path_bytes()) else { continue };
        match header.entry_type() {
            EntryType::Regular => {
                let place = Place { at: entry.raw_file_position(), size: entry.size() };
                if places.insert(name, place).is_some() {
                    return Err(invalid("it holds a file twice"));
                }
            }
            EntryType::Symlink => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                let target = header.link_name_bytes().unwrap_or_default();
                links.extend(joined(&folder, &target).map(|target| (name, target)));
            }
            _ => {}
        }
    }
    for (name, target) in links {
        if let Some(place) = places.get(&target).copied() {
            places.entry(name).or_insert(place);
        }
    }
    Ok(places)
}

/// A name of the archive, from a folder of it on; `None` if it leads out.
fn joined(folder: &str, name: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(name);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
