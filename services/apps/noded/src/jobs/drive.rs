//! One job from where it stands to its end: run, wait, undo, each state written down before its effects begin.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use skerry_engine::ErrorClass;
use skerry_model::{Id, Job, JobState, JobStatus, Resource};
use skerry_upkeep::{JobEvent, JobPace, job_retry_pause, next_job};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::operation::{JobContext, JobFailure, Operation};
use super::progress::Progress;
use super::runner::{Inner, Verdict};

/// Progress is written at most so often: each time is a write to the disk that is waited for.
const REPORT: Duration = Duration::from_secs(1);
/// How often undoing is tried, and how long each time.
const UNDO_TRIES: u32 = 3;
const UNDO_TIME: Duration = Duration::from_secs(120);

impl Inner {
    /// Takes care of one job until it is final or back in the queue.
    pub async fn drive(&self, job: Resource<Job>, abort: CancellationToken) {
        let Some(operation) = self.operation(&job.spec.operation) else {
            self.give_up(&job).await;
            return;
        };
        let context = JobContext {
            id: job.meta.id,
            subject: job.spec.subject,
            progress: Progress::default(),
            params: job.spec.params.clone(),
            stopped: CancellationToken::new(),
        };
        // However this future ends, what the operation does on threads of its own ends too.
        let _stop = context.stopped.clone().drop_guard();
        let state = match job.status.state {
            JobState::Queued | JobState::Waiting if job.spec.abort => {
                let change = |status: &mut JobStatus| describe(status, "Aborted", "aborted");
                self.step(&job, job.status.state, JobEvent::Abort, change).await
            }
            JobState::Queued => self.attempt(&job, operation.as_ref(), &context, &abort).await,
            state => Some(state),
        };
        if matches!(state, Some(JobState::Aborting | JobState::Undoing)) {
            context.stopped.cancel();
            self.undo(&job, state.unwrap_or_default(), operation.as_ref(), &context).await;
        }
    }

    /// One run, and the pause after it if it is to be tried again. Gives the state that it came to.
    async fn attempt(
        &self,
        job: &Resource<Job>,
        operation: &dyn Operation,
        context: &JobContext,
        abort: &CancellationToken,
    ) -> Option<JobState> {
        let (now, attempts) = ((self.now)(), job.status.attempts.saturating_add(1));
        let brings_in = operation.brings_in();
        let begin = |status: &mut JobStatus| {
            let started = status.started.or(Some(now));
            *status = JobStatus { started, attempts, ..JobStatus::default() };
        };
        self.step(job, JobState::Queued, JobEvent::Start, begin).await?;
        tracing::info!(job = %job.meta.name, attempts, "a job begins");
        let run = AssertUnwindSafe(operation.run(context)).catch_unwind();
        // Abort and deadline drop the run, which every operation must bear.
        let ended = tokio::select! {
            biased;
            () = abort.cancelled() => Ended::Aborted,
            () = self.expired(job) => Ended::Expired,
            result = run => result.unwrap_or_else(|_| Err(panicked())).into(),
            never = self.report(job.id(), &context.progress, brings_in) => match never {},
        };
        let waits = matches!(&ended, Ended::Badly(failure) if failure.waits);
        let verdict = if brings_in {
            self.came(job.meta.id, context.progress.done().unwrap_or(0));
            self.stumbled(job.meta.id, waits, operation.retries())
        } else {
            let again = waits || attempts <= operation.retries();
            Verdict { again, pause: job_retry_pause(attempts) }
        };
        let state = self.record(job, operation, &context.progress, ended, &verdict).await?;
        if state != JobState::Waiting {
            return Some(state);
        }
        self.leave_place(job.meta.id);
        let due = Instant::now() + verdict.pause;
        let (event, reason, text) = tokio::select! {
            biased;
            () = abort.cancelled() => (JobEvent::Abort, "Aborted", "aborted"),
            () = self.expired(job) => (JobEvent::Expired, "DeadlineOver", TOO_LONG),
            () = sleep_until(due) => (JobEvent::Due, "", ""),
            () = self.network_back(), if waits => (JobEvent::Due, "", ""),
        };
        let change = |status: &mut JobStatus| match event {
            JobEvent::Abort => describe(status, reason, text),
            JobEvent::Expired => {
                let before = std::mem::take(&mut status.message);
                describe(status, reason, &format!("{text}; the last failure: {before}"));
            }
            _ => {}
        };
        self.step(job, JobState::Waiting, event, change).await
    }

