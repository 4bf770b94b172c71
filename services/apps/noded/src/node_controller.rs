//! Keeps the node's own record true: host name, addresses, accelerator, virtual functions, health.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skerry_compute::{Acceleration, VmController};
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_faults::{Faults, FaultsError};
use skerry_model::{
    Accelerator, ConditionState, Conditions, Id, Kind, LocalRef, Node as NodeKind, NodeStatus,
    Resource, Timestamp, UnmanagedVm,
};
use skerry_store::{Change, Store, StoreError, Transaction};
use tokio::sync::watch;

use crate::node::Machine;

/// The condition that says whether the virtual functions are there that the settings ask for.
const VIRTUAL: &str = "VirtualFunctions";

/// The condition that says whether there are virtual machines of which no record speaks.
const UNMANAGED: &str = "UnmanagedVms";

/// Writes the node's status.
pub struct NodeController {
    store: Store,
    faults: Faults,
    machine: Machine,
    vms: Arc<VmController>,
    node: Id<NodeKind>,
    claimed: watch::Receiver<bool>,
    now: fn() -> Timestamp,
}

impl NodeController {
    /// Name, for wake-ups.
    pub const NAME: &'static str = "node";

    /// `claimed` tells whether the node has an admin.
    pub const fn new(
        store: Store,
        faults: Faults,
        machine: Machine,
        vms: Arc<VmController>,
        node: Id<NodeKind>,
        claimed: watch::Receiver<bool>,
        now: fn() -> Timestamp,
    ) -> Self {
        Self { store, faults, machine, vms, node, claimed, now }
    }

    const fn key(&self) -> Key {
        LocalRef { kind: Kind::Node, id: self.node.uuid() }
    }

    async fn report(&self, node: &Resource<NodeKind>) -> Result<Transaction, Failure> {
        let now = (self.now)();
        let mut status = node.status.clone();
        status.observed_generation = node.meta.generation;
        status.claimed = *self.claimed.borrow();
        if status.claimed && status.claimed_at.is_none() {
            status.claimed_at = Some(now);
        }
        status.addresses = self.machine.network.observe().await?.addresses();
        let connected = status.addresses.iter().any(|a| a.origin != "link-local");
        let (state, reason, text) = if connected {
            (ConditionState::True, "AddressPresent", "an uplink has an address")
        } else {
            (
                ConditionState::False,
                "NoAddress",
                "no uplink has more than a link-local address; workloads and the console are not affected",
            )
        };
        status.conditions.set("NetworkConnected", state, reason, text, now);
        let Acceleration { accelerator, why } = self.machine.hypervisor.acceleration().await;
        let (state, reason) = match accelerator {
            Accelerator::Kvm => (ConditionState::True, "Usable"),
            Accelerator::Emulation => (ConditionState::False, "Unusable"),
        };
        status.conditions.set("KvmUsable", state, reason, why, now);
        status.accelerator = Some(accelerator);
        self.note_virtual(&mut status.conditions).await?;
        self.note_unmanaged(&mut status).await;
        let mut tx = Transaction::new();
        tx.put_status(self.node, status);
        Ok(tx)
    }

    /// Has the virtual functions made that the settings ask for, and says whether they are there.
    async fn note_virtual(&self, conditions: &mut Conditions) -> Result<(), Failure> {
        let made = self.vms.keep_virtual().await.map_err(store_failure)?;
        if made.is_empty() {
            conditions.clear(VIRTUAL);
            return Ok(());
        }
        let good = made.iter().all(|report| report.good);
        let (state, reason) = match good {
            true => (ConditionState::True, "Made"),
            false => (ConditionState::False, "NotMade"),
        };
        let told = made.into_iter().filter(|report| report.good == good);
        let text = told.map(|report| report.message).collect::<Vec<_>>().join("; ");
        conditions.set(VIRTUAL, state, reason, text, (self.now)());
        Ok(())
    }

    /// Says which virtual machines there are without a record. If that cannot be seen, it stays as it was told.
    async fn note_unmanaged(&self, status: &mut NodeStatus) {
        match self.vms.look_for_unmanaged().await {
            Ok(Some(found)) => status.unmanaged_vms = found,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "machines without a record could not be looked for");
                return;
            }
        }
        let found = &status.unmanaged_vms;
        if found.is_empty() {
            status.conditions.clear(UNMANAGED);
            return;
        }
        let told: Vec<_> = found.iter().map(told_of).collect();
        let text = format!(
            "no record speaks of {}: import a checkpoint that does, or delete them by their ids; their disks stay",
            told.join(", ")
        );
        status.conditions.set(UNMANAGED, ConditionState::True, "NoRecord", text, (self.now)());
    }

    async fn name_host(&self, node: &Resource<NodeKind>) -> Result<(), Failure> {
        let facts = self.machine.host.facts().await;
        if facts.hostname == node.spec.hostname.as_str() {
            return Ok(());
        }
        let named = self.machine.host.set_hostname(&node.spec.hostname).await;
        named.map_err(|error| Failure::retry("the host name could not be set").because(error))
    }

    async fn alarms(&self, node: &Resource<NodeKind>) -> Result<(), FaultsError> {
        match node.status.conditions.get("KvmUsable") {
            Some(kvm) if kvm.state == ConditionState::False => {
                self.faults.raise("KVM_UNUSABLE", None, &kvm.message).await
            }
            Some(_) => self.faults.clear("KVM_UNUSABLE", None).await,
            None => Ok(()),
        }?;
        match node.status.conditions.get(UNMANAGED) {
            Some(found) => self.faults.raise("VMS_UNMANAGED", None, &found.message).await,
            None => self.faults.clear("VMS_UNMANAGED", None).await,
        }?;
        match node.status.conditions.get(VIRTUAL) {
            Some(made) if made.state == ConditionState::False => {
                self.faults.raise("VIRTUAL_FUNCTIONS_MISSING", None, &made.message).await
            }
            _ => self.faults.clear("VIRTUAL_FUNCTIONS_MISSING", None).await,
        }
    }
}

#[async_trait]
impl Controller for NodeController {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Node]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Node]
    }

    fn keys(&self, _change: &Change) -> Vec<Key> {
        vec![self.key()]
    }

    fn all_keys(&self) -> Vec<Key> {
        vec![self.key()]
    }

    fn resync(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn reconcile(&self, _key: Key) -> Result<Outcome, Failure> {
        let Some(node) = self.store.get(self.node).map_err(store_failure)? else {
            return Err(Failure::bug("the store holds no node resource"));
        };
        let tx = self.report(&node).await?;
        self.store.commit(tx).await.map_err(store_failure)?;
        let node = self.store.get(self.node).map_err(store_failure)?.unwrap_or(node);
        self.alarms(&node)
            .await
            .map_err(|error| Failure::retry("an alarm could not be recorded").because(error))?;
        // Last, so that a kernel that refuses the name hides nothing else.
        self.name_host(&node).await?;
        Ok(Outcome::Done)
    }
}

fn told_of(vm: &UnmanagedVm) -> String {
    match vm.running {
        true => format!("{} (runs, with {} MiB)", vm.id, vm.memory_mib),
        false => format!("{} (off)", vm.id),
    }
}

fn store_failure(error: StoreError) -> Failure {
    Failure::retry("the node's record could not be read or written").because(error)
}
