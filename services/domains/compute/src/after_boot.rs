//! What the records say of machines that the end of the last boot took with it.
//!
//! Until the first pass over a machine its record is of the boot before, and a person who looks, or a program that waits
//! for it to run, would be told of a process that is gone. Which boot a record is of stays as it is: what a boot makes of
//! a machine is for its pass.

use skerry_model::Vm;
use skerry_store::{StoreError, Transaction};

use crate::report::{Note, ready};
use crate::{Event, VmController, actions, next};

impl VmController {
    /// Takes it out of the records that machines run which ran before this boot. For before anybody can ask.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let Some(boot) = &self.boot else { return Ok(()) };
        let mut tx = Transaction::new();
        for vm in self.store.list::<Vm>()? {
            let mut status = vm.status.clone();
            if status.boot.as_ref().is_none_or(|known| known == boot) {
                continue;
            }
            status.pid = None;
            if let Ok((state, _)) = next(status.state, Event::HostBooted) {
                let note = Note::after(status.state, Event::HostBooted, vm.spec.power);
                status.state = state;
                status.running_size = None;
                ready(&mut status, &vm.spec, note.as_ref(), false, (self.clock)());
                status.actions = actions(vm.meta.phase, vm.spec.power, state);
            }
            if status != vm.status {
                tx.put_status(vm.id(), status);
            }
        }
        self.store.commit(tx).await.map(drop)
    }
}