    /// Writes down how a run ended.
    async fn record(
        &self,
        job: &Resource<Job>,
        operation: &dyn Operation,
        progress: &Progress,
        ended: Ended,
        verdict: &Verdict,
    ) -> Option<JobState> {
        let event = match &ended {
            Ended::Well(_) => JobEvent::Done,
            Ended::Badly(failure) if failure.class == ErrorClass::Retry && verdict.again => {
                JobEvent::Stumbled
            }
            Ended::Badly(_) => JobEvent::Failed,
            Ended::Aborted => JobEvent::Abort,
            Ended::Expired => JobEvent::Expired,
        };
        let (reason, message) = match ended {
            Ended::Well(message) => ("", message),
            Ended::Badly(failure) if event == JobEvent::Stumbled => {
                let pause = verdict.pause.as_secs();
                let message = format!("{}; tried again in {pause} s", failure.message);
                (failure.reason, message)
            }
            Ended::Badly(failure) => (failure.reason, failure.message),
            Ended::Aborted => ("Aborted", "aborted".to_owned()),
            Ended::Expired => ("DeadlineOver", TOO_LONG.to_owned()),
        };
        tracing::info!(job = %job.meta.name, %event, reason, message, "a job's run ended");
        let (finished, retryable) = ((self.now)(), operation.retryable());
        self.step(job, JobState::Running, event, |status| {
            progress.fill(status);
            describe(status, reason, &message);
            match event {
                JobEvent::Done => {
                    status.percent = Some(100);
                    status.finished = Some(finished);
                }
                JobEvent::Failed | JobEvent::Expired => status.retryable = retryable,
                _ => {}
            }
        })
        .await
    }

    /// Undoes what was half done, and ends the job whatever comes of that.
    async fn undo(
        &self,
        job: &Resource<Job>,
        state: JobState,
        operation: &dyn Operation,
        context: &JobContext,
    ) {
        self.leave_place(job.meta.id);
        let mut left = None;
        for attempt in 1..=UNDO_TRIES {
            let undo = AssertUnwindSafe(operation.undo(context)).catch_unwind();
            left = match timeout(UNDO_TIME, undo).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(failure))) => Some(failure.message),
                Ok(Err(_)) => Some(panicked().message),
                Err(_) => Some("it took too long".to_owned()),
            };
            if left.is_none() || attempt == UNDO_TRIES {
                break;
            }
            sleep(job_retry_pause(attempt)).await;
        }
        let finished = (self.now)();
        let change = |status: &mut JobStatus| {
            status.finished = Some(finished);
            status.rate = None;
            if let Some(left) = &left {
                status.message.push_str("; what was half done could not be removed: ");
                status.message.push_str(left);
            }
        };
        self.step(job, state, JobEvent::Undone, change).await;
        self.forget(job.meta.id);
    }

    /// A job of an operation that this version does not know.
    async fn give_up(&self, job: &Resource<Job>) {
        let finished = (self.now)();
        let operation = &job.spec.operation;
        self.write(job.id(), |status| {
            let text = format!("this version of the node knows no operation `{operation}`");
            describe(status, "NoSuchOperation", &text);
            status.state = JobState::Failed;
            status.finished = Some(finished);
        })
        .await;
    }

    /// Goes to the state that follows an event, and writes it down. `None` if none follows.
    async fn step(
        &self,
        job: &Resource<Job>,
        from: JobState,
        event: JobEvent,
        change: impl FnOnce(&mut JobStatus),
    ) -> Option<JobState> {
        let (state, _) = match next_job(from, event) {
            Ok(next) => next,
            Err(refused) => {
                tracing::error!(job = %job.meta.name, %refused, "a fault in the running of jobs");
                return None;
            }
        };
        self.write(job.id(), |status| {
            change(status);
            status.state = state;
        })
        .await;
        if state.is_final() {
            self.forget(job.meta.id);
        }
        Some(state)
    }

    /// Writes progress for as long as it is polled. A write that is broken off comes before the next one or not
    /// at all.
    async fn report(
        &self,
        id: Id<Job>,
        progress: &Progress,
        brings_in: bool,
    ) -> std::convert::Infallible {
        let (zero, mut pace) = (Instant::now(), JobPace::default());
        let mut tick = interval(REPORT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if brings_in {
                self.came(id.uuid(), progress.done().unwrap_or(0));
            }
            let rate = progress.done().and_then(|done| pace.sample(zero.elapsed(), done));
            self.write(id, |status| {
                progress.fill(status);
                status.rate = rate;
            })
            .await;
        }
    }
}

const TOO_LONG: &str = "it took longer than it may";

/// How a run ended.
enum Ended {
    Well(String),
    Badly(JobFailure),
    Aborted,
    Expired,
}

impl From<Result<String, JobFailure>> for Ended {
    fn from(result: Result<String, JobFailure>) -> Self {
        match result {
            Ok(message) => Self::Well(message),
            Err(failure) => Self::Badly(failure),
        }
    }
}

fn describe(status: &mut JobStatus, reason: &str, message: &str) {
    reason.clone_into(&mut status.reason);
    message.clone_into(&mut status.message);
    status.rate = None;
}

fn panicked() -> JobFailure {
    JobFailure::bug("the operation broke off by a fault of the node; its log says why")
}
