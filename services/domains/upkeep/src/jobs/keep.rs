//! What is kept of finished jobs.

use skerry_model::{Id, Job, Resource, Timestamp};

/// Most finished jobs that are kept.
pub const MOST_KEPT: usize = 1000;
/// How long a finished job is kept, in days.
pub const KEPT_DAYS: i64 = 30;

/// The finished jobs to remove: those that are too old, and the oldest of those that are too many.
///
/// Age is told by the wall clock. One that jumps ahead costs history, nothing else.
pub fn outdated(jobs: &[Resource<Job>], now: Timestamp) -> Vec<Id<Job>> {
    let mut finished: Vec<_> = jobs.iter().filter(|job| job.status.state.is_final()).collect();
    finished.sort_by_key(|job| std::cmp::Reverse(job.status.finished.unwrap_or(job.meta.updated)));
    let oldest = now.as_second().saturating_sub(KEPT_DAYS * 24 * 3600);
    let too_old =
        |job: &Resource<Job>| job.status.finished.unwrap_or(job.meta.updated).as_second() < oldest;
    let old = finished.iter().take(MOST_KEPT).filter(|job| too_old(job));
    finished.iter().skip(MOST_KEPT).chain(old).map(|job| job.id()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_model::{JobSpec, JobState, JobStatus, Meta, Name, Owner, Phase};
    use uuid::Uuid;

    fn job(n: u32, state: JobState, finished: i64) -> Resource<Job> {
        let at = Timestamp::from_second(finished).unwrap();
        let meta = Meta {
            id: Uuid::from_u128(u128::from(n)),
            name: Name::new(format!("job-{n}")).unwrap(),
            labels: Default::default(),
            generation: 1,
            revision: 1,
            owner: Owner::System,
            phase: Phase::Present,
            finalizers: Vec::new(),
            created: at,
            updated: at,
        };
        let status =
            JobStatus { state, finished: state.is_final().then_some(at), ..JobStatus::default() };
        Resource { meta, spec: JobSpec::default(), status }
    }

    #[test]
    fn old_and_too_many_finished_jobs_go_and_no_other() {
        let day = 24 * 3600;
        let now = Timestamp::from_second(1000 * day).unwrap();
        let jobs = [
            job(1, JobState::Completed, 969 * day),
            job(2, JobState::Failed, 971 * day),
            job(3, JobState::Running, 1),
            job(4, JobState::Queued, 1),
        ];
        let gone: Vec<_> = outdated(&jobs, now).iter().map(|id| id.uuid().as_u128()).collect();
        assert_eq!(gone, [1]);
        let count = u32::try_from(MOST_KEPT).unwrap() + 2;
        let many: Vec<_> =
            (0..count).map(|n| job(n, JobState::Aborted, 999 * day + i64::from(n))).collect();
        let mut gone: Vec<_> = outdated(&many, now).iter().map(|id| id.uuid().as_u128()).collect();
        gone.sort_unstable();
        assert_eq!(gone, [0, 1]);
    }
}
