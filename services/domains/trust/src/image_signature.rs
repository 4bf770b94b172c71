//! Whether a container image is signed by a key that is trusted, in the form that cosign writes.
//!
//! A signature is over a small JSON document (containers/image, "simple signing") that names the image's digest and its
//! repository. The document is read only after its signature was found good, so nothing from a stranger is parsed here.
//!
//! | checked | against |
//! |---|---|
//! | signature | the keys, over the bytes of the document |
//! | `critical.type` | `cosign container image signature` |
//! | `critical.image.docker-manifest-digest` | the digest that was pulled |
//! | `critical.identity.docker-reference` | the repository that was pulled from, whatever its tag |
//!
//! One good signature is enough; how many others there are does not matter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use skerry_model::ImageReference;

use crate::ImageKey;

/// What the documents of cosign call themselves.
const COSIGN: &str = "cosign container image signature";
/// Longest document.
const MAX_PAYLOAD: usize = 16 << 10;
/// Longest signature in base64.
const MAX_SIGNATURE: usize = 1024;

/// A document with a signature, as somebody brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedClaim<'a> {
    /// The document.
    pub payload: &'a [u8],
    /// The signature, in base64.
    pub signature: &'a str,
}

/// Why an image does not count as signed. The last is the nearest to a good signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SignatureFault {
    /// There is none.
    #[error("it has no signature")]
    Missing,
    /// None by a known key.
    #[error("none of its {count} signatures is by a key in the registry's settings")]
    OtherKey {
        /// How many there are.
        count: usize,
    },
    /// It is by a known key, but does not say what it should.
    #[error("its signature is by a known key, but is none of an image: {why}")]
    Payload {
        /// What is wrong.
        why: &'static str,
    },
    /// It is of another image.
    #[error("its signature is by a known key, but of another image: sha256:{signed}")]
    OtherImage {
        /// The digest that was signed.
        signed: String,
    },
    /// It is for another repository.
    #[error("its signature is by a known key, but for another repository: {signed}")]
    OtherRepository {
        /// The repository that was signed for.
        signed: String,
    },
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: SignedImage,
    identity: Identity,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

/// Looks for a signature of the image with this digest in this repository by one of the keys; gives the key's id.
pub fn verify_image(
    keys: &[ImageKey],
    digest: &str,
    repository: &ImageReference,
    claims: &[SignedClaim<'_>],
) -> Result<String, SignatureFault> {
    let mut nearest = match claims.len() {
        0 => SignatureFault::Missing,
        count => SignatureFault::OtherKey { count },
    };
    for claim in claims {
        let Some(key) = signer(keys, claim) else { continue };
        match check(claim.payload, digest, repository) {
            Ok(()) => return Ok(key.id().to_owned()),
            Err(fault) => nearest = nearest.max(fault),
        }
    }
    Err(nearest)
}

/// The key that a claim is signed with.
fn signer<'a>(keys: &'a [ImageKey], claim: &SignedClaim<'_>) -> Option<&'a ImageKey> {
    if claim.payload.len() > MAX_PAYLOAD || claim.signature.len() > MAX_SIGNATURE {
        return None;
    }
    let signature = STANDARD.decode(claim.signature).ok()?;
    keys.iter().find(|key| key.verifies(claim.payload, &signature))
}

/// Whether a document speaks of this image.
fn check(payload: &[u8], digest: &str, repository: &ImageReference) -> Result<(), SignatureFault> {
    let wrong = |why| SignatureFault::Payload { why };
    let payload: Payload = serde_json::from_slice(payload)
        .map_err(|_| wrong("it is not in the form of cosign's signatures"))?;
    let Critical { kind, image, identity } = payload.critical;
    if kind != COSIGN {
        return Err(wrong("it calls itself something else than an image's signature"));
    }
    let signed = image.digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex));
    let signed = signed.ok_or_else(|| wrong("its digest is no SHA-256"))?;
    if signed != digest {
        return Err(SignatureFault::OtherImage { signed: signed.to_owned() });
    }
    let named: ImageReference =
        identity.reference.parse().map_err(|_| wrong("it names no repository"))?;
    if (named.host(), named.path()) != (repository.host(), repository.path()) {
        let signed = format!("{}/{}", named.host(), named.path());
        return Err(SignatureFault::OtherRepository { signed });
    }
    Ok(())
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "image_signature_tests.rs"]
mod tests;
