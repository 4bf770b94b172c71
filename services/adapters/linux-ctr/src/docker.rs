//! Archives as `docker save` and `podman save` write them: a `manifest.json` that names a configuration and layers.
//!
//! They have no digests of layers, so each is hashed once when the archive is opened. Newer ones are OCI layouts
//! as well and are read as such. Only one image per archive is taken.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use skerry_containers::composed_manifest;
use skerry_containers::oci::{self, Blob, Compression, MAX_LAYERS};

use crate::archive::{ArchiveError, ImageArchiveFile, LayerBlob, OpenImage, Place, invalid};

/// The name of the list of images.
pub(crate) const LIST: &str = "manifest.json";

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// A docker archive's image, and where its layers lie by their digest.
pub(crate) struct DockerImage {
    configuration: ImageConfiguration,
    layers: Vec<LayerBlob>,
    config: Blob,
    /// Layers and the configuration by digest.
    pub places: HashMap<String, Place>,
}

impl DockerImage {
    /// Reads the list, the configuration, and every layer once.
    pub fn read(archive: &ImageArchiveFile) -> Result<Self, ArchiveError> {
        let list = archive.bytes(archive.place(LIST)?, LIST)?;
        let list: Vec<Listed> = serde_json::from_slice(&list)
            .map_err(|_| invalid("its manifest.json is not readable"))?;
        let [image] = list.as_slice() else {
            return Err(invalid(format!("it holds {} images; save one", list.len())));
        };
        if image.layers.is_empty() || image.layers.len() > MAX_LAYERS {
            let count = image.layers.len();
            return Err(invalid(format!("it has {count} layers; 1 to {MAX_LAYERS} can be used")));
        }
        let config = archive.bytes(archive.place(&image.config)?, "the configuration")?;
        let (configuration, ids) = oci::configuration(&config, image.layers.len())?;
        let mut places = HashMap::new();
        let mut layers = Vec::new();
        // One that appears twice is read once.
        let mut looked: HashMap<u64, (String, Compression)> = HashMap::new();
        for (name, diff_id) in image.layers.iter().zip(ids) {
            let place = archive.place(name)?;
            let known = looked.get(&place.at()).cloned();
            let (digest, compression) = known.map_or_else(|| look(archive, place), Ok)?;
            looked.insert(place.at(), (digest.clone(), compression));
            // Unpacked already, it can be seen at once whether it is the one.
            if compression == Compression::None && digest != diff_id {
                return Err(invalid("a layer is not what its configuration names"));
            }
            layers.push(LayerBlob { digest: digest.clone(), diff_id, compression });
            places.insert(digest, place);
        }
        let digest = hex::encode(Sha256::digest(&config));
        places.insert(digest.clone(), archive.place(&image.config)?);
        let config = Blob { digest, size: config.len() as u64 };
        Ok(Self { configuration, layers, config, places })
    }

    /// A manifest for it.
    pub fn manifest(&self) -> Vec<u8> {
        let size = |digest: &str| self.places.get(digest).map_or(0, |place| place.size());
        let layer = |layer: &LayerBlob| {
            let digest = layer.digest.clone();
            (Blob { size: size(&digest), digest }, layer.compression)
        };
        let layers: Vec<(Blob, Compression)> = self.layers.iter().map(layer).collect();
        composed_manifest(&self.config, &layers)
    }

    /// The image. Having no manifest, it goes by its configuration.
    pub fn image(&self) -> OpenImage {
        OpenImage {
            manifest: self.config.digest.clone(),
            configuration: self.configuration.clone(),
            layers: self.layers.clone(),
        }
    }
}

/// The digest of a layer, and how it is compressed by its first bytes.
fn look(archive: &ImageArchiveFile, place: Place) -> Result<(String, Compression), ArchiveError> {
    let mut reader = BufReader::with_capacity(1 << 17, archive.reader(place)?);
    let mut hasher = Sha256::new();
    let mut first = Vec::new();
    let read = |source: io::Error| archive.failed(source);
    reader.by_ref().take(4).read_to_end(&mut first).map_err(read)?;
    hasher.update(&first);
    let mut buffer = vec![0; 1 << 17];
    loop {
        let got = reader.read(&mut buffer).map_err(read)?;
        if got == 0 {
            break;
        }
        hasher.update(buffer.get(..got).unwrap_or_default());
    }
    let compression = match first.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    };
    Ok((hex::encode(hasher.finalize()), compression))
}
