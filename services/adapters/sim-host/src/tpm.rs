//! TPMs of simulated guests: each keeps how often it has been used, which outlives power.

use skerry_model::{Id, Vm};

use crate::world::SimHost;

impl SimHost {
    /// How often a machine was started with its TPM, as the TPM remembers it.
    pub fn tpm_uses(&self, vm: Id<Vm>) -> Option<u32> {
        self.world().tpms.get(&vm).copied()
    }

    /// How many snapshots hold a machine's TPM.
    pub fn kept_tpms(&self, vm: Id<Vm>) -> usize {
        self.world().kept_tpms.keys().filter(|(other, _)| *other == vm).count()
    }
}
