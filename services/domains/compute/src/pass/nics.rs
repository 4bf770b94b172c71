//! The further network interfaces of a machine that runs.

use std::time::Duration;

use super::Pass;
use crate::report::{Note, TRY_AGAIN};
use crate::{VmStep, plan_nics};

/// When a guest is looked at again that is to let go of an interface.
const LET_GO: Duration = Duration::from_secs(2);

impl Pass<'_> {
    /// Gives and takes interfaces while the guest runs. What fails is tried again by the next pass; the guest runs on as
    /// it is. Of one that is to go nothing gets through any more, since its port has gone.
    pub(super) async fn keep_nics(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let steps = plan_nics(wanted, observed);
        if steps.is_empty() {
            return;
        }
        let goes = steps.iter().any(|step| matches!(step, VmStep::RemoveNic { .. }));
        if let Err(error) = self.apply(steps).await {
            let note = Note::of("InterfaceNotChanged", &error);
            let again = if goes { LET_GO } else { TRY_AGAIN };
            self.note = Some(Note { again: Some(again), ..note });
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
        self.note_kept_nic();
    }

    fn note_kept_nic(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let kept = plan_nics(wanted, observed);
        if self.note.is_none() && kept.iter().any(|step| matches!(step, VmStep::RemoveNic { .. })) {
            let message = "the guest has not let go of a network interface yet";
            let note = Note::new("InterfaceNotChanged", message);
            self.note = Some(Note { again: Some(LET_GO), ..note });
        }
    }

    /// What people see of the further interfaces.
    pub(super) fn show_nics(&mut self) {
        if let Some(ports) = &self.ports {
            self.status.nics = ports.shown(self.observed.as_ref());
        }
    }
}
