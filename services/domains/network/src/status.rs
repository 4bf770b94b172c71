//! Status of networks and ports after a pass.
//!
//! Pure. A port is `Ready` when its workload may start: the bridge and the rules are there, and for a pod its
//! namespace is wired, for a virtual machine its DHCP entry is loaded.

use skerry_model::{
    ConditionState, Conditions, Kind, Network, NetworkStatus, Port, PortStatus, Resource, Timestamp,
};

use crate::apply::Undone;
use crate::desired::{Desired, binding};
use crate::names::{bridge_name, namespace_name};
use crate::{NetworkObserved, NetworkStep};

const READY: &str = "Ready";
/// Why a port is not ready whose device has not been made yet, in this boot of the node or at all.
pub const NO_DEVICE: &str = "NoDevice";

/// The status of a network.
pub fn network_status(
    network: &Resource<Network>,
    desired: &Desired,
    undone: &[Undone],
    now: Timestamp,
) -> NetworkStatus {
    let mut status = network.status.clone();
    let bridge = bridge_name(network.id());
    let concerns = |step: &NetworkStep| match step {
        NetworkStep::EnsureAttachment(_) => false,
        NetworkStep::LoadRules(_) | NetworkStep::EnableForwarding => true,
        other => other.bridge() == Some(bridge.as_str()),
    };
    let left = undone.iter().find(|u| concerns(&u.step));
    let problem = desired.problems.get(&network.meta.id).map(|p| (p.reason, p.message.clone()));
    let trouble = problem.or_else(|| left.map(|u| ("StepFailed", u.message())));
    let up = "bridge, rules, DHCP and DNS are in place";
    set_ready(&mut status.conditions, trouble, up, now);
    status.observed_generation = network.meta.generation;
    status.bridge = desired.bridges.contains_key(&bridge).then_some(bridge);
    status
}

/// The status of a port.
pub fn port_status(
    port: &Resource<Port>,
    desired: &Desired,
    undone: &[Undone],
    now: Timestamp,
) -> PortStatus {
    let mut status = port.status.clone();
    let bridge = bridge_name(port.spec.network);
    let namespace = namespace_name(port.spec.workload.id);
    let pod = port.spec.workload.kind == Kind::Pod;
    let concerns = |step: &NetworkStep| match step {
        NetworkStep::LoadRules(_) => true,
        NetworkStep::EnsureBridge(wanted) => wanted.name == bridge,
        NetworkStep::EnsureAttachment(wanted) => pod && wanted.namespace == namespace,
        NetworkStep::StartService { bridge: of, .. }
        | NetworkStep::ReloadService { bridge: of, .. } => !pod && *of == bridge,
        _ => false,
    };
    let left = undone.iter().find(|u| concerns(&u.step));
    let problem = desired.problems.get(&port.meta.id).map(|p| (p.reason, p.message.clone()));
    let users = desired.attachments.get(&namespace).and_then(|wired| wired.users);
    status.binding = problem.is_none().then(|| binding(port, users));
    let trouble = problem.or_else(|| left.map(|u| ("StepFailed", u.message())));
    set_ready(&mut status.conditions, trouble, "the workload may start", now);
    status.observed_generation = port.meta.generation;
    status
}

/// What becomes of a port that was ready and whose device is not on the machine; nothing if it is there.
pub fn status_without_device(
    port: &Resource<Port>,
    observed: &NetworkObserved,
    now: Timestamp,
) -> Option<PortStatus> {
    let is_there = match port.spec.workload.kind {
        Kind::Pod => {
            let namespace = namespace_name(port.spec.workload.id);
            observed.attachments.get(&namespace).is_some_and(Option::is_some)
        }
        // The tap device comes and goes with the machine; what must be there is its bridge.
        _ => observed.bridges.get(&bridge_name(port.spec.network)).is_some_and(Option::is_some),
    };
    if is_there || !port.status.conditions.holds(READY) {
        return None;
    }
    let mut status = port.status.clone();
    let trouble = (NO_DEVICE, "its device is not on the machine yet".to_owned());
    set_ready(&mut status.conditions, Some(trouble), "", now);
    Some(status)
}

fn set_ready(
    conditions: &mut Conditions,
    trouble: Option<(&str, String)>,
    good: &str,
    now: Timestamp,
) {
    match trouble {
        Some((reason, message)) => {
            conditions.set(READY, ConditionState::False, reason, message, now);
        }
        None => conditions.set(READY, ConditionState::True, "Up", good, now),
    }
}
