//! The disks of a machine that runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use skerry_engine::Failure;
use skerry_model::{Name, Resource, VmState, Volume};

use super::Pass;
use crate::controller::store_failure;
use crate::disks::{held_for_snapshot, pools_of};
use crate::memory::{Memory, RETRY_WRITE};
use crate::report::Note;
use crate::{DomainObserved, DomainPower, Hold, VmStep, plan_disks};

/// When a guest is looked at again that is to let go of a disk.
const LET_GO: Duration = Duration::from_secs(2);

impl Pass<'_> {
    /// Attaches and detaches what can be while the guest runs. What fails is tried again by the next
    /// pass; the guest runs on as it is.
    pub(super) async fn keep_disks(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let steps = plan_disks(wanted, observed);
        if steps.is_empty() {
            return;
        }
        // Whoever wants to work on a volume must see that it is about to be attached.
        let known = self.open_volumes().iter().all(|name| self.status.volumes.contains(name));
        if !known && self.commit().await.is_err() {
            return;
        }
        if let Err(error) = self.apply(steps).await {
            let note = Note::of("DiskNotChanged", &error);
            self.note = Some(Note { again: Some(LET_GO), ..note });
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
        self.note_kept_disk();
    }

    /// A guest that has not let go of a disk is looked at again soon: nobody else gets the volume until it has.
    fn note_kept_disk(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let kept = plan_disks(wanted, observed);
        if self.note.is_none() && kept.iter().any(|step| matches!(step, VmStep::Detach { .. })) {
            let note = Note::new("DiskNotChanged", "the guest has not let go of a disk yet");
            self.note = Some(Note { again: Some(LET_GO), ..note });
        }
    }

    /// Volumes that its process has or may get any moment. A guest that is to let go of a disk takes its time.
    pub(super) fn open_volumes(&self) -> Vec<Name> {
        let mut open = BTreeSet::new();
        let up = self.observed.as_ref().filter(|domain| domain.power.is_up());
        let may_be = matches!(self.status.state, VmState::Starting | VmState::Stopping);
        if self.status.state == VmState::Suspended {
            // Its memory goes on with what it had.
            open.extend(self.status.volumes.iter().cloned());
        } else if up.is_some() || may_be {
            open.extend(self.vm.spec.disks.iter().map(|disk| disk.volume.clone()));
        }
        let has = up.map(|domain| domain.disks.as_slice()).unwrap_or_default();
        let volumes = self.controller.store.list::<Volume>();
        // What cannot be asked is as it was.
        let Ok(volumes) = volumes else { return self.status.volumes.clone() };
        let held = |volume: &&Resource<Volume>| {
            let path = Path::new(&volume.status.path);
            has.iter().any(|disk| disk == path)
        };
        open.extend(volumes.iter().filter(held).map(|volume| volume.meta.name.clone()));
        open.into_iter().collect()
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
