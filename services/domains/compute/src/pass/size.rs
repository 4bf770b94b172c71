//! The size of a machine that runs: processors and memory are added where its definition leaves room for them.

use skerry_engine::Failure;
use skerry_model::ConditionState;

use super::Pass;
use crate::report::{Note, TRY_AGAIN};
use crate::{DomainDefinition, DomainObserved, VmStep, plan_size};

impl Pass<'_> {
    /// Gives a running guest the processors and memory that are wanted for it. What fails is tried again by a later
    /// pass; the guest runs on as it is.
    pub(super) async fn keep_size(&mut self) -> Result<(), Failure> {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else {
            return Ok(());
        };
        let mut steps = plan_size(wanted, observed);
        if steps.is_empty() {
            return Ok(());
        }
        let controller = self.controller;
        let _turn = controller.admission.lock().await;
        if let Some(mib) = steps.iter().find_map(memory_of) {
            match self.fits()? {
                // What it will have counts for others before it has it.
                Ok(()) => {
                    if let Some(size) = &mut self.status.running_size {
                        size.memory_mib = mib;
                    }
                    self.commit().await?;
                }
                Err(refused) => {
                    steps.retain(|step| memory_of(step).is_none());
                    let refused = Note::new("SizeNotChanged", refused.to_string());
                    self.note = Some(Note { again: Some(TRY_AGAIN), ..refused });
                }
            }
        }
        if let Err(error) = self.apply(steps).await {
            self.note = Some(Note::of("SizeNotChanged", &error));
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
        Ok(())
    }

    /// Whether the guest has another size than is wanted, which its definition does not tell.
    pub(super) fn size_differs(&self, wanted: &DomainDefinition) -> bool {
        let has = |what: fn(&DomainObserved) -> Option<u64>| self.observed.as_ref().and_then(what);
        let vcpus = has(|domain| domain.vcpus.map(u64::from));
        // One that was started with all that it may have has no room, and cannot tell.
        let started = self.status.running_size.map(|size| size.memory_mib);
        let memory = has(|domain| domain.memory.map(|memory| memory.given_mib)).or(started);
        let differs = |has: Option<u64>, wanted: u64| has.is_some_and(|has| has != wanted);
        (wanted.hardware.max_vcpus.is_some() && differs(vcpus, wanted.vcpus.into()))
            || (wanted.hardware.max_memory_mib.is_some() && differs(memory, wanted.memory_mib))
    }

    /// The condition `MemoryTaken`: there while the guest has not taken what it was given.
    pub(super) fn note_memory(&mut self) {
        let memory = self.observed.as_ref().and_then(|domain| domain.memory);
        let now = (self.controller.clock)();
        let conditions = &mut self.status.conditions;
        match memory.filter(|memory| memory.taken_mib < memory.given_mib) {
            Some(memory) => {
                let message = format!(
                    "its guest has taken {} of {} MiB of memory: it takes the rest once it has booted, if it has the driver virtio-mem",
                    memory.taken_mib, memory.given_mib
                );
                let state = ConditionState::False;
                conditions.set("MemoryTaken", state, "GuestHasNotTaken", message, now);
            }
            None => conditions.clear("MemoryTaken"),
        }
    }
}

fn memory_of(step: &VmStep) -> Option<u64> {
    match step {
        VmStep::SetMemory { mib, .. } => Some(*mib),
        _ => None,
    }
}
