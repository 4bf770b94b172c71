//! Signatures that cosign keeps beside an image: an image of their own under the tag `sha256-<digest>.sig`.
//!
//! Its layers are the signed documents, and an annotation of each holds the signature. They are brought in and handed
//! on; whether one of them is good is not for this program to say.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use skerry_containers::oci::{Blob, is_sha256};

use crate::RegistryError;
use crate::session::Session;

/// Signatures of one image that are looked at, the newest. More than anybody makes.
pub const MAX_SIGNATURES: usize = 32;
/// Longest signed document.
const MAX_PAYLOAD: u64 = 16 << 10;
/// Longest signature in base64.
const MAX_TEXT: usize = 1024;
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Whether signatures are wanted with an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signatures {
    /// They are not looked for.
    #[default]
    Ignore,
    /// They are brought along if there are any.
    Look,
    /// Without one the image is of no use.
    Require,
}

/// A signed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The document.
    pub payload: Vec<u8>,
    /// The signature, in base64.
    pub signature: String,
}

#[derive(Deserialize)]
struct Listed {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The signatures of an image from all that know it: one that keeps wrong ones cannot hide those of another.
pub(crate) async fn fetch(
    wanted: Signatures,
    sessions: &[Session],
    image: &Blob,
) -> Result<Vec<Signature>, RegistryError> {
    let (mut found, mut failure) = (Vec::new(), None);
    if wanted == Signatures::Ignore {
        return Ok(found);
    }
    for session in sessions {
        match of(session, image).await {
            Ok(more) => {
                for signature in more {
                    if !found.contains(&signature) {
                        found.push(signature);
                    }
                }
            }
            Err(RegistryError::NotFound { .. }) => {}
            Err(error) => {
                let host = &session.endpoint.host;
                tracing::debug!(%host, error = error.chain(), "signatures not fetched");
                failure = Some(error);
            }
        }
    }
    match (found.is_empty(), failure) {
        (true, Some(error)) => Err(error),
        (true, None) if wanted == Signatures::Require => {
            Err(RegistryError::Unsigned { digest: image.digest.clone() })
        }
        _ => Ok(found),
    }
}

async fn of(session: &Session, image: &Blob) -> Result<Vec<Signature>, RegistryError> {
    let received = session.manifest(&format!("sha256-{}.sig", image.digest)).await?;
    let listed: Listed = serde_json::from_slice(&received.bytes)
        .map_err(|_| session.misbehaves("what should be a list of signatures is none"))?;
    let usable: Vec<(Blob, String)> = listed.layers.into_iter().filter_map(usable).collect();
    let mut found = Vec::new();
    // New ones are put behind the others.
    for (blob, signature) in usable.into_iter().rev().take(MAX_SIGNATURES) {
        let payload = session.small(&blob).await?;
        if hex::encode(Sha256::digest(&payload)) != blob.digest {
            return Err(session.wrong_bytes("a signature of the image"));
        }
        found.push(Signature { payload, signature });
    }
    Ok(found)
}

/// A layer that can be a signature.
fn usable(layer: Layer) -> Option<(Blob, String)> {
    let digest = layer.digest.strip_prefix("sha256:").filter(|digest| is_sha256(digest))?;
    let blob = Blob { digest: digest.to_owned(), size: layer.size };
    let mut annotations = layer.annotations;
    let signature = annotations.remove(SIGNATURE)?;
    let fits = layer.media_type == PAYLOAD && blob.size <= MAX_PAYLOAD;
    (fits && signature.len() <= MAX_TEXT).then_some((blob, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, size: u64, signature: Option<&str>) -> Layer {
        let annotations = signature.map(|text| (SIGNATURE.to_owned(), text.to_owned()));
        Layer {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)),
            size,
            annotations: annotations.into_iter().collect(),
        }
    }

    #[test]
    fn only_what_can_be_a_signature_is_fetched() {
        assert!(usable(layer(PAYLOAD, 200, Some("c2ln"))).is_some());
        for wrong in [
            layer("application/json", 200, Some("c2ln")),
            layer(PAYLOAD, MAX_PAYLOAD + 1, Some("c2ln")),
            layer(PAYLOAD, 200, None),
            layer(PAYLOAD, 200, Some(&"A".repeat(MAX_TEXT + 1))),
            Layer { digest: "sha256:../x".to_owned(), ..layer(PAYLOAD, 200, Some("c2ln")) },
        ] {
            assert!(usable(wrong).is_none());
        }
    }
}
