//! Whether a connection is in use: whether bytes of answers move, and whether an answer is meant to last.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Duration, Instant};

/// Marks an answer that may go on for hours without a byte, such as a followed log. Only callers with a
/// session get one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasting;

/// Of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    since: Instant,
    used: AtomicBool,
    lasting: AtomicUsize,
    /// Milliseconds after `since`.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            used: AtomicBool::new(false),
            lasting: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// For how long nothing has moved; `None` while an answer is meant to last.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        if self.lasting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let last = self.last.load(Ordering::Acquire);
        Some(Duration::from_millis(self.now_ms().saturating_sub(last)))
    }

    /// Whether the head of a request has ever come.
    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Something moved.
    pub(super) fn moved(&self) {
        self.last.store(self.now_ms(), Ordering::Release);
    }

    /// A request came.
    pub(super) fn asked(&self) {
        self.used.store(true, Ordering::Release);
        self.moved();
    }
}

/// An answer's body that tells when its bytes move.
pub(super) struct Watched {
    body: Body,
    activity: Arc<Activity>,
    lasting: bool,
}

impl Watched {
    pub(super) fn new(body: Body, activity: Arc<Activity>, lasting: bool) -> Self {
        if lasting {
            activity.lasting.fetch_add(1, Ordering::AcqRel);
        }
        activity.moved();
        Self { body, activity, lasting }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.activity.moved();
        if self.lasting {
            self.activity.lasting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if next.is_ready() {
            self.activity.moved();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
