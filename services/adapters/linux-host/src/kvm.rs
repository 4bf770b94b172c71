//! Whether virtual machines can run on the processor itself.
//!
//! The device node alone says little: it exists on machines whose processor offers nothing, and guests then
//! hang in it.

use std::fs::OpenOptions;

use skerry_upkeep::KvmUnusable;

use crate::processors;
use crate::roots::Roots;

pub(crate) fn usable(roots: &Roots) -> Result<(), KvmUnusable> {
    let device = roots.dev.join("kvm");
    if !device.exists() {
        return Err(KvmUnusable::NoDevice { device });
    }
    let flags = processors::flags(roots);
    if !flags.iter().any(|flag| flag == "vmx" || flag == "svm") {
        return Err(KvmUnusable::NoFlag);
    }
    match OpenOptions::new().read(true).write(true).open(&device) {
        Ok(_) => Ok(()),
        Err(error) => Err(KvmUnusable::NotOpenable { device, reason: error.to_string() }),
    }
}
