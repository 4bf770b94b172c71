//! Network interfaces of a virtual machine: ports become plain data for the hypervisor, and the further ones that a
//! running guest has are brought to what is wanted. The first is there from the start to the end and never touched.

use serde::Serialize;
use skerry_model::{Binding, NicModel, Port, Resource, Vm, VmNicStatus};
use skerry_store::{Store, StoreError};

use crate::sources::Missing;
use crate::{DomainDefinition, DomainObserved, VmStep};

/// A network interface of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NicDefinition {
    /// Name of the tap device that the hypervisor makes, at most 15 characters.
    pub device: String,
    /// Bridge that the tap device is put on.
    pub bridge: String,
    /// Ethernet address that the guest sees.
    pub mac: String,
    /// What it is to the guest. Left out of the fingerprint if it is the usual one, as it was before it could be chosen.
    #[serde(skip_serializing_if = "NicModel::is_usual")]
    pub model: NicModel,
}

/// The ports that were made for a machine, in the order of its interfaces.
#[derive(Debug, Clone)]
pub struct Ports {
    /// That of its first interface.
    pub first: Option<Resource<Port>>,
    /// Those of its further interfaces, each with the place of the interface in the machine's own list.
    pub further: Vec<Option<Resource<Port>>>,
}

impl Ports {
    /// Those of this machine.
    pub fn of(store: &Store, vm: &Resource<Vm>) -> Result<Self, StoreError> {
        let workload = vm.local_ref();
        let mut own = store.list::<Port>()?;
        own.retain(|port| port.spec.workload == workload);
        let named = |name| own.iter().find(|port| port.spec.further.as_ref() == name).cloned();
        let further = vm.spec.nics.iter().map(|nic| named(Some(&nic.network))).collect();
        Ok(Self { first: named(None), further })
    }

    /// What the hypervisor is told of them, or what is missing.
    pub fn defined(&self, model: NicModel) -> Result<(NicDefinition, Vec<NicDefinition>), Missing> {
        let further: Result<_, _> =
            self.further.iter().map(|port| nic(port.as_ref(), model)).collect();
        Ok((nic(self.first.as_ref(), model)?, further?))
    }

    /// What people are told of the further ones, of which the running guest has some.
    pub fn shown(&self, observed: Option<&DomainObserved>) -> Vec<VmNicStatus> {
        let has = |mac: &str| observed.is_some_and(|seen| has_nic(seen, mac));
        let shown = |port: &Resource<Port>| {
            let plugged = has(&port.spec.mac);
            let network = port.spec.further.clone()?;
            let (mac, address) = (port.spec.mac.clone(), port.spec.address);
            Some(VmNicStatus { network, port: port.id(), mac, address, plugged })
        };
        self.further.iter().flatten().filter_map(shown).collect()
    }
}

fn nic(port: Option<&Resource<Port>>, model: NicModel) -> Result<NicDefinition, Missing> {
    let waiting = |message: String, on| Err(Missing { reason: "WaitingForPort", message, on });
    let Some(port) = port else { return waiting("has no port yet".to_owned(), None) };
    let of = match &port.spec.further {
        Some(network) => format!("port on `{network}`"),
        None => "port".to_owned(),
    };
    if !port.status.conditions.holds("Ready") {
        return waiting(format!("waits for its {of} to be ready"), Some(port.local_ref()));
    }
    match &port.status.binding {
        Some(Binding::Tap { device, bridge }) => Ok(NicDefinition {
            device: device.clone(),
            bridge: bridge.clone(),
            mac: port.spec.mac.clone(),
            model,
        }),
        _ => waiting(format!("its {of} has no tap device"), Some(port.local_ref())),
    }
}

fn has_nic(observed: &DomainObserved, mac: &str) -> bool {
    observed.nics.iter().any(|other| other.eq_ignore_ascii_case(mac))
}

/// The steps that bring the further interfaces of a running guest to what is wanted.
pub fn plan_nics(wanted: &DomainDefinition, observed: &DomainObserved) -> Vec<VmStep> {
    if !observed.power.is_up() {
        return Vec::new();
    }
    let vm = wanted.vm;
    // A guest that was started in another shape gets them at its next start.
    let fits = observed.live.as_ref().is_some_and(|live| wanted.fingerprint().same_but_hot(live));
    let is_wanted = |mac: &String| {
        let all = wanted.nics.iter().chain([&wanted.nic]);
        all.into_iter().any(|nic| nic.mac.eq_ignore_ascii_case(mac))
    };
    let gone = observed.nics.iter().filter(|mac| !is_wanted(mac));
    let come = wanted.nics.iter().filter(|nic| fits && !has_nic(observed, &nic.mac));
    gone.map(|mac| VmStep::RemoveNic { vm, mac: mac.clone() })
        .chain(come.map(|nic| VmStep::AddNic { vm, nic: nic.clone() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::OffReason;
    use crate::testing::{ModelHypervisor, definition};

    fn with(numbers: &BTreeSet<u8>) -> DomainDefinition {
        let nic = |number: &u8| NicDefinition {
            device: format!("skt{number}"),
            bridge: format!("skb{number}"),
            mac: format!("02:00:00:00:01:{number:02X}"),
            model: NicModel::Virtio,
        };
        DomainDefinition { nics: numbers.iter().map(nic).collect(), ..definition(1) }
    }

    fn runs(with: &DomainDefinition) -> ModelHypervisor {
        let mut hypervisor = ModelHypervisor::default();
        hypervisor.apply(&VmStep::Define(Box::new(with.clone())));
        hypervisor.apply(&VmStep::Start(with.vm));
        hypervisor
    }

    #[test]
    fn interfaces_are_no_part_of_what_is_fixed() {
        let none = definition(1).fingerprint();
        let one = with(&BTreeSet::from([1])).fingerprint();
        assert_ne!(one, none);
        assert_ne!(one, with(&BTreeSet::from([2])).fingerprint());
        assert!(one.same_but_hot(&none));
    }

    #[test]
    fn a_guest_of_another_shape_only_loses_them() {
        let before = with(&BTreeSet::from([1]));
        let mut after = with(&BTreeSet::from([2]));
        after.memory_mib *= 2;
        let hypervisor = runs(&before);
        let steps = plan_nics(&after, &hypervisor.look().unwrap());
        assert_eq!(steps.iter().map(VmStep::name).collect::<Vec<_>>(), ["detach interface"]);
    }

    proptest! {
        #[test]
        fn after_the_steps_there_are_none_and_the_first_stays(
            before in prop::collection::btree_set(0_u8..6, 0..5),
            after in prop::collection::btree_set(0_u8..6, 0..5),
        ) {
            let (before, after) = (with(&before), with(&after));
            let mut hypervisor = runs(&before);
            for step in plan_nics(&after, &hypervisor.look().unwrap()) {
                hypervisor.apply(&step);
            }
            let seen = hypervisor.look().unwrap();
            prop_assert_eq!(plan_nics(&after, &seen), []);
            prop_assert_eq!(seen.nics.len(), after.nics.len() + 1);
            prop_assert!(has_nic(&seen, &after.nic.mac));
            prop_assert!(hypervisor.wrong.is_empty(), "{:?}", hypervisor.wrong);
            hypervisor.end(OffReason::Shutdown);
            prop_assert_eq!(plan_nics(&before, &hypervisor.look().unwrap()), []);
        }
    }
}
