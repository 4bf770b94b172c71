//! The start of a machine: admitted, written down, then done.

use skerry_engine::{ErrorClass, Failure};
use skerry_model::VmState;
use tokio::time::Instant;

use super::{Flow, Pass, failure};
use crate::controller::store_failure;
use crate::disks::at_work;
use crate::ledger::{Holding, charges};
use crate::report::{Note, TRY_AGAIN};
use crate::{Charge, DoesNotFit, Event, HypervisorError, Target, admit, plan};

impl Pass<'_> {
    /// Asks for the machine's share of the host; with it, the start is written down.
    pub(super) async fn admit_start(&mut self, to: VmState) -> Result<Flow, Failure> {
        if let Err(missing) = &self.definition {
            self.note = Some(Note::missing(missing));
            self.memory.next_try = Some(Instant::now() + TRY_AGAIN);
            return Ok(Flow::Wait);
        }
        if let Some(missing) = at_work(&self.controller.store, &self.vm).map_err(store_failure)? {
            self.note = Some(Note::missing(&missing));
            self.memory.next_try = Some(Instant::now() + TRY_AGAIN);
            return Ok(Flow::Wait);
        }
        let _turn = self.controller.admission.lock().await;
        if let Err(refused) = self.fits()? {
            self.note = Some(Note::refused(refused.to_string()));
            self.memory.next_try = Some(Instant::now() + TRY_AGAIN);
            return Ok(Flow::Wait);
        }
        self.memory.seen_up = false;
        self.settle_in(self.status.state, Event::Start, to);
        self.commit().await?;
        Ok(Flow::GoOn)
    }

    fn fits(&self) -> Result<Result<(), DoesNotFit>, Failure> {
        let Some(accelerator) = self.status.accelerator else { return Ok(Ok(())) };
        let own = Some(self.vm.local_ref());
        let held = charges(&self.controller.store, accelerator, Holding::Running, own)
            .map_err(store_failure)?;
        let charge = Charge::of_vm(&self.vm.spec, accelerator);
        Ok(admit(&self.controller.capacity, &held, &charge))
    }

    /// Whether a start has been written down and not yet been done.
    pub(super) fn start_is_open(&self) -> bool {
        self.status.state == VmState::Starting && !self.power().is_up()
    }

    pub(super) async fn start(&mut self) -> Result<Flow, Failure> {
        if let Some(error) = &self.define_error {
            let event = failed_start(error);
            self.note = Some(Note::of("StartFailed", error));
            return self.take(event).await;
        }
        let definition = match &self.definition {
            Ok(definition) => definition,
            Err(missing) => {
                self.note = Some(Note::missing(missing));
                return Ok(Flow::Wait);
            }
        };
        // Again, now that the start is written down: see `at_work`.
        if at_work(&self.controller.store, &self.vm).map_err(store_failure)?.is_some() {
            return self.take(Event::Withdrawn).await;
        }
        let steps = plan(Target::On, Some(definition), self.observed.as_ref());
        match self.apply(steps).await {
            Ok(()) => {
                self.look().await?;
                self.memory.seen_up = true;
                Ok(Flow::GoOn)
            }
            Err(
                error @ (HypervisorError::Unavailable { .. } | HypervisorError::TimedOut { .. }),
            ) => Err(failure(error)),
            Err(error) => {
                let event = failed_start(&error);
                self.note = Some(Note::of("StartFailed", &error));
                self.take(event).await
            }
        }
    }
}

fn failed_start(error: &HypervisorError) -> Event {
    match error.class() {
        ErrorClass::NeedsOperator => Event::StartRejected,
        ErrorClass::Retry | ErrorClass::Bug => Event::StartFailed,
    }
}
