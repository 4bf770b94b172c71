//! What guests are told when they ask for their data: to the service that answers them whole, to people without
//! user-data.
//!
//! A guest is known by its address alone, which is sound only while the packet rules hold everybody to the address
//! that was given to him: while a port is not ready, its guest is told nothing.

use std::net::Ipv4Addr;

use skerry_compute::metadata;
use skerry_ipc::{Answer, PeerRole, Refusal, RefusalClass};
use skerry_model::{GuestMetadata, Id, Kind, MetadataReport, Port, Resource, Vm};
use skerry_network::MTU;
use skerry_trust::Permission;

use super::caller::Caller;
use super::json;
use super::read::find;
use super::refuse::{self, internal};
use crate::node::Node;

/// For the service that answers guests: what the one with this address is told.
pub fn of_guest(node: &Node, caller: &Caller, address: Ipv4Addr) -> Result<Answer, Refusal> {
    let process = caller.principal.is_none();
    if !process || !matches!(caller.peer, PeerRole::Guests | PeerRole::Root) {
        let detail = "only the service that answers guests may ask for all of their data";
        return Err(Refusal::new(RefusalClass::Forbidden, detail));
    }
    let of = |port: &Resource<Port>| port.spec.address == address;
    match told(node, of)? {
        Some(told) => json(&told).map(Answer::Document),
        None => {
            Err(Refusal::new(RefusalClass::NotFound, "no guest with this address is told anything"))
        }
    }
}

/// For people: what the guest of this machine would be told now.
pub fn of_vm(node: &Node, caller: &Caller, key: &str) -> Result<Answer, Refusal> {
    caller.permit(Permission::Read)?;
    let vm = find(node, Kind::Vm, key)?.metadata.id;
    let told = told(node, |port| port.spec.workload.id == vm)?;
    json(&MetadataReport::of(told.as_ref())).map(Answer::Document)
}

fn told(
    node: &Node,
    of: impl Fn(&Resource<Port>) -> bool,
) -> Result<Option<GuestMetadata>, Refusal> {
    let mut ports = node.store.list::<Port>().map_err(refuse::store)?;
    ports.retain(|port| {
        port.spec.workload.kind == Kind::Vm && port.status.conditions.holds("Ready")
    });
    let Some(port) = ports.iter().find(|port| of(port)) else { return Ok(None) };
    let workload = port.spec.workload;
    let vm = node.store.get(Id::<Vm>::new(workload.id)).map_err(internal)?;
    ports.retain(|port| port.spec.workload == workload);
    Ok(vm.and_then(|vm| metadata(&vm, &ports, MTU)))
}
