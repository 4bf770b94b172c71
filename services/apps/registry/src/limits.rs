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
    /// Bytes that may yet be written: what is in the folder, or need not be fetched, takes none of them.
    pub room: u64,
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
            room: u64::MAX,
        }
    }
}

/// How far a pull is; can be read from elsewhere while it goes on.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
    missing: AtomicU64,
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

    /// Bytes that are still to be written; `None` until that is known.
    pub fn missing(&self) -> Option<u64> {
        (self.total() > 0).then(|| self.missing.load(Ordering::Relaxed))
    }

    /// An image of `total` bytes, of which so many are not there.
    pub(crate) fn expect(&self, total: u64, missing: u64) {
        self.missing.store(missing, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Bytes have come and are written.
    pub(crate) fn came(&self, bytes: u64) {
        self.add(bytes);
        self.missing.fetch_sub(bytes.min(self.missing.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Bytes that were written are to come again.
    pub(crate) fn lost(&self, bytes: u64) {
        self.missing.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that had come and turned out wrong.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes.min(self.done()), Ordering::Relaxed);
    }
}
