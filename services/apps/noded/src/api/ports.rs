//! The ports of workloads: made in one transaction with what they are for, changed with it, and taken away with an
//! interface. That of a workload that is gone is removed by the network controller.

use rand::RngCore;
use skerry_ipc::Refusal;
use skerry_model::{
    Id, Kind, LocalRef, Name, Network, NewResource, Owner, Phase, Pod, PodSpec, Port, PortSpec,
    Publish, Resource, Vm, VmSpec,
};
use skerry_network::{AllocateError, PortRequest, allocate_port};
use skerry_store::Transaction;

use super::refuse::{internal, not_found, store, wrong_field};
use super::workloads::draw_id;
use crate::node::Node;

/// A workload that is made or changed, and the ports that are there and stay.
struct Wiring<'a> {
    node: &'a Node,
    workload: LocalRef,
    name: &'a Name,
    ports: Vec<Resource<Port>>,
}

/// What an interface is to have.
struct Wanted<'a> {
    /// The field that names the network.
    field: String,
    network: &'a Name,
    is_first: bool,
    publish: &'a [Publish],
}

/// The ports of a new virtual machine.
pub fn create_for_vm(
    node: &Node,
    tx: &mut Transaction,
    id: Id<Vm>,
    name: &Name,
    spec: &VmSpec,
) -> Result<(), Refusal> {
    let workload = LocalRef { kind: Kind::Vm, id: id.uuid() };
    let mut wiring = Wiring::of(node, workload, name)?;
    wiring.create(tx, Wanted::first(&spec.network, &spec.publish))?;
    for index in 0..spec.nics.len() {
        wiring.create(tx, Wanted::further(spec, index)?)?;
    }
    Ok(())
}

/// The port of a new pod.
pub fn create_for_pod(
    node: &Node,
    tx: &mut Transaction,
    id: Id<Pod>,
    name: &Name,
    spec: &PodSpec,
) -> Result<(), Refusal> {
    let workload = LocalRef { kind: Kind::Pod, id: id.uuid() };
    Wiring::of(node, workload, name)?.create(tx, Wanted::first(&spec.network, &spec.publish))
}

/// Brings the ports of a virtual machine to another spec: an interface that stays keeps its port and addresses. One that
/// goes loses its port at once, and with it whatever reached the guest through it.
pub fn change_of_vm(
    node: &Node,
    tx: &mut Transaction,
    before: &Resource<Vm>,
    spec: &VmSpec,
) -> Result<(), Refusal> {
    republish(node, tx, before.local_ref(), &before.spec.publish, &spec.publish)?;
    if before.spec.nics == spec.nics {
        return Ok(());
    }
    let mut wiring = Wiring::of(node, before.local_ref(), &before.meta.name)?;
    let is_wanted = |port: &Resource<Port>| match &port.spec.further {
        Some(network) => spec.nics.iter().any(|nic| nic.network == *network),
        None => true,
    };
    let own = |port: &Resource<Port>| port.spec.workload == before.local_ref();
    for port in wiring.ports.extract_if(.., |port| own(port) && !is_wanted(port)) {
        tx.remove(port.id());
    }
    for (index, nic) in spec.nics.iter().enumerate() {
        let has = |port: &Resource<Port>| port.spec.further.as_ref() == Some(&nic.network);
        if !wiring.ports.iter().any(|port| own(port) && has(port)) {
            wiring.create(tx, Wanted::further(spec, index)?)?;
        }
    }
    Ok(())
}

/// Makes other ports of a workload reachable at the node's addresses.
pub fn republish(
    node: &Node,
    tx: &mut Transaction,
    workload: LocalRef,
    before: &[Publish],
    after: &[Publish],
) -> Result<(), Refusal> {
    if before == after {
        return Ok(());
    }
    let ports = node.store.list::<Port>().map_err(store)?;
    let first =
        |port: &Resource<Port>| port.spec.workload == workload && port.spec.further.is_none();
    let (own, others): (Vec<_>, Vec<_>) = ports.into_iter().partition(first);
    let Some(port) = own.into_iter().next() else {
        return Err(not_found(Kind::Port, "of this workload"));
    };
    let network = node.store.get(port.spec.network).map_err(store)?;
    let network = network.ok_or_else(|| internal("a port without its network"))?;
    let hostname = &port.spec.hostname;
    let request = PortRequest { workload, further: None, hostname, publish: after };
    allocate_port(&network, &others, request, 0)
        .map_err(|error| wrong_field(error.field(), error.to_string()))?;
    let spec = PortSpec { publish: after.to_vec(), ..port.spec.clone() };
    tx.put_spec(port.id(), None, spec);
    Ok(())
}

impl<'a> Wanted<'a> {
    fn first(network: &'a Name, publish: &'a [Publish]) -> Self {
        Self { field: "spec.network".to_owned(), network, is_first: true, publish }
    }

    fn further(spec: &'a VmSpec, index: usize) -> Result<Self, Refusal> {
        let nic = spec.nics.get(index).ok_or_else(|| internal("an interface that is not there"))?;
        let field = format!("spec.nics[{index}].network");
        Ok(Self { field, network: &nic.network, is_first: false, publish: &[] })
    }
}

impl<'a> Wiring<'a> {
    fn of(node: &'a Node, workload: LocalRef, name: &'a Name) -> Result<Self, Refusal> {
        let ports = node.store.list::<Port>().map_err(store)?;
        Ok(Self { node, workload, name, ports })
    }

    fn create(&mut self, tx: &mut Transaction, wanted: Wanted<'_>) -> Result<(), Refusal> {
        let Wanted { field, network, is_first, publish } = wanted;
        let Some(network) = self.node.store.find::<Network>(network).map_err(store)? else {
            return Err(wrong_field(&field, format!("there is no network `{network}`")));
        };
        if network.meta.phase == Phase::Removing {
            let message = format!("the network `{}` is being deleted", network.meta.name);
            return Err(wrong_field(&field, message));
        }
        let request = PortRequest {
            workload: self.workload,
            further: (!is_first).then_some(&network.meta.name),
            hostname: self.name.as_str(),
            publish,
        };
        let spec = allocate_port(&network, &self.ports, request, rand::rng().next_u64()).map_err(
            |error| match error {
                AllocateError::Full { .. } => wrong_field(&field, error.to_string()),
                _ => wrong_field(error.field(), error.to_string()),
            },
        )?;
        let id = draw_id::<Port>(self.node);
        let mut new = NewResource::new(id, self.port_name(id, is_first)?, spec);
        new.owner = Owner::System;
        tx.create(new);
        Ok(())
    }

    /// The workload's name with its kind; the id's first digits make it unique where the name had to be cut, and those of
    /// the port that of a further interface.
    fn port_name(&self, id: Id<Port>, is_first: bool) -> Result<Name, Refusal> {
        let cut = |length| {
            let cut: String = self.name.as_str().chars().take(length).collect();
            cut.trim_end_matches('-').to_owned()
        };
        let short = Id::<()>::new(self.workload.id).short();
        let kind = self.workload.kind.name().to_lowercase();
        let name = match is_first {
            true => format!("{}-{kind}-{short}", cut(45)),
            false => format!("{}-{kind}-{short}-{}", cut(36), id.short()),
        };
        Name::new(name).map_err(internal)
    }
}
