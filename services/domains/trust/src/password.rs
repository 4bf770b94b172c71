//! Passwords: rules, and argon2id (RFC 9106) with the parameters 19 MiB, two passes, one lane.
//!
//! Hashing takes tens of milliseconds and 19 MiB; callers run it one at a time, off the async threads.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password that cannot be used, or a hash that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("the password has {found} characters; it needs 10 to 128")]
    Length {
        /// Its length.
        found: usize,
    },
    /// Easy to guess.
    #[error("the password is the account name or one character repeated; choose another")]
    Guessable,
    /// The hash function refused.
    #[error("the password could not be hashed: {reason}")]
    Hash {
        /// What it said.
        reason: String,
    },
}

/// Checks a new password: length and plain guesses, no rules about kinds of characters (NIST SP 800-63B 5.1.1).
pub fn check_password_rules(username: &str, password: &str) -> Result<(), PasswordError> {
    let found = password.chars().count();
    if !(10..=128).contains(&found) {
        return Err(PasswordError::Length { found });
    }
    let first = password.chars().next();
    if password.eq_ignore_ascii_case(username) || password.chars().all(|c| Some(c) == first) {
        return Err(PasswordError::Guessable);
    }
    Ok(())
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| PasswordError::Hash { reason: error.to_string() })?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash of a password with this salt, in PHC text form.
pub fn hash_password(password: &str, salt: &[u8; 16]) -> Result<String, PasswordError> {
    let failed =
        |error: argon2::password_hash::Error| PasswordError::Hash { reason: error.to_string() };
    let salt = SaltString::encode_b64(salt).map_err(failed)?;
    Ok(hasher()?.hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether a password belongs to a hash. A hash that cannot be read matches nothing.
pub fn verify_password(password: &str, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    hasher().is_ok_and(|argon| argon.verify_password(password.as_bytes(), &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let hash = hash_password("correct horse", &[1; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify_password("correct horse", &hash));
        assert!(!verify_password("correct horsf", &hash));
        assert!(!verify_password("correct horse", "not a hash"));
        assert!(!verify_password("", ""));
    }

    #[test]
    fn short_long_and_plain_passwords_are_refused() {
        assert_eq!(check_password_rules("ada", "ten chars!"), Ok(()));
        assert!(check_password_rules("ada", "short").is_err());
        assert!(check_password_rules("ada", &"x".repeat(129)).is_err());
        assert_eq!(check_password_rules("ada", "aaaaaaaaaaaa"), Err(PasswordError::Guessable));
        assert_eq!(
            check_password_rules("administrator", "Administrator"),
            Err(PasswordError::Guessable)
        );
    }
}
