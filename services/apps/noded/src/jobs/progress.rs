//! How far a job is: said by the operation as often as it likes, written down once a second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skerry_model::JobStatus;

/// Told by the operation, read by the runner. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    now: Arc<Mutex<Now>>,
}

#[derive(Debug, Clone, Default)]
struct Now {
    stage: String,
    message: String,
    percent: Option<u8>,
    bytes: Option<(u64, Option<u64>)>,
}

impl Progress {
    /// A new step begins, such as `convert`; counts of the last one are forgotten.
    pub fn stage(&self, stage: &str) {
        *self.now() = Now { stage: stage.to_owned(), ..Now::default() };
    }

    /// So many bytes are done, of so many if that is known. Gives the percentage too.
    pub fn bytes(&self, done: u64, total: Option<u64>) {
        let mut now = self.now();
        now.bytes = Some((done, total));
        let of = total.filter(|total| *total > 0);
        let part = of.map(|of| u128::from(done.min(of)) * 100 / u128::from(of));
        now.percent = part.and_then(|part| u8::try_from(part).ok());
    }

    /// How much is done, 0 to 100.
    pub fn percent(&self, percent: u8) {
        self.now().percent = Some(percent.min(100));
    }

    /// What it does just now, for people.
    pub fn message(&self, text: impl Into<String>) {
        self.now().message = text.into();
    }

    /// Bytes done so far.
    pub(super) fn done(&self) -> Option<u64> {
        self.now().bytes.map(|(done, _)| done)
    }

    /// Puts what was said into a status.
    pub(super) fn fill(&self, status: &mut JobStatus) {
        let now = self.now().clone();
        status.stage = now.stage;
        status.message = now.message;
        status.percent = now.percent;
        status.bytes_done = now.bytes.map(|(done, _)| done);
        status.bytes_total = now.bytes.and_then(|(_, total)| total);
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_give_the_percentage_and_a_stage_begins_anew() {
        let progress = Progress::default();
        let mut status = JobStatus::default();
        progress.stage("copy");
        for (done, total, percent) in [
            (0, Some(0), None),
            (1, None, None),
            (u64::MAX / 2, Some(u64::MAX), Some(49)),
            (7, Some(3), Some(100)),
        ] {
            progress.bytes(done, total);
            progress.fill(&mut status);
            assert_eq!((status.bytes_done, status.percent), (Some(done), percent));
        }
        progress.stage("check");
        progress.fill(&mut status);
        assert_eq!(
            (status.stage.as_str(), status.bytes_done, status.percent),
            ("check", None, None)
        );
    }
}
