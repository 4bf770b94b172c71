//! Every alarm of the node, one row each.

use skerry_model::Severity;

/// How an alarm ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clearing {
    /// The node notices that the condition is over.
    Automatic,
    /// Somebody says so.
    Manual,
}

/// What an alarm means.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Key, stable for ever.
    pub key: &'static str,
    /// Severity it is raised with.
    pub severity: Severity,
    /// Probable cause, a code of O-RAN O2ims (WG6, infrastructure monitoring, standard probable causes).
    pub cause: &'static str,
    /// How it ends.
    pub clearing: Clearing,
    /// What it says, in one sentence.
    pub text: &'static str,
    /// What to do.
    pub repair: &'static str,
}

/// All alarms, ordered by key.
pub const CATALOGUE: &[Definition] = &[
    Definition {
        key: "CONTROLLER_FAULT",
        severity: Severity::Major,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "A part of the node keeps failing and needs attention.",
        repair: "Read the message with `skerry explain`; if it names nothing to change, send the node's log to support.",
    },
    Definition {
        key: "IMAGE_DAMAGED",
        severity: Severity::Major,
        cause: "STORAGE_BIT_ERROR",
        clearing: Clearing::Automatic,
        text: "The bytes of an image are not those that were recorded.",
        repair: "Delete and import the image again; for a built-in image, install the system image again.",
    },
    Definition {
        key: "KVM_UNUSABLE",
        severity: Severity::Warning,
        cause: "CPU_CONFIGURATION",
        clearing: Clearing::Automatic,
        text: "Virtual machines run by emulation, because the processor's virtualisation cannot be used.",
        repair: "Enable virtualisation (VT-x or AMD-V) in the firmware setup.",
    },
    Definition {
        key: "POD_CRASH_LOOP",
        severity: Severity::Major,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "A pod's container keeps ending and is started again ever more slowly.",
        repair: "Read its log; correct its image or command, or stop it.",
    },
    Definition {
        key: "POD_OOM",
        severity: Severity::Major,
        cause: "MEMORY_STATE",
        clearing: Clearing::Automatic,
        text: "A pod's container was killed because it went over its memory limit.",
        repair: "Give the container more memory, or find what uses it; the alarm ends after ten minutes without a kill.",
    },
    Definition {
        key: "POD_ROLLED_BACK",
        severity: Severity::Major,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "A new revision of a pod failed, and the last good one runs instead.",
        repair: "Read the reason in the pod's history, then change the pod again or go back to the revision that runs.",
    },
    Definition {
        key: "POOL_AWAY",
        severity: Severity::Major,
        cause: "STORAGE_PHYSICAL_DISK_STATE",
        clearing: Clearing::Automatic,
        text: "A storage pool cannot be used; volumes in it wait, and virtual machines with them are not started.",
        repair: "Read the pool's reason; put its disk back, or see whether the disk still works.",
    },
    Definition {
        key: "POOL_SPACE_CRITICAL",
        severity: Severity::Critical,
        cause: "STORAGE_CAPACITY",
        clearing: Clearing::Automatic,
        text: "At least 95 % of a storage pool is used; guests are held when it is full.",
        repair: "Delete volumes, snapshots or images that are not needed, or move workloads away.",
    },
    Definition {
        key: "POOL_SPACE_MAJOR",
        severity: Severity::Major,
        cause: "STORAGE_CAPACITY",
        clearing: Clearing::Automatic,
        text: "At least 90 % of a storage pool is used; new volumes and snapshots are refused.",
        repair: "Delete volumes, snapshots or images that are not needed.",
    },
    Definition {
        key: "POOL_SPACE_MINOR",
        severity: Severity::Minor,
        cause: "STORAGE_CAPACITY",
        clearing: Clearing::Automatic,
        text: "At least 80 % of a storage pool is used.",
        repair: "Look which volumes, snapshots and images are still needed.",
    },
    Definition {
        key: "SIGNATURE_FAILED",
        severity: Severity::Major,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "A container image has no signature that its registry's rule takes for good.",
        repair: "Find out who made the image. Have it signed by a key of the rule, or change the rule, and pull it again; or delete it.",
    },
    Definition {
        key: "STATE_ON_TEMPORARY_MEMORY",
        severity: Severity::Critical,
        cause: "STORAGE_PHYSICAL_DISK_STATE",
        clearing: Clearing::Automatic,
        text: "The state partition could not be mounted: what is changed now is lost at the next restart.",
        repair: "Look at the disk; restart the node; if that does not help, install again and import a checkpoint.",
    },
    Definition {
        key: "STORE_RECOVERED",
        severity: Severity::Major,
        cause: "STORAGE_BLOCK_ERROR",
        clearing: Clearing::Manual,
        text: "The store was damaged and has been brought back by the recovery ladder.",
        repair: "Compare the node's resources with what you expect, then clear the alarm; look at the disk's health.",
    },
    Definition {
        key: "UNMANAGED_FOUND",
        severity: Severity::Warning,
        cause: "STORAGE_VIRTUAL_DISK_STATE",
        clearing: Clearing::Automatic,
        text: "Volumes or snapshots lie in a storage pool though no record speaks of them.",
        repair: "Import a checkpoint that knows them; what is not wanted can stay without harm.",
    },
    Definition {
        key: "VIRTUAL_FUNCTIONS_MISSING",
        severity: Severity::Warning,
        cause: "NIC_CONFIGURATION",
        clearing: Clearing::Automatic,
        text: "A PCI function does not have the virtual functions that the node's settings ask for.",
        repair: "Read the message; correct `virtual_functions` in node.toml, or switch SR-IOV on in the firmware.",
    },
    Definition {
        key: "VMS_UNMANAGED",
        severity: Severity::Warning,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "There are virtual machines of which no record speaks.",
        repair: "Import a checkpoint that knows them, or delete them by the ids in the message (`skerry vm delete <id>`); their disks stay.",
    },
    Definition {
        key: "VM_CRASHED",
        severity: Severity::Major,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "A virtual machine crashed: its process ended though nobody asked for it, or its guest panicked.",
        repair: "Read its serial output. The alarm ends when it has run for a while, or is stopped.",
    },
    Definition {
        key: "VM_CRASH_LOOP",
        severity: Severity::Critical,
        cause: "HOST_OS_ERROR",
        clearing: Clearing::Automatic,
        text: "A virtual machine keeps crashing and is started again ever more slowly.",
        repair: "Read its serial output; correct its image, or stop it.",
    },
    Definition {
        key: "VM_IO_PAUSED",
        severity: Severity::Major,
        cause: "STORAGE_CAPACITY",
        clearing: Clearing::Automatic,
        text: "A virtual machine is held, since a write to its disk found no space.",
        repair: "Make room in the storage pool: delete snapshots, volumes or images. The machine then goes on by itself.",
    },
    Definition {
        key: "VOLUME_DAMAGED",
        severity: Severity::Major,
        cause: "STORAGE_BLOCK_ERROR",
        clearing: Clearing::Automatic,
        text: "The file of a volume is damaged; virtual machines do not start with it.",
        repair: "Make a new volume from its last snapshot, or delete it; look at the disk's health.",
    },
    Definition {
        key: "VOLUME_LOST",
        severity: Severity::Critical,
        cause: "STORAGE_VIRTUAL_DISK_STATE",
        clearing: Clearing::Automatic,
        text: "The file of a volume or snapshot is gone, though nobody asked for that.",
        repair: "Bring the file back, or delete the record.",
    },
    Definition {
        key: "WORKLOAD_REFUSED",
        severity: Severity::Major,
        cause: "CPU_CONFIGURATION",
        clearing: Clearing::Automatic,
        text: "A workload should run but does not fit on the node.",
        repair: "Stop another workload, make this one smaller, or stop it.",
    },
];

/// The row with this key.
pub fn definition(key: &str) -> Option<&'static Definition> {
    CATALOGUE.iter().find(|row| row.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_unique_and_rows_are_complete() {
        assert!(CATALOGUE.windows(2).all(|pair| pair[0].key < pair[1].key));
        for row in CATALOGUE {
            assert!(row.key.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{}", row.key);
            assert!(row.text.ends_with('.') && row.repair.ends_with('.'), "{}", row.key);
            assert!(!row.cause.is_empty());
        }
        assert!(definition("STORE_RECOVERED").is_some());
        assert!(definition("NOPE").is_none());
    }
}
