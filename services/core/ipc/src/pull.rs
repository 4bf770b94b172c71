//! What the node daemon has the north side pull from registries, and what that tells of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A registry or a mirror, with its secrets. For the north side alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullEndpoint {
    /// Host, with the port if there is one.
    pub host: String,
    /// Without TLS.
    pub plain_http: bool,
    /// Certificates (PEM) to trust instead of the public ones.
    pub ca_pem: Option<String>,
    /// Name and password.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for PullEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullEndpoint").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Whether signatures are wanted with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullSignatures {
    /// They are not looked for.
    Ignore,
    /// They are brought along if there are any.
    Look,
    /// Without one the image need not be pulled.
    Require,
}

/// A signed document that was found beside an image. Whether it is good is for the daemon to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledSignature {
    /// The document.
    pub payload: Vec<u8>,
    /// The signature, in base64.
    pub signature: String,
}

/// An image to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullOrder {
    /// The job that wants it.
    pub job: Uuid,
    /// The image, as a complete reference.
    pub reference: String,
    /// Mirrors in their order, then the registry.
    pub endpoints: Vec<PullEndpoint>,
    /// The folder for its blobs, each named by its SHA-256.
    pub folder: String,
    /// Digests of blobs that need not be fetched.
    pub have: Vec<String>,
    /// Most bytes that may yet be written. What is in the folder takes none of them.
    pub limit: u64,
    /// Whether its signatures are wanted.
    pub signatures: PullSignatures,
}

/// How a pull stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullReport {
    /// So many bytes are there, of so many (0 if not known yet).
    Progress {
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// Bytes that are still to be written, if that is known.
        missing: Option<u64>,
    },
    /// Everything is in the folder.
    Done {
        /// SHA-256 of what the reference names: an index or a manifest.
        named: String,
        /// All blobs that were pulled or known, with their sizes: SHA-256 and bytes.
        blobs: Vec<(String, u64)>,
        /// Its signatures, if they were wanted.
        signatures: Vec<PulledSignature>,
    },
    /// It did not succeed.
    Failed {
        /// What happened, and what to do.
        detail: String,
        /// Whether trying again may help.
        retry: bool,
        /// Whether it waits for something outside, such as a network, so that any number of tries is right.
        wait: bool,
        /// It has no signature, and was to have one.
        unsigned: bool,
    },
}
