//! The disks of a machine that runs.

use skerry_engine::Failure;
use skerry_model::VmState;

use super::Pass;
use crate::controller::store_failure;
use crate::disks::{held_for_snapshot, pools_of};
use crate::memory::{Memory, RETRY_WRITE};
use crate::report::Note;
use crate::{DomainObserved, DomainPower, Hold, plan_disks};

impl Pass<'_> {
    /// Attaches and detaches what can be while the guest runs. What fails is tried again by the next
    /// pass; the guest runs on as it is.
    pub(super) async fn keep_disks(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let steps = plan_disks(wanted, observed);
        if steps.is_empty() {
            return;
        }
        if let Err(error) = self.apply(steps).await {
            self.note = Some(Note::of("DiskNotChanged", &error));
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
    }

    /// Whether the guest has been held for a full pool for long enough, and all its pools have room again.
    pub(super) fn room(&self) -> bool {
        Memory::since(self.memory.held_since, RETRY_WRITE) && {
            let pools = pools_of(&self.controller.store, &self.vm).unwrap_or_default();
            !pools.is_empty() && pools.iter().all(|(_, room)| *room)
        }
    }

    /// What is said of a guest that the hypervisor holds since a write found no space.
    pub(super) fn note_io_pause(&mut self) {
        if self.status.state == VmState::Paused
            && self.power() == DomainPower::Paused(Hold::DiskFault)
        {
            let pools = pools_of(&self.controller.store, &self.vm).unwrap_or_default();
            let full: Vec<String> = pools
                .into_iter()
                .filter(|(_, room)| !room)
                .map(|(name, _)| name.to_string())
                .collect();
            self.note = Some(Note::io_paused(&full, RETRY_WRITE));
        }
    }

    /// A guest that storage holds for the moment of a snapshot counts as running: it is let go by whoever
    /// holds it, and must not be by anybody else.
    pub(super) fn without_snapshot_hold(
        &self,
        seen: Option<DomainObserved>,
    ) -> Result<Option<DomainObserved>, Failure> {
        let Some(mut domain) = seen else { return Ok(None) };
        if domain.power == DomainPower::Paused(Hold::Asked)
            && held_for_snapshot(&self.controller.store, &self.vm).map_err(store_failure)?
        {
            domain.power = DomainPower::Running;
        }
        Ok(Some(domain))
    }
}
