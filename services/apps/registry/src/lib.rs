//! Pulls container images from registries (OCI distribution specification 1.1, docker registry API 2).
//!
//! [`pull`] turns a reference into files in a folder, each named by its SHA-256 and checked against it while
//! it comes in. Everything that a registry sends is taken for hostile: bodies, lengths, redirects, challenges
//! and times have limits. It unpacks nothing, decides nothing about what is kept, and keeps no secret longer
//! than a pull.

mod blob;
mod challenge;
mod endpoint;
mod error;
mod limits;
mod pull;
mod session;
mod signatures;
mod tls;

pub use endpoint::{Credentials, Endpoint};
pub use error::{Class, RegistryError};
pub use limits::{Limits, Meter};
pub use pull::{Order, Pulled, pull};
pub use signatures::{MAX_SIGNATURES, Signature, Signatures};
