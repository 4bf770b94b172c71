//! A machine in memory, for the tests of this crate.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skerry_engine::Failure;
use tokio::sync::watch;

use crate::{NetworkHost, NetworkObserved, NetworkStep, ServiceObserved};

/// What a driver does to the machine, as far as a plan can see it.
pub fn carry_out(observed: &mut NetworkObserved, step: &NetworkStep) {
    match step {
        NetworkStep::StopService { bridge } => drop(observed.services.remove(bridge)),
        NetworkStep::RemoveAttachment { namespace } => {
            if let Some(Some(gone)) = observed.attachments.remove(namespace) {
                observed.veths.remove(&gone.device);
            }
        }
        NetworkStep::RemoveVeth { device } => drop(observed.veths.remove(device)),
        NetworkStep::RemoveBridge { bridge } => drop(observed.bridges.remove(bridge)),
        NetworkStep::ReleaseUplink { device } => {
            observed.nics.get_mut(device).unwrap().managed = false;
        }
        NetworkStep::LoadRules(rules) => observed.rules = Some(rules.mark.clone()),
        NetworkStep::EnableForwarding => observed.forwarding = true,
        NetworkStep::AnswerGuests => {
            assert!(observed.rules.is_some(), "rules must come before anything reachable");
            observed.metadata = true;
        }
        NetworkStep::ManageUplink { device } => {
            observed.nics.get_mut(device).unwrap().managed = true;
        }
        NetworkStep::EnsureBridge(bridge) => {
            observed.bridges.insert(bridge.name.clone(), Some(bridge.clone()));
        }
        NetworkStep::EnsureAttachment(wired) => {
            assert!(observed.bridges.contains_key(&wired.bridge), "the bridge must come first");
            assert!(observed.rules.is_some(), "rules must come before anything reachable");
            observed.veths.insert(wired.device.clone());
            observed.attachments.insert(wired.namespace.clone(), Some(wired.clone()));
        }
        NetworkStep::StartService { bridge, files } => {
            assert!(observed.bridges.contains_key(bridge), "the bridge must come first");
            let service = ServiceObserved { running: true, files: files.clone() };
            observed.services.insert(bridge.clone(), service);
        }
        NetworkStep::ReloadService { bridge, files } => {
            let service = observed.services.get_mut(bridge).expect("only what runs is reloaded");
            assert!(service.running);
            assert_eq!(service.files.config, files.config, "a reload does not read this file");
            service.files = files.clone();
        }
    }
}

/// Steps that fail.
type Forbidden = fn(&NetworkStep) -> bool;

/// A machine that carries out every step, except those that a test forbids.
#[derive(Clone)]
pub struct Machine {
    pub observed: Arc<Mutex<NetworkObserved>>,
    pub applied: Arc<Mutex<Vec<String>>>,
    pub broken: Arc<Mutex<Option<Forbidden>>>,
    changed: watch::Sender<u64>,
}

impl Machine {
    pub fn new() -> Self {
        Self {
            observed: Arc::default(),
            applied: Arc::default(),
            broken: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub fn take_applied(&self) -> Vec<String> {
        std::mem::take(&mut self.applied.lock().unwrap())
    }
}

#[async_trait]
impl NetworkHost for Machine {
    async fn observe(&self) -> Result<NetworkObserved, Failure> {
        Ok(self.observed.lock().unwrap().clone())
    }

    async fn apply(&self, step: &NetworkStep) -> Result<(), Failure> {
        if self.broken.lock().unwrap().is_some_and(|broken| broken(step)) {
            return Err(Failure::retry("the test forbids it"));
        }
        carry_out(&mut self.observed.lock().unwrap(), step);
        self.applied.lock().unwrap().push(step.summary());
        Ok(())
    }

    fn events(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
