//! What cards are told of the virtual functions that a guest gets, before it starts.

use skerry_engine::Failure;
use skerry_model::PciGiven;

use super::Pass;
use crate::controller::store_failure;
use crate::ledger::Holding;
use crate::virtual_functions::cards;

impl Pass<'_> {
    /// Tells them. An error is for people to read; the start is tried again later.
    pub(super) async fn set_functions(&self) -> Result<Result<(), String>, Failure> {
        let given = self.status.placement.as_ref().map(|place| place.pci.as_slice());
        let given: &[PciGiven] = given.unwrap_or_default();
        if given.iter().all(|given| given.mac.is_none()) {
            return Ok(Ok(()));
        }
        let own = Some(self.vm.local_ref());
        let held = self.controller.pci_held(Holding::Running, own).map_err(store_failure)?;
        let cards = match cards(given, &held, &held.virtual_wishes) {
            Ok(cards) => cards,
            Err(why) => return Ok(Err(why)),
        };
        for card in cards {
            if let Err(error) = self.controller.topology.set_virtual(&card).await {
                return Ok(Err(error.to_string()));
            }
        }
        Ok(Ok(()))
    }
}
