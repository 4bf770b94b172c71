//! The place on the machine of a guest that wants processors or huge pages for itself.
//!
//! Found when it starts, under the lock of all starts, and written down before the machine is touched.

use skerry_engine::Failure;
use skerry_model::{ConditionState, PciGiven, VmPlacement};

use super::Pass;
use crate::controller::store_failure;
use crate::ledger::{Holding, taken};
use crate::{HardwareDefinition, PciAsk, Wish, keep, place};

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlace {
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Pass<'_> {
    /// Finds a place, if it wants one, and puts it into the status and the definition.
    pub(super) fn find_place(&mut self) -> Result<Result<(), NoPlace>, Failure> {
        let mut found = match self.wanted_place()? {
            Ok(found) => found,
            Err(none) => return Ok(Err(none)),
        };
        let near = found.as_ref().map(|place| place.numa_nodes.clone()).unwrap_or_default();
        match self.wanted_pci(&near)? {
            Ok(pci) if pci.is_empty() => {}
            Ok(pci) => found.get_or_insert_default().pci = pci,
            Err(none) => return Ok(Err(none)),
        }
        if found != self.status.placement {
            let said = found.as_ref().map_or_else(|| "anywhere".to_owned(), shown);
            tracing::info!(kind = "Vm", id = %self.id(), place = said, "virtual machine placed");
        }
        if let Ok(definition) = &mut self.definition {
            definition.hardware = HardwareDefinition::of(&self.vm.spec, found.as_ref());
        }
        self.status.placement = found;
        Ok(Ok(()))
    }

    fn wanted_place(&self) -> Result<Result<Option<VmPlacement>, NoPlace>, Failure> {
        let saved = self.observed.as_ref().is_some_and(|domain| domain.saved);
        let former = self.status.placement.as_ref();
        let wish = Wish::of(&self.vm.spec);
        if wish.is_none() && !(saved && former.is_some()) {
            return Ok(Ok(None));
        }
        let topology = self.controller.topology.topology();
        let own = Some(self.vm.local_ref());
        let taken = taken(&self.controller.store, &topology, Holding::Running, own)
            .map_err(store_failure)?;
        if saved {
            // It goes on with the definition that its memory was put on disk with.
            let Some(former) = former else { return Ok(Ok(None)) };
            return Ok(match keep(&topology, &taken, former) {
                Some(same) => Ok(Some(same)),
                None => Err(NoPlace {
                    reason: "NotOnThisMachine",
                    message: format!(
                        "its memory on disk belongs to {}, which the machine does not have free now: \
                         give it back, or force it off and start it anew without that memory",
                        shown(former)
                    ),
                }),
            });
        }
        let Some(wish) = wish else { return Ok(Ok(None)) };
        let former = former.filter(|former| former.suits(&self.vm.spec));
        let found = place(&topology, &taken, &wish, former);
        Ok(found
            .map(Some)
            .map_err(|refused| NoPlace { reason: refused.reason(), message: refused.to_string() }))
    }

    /// Memory is not put on disk while there are any, so what it had last is no more than a preference.
    fn wanted_pci(&self, near: &[u32]) -> Result<Result<Vec<PciGiven>, NoPlace>, Failure> {
        let wishes = &self.vm.spec.pci;
        let saved = self.observed.as_ref().is_some_and(|domain| domain.saved);
        if wishes.is_empty() || saved {
            return Ok(Ok(Vec::new()));
        }
        let own = Some(self.vm.local_ref());
        let held = self.controller.pci_held(Holding::Running, own).map_err(store_failure)?;
        let former = self.status.placement.as_ref().map(|place| place.pci.as_slice());
        let (former, vm) = (former.unwrap_or_default(), Some(self.id()));
        let found = held.choose(&PciAsk { wishes, former, near, vm });
        Ok(found.map_err(|message| NoPlace { reason: "PciNotFree", message }))
    }

    /// The condition `Placed`. A machine that waits keeps what was found out when it was last tried.
    pub(super) fn note_place(&mut self) {
        let now = (self.controller.clock)();
        let up = self.observed.as_ref().is_some_and(|domain| domain.power.is_up());
        let wants_own = self.wants_own();
        let conditions = &mut self.status.conditions;
        match (&self.no_place, &self.status.placement) {
            (Some(none), _) => {
                let (state, message) = (ConditionState::False, none.message.clone());
                conditions.set("Placed", state, none.reason, message, now);
            }
            (None, Some(placement)) if up => {
                let message = format!("has {}", shown(placement));
                conditions.set("Placed", ConditionState::True, "Placed", message, now);
            }
            _ if up || !self.vm.spec.power.is_on() || !wants_own => {
                conditions.clear("Placed");
            }
            _ => {}
        }
    }
}

impl Pass<'_> {
    /// Whether anything of the machine is to be its own.
    fn wants_own(&self) -> bool {
        self.vm.spec.needs_placement() || !self.vm.spec.pci.is_empty()
    }
}

/// A placement for people.
fn shown(placement: &VmPlacement) -> String {
    let cpus = (!placement.cpus.is_empty()).then(|| format!("the CPUs {}", placement.reserved));
    let pages = placement
        .huge_pages
        .iter()
        .map(|pages| format!("{} huge pages of {}", pages.count, pages.size.shown()));
    let nodes: Vec<String> = placement.numa_nodes.iter().map(ToString::to_string).collect();
    let nodes = match nodes.as_slice() {
        [] => String::new(),
        [one] => format!(" of NUMA node {one}"),
        several => format!(" of the NUMA nodes {}", several.join(", ")),
    };
    let own = format!("{}{nodes}", cpus.into_iter().chain(pages).collect::<Vec<_>>().join(" and "));
    let pci: Vec<String> = placement.pci.iter().map(|given| shown_pci(given, placement)).collect();
    let pci = (!pci.is_empty()).then(|| format!("the PCI functions {}", pci.join(", ")));
    let parts: Vec<String> = [own].into_iter().filter(|own| !own.is_empty()).chain(pci).collect();
    parts.join(", and ")
}

/// A function for people, with what is not plain about it.
fn shown_pci(given: &PciGiven, placement: &VmPlacement) -> String {
    let mut more = Vec::new();
    more.extend(given.mac.map(|mac| format!("with the Ethernet address {mac}")));
    more.extend(given.vlan.map(|vlan| format!("in VLAN {vlan}")));
    let far = |node: &u32| !placement.numa_nodes.is_empty() && !placement.numa_nodes.contains(node);
    let far = given.numa_node.filter(far);
    more.extend(
        far.map(|node| format!("of NUMA node {node}, away from its processors and memory")),
    );
    match more.is_empty() {
        true => given.address.to_string(),
        false => format!("{} ({})", given.address, more.join(", ")),
    }
}
