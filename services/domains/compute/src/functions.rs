//! The machine's PCI functions as the controller sees and changes them: who has which, and virtual ones that are made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use skerry_model::{LocalRef, PciAddress};
use skerry_store::StoreError;

use crate::ledger::{Holding, pci_taken};
use crate::virtual_functions::describe;
use crate::{
    PciFunction, PciGroups, PciHeld, VirtualPlan, VirtualReport, VirtualWish, VmController,
};

/// What the node's settings say of PCI functions, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct FunctionSettings {
    groups: PciGroups,
    wishes: Vec<VirtualWish>,
    /// What the machine said when virtual functions were to be made; shared with rehearsals.
    refused: Arc<Mutex<BTreeMap<PciAddress, String>>>,
}

impl FunctionSettings {
    /// With these groups, to which the virtual functions that are asked for belong, too.
    pub fn new(mut groups: PciGroups, wishes: Vec<VirtualWish>) -> Self {
        for wish in &wishes {
            let matches = groups.entry(wish.group.clone()).or_default();
            matches.push(crate::PciMatch::VirtualOf(wish.of.clone()));
        }
        Self { groups, wishes, refused: Arc::default() }
    }

    fn refused(&self, of: &PciAddress) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(of).cloned()
    }

    fn note(&self, of: &PciAddress, refused: Option<&str>) {
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused {
            Some(why) => drop(all.insert(of.clone(), why.to_owned())),
            None => drop(all.remove(of)),
        }
    }
}

impl VmController {
    /// With what the node's settings say of PCI functions.
    #[must_use]
    pub fn with_functions(mut self, functions: FunctionSettings) -> Self {
        self.functions = functions;
        self
    }

    /// The machine's PCI functions, and which of them virtual machines but one have.
    pub(crate) fn pci_held(
        &self,
        holding: Holding,
        except: Option<LocalRef>,
    ) -> Result<PciHeld, StoreError> {
        let FunctionSettings { groups, wishes, .. } = self.functions.clone();
        let functions = self.topology.pci();
        let held = PciHeld { functions, groups, virtual_wishes: wishes, ..PciHeld::default() };
        pci_taken(&self.store, held, holding, except)
    }

    /// The machine's PCI functions with the machines that have them, for people to see.
    pub fn pci(&self) -> Result<PciHeld, StoreError> {
        self.pci_held(Holding::Running, None)
    }

    /// What is said of the virtual functions that this one has or may have; nothing of one that cannot have any.
    pub fn describe_virtual(&self, held: &PciHeld, function: &PciFunction) -> Option<String> {
        let wish = self.functions.wishes.iter().find(|wish| wish.of == function.address);
        let refused = self.functions.refused(&function.address);
        let said = || describe(wish, function, held, refused.as_deref());
        (wish.is_some() || function.most_virtual > 0).then(said)
    }

    /// Makes the virtual functions that the settings ask for and that are not there, and says what became of each wish. No
    /// machine starts meanwhile.
    pub async fn keep_virtual(&self) -> Result<Vec<VirtualReport>, StoreError> {
        if self.functions.wishes.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.admission.lock().await;
        let mut reports = Vec::new();
        for wish in &self.functions.wishes {
            let held = self.pci_held(Holding::Running, None)?;
            let made = match wish.plan(&held) {
                Ok(VirtualPlan::Kept) => Ok(()),
                Ok(VirtualPlan::Make) if self.is_held() => {
                    Err("are not made now: the host is going down".to_owned())
                }
                Ok(VirtualPlan::Make) => self.make(wish).await,
                Err(why) => Err(why),
            };
            let (of, count) = (wish.of.clone(), wish.count);
            let message = match &made {
                Ok(()) => {
                    format!("{of} has {count} virtual functions, in the group `{}`", wish.group)
                }
                Err(why) => format!("{of} {why}"),
            };
            reports.push(VirtualReport { of, good: made.is_ok(), message });
        }
        Ok(reports)
    }

    async fn make(&self, wish: &VirtualWish) -> Result<(), String> {
        let (of, count) = (&wish.of, wish.count);
        let made = self.topology.make_virtual(of, count).await.map_err(|error| error.to_string());
        self.functions.note(of, made.as_ref().err().map(String::as_str));
        match &made {
            Ok(()) => tracing::info!(%of, count, "virtual functions made"),
            Err(why) => tracing::warn!(%of, count, why, "virtual functions could not be made"),
        }
        made
    }
}
