//! Container layers that mean harm, once for all tests: those of the unpacker on this machine, and those of a booted node.
//!
//! Everything is made byte by byte, so that it can be as wrong as wanted. What must come of a layer stands beside it as words of the
//! refusal, which are what people read. Nothing of this is in a program of the node.

// What makes tests ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod archive;
mod archives;
mod bombs;
mod harmful;
mod layer;

pub use archive::OciArchive;
pub use archives::{Liar, liars};
pub use bombs::{bombs, mispacked};
pub use harmful::{CANARY, harmful, longest_path, more_than, odd};
pub use layer::Layer;
use sha2::{Digest, Sha256};

/// How a layer's blob is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// The media type that says so.
    #[must_use]
    pub const fn media(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A layer that nobody may unpack.
#[derive(Debug, Clone)]
pub struct Harm {
    /// What it tries.
    pub what: &'static str,
    /// Its blob.
    pub blob: Vec<u8>,
    /// How that is packed, or is said to be.
    pub packing: Packing,
    /// Words of the refusal.
    pub says: &'static str,
}

impl Harm {
    /// A layer that is not packed.
    #[must_use]
    pub fn plain(what: &'static str, layer: Layer, says: &'static str) -> Self {
        Self { what, blob: layer.end(), packing: Packing::Plain, says }
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(&self.blob)
    }

    /// The same packed by gzip, as registries have layers; one that is not packed yet.
    #[must_use]
    pub fn gzipped(&self) -> Vec<u8> {
        bombs::gzip(&self.blob)
    }

    /// Put on top of an image. What it is unpacked is only named where it is not packed: no bomb is compared with it.
    #[must_use]
    pub fn on(&self, image: OciArchive) -> OciArchive {
        image.blob_layer(&self.blob, self.packing.media(), &self.digest())
    }
}

/// SHA-256 as hex digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
