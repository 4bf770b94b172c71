//! Jobs: long work that can be watched, aborted and retried, and that survives a restart of this service.
//!
//! Whatever may last longer than two seconds is an [`Operation`] and runs here. The rules (states, turns, what
//! is kept) are in `skerry_upkeep`; this module holds the jobs that are at work and writes down how far they
//! are. It must not know any operation.
//!
//! To add one:
//!
//! 1. Implement [`Operation`]: a name such as `volume.resize`, `run`, and `undo` if there is something to undo.
//!    `run` may be begun again from its start after a restart of the service or a power cut, so each of its
//!    steps first looks whether its effect is there already. It may be dropped at any `await` when the job is
//!    aborted or its deadline is over; what it has half done by then is `undo`'s to remove. What waits for something
//!    outside, such as a network, says so with [`JobFailure::waiting`].
//! 2. Register it in `Daemon::build`: `jobs.register(Arc::new(ResizeVolume::new(…)))`.
//! 3. Where the request is answered, commit the job together with what it is about:
//!    `tx.create(node.jobs.prepare("volume.resize", Some(subject), params)?)`. The runner sees it by itself.
//!
//! ```ignore
//! #[async_trait]
//! impl Operation for ResizeVolume {
//!     fn name(&self) -> &'static str {
//!         "volume.resize"
//!     }
//!     async fn run(&self, job: &JobContext) -> Result<String, JobFailure> {
//!         let wanted: Size = job.params()?;
//!         job.progress.stage("resize");
//!         self.disks.resize(wanted.bytes).await.map_err(|e| JobFailure::retry("DiskBusy", e.to_string()))?;
//!         Ok(format!("the volume has {} bytes", wanted.bytes))
//!     }
//! }
//! ```

mod drive;
mod operation;
mod progress;
mod runner;

#[cfg(test)]
mod tests;

pub use operation::{JobContext, JobFailure, Operation};
pub use progress::Progress;
pub use runner::{JobError, Jobs};
