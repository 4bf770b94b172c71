//! The devices of the node that a machine has: waited for before a start, and followed while it runs.

use std::time::Duration;

use skerry_engine::Failure;
use skerry_model::{Vm, VmState};

use super::Pass;
use crate::controller::store_failure;
use crate::devices::{holds, taken};
use crate::plan_devices;
use crate::report::Note;
use crate::sources::Missing;

/// How often it is looked whether a device was plugged in or pulled out: nobody tells.
pub const LOOK_FOR_DEVICES: Duration = Duration::from_secs(5);

impl Pass<'_> {
    /// The device without which it is not started: one that is not there, or that another machine has.
    pub(super) fn device_in_the_way(&self) -> Result<Option<Missing>, Failure> {
        let names = &self.vm.spec.host_devices;
        if names.is_empty() {
            return Ok(None);
        }
        let vms = self.controller.store.list::<Vm>().map_err(store_failure)?;
        let seen = self.controller.topology.devices();
        let other = taken(names, &vms, &seen, |vm| vm.id() != self.id() && holds(vm));
        if let Some(message) = other {
            return Ok(Some(Missing { reason: "DeviceInUse", message, on: None }));
        }
        Ok(self.missing_device.clone())
    }

    /// Gives a running guest what was plugged in, and takes from it what was pulled out or is not wanted any more.
    pub(super) async fn keep_devices(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let steps = plan_devices(wanted, observed);
        if steps.is_empty() {
            return;
        }
        if let Err(error) = self.apply(steps).await {
            let note = Note::of("DeviceNotChanged", &error);
            self.note = Some(Note { again: Some(LOOK_FOR_DEVICES), ..note });
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
    }

    /// Names what a running guest does not have since it was pulled out.
    pub(super) fn note_devices(&mut self) {
        let running = matches!(self.status.state, VmState::Running | VmState::Paused);
        if let Some(missing) = self.missing_device.as_ref().filter(|_| running)
            && self.note.is_none()
        {
            self.note = Some(Note::missing(missing));
        }
    }
}
