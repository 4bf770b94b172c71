//! News from the machine, turned into wake-ups of the controllers.
//!
//! News say only that something may have changed; the pass that follows looks for itself. Missed news are made
//! up for by waking everything.

use std::sync::Arc;

use skerry_compute::HypervisorEvent;
use skerry_containers::RuntimeEvent;
use skerry_engine::EngineHandle;
use skerry_model::{Kind, LocalRef};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::Machine;
use crate::node_controller::NodeController;

/// Names of the controllers that the domains bring.
pub struct Names {
    /// Networks and ports.
    pub network: &'static str,
    /// Virtual machines.
    pub vms: &'static str,
    /// Pods.
    pub pods: &'static str,
}

/// Listens until cancelled. `probes` is what the pods' controller hears by itself.
pub fn listen(
    machine: &Machine,
    engine: &EngineHandle,
    names: Names,
    probes: broadcast::Receiver<RuntimeEvent>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let Names { network, vms, pods } = names;
    let until = |future| {
        let cancel = cancel.clone();
        // Dropping a listener at any point loses nothing: the process is ending.
        async move { cancel.run_until_cancelled(future).await }
    };
    tasks.spawn(until(boxed(network_news(Arc::clone(&machine.network), engine.clone(), network))));
    tasks.spawn(until(boxed(hypervisor_news(
        Arc::clone(&machine.hypervisor),
        engine.clone(),
        vms,
    ))));
    tasks.spawn(until(boxed(container_news(machine.containers.events(), engine.clone(), pods))));
    tasks.spawn(until(boxed(container_news(probes, engine.clone(), pods))));
}

type Listening = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn boxed(future: impl Future<Output = ()> + Send + 'static) -> Listening {
    Box::pin(future)
}

async fn network_news(
    host: Arc<dyn skerry_network::NetworkHost>,
    engine: EngineHandle,
    controller: &'static str,
) {
    let mut news = host.events();
    while news.changed().await.is_ok() {
        engine.wake_all(controller);
        engine.wake_all(NodeController::NAME);
    }
}

async fn hypervisor_news(
    hypervisor: Arc<dyn skerry_compute::Hypervisor>,
    engine: EngineHandle,
    controller: &'static str,
) {
    let mut news = hypervisor.events();
    loop {
        match news.recv().await {
            Ok(HypervisorEvent::Changed(vm)) => {
                engine.wake(controller, LocalRef { kind: Kind::Vm, id: vm.uuid() });
            }
            Ok(HypervisorEvent::Reconnected) | Err(RecvError::Lagged(_)) => {
                engine.wake_all(controller);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn container_news(
    mut news: broadcast::Receiver<RuntimeEvent>,
    engine: EngineHandle,
    controller: &'static str,
) {
    loop {
        match news.recv().await {
            Ok(RuntimeEvent::Pod(pod)) => {
                engine.wake(controller, LocalRef { kind: Kind::Pod, id: pod.uuid() });
            }
            Ok(RuntimeEvent::All) | Err(RecvError::Lagged(_)) => {
                engine.wake_all(controller);
            }
            Err(RecvError::Closed) => return,
        }
    }
}
