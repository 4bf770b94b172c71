//! What the records say of containers that the end of the last boot took with it.
//!
//! Until the first pass over a pod its record is of the boot before, and a person who looks, or a program that waits for
//! it to run, would be told of processes that are gone. Which boot a record is of stays as it is: what a boot makes of a
//! pod is for its pass.

use skerry_model::{ConditionState, ContainerState, Pod, PodState};
use skerry_store::{StoreError, Transaction};

use crate::PodController;
use crate::status::READY;
use crate::turn::is_of_another_boot;

/// Why a pod that ran does not, as long as nobody has looked after it.
const WHY: &str = "the node was booted, and it has not been its turn yet";

impl PodController {
    /// Takes it out of the records that pods run which ran before this boot. For before anybody can ask.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let mut tx = Transaction::new();
        for pod in self.store.list::<Pod>()? {
            if !is_of_another_boot(&pod, self.boot.as_deref()) {
                continue;
            }
            let mut status = pod.status.clone();
            for container in status.containers.iter_mut().chain(&mut status.init) {
                container.pid = None;
                container.ready = false;
                if container.state == ContainerState::Running {
                    container.state = ContainerState::Waiting;
                }
            }
            if matches!(status.state, PodState::Running | PodState::Starting | PodState::Stopping) {
                status.state = PodState::Pending;
                WHY.clone_into(&mut status.reason);
                let now = (self.clock)();
                status.conditions.set(READY, ConditionState::False, "NodeBooted", WHY, now);
            }
            if status != pod.status {
                tx.put_status(pod.id(), status);
            }
        }
        self.store.commit(tx).await.map(drop)
    }
}
