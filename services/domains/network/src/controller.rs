//! One ordered pass over all networks, ports and uplinks.
//!
//! It writes the status of networks and ports, and removes the records of ports whose workload is gone once
//! their parts are off the machine. It never waits for a link or a lease: uplinks live by themselves in the
//! driver.

use std::sync::Arc;

use async_trait::async_trait;
use skerry_engine::{Controller, ErrorClass, Failure, Key, Outcome};
use skerry_model::{Document, Kind, LocalRef, Network, Phase, Pod, Port, Resource, Timestamp};
use skerry_store::{Change, Store, StoreError, Transaction};
use uuid::Uuid;

use crate::apply::{Undone, apply_all};
use crate::names::namespace_name;
use crate::owner::{NetnsOwner, NetnsOwners};
use crate::status::{network_status, port_status, status_without_device};
use crate::{Desired, NetworkHost, NetworkStep, UplinkPolicy, desired, plan};

/// Held by networks until their bridge is gone and no port uses them.
pub const FINALIZER: &str = "network";

/// The one key of the pass: it is about everything, whatever woke it.
pub const PASS: Key = LocalRef { kind: Kind::Node, id: Uuid::nil() };

/// Brings the machine's networks to what the store says.
pub struct NetworkController {
    store: Store,
    host: Arc<dyn NetworkHost>,
    policy: UplinkPolicy,
    now: fn() -> Timestamp,
}

impl NetworkController {
    /// A controller over a store and a machine. `policy` says which cards are uplinks.
    pub fn new(
        store: Store,
        host: Arc<dyn NetworkHost>,
        policy: UplinkPolicy,
        now: fn() -> Timestamp,
    ) -> Self {
        Self { store, host, policy, now }
    }

    /// To be called before anything runs: takes back what the records say of ports whose devices are not on the
    /// machine, as after a boot of the node. Else workloads would be started before there is anything to start them on.
    ///
    /// # Errors
    /// When the machine cannot be looked at, or the store cannot be read or written.
    pub async fn prepare(&self) -> Result<(), Failure> {
        let observed = self.host.observe().await?;
        let mut tx = Transaction::new();
        for port in self.store.list::<Port>().map_err(store_failure)? {
            if let Some(status) = status_without_device(&port, &observed, (self.now)()) {
                tx.put_status(port.id(), status);
            }
        }
        if !tx.is_empty() {
            self.store.commit(tx).await.map_err(store_failure)?;
        }
        Ok(())
    }

    async fn pass(&self) -> Result<Vec<Undone>, Failure> {
        // Ports before workloads: a port is made in one transaction with its workload, so a port read
        // here without a workload is one whose workload has gone.
        let networks = self.store.list::<Network>().map_err(store_failure)?;
        let ports = self.store.list::<Port>().map_err(store_failure)?;
        let (live, dead): (Vec<_>, Vec<_>) =
            ports.into_iter().partition(|p| self.store.document(p.spec.workload).is_some());
        let observed = self.host.observe().await?;
        // After the look: the users of a pod that was just made are known by now, as a rule.
        let pods = self.store.list::<Pod>().map_err(store_failure)?;
        let owners: NetnsOwners =
            pods.iter().map(|pod| (pod.meta.id, NetnsOwner::of(pod))).collect();
        let wanted = desired(&networks, &live, &owners, &observed.nics, &self.policy);
        let undone = apply_all(&self.host, plan(&wanted, &observed)).await;
        let tx = self.report(&networks, &live, &dead, &wanted, &undone);
        if !tx.is_empty() {
            self.store.commit(tx).await.map_err(store_failure)?;
        }
        Ok(undone)
    }

    fn report(
        &self,
        networks: &[Resource<Network>],
        live: &[Resource<Port>],
        dead: &[Resource<Port>],
        wanted: &Desired,
        undone: &[Undone],
    ) -> Transaction {
        let now = (self.now)();
        let mut tx = Transaction::new();
        for network in networks {
            let status = network_status(network, wanted, undone, now);
            let gone = network.meta.phase == Phase::Removing && status.bridge.is_none();
            if gone && !undone.iter().any(|u| removes_network(&u.step)) {
                tx.drop_finalizer(network.id(), FINALIZER);
            } else if status != network.status {
                tx.put_status(network.id(), status);
            }
        }
        for port in live {
            let status = port_status(port, wanted, undone, now);
            if status != port.status {
                tx.put_status(port.id(), status);
            }
        }
        let left = |port: &&Resource<Port>| {
            let namespace = namespace_name(port.spec.workload.id);
            undone.iter().any(|u| {
                matches!(&u.step, NetworkStep::RemoveAttachment { namespace: of } if *of == namespace)
            })
        };
        for port in dead.iter().filter(|port| !left(port)) {
            tx.remove(port.id());
        }
        tx
    }
}

/// Whether a pod's namespace is to be somebody else's after a change of its record.
fn has_other_owner(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return false };
    let users = |document: &Arc<Document>| document.status.get("users").cloned();
    if before.spec == after.spec && users(before) == users(after) {
        return false;
    }
    let pod = |document: &Arc<Document>| document.to_resource::<Pod>().ok();
    pod(before).as_ref().map(NetnsOwner::of) != pod(after).as_ref().map(NetnsOwner::of)
}

const fn removes_network(step: &NetworkStep) -> bool {
    matches!(step, NetworkStep::RemoveBridge { .. } | NetworkStep::StopService { .. })
}

fn store_failure(error: StoreError) -> Failure {
    Failure::retry("the store could not be read or written").because(error)
}

/// The worst failure decides when the pass is tried again.
fn worst(undone: Vec<Undone>) -> Option<Failure> {
    let rank = |class| match class {
        ErrorClass::Retry => 0,
        ErrorClass::NeedsOperator => 1,
        ErrorClass::Bug => 2,
    };
    // A pass with anything that may heal by itself must come again soon, so that class wins.
    undone.into_iter().filter_map(|u| u.failure).min_by_key(|failure| rank(failure.class))
}

#[async_trait]
impl Controller for NetworkController {
    fn name(&self) -> &'static str {
        "network"
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Network, Kind::Port, Kind::Vm, Kind::Pod]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Network, Kind::Port]
    }

    /// Own writes of status must not wake the pass, nor the life of workloads, only their end and other users of a pod.
    fn keys(&self, change: &Change) -> Vec<Key> {
        let wanted = |document: &Arc<Document>| (document.spec.clone(), document.metadata.phase);
        let relevant = match change.subject.kind {
            Kind::Vm => change.after.is_none(),
            Kind::Pod => change.after.is_none() || has_other_owner(change),
            _ => change.before.as_ref().map(wanted) != change.after.as_ref().map(wanted),
        };
        if relevant { vec![PASS] } else { Vec::new() }
    }

    fn all_keys(&self) -> Vec<Key> {
        vec![PASS]
    }

    async fn reconcile(&self, _key: Key) -> Result<Outcome, Failure> {
        worst(self.pass().await?).map_or(Ok(Outcome::Done), Err)
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
