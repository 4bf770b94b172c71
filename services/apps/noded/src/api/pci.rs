//! PCI functions: who may ask for them, and how they are listed.

use skerry_compute::{PciFunction, PciHeld, explain};
use skerry_ipc::Refusal;
use skerry_model::{VmPower, VmSpec};
use skerry_trust::Permission;
use skerry_upkeep::{PciPart, VirtualPart};

use super::caller::Caller;
use super::refuse::{store, wrong_field};
use crate::node::Node;

/// All functions with what becomes of them.
pub fn parts(node: &Node) -> Result<Vec<PciPart>, Refusal> {
    let held = node.vms.pci().map_err(store)?;
    Ok(held.functions.iter().map(|function| part(node, &held, function)).collect())
}

fn part(node: &Node, held: &PciHeld, function: &PciFunction) -> PciPart {
    let (can_be_given, why) = match explain(&held.functions, function) {
        Ok(mates) if mates.is_empty() => (true, "can be given to a virtual machine".to_owned()),
        Ok(mates) => {
            let mates: Vec<&str> = mates.iter().map(|mate| mate.address.as_str()).collect();
            let mates = mates.join(", ");
            (
                true,
                format!(
                    "can be given to a virtual machine, and {mates} of its IOMMU group with it"
                ),
            )
        }
        Err(why) => (false, why),
    };
    PciPart {
        pci_address: function.address.to_string(),
        class: function.class.clone(),
        vendor_id: function.vendor_id.clone(),
        device_id: function.device_id.clone(),
        vendor: function.vendor.clone(),
        model: function.model.clone(),
        driver: function.driver.clone(),
        iommu_group: function.iommu_group,
        virtual_function_of: function.parent.as_ref().map(ToString::to_string),
        numa_node: function.numa_node,
        virtual_functions: node.vms.describe_virtual(held, function).map(|message| VirtualPart {
            present: function.virtual_functions,
            most: function.most_virtual,
            message,
        }),
        can_be_given,
        why,
        vm: held.taken.get(&function.address).cloned(),
        groups: held.groups_of(function),
    }
}

/// Functions of the machine are for an admin to give away: whoever has one may do with its memory and its firmware what it
/// likes. To take them away is as much a change.
pub fn check_pci(caller: &Caller, spec: &VmSpec, before: Option<&VmSpec>) -> Result<(), Refusal> {
    if before.map_or(&[][..], |before| &before.pci) == spec.pci {
        return Ok(());
    }
    caller.permit(Permission::LoosenWorkloads).map_err(|refusal| {
        let detail = "only an admin may give PCI functions to a machine, or change which it has";
        Refusal::new(refusal.class, format!("{detail} (spec.pci)"))
    })
}

/// What such a function holds cannot be put on disk.
pub fn check_suspend(spec: &VmSpec, wanted: VmPower) -> Result<(), Refusal> {
    if wanted != VmPower::Suspended || spec.pci.is_empty() {
        return Ok(());
    }
    let message = "cannot be suspended while a machine has PCI functions of the node, whose state cannot be put on disk";
    Err(wrong_field("spec.power", message))
}
