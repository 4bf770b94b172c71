//! Who this node is, and who may do what on it.
//!
//! Node identity (id, own certificate authority, server certificate), the claim code that sets the
//! first admin, passwords, session secrets, roles, rate limits, and whether an image is signed by a trusted key. Everything here is pure: random bytes
//! and the monotonic time come from the caller, and nothing is read or written. Secrets must never
//! appear in a `Debug` or `Display` form.

mod access;
mod claim;
mod identity;
mod image_key;
mod image_signature;
mod limit;
mod password;
mod token;

pub use access::{Permission, may};
pub use claim::ClaimCode;
pub use identity::{Identity, IdentityError, fingerprint};
pub use image_key::{ImageKey, ImageKeyError};
pub use image_signature::{SignatureFault, SignedClaim, verify_image};
pub use limit::{Limiter, TooMany};
pub use password::{PasswordError, check_password_rules, hash_password, verify_password};
pub use token::{Secret, hash_secret};
