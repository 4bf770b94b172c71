//! The deployment manager: what this node can run and how much of it.
//!
//! Capabilities use the label names of Node Feature Discovery, which SMOs of every kind know.

use serde_json::{Value, json};
use skerry_model::Accelerator;

use super::{Facts, pairs};
use crate::identity::Identities;
use crate::wire::{DeploymentManagerInfo, Pairs};

/// The profile name in identities and extensions.
const PROFILE: &str = "etsi_nfv";
const PREFIX: &str = "feature.node.kubernetes.io";

/// Flags that decide what a workload can use; the full list is with the processor.
const CPU_FLAGS: [&str; 8] = ["aes", "amx", "avx", "pclmulqdq", "sha_ni", "svm", "vaes", "vmx"];

pub(super) fn etsi(facts: &Facts, ids: &Identities, api_root: &str) -> DeploymentManagerInfo {
    DeploymentManagerInfo {
        deployment_manager_id: ids.manager(PROFILE),
        name: format!("{}-workloads", facts.summary.hostname),
        description: "Virtual machines and containers on this node".to_owned(),
        o_cloud_id: ids.cloud(),
        service_uri: api_root.to_owned(),
        supported_locations: vec![ids.location()],
        capabilities: capabilities(facts),
        capacity: capacity(facts),
        // Says openly which interface answers at `serviceUri`.
        extensions: Some(pairs(json!({ "profileName": PROFILE, "servedInterfaces": ["/api/v1"] }))),
    }
}

fn capabilities(facts: &Facts) -> Pairs {
    let (summary, inventory) = (&facts.summary, &facts.inventory);
    let mut labels = Pairs::new();
    let mut label = |name: &str, value: Value| labels.insert(format!("{PREFIX}/{name}"), value);
    if let Some(processor) = inventory.processors.first() {
        if let Some(vendor) = &processor.vendor {
            label("cpu-model.vendor_id", json!(vendor));
        }
        let flags = processor.flags.iter();
        for flag in flags.filter(|flag| CPU_FLAGS.iter().any(|known| flag.starts_with(known))) {
            label(&format!("cpu-cpuid.{}", flag.to_uppercase()), json!(true));
        }
        label("cpu-hardware_multithreading", json!(processor.threads > processor.cores));
    }
    label("memory-numa", json!(inventory.processors.len() > 1));
    let nics = &inventory.nics;
    label("network-sriov.capable", json!(nics.iter().any(|nic| nic.sriov_total > 0)));
    label("network-sriov.configured", json!(nics.iter().any(|nic| nic.sriov_configured > 0)));
    label("ptp-capable", json!(nics.iter().any(|nic| nic.ptp)));
    for card in &inventory.accelerators {
        let class: String = card.class.chars().take(4).collect();
        label(&format!("pci-{class}_{}.present", card.vendor_id), json!(true));
    }
    labels.insert("virtualMachines".to_owned(), json!(summary.accelerator.is_some()));
    labels.insert(
        "hardwareVirtualization".to_owned(),
        json!(summary.accelerator == Some(Accelerator::Kvm)),
    );
    labels.insert("containers".to_owned(), json!(true));
    labels
}

fn capacity(facts: &Facts) -> Pairs {
    let (summary, inventory) = (&facts.summary, &facts.inventory);
    let workloads = &summary.workloads;
    let storage: u64 = inventory.disks.iter().map(|disk| disk.size_bytes).sum();
    let mut capacity = pairs(json!({
        "cpus": summary.cpus,
        "memoryBytes": summary.memory.total,
        "memoryAvailableBytes": summary.memory.available,
        "storageBytes": storage,
        "virtualMachines": workloads.vms,
        "virtualMachinesRunning": workloads.vms_running,
        "pods": workloads.pods,
        "podsRunning": workloads.pods_running,
    }));
    for pages in &inventory.memory.huge_pages {
        capacity.insert(format!("hugePages{}KiB", pages.size_kib), json!(pages.total));
        capacity.insert(format!("hugePages{}KiBFree", pages.size_kib), json!(pages.free));
    }
    capacity
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_upkeep::{Inventory, Nic, Processor, Summary};

    #[test]
    fn labels_follow_the_machine() {
        let facts = Facts {
            summary: Summary { accelerator: Some(Accelerator::Emulation), ..Summary::default() },
            inventory: Inventory {
                processors: vec![Processor {
                    flags: vec!["avx2".into(), "fpu".into()],
                    cores: 1,
                    threads: 2,
                    ..Processor::default()
                }],
                nics: vec![Nic { sriov_total: 7, ..Nic::default() }],
                ..Inventory::default()
            },
        };
        let manager = etsi(&facts, &Identities::new("n"), "https://node");
        let has = |name: &str| manager.capabilities.get(&format!("{PREFIX}/{name}")).cloned();
        assert_eq!(has("cpu-cpuid.AVX2"), Some(json!(true)));
        assert_eq!(has("cpu-cpuid.FPU"), None);
        assert_eq!(has("network-sriov.capable"), Some(json!(true)));
        assert_eq!(has("network-sriov.configured"), Some(json!(false)));
        assert_eq!(manager.capabilities["hardwareVirtualization"], json!(false));
        assert_eq!(manager.supported_locations.len(), 1);
    }
}
