//! The start of a machine: admitted, written down, then done.

use std::time::Duration;

use skerry_engine::{ErrorClass, Failure};
use skerry_model::{Autostart, CrashAction, Phase, Vm, VmState};
use tokio::time::Instant;

use super::devices::LOOK_FOR_DEVICES;
use super::{Flow, Pass, failure};
use crate::controller::store_failure;
use crate::disks::at_work;
use crate::ledger::{Holding, charges};
use crate::report::{Note, TRY_AGAIN};
use crate::turn::{self, Other};
use crate::{Charge, DoesNotFit, Event, HypervisorError, Target, admit, plan};

/// How often a machine that waits for its turn looks whether it has come.
const LOOK_AT_QUEUE: Duration = Duration::from_secs(1);

/// Nobody waits longer than this for others, whatever may have become of them.
const LONGEST_QUEUE: Duration = Duration::from_secs(300);

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
        if let Some(note) = self.turn()? {
            self.note = Some(note);
            return Ok(Flow::Wait);
        }
        if let Some(missing) = self.device_in_the_way()? {
            self.note = Some(Note { again: Some(LOOK_FOR_DEVICES), ..Note::missing(&missing) });
            self.memory.next_try = Some(Instant::now() + LOOK_FOR_DEVICES);
            return Ok(Flow::Wait);
        }
        if let Err(refused) = self.fits()? {
            self.note = Some(Note::refused(refused.to_string()));
            self.memory.next_try = Some(Instant::now() + TRY_AGAIN);
            return Ok(Flow::Wait);
        }
        if let Err(none) = self.find_place()? {
            self.note = Some(Note::no_place(&none));
            self.no_place = Some(none);
            self.memory.next_try = Some(Instant::now() + TRY_AGAIN);
            return Ok(Flow::Wait);
        }
        self.memory.seen_up = false;
        self.settle_in(self.status.state, Event::Start, to);
        self.commit().await?;
        Ok(Flow::GoOn)
    }

    /// After a boot of the node: whether it has to wait for its turn.
    fn turn(&mut self) -> Result<Option<Note>, Failure> {
        if self.boot.is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        let queued = now - *self.memory.queued_since.get_or_insert(now);
        let others = self.others()?;
        if let Some(why) =
            turn::wait(self.vm.spec.start_order, &others).filter(|_| queued < LONGEST_QUEUE)
        {
            return Ok(Some(Note::turn(why, LOOK_AT_QUEUE)));
        }
        let delay = Duration::from_secs(self.vm.spec.start_delay_s.into());
        let waited = now - *self.memory.turn_since.get_or_insert(now);
        let left = delay.saturating_sub(waited);
        let why = || format!("is started {} s after those before it", delay.as_secs());
        Ok((!left.is_zero()).then(|| Note::turn(why(), left)))
    }

    fn others(&self) -> Result<Vec<Other>, Failure> {
        let boot = self.controller.boot.as_ref();
        let all = self.controller.store.list::<Vm>().map_err(store_failure)?;
        let others = all.into_iter().filter(|vm| vm.id() != self.id());
        Ok(others
            .map(|vm| {
                let wanted = match vm.spec.autostart {
                    Autostart::LastState => vm.spec.power.is_on(),
                    Autostart::Always => true,
                    Autostart::Never => false,
                };
                let seen = vm.status.boot.is_none() || vm.status.boot.as_ref() == boot;
                Other {
                    name: vm.meta.name.to_string(),
                    order: vm.spec.start_order,
                    open: wanted && !seen && vm.meta.phase == Phase::Present,
                    starting: vm.status.state == VmState::Starting,
                }
            })
            .collect())
    }

    pub(super) fn fits(&self) -> Result<Result<(), DoesNotFit>, Failure> {
        let Some(accelerator) = self.status.accelerator else { return Ok(Ok(())) };
        let own = Some(self.vm.local_ref());
        let mut held = charges(&self.controller.store, accelerator, Holding::Running, own)
            .map_err(store_failure)?;
        held.extend(self.controller.unmanaged_charges());
        let charge = Charge::of_vm(&self.vm.spec, accelerator);
        Ok(admit(&self.controller.shared_capacity(&held, &charge), &held, &charge))
    }

    /// Whether a start has been written down and not yet been done.
    pub(super) fn start_is_open(&self) -> bool {
        self.status.state == VmState::Starting && !self.power().is_up()
    }

    pub(super) async fn start(&mut self) -> Result<Flow, Failure> {
        // Again, now that the start is written down: see `at_work`.
        if at_work(&self.controller.store, &self.vm).map_err(store_failure)?.is_some() {
            return self.take(Event::Withdrawn).await;
        }
        if let Some(error) = &self.define_error {
            let event = self.failed_start(error.class());
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
        let steps = plan(Target::On, Some(definition), self.observed.as_ref());
        if let Err(why) = self.set_functions().await? {
            self.note = Some(Note::new("FunctionNotSet", why));
            return self.take(self.failed_start(ErrorClass::Retry)).await;
        }
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
                let event = self.failed_start(error.class());
                self.note = Some(Note::of("StartFailed", &error));
                self.take(event).await
            }
        }
    }

    /// What follows from a start that failed: it counts as a crash, and the policy for those says what comes after it.
    fn failed_start(&self, class: ErrorClass) -> Event {
        match (self.on_crash(), class) {
            (CrashAction::Restart, ErrorClass::NeedsOperator) => Event::StartRejected,
            (CrashAction::Restart, ErrorClass::Retry | ErrorClass::Bug) => Event::StartFailed,
            (CrashAction::Alarm, _) => Event::CrashForGood,
            (CrashAction::Stop, _) => Event::CrashOff,
        }
    }
}
