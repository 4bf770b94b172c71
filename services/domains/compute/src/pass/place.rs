//! The place on the machine of a guest that wants processors or huge pages for itself.
//!
//! Found when it starts, under the lock of all starts, and written down before the machine is touched.

use skerry_engine::Failure;
use skerry_model::{ConditionState, VmPlacement};

use super::Pass;
use crate::controller::store_failure;
use crate::ledger::{Holding, taken};
use crate::{HardwareDefinition, Wish, keep, place};

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
        let found = match self.wanted_place()? {
            Ok(found) => found,
            Err(none) => return Ok(Err(none)),
        };
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

    /// The condition `Placed`. A machine that waits keeps what was found out when it was last tried.
    pub(super) fn note_place(&mut self) {
        let now = (self.controller.clock)();
        let up = self.observed.as_ref().is_some_and(|domain| domain.power.is_up());
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
            _ if up || !self.vm.spec.power.is_on() || !self.vm.spec.needs_placement() => {
                conditions.clear("Placed");
            }
            _ => {}
        }
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
    format!("{}{nodes}", cpus.into_iter().chain(pages).collect::<Vec<_>>().join(" and "))
}
