//! Session secrets. The node keeps only their SHA-256: 256 random bits need no slow hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What a client sends to prove that it holds a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from random bytes.
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(format!("sk1_{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text, to be told to the client once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The hash under which a secret is known, 64 hex digits.
pub fn hash_secret(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed_and_hash_stably() {
        let secret = Secret::from_random(&[3; 32]);
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert_eq!(hash_secret(secret.reveal()).len(), 64);
        assert_ne!(hash_secret("a"), hash_secret("b"));
    }
}
