//! Public keys that images are signed with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest, Sha256};

/// What a SubjectPublicKeyInfo of a point on P-256 begins with, up to the point (RFC 5480 2), which is not compressed.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What one of Ed25519 begins with, up to the key (RFC 8410 4).
const EDWARDS: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a text is not a key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageKeyError {
    /// It is no PEM, or of something else.
    #[error(
        "must be one public key in PEM, as `openssl pkey -pubout` and `cosign public-key` write it"
    )]
    Form,
    /// It is a key of another sort.
    #[error("must be a key of ECDSA on P-256 or of Ed25519")]
    Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    P256,
    Edwards,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageKey {
    sort: Sort,
    bytes: Vec<u8>,
    id: String,
}

impl ImageKey {
    /// Reads one from PEM.
    pub fn from_pem(text: &str) -> Result<Self, ImageKeyError> {
        let found = pem::parse_many(text).map_err(|_| ImageKeyError::Form)?;
        let [block] = found.as_slice() else { return Err(ImageKeyError::Form) };
        if block.tag() != "PUBLIC KEY" {
            return Err(ImageKeyError::Form);
        }
        let info = block.contents();
        let id = hex::encode(Sha256::digest(info));
        let (sort, bytes, length) = if let Some(point) = info.strip_prefix(&P256) {
            (Sort::P256, point, 65)
        } else if let Some(key) = info.strip_prefix(&EDWARDS) {
            (Sort::Edwards, key, 32)
        } else {
            return Err(ImageKeyError::Sort);
        };
        if bytes.len() != length || (sort == Sort::P256 && bytes.first() != Some(&4)) {
            return Err(ImageKeyError::Sort);
        }
        Ok(Self { sort, bytes: bytes.to_vec(), id })
    }

    /// SHA-256 of its SubjectPublicKeyInfo, 64 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a signature of `message` is by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.sort {
            Sort::P256 => &ECDSA_P256_SHA256_ASN1,
            Sort::Edwards => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    #[test]
    fn keys_of_both_sorts_are_read_and_others_refused() {
        for sort in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
            let pem = KeyPair::generate_for(sort).unwrap().public_key_pem();
            let key = ImageKey::from_pem(&pem).unwrap();
            let der = pem::parse(&pem).unwrap().into_contents();
            assert_eq!(key.id(), hex::encode(Sha256::digest(&der)));
            assert_eq!(ImageKey::from_pem(&format!("{pem}{pem}")), Err(ImageKeyError::Form));
            assert_eq!(
                ImageKey::from_pem(&pem.replace("PUBLIC", "PRIVATE")),
                Err(ImageKeyError::Form)
            );
            let mut cut = der;
            cut.pop();
            let cut = pem::encode(&pem::Pem::new("PUBLIC KEY", cut));
            assert_eq!(ImageKey::from_pem(&cut), Err(ImageKeyError::Sort));
        }
        let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem();
        assert_eq!(ImageKey::from_pem(&other), Err(ImageKeyError::Sort));
        for none in ["", "x", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"] {
            assert_eq!(ImageKey::from_pem(none), Err(ImageKeyError::Form));
        }
    }
}
