//! What is done to a machine that runs: buttons pressed, and its memory put on disk.

use std::time::Duration;

use skerry_engine::Failure;
use skerry_model::{Vm, VmRequestKind};

use super::{Flow, Pass, failure};
use crate::controller::store_failure;
use crate::report::Note;
use crate::{Target, VmStep, pending, plan};

/// How often somebody may have asked, while memory is being written, that the machine is off at once.
const LISTEN_EVERY: Duration = Duration::from_secs(1);

impl Pass<'_> {
    /// Presses a button of the guest. Once: whether the guest obeys is its own affair.
    pub(super) async fn press(&mut self, step: VmStep) -> Result<(), Failure> {
        self.apply(vec![step]).await.map_err(failure)?;
        self.look().await
    }

    /// Puts its memory on disk. That takes as long as the disk needs, and a forced stop must not wait for
    /// it: then it is broken off, and the next event ends the process.
    pub(super) async fn keep_memory(&mut self) -> Result<Flow, Failure> {
        self.note = Some(Note::saving());
        self.commit().await?;
        let steps = plan(Target::Saved, None, self.observed.as_ref());
        let forced = {
            let save = self.apply(steps);
            tokio::pin!(save);
            loop {
                tokio::select! {
                    done = &mut save => {
                        done.map_err(failure)?;
                        break false;
                    }
                    () = tokio::time::sleep(LISTEN_EVERY) => {}
                }
                if self.is_forced()? {
                    break true;
                }
            }
        };
        if forced {
            self.request = Some(VmRequestKind::ForceStop);
            if let Some(fresh) =
                self.controller.store.get::<Vm>(self.id()).map_err(store_failure)?
            {
                self.vm.spec.power = fresh.spec.power;
                self.vm.spec.request = fresh.spec.request;
            }
        }
        self.look().await?;
        Ok(if forced { Flow::Wait } else { Flow::GoOn })
    }

    fn is_forced(&self) -> Result<bool, Failure> {
        let fresh = self.controller.store.get::<Vm>(self.id()).map_err(store_failure)?;
        let asked = fresh.and_then(|fresh| pending(&fresh.spec, &self.status));
        Ok(asked == Some(VmRequestKind::ForceStop))
    }
}
