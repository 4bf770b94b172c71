//! The disks of a machine that runs.

use skerry_engine::Failure;

use super::Pass;
use crate::controller::store_failure;
use crate::disks::held_for_snapshot;
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
