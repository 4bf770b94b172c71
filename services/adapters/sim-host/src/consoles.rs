//! Serial lines of simulated guests: each gives back what is typed, in capitals, and keeps it in its log. `off` and
//! Return turn the guest off.

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use skerry_compute::{GuestConnection, GuestConsoles, HypervisorError};
use skerry_model::{Id, Vm};
use tokio::sync::mpsc;

use crate::world::SimHost;

#[async_trait]
impl GuestConsoles for SimHost {
    async fn serial(&self, vm: Id<Vm>) -> Result<GuestConnection, HypervisorError> {
        let failed = |message| HypervisorError::Failed { call: "serial", vm, message };
        let up = self.step("Serial", |world| {
            world.domains.get(&vm).is_some_and(|domain| domain.power.is_up())
        });
        if !up.await.map_err(failed)? {
            return Err(failed("it does not run".to_owned()));
        }
        let (input, inputs) = mpsc::channel::<Vec<u8>>(4);
        let host = self.clone();
        let state = (host, inputs, Vec::new());
        let output = stream::unfold(state, move |(host, mut inputs, mut line)| async move {
            let Some(typed) = inputs.recv().await else { return std::future::pending().await };
            line.extend_from_slice(&typed);
            if line.ends_with(b"off\r") {
                host.guest_powers_off(vm);
                return None;
            }
            let shown = typed.to_ascii_uppercase();
            host.world().serial.entry(vm).or_default().extend_from_slice(&shown);
            Some((Ok(shown), (host, inputs, line)))
        });
        Ok(GuestConnection { input, output: output.boxed() })
    }

    async fn screen(&self, vm: Id<Vm>) -> Result<Option<GuestConnection>, HypervisorError> {
        self.look_at(vm).await
    }
}
