//! What is wanted of an image's signatures, and whether those that came are good.
//!
//! The north side brings them and is not believed: each is checked here, against the digest of what is taken over.

use skerry_ipc::{PullSignatures, PulledSignature};
use skerry_model::{ImageReference, ImageSignature, RegistrySpec, SignatureRule, SignatureState};
use skerry_trust::{ImageKey, SignedClaim, verify_image};

use crate::jobs::JobFailure;

/// Why a pull fails whose image has no good signature, for programs.
pub const SIGNATURE_REFUSED: &str = "SignatureRefused";

/// The rule for one image.
pub(super) struct Trusted(Option<SignatureRule>);

impl Trusted {
    /// Of an image, by what is known of its registry. A mirror's own rules do not count.
    pub fn of<'a>(
        registries: impl IntoIterator<Item = &'a RegistrySpec>,
        reference: &ImageReference,
    ) -> Self {
        let known = registries.into_iter().find(|spec| spec.host == *reference.host());
        let rule = known.and_then(|spec| SignatureRule::choose(&spec.signatures, reference.path()));
        // Without keys there is nothing to look for.
        Self(rule.filter(|rule| rule.require || !rule.keys.is_empty()).cloned())
    }

    /// What the north side is to bring.
    pub fn wanted(&self) -> PullSignatures {
        match &self.0 {
            None => PullSignatures::Ignore,
            Some(rule) if rule.require => PullSignatures::Require,
            Some(_) => PullSignatures::Look,
        }
    }

    /// What to record of the image with this digest; an error if it must not be taken.
    pub fn judge(
        &self,
        digest: &str,
        reference: &ImageReference,
        found: &[PulledSignature],
    ) -> Result<Option<ImageSignature>, JobFailure> {
        let Some(rule) = &self.0 else { return Ok(None) };
        // What is no key any more trusts nobody.
        let keys: Vec<ImageKey> =
            rule.keys.iter().filter_map(|pem| ImageKey::from_pem(pem).ok()).collect();
        let claims: Vec<SignedClaim<'_>> = found
            .iter()
            .map(|found| SignedClaim { payload: &found.payload, signature: &found.signature })
            .collect();
        match verify_image(&keys, digest, reference, &claims) {
            Ok(key) => {
                tracing::info!(%reference, digest, key, "the image is signed");
                let (state, message) = (SignatureState::Verified, String::new());
                Ok(Some(ImageSignature { state, key: Some(key), message }))
            }
            Err(fault) if rule.require => {
                let message =
                    format!("the image {reference} (sha256:{digest}) is refused: {fault}");
                Err(JobFailure::refused(SIGNATURE_REFUSED, message))
            }
            Err(fault) => {
                let state = match found.is_empty() {
                    true => SignatureState::Unsigned,
                    false => SignatureState::Failed,
                };
                Ok(Some(ImageSignature { state, key: None, message: fault.to_string() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn trusted(host: &str, rules: serde_json::Value) -> Trusted {
        let spec: RegistrySpec =
            serde_json::from_value(json!({"host": host, "signatures": rules})).unwrap();
        Trusted::of([&spec], &reference())
    }

    fn reference() -> ImageReference {
        "x.y/lab/app:1".parse().unwrap()
    }

    #[test]
    fn the_rule_of_the_images_own_registry_counts() {
        let strict = json!([{"require": true, "keys": [KEY]}]);
        assert_eq!(trusted("x.y", strict.clone()).wanted(), PullSignatures::Require);
        assert_eq!(trusted("m.y", strict).wanted(), PullSignatures::Ignore);
        assert_eq!(trusted("x.y", json!([])).wanted(), PullSignatures::Ignore);
        assert_eq!(trusted("x.y", json!([{"keys": [KEY]}])).wanted(), PullSignatures::Look);
        let exempt = json!([{"require": true, "keys": [KEY]}, {"prefix": "lab"}]);
        assert_eq!(trusted("x.y", exempt).wanted(), PullSignatures::Ignore);
    }

    #[test]
    fn without_a_good_signature_an_image_is_refused_or_marked() {
        let digest = "a".repeat(64);
        let bad = [PulledSignature { payload: b"{}".to_vec(), signature: "AAAA".to_owned() }];
        let strict = trusted("x.y", json!([{"require": true, "keys": [KEY]}]));
        for (found, word) in [(&bad[..], "none of its 1 signatures"), (&[][..], "no signature")] {
            let failure = strict.judge(&digest, &reference(), found).unwrap_err();
            assert_eq!(failure.reason, "SignatureRefused");
            assert!(failure.message.contains(word), "{failure}");
        }
        let lenient = trusted("x.y", json!([{"keys": [KEY]}]));
        let state = |found: &[PulledSignature]| {
            lenient.judge(&digest, &reference(), found).unwrap().unwrap().state
        };
        assert_eq!(state(&bad), SignatureState::Failed);
        assert_eq!(state(&[]), SignatureState::Unsigned);
        assert_eq!(trusted("x.y", json!([])).judge(&digest, &reference(), &bad), Ok(None));
    }
}
