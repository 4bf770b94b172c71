//! How much and how long, and how far a pull is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Limits of a pull.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until an answer begins, and between any two pieces of it.
    pub idle: Duration,
    /// For a whole manifest or token.
    pub document: Duration,
    /// The first pause after a failure; it doubles each time.
    pub pause: Duration,
    /// Failures in a row without any progress until a blob is given up.
    pub attempts: u32,
    /// Blobs at once.
    pub parallel: usize,
    /// Bytes of a whole image.
    pub image: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            document: Duration::from_secs(60),
            pause: Duration::from_secs(1),
            attempts: 5,
            parallel: 3,
            image: 32 << 30,
        }
    }
}

/// How far a pull is; can be read from elsewhere while it goes on.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// Bytes that are there.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes in all; 0 until that is known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that had come and turned out wrong.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes.min(self.done()), Ordering::Relaxed);
    }
}
