//! Live facts for the first screen of every face.

use std::net::IpAddr;

use skerry_ipc::{Answer, PeerRole, Refusal};
use skerry_model::{Alarm, Node as NodeKind, Pod, PodState, Severity, Vm, VmState};
use skerry_trust::Permission;
use skerry_upkeep::{AlarmCounts, Summary, WorkloadCounts};

use super::caller::Caller;
use super::json;
use super::refuse::{internal, store};
use crate::node::Node;
use crate::version;

/// The summary. The north side may always have it (without the claim code), to answer whether the node is claimed.
pub async fn summary(node: &Node, caller: &Caller) -> Result<Answer, Refusal> {
    if caller.peer != PeerRole::North || caller.principal.is_some() {
        caller.permit(Permission::Read)?;
    }
    let Some(own) = node.store.list::<NodeKind>().map_err(store)?.into_iter().next() else {
        return Err(internal("the store holds no node resource"));
    };
    let claim = node.claim.lock().await;
    let facts = node.machine.host.facts().await;
    let code = claim.code().filter(|_| caller.at_the_machine()).map(|code| code.display());
    json(&Summary {
        node_id: node.identity.node_id.to_string(),
        hostname: own.spec.hostname.to_string(),
        version: version::VERSION.to_owned(),
        build: version::BUILD.to_owned(),
        board: node.board.clone(),
        claimed: claim.code().is_none(),
        claim_code: code,
        urls: urls(&own.status.addresses),
        fingerprint: node.identity.fingerprint(),
        addresses: own.status.addresses,
        uptime_s: facts.uptime_s,
        memory: facts.memory,
        load1: facts.load.first().copied().unwrap_or_default(),
        cpus: facts.cpus,
        accelerator: own.status.accelerator,
        workloads: workloads(node)?,
        alarms: alarms(node)?,
        store_healthy: node.store.health().is_good(),
        ready: node.is_ready(),
    })
    .map(Answer::Document)
}

fn urls(addresses: &[skerry_model::NicAddress]) -> Vec<String> {
    addresses
        .iter()
        .filter_map(|found| match found.address {
            IpAddr::V4(address) => Some(format!("https://{address}/")),
            // A link-local IPv6 address needs a zone, which no browser accepts in a URL.
            IpAddr::V6(address) if address.is_unicast_link_local() => None,
            IpAddr::V6(address) => Some(format!("https://[{address}]/")),
        })
        .collect()
}

fn workloads(node: &Node) -> Result<WorkloadCounts, Refusal> {
    let vms = node.store.list::<Vm>().map_err(store)?;
    let pods = node.store.list::<Pod>().map_err(store)?;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(WorkloadCounts {
        vms: count(vms.len()),
        vms_running: count(vms.iter().filter(|v| v.status.state == VmState::Running).count()),
        pods: count(pods.len()),
        pods_running: count(pods.iter().filter(|p| p.status.state == PodState::Running).count()),
    })
}

fn alarms(node: &Node) -> Result<AlarmCounts, Refusal> {
    let mut counts = AlarmCounts::default();
    for alarm in node.store.list::<Alarm>().map_err(store)? {
        if alarm.status.cleared.is_some() {
            continue;
        }
        let slot = match alarm.spec.severity {
            Severity::Critical => &mut counts.critical,
            Severity::Major => &mut counts.major,
            Severity::Minor => &mut counts.minor,
            Severity::Warning => &mut counts.warning,
        };
        *slot = slot.saturating_add(1);
    }
    Ok(counts)
}
