//! Whether the machine can hold a workload, with the numbers.
//!
//! Pure: capacity, what is held already and the request come in; agreement or every shortage comes
//! out. Callers ask when a workload is made or changed (against what is wanted to run) and again when
//! it starts (against what does run).
//!
//! # The memory that a virtual machine costs
//!
//! A guest is charged its memory and an overhead for QEMU itself. Measured with QEMU 10.0 under libvirt
//! 11.3, q35, no display, no disks, one virtio interface, emulation with a translation cache of 32 MiB:
//! a resident set of 92 MiB beyond the guest's memory. The translation cache is part of that and is counted by itself, so
//! about 60 MiB remain under KVM, which could not be measured. The usual allowance of 192 MiB + 1 % + 8 MiB
//! a processor is meant for guests with disks, display and a gigabyte or more; on a node of 1 GiB it
//! would turn away guests that fit. So the fixed part grows with the guest: 64 MiB and an eighth of its
//! memory, at most 192 MiB in all. It stays half as much again above what was measured. A display and a TPM cost their
//! own memory on top.

use std::fmt;

use skerry_model::{Accelerator, Container, Graphics, PodSpec, VmPlacement, VmSpec};

use crate::Topology;

/// Translation cache that emulated guests get, in MiB. QEMU's own default is 1 GiB. The boot of Linux fills 60 MiB; with
/// half of that it is translated twice and takes half as long again.
pub const TRANSLATION_CACHE_MIB: u64 = 64;

/// Memory of a guest's display in MiB: enough for 2560 by 1600 points.
pub const DISPLAY_MIB: u64 = 16;

/// Memory of a guest's TPM in MiB: the program that emulates it. Allowed for, not measured.
pub const TPM_MIB: u64 = 16;

/// Memory for each PCI function that a guest has for itself, in MiB: the tables by which it reaches the guest's memory.
/// Allowed for, not measured.
pub const PCI_MIB: u64 = 32;

/// Virtual processors given out for each processor that is not kept for the node.
const CPU_RATIO: u32 = 4;

/// What the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Memory in MiB, as the kernel counts it.
    pub memory_mib: u64,
    /// Logical processors.
    pub cpus: u32,
}

impl Capacity {
    /// Memory kept for the node itself: 512 MiB on machines of up to 4 GiB, 1 GiB on larger ones.
    pub const fn reserve_mib(&self) -> u64 {
        if self.memory_mib <= 4096 { 512 } else { 1024 }
    }

    /// Memory for workloads.
    pub const fn workload_mib(&self) -> u64 {
        self.memory_mib.saturating_sub(self.reserve_mib())
    }

    /// What is left to be shared on this machine: neither its huge pages, nor the processors on which the kernel puts
    /// nothing, nor, where there are none of those, the ones that guests have for themselves.
    #[must_use]
    pub fn shared(&self, topology: &Topology, dedicated: u32) -> Self {
        let isolated = u32::try_from(topology.isolated().len()).unwrap_or(u32::MAX);
        let gone = if isolated > 0 { isolated } else { dedicated };
        Self {
            memory_mib: self.memory_mib.saturating_sub(topology.huge_mib()),
            cpus: self.cpus.saturating_sub(gone).max(1),
        }
    }

    /// Virtual processors for workloads. One processor is kept for the node, if there is another.
    pub fn workload_vcpus(&self) -> u32 {
        self.cpus.saturating_sub(1).max(1).saturating_mul(CPU_RATIO)
    }
}

/// What one workload costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Memory of the workload itself, in MiB.
    pub memory_mib: u64,
    /// Memory of what runs it, in MiB.
    pub overhead_mib: u64,
    /// Virtual processors that share the machine's with others.
    pub vcpus: u32,
    /// Processors of the machine that are its own.
    pub dedicated: u32,
}

impl Charge {
    /// What a virtual machine costs.
    pub fn of_vm(spec: &VmSpec, accelerator: Accelerator) -> Self {
        let display = if spec.graphics == Graphics::Vnc { DISPLAY_MIB } else { 0 };
        let tpm = if spec.tpm { TPM_MIB } else { 0 };
        let overhead = overhead_mib(spec.memory_mib, spec.vcpus, accelerator);
        let pci = PCI_MIB.saturating_mul(u64::try_from(spec.pci.len()).unwrap_or(u64::MAX));
        let own = spec.has_dedicated_cpus();
        Self {
            // Huge pages are set aside already, and counted by themselves.
            memory_mib: if spec.huge_pages.is_some() { 0 } else { spec.memory_mib },
            overhead_mib: overhead.saturating_add(display).saturating_add(tpm).saturating_add(pci),
            vcpus: if own { 0 } else { spec.vcpus },
            dedicated: if own { spec.vcpus } else { 0 },
        }
    }

    /// The same for one that runs with this placement, whatever is wanted of its next start.
    #[must_use]
    pub fn placed(self, spec: &VmSpec, placement: Option<&VmPlacement>) -> Self {
        let own = placement.filter(|place| !place.cpus.is_empty());
        let huge = placement.is_some_and(|place| !place.huge_pages.is_empty());
        Self {
            memory_mib: if huge { 0 } else { spec.memory_mib },
            vcpus: if own.is_some() { 0 } else { spec.vcpus },
            dedicated: own
                .map_or(0, |place| u32::try_from(place.reserved.len()).unwrap_or(u32::MAX)),
            ..self
        }
    }

    /// What a pod costs: what its containers ask for, or the largest of those that run before them, one at a
    /// time, if that is more. Its processors are shared and not counted.
    pub fn of_pod(spec: &PodSpec) -> Self {
        let together = spec.containers.iter().map(Container::memory_taken_mib);
        let before = spec.init.iter().map(Container::memory_taken_mib).max().unwrap_or(0);
        let memory_mib = together.fold(0, u64::saturating_add).max(before);
        Self { memory_mib, ..Self::default() }
    }

    /// All the memory it costs.
    pub const fn total_mib(&self) -> u64 {
        self.memory_mib.saturating_add(self.overhead_mib)
    }
}

/// What QEMU takes beside the guest's memory, in MiB.
pub fn overhead_mib(memory_mib: u64, vcpus: u32, accelerator: Accelerator) -> u64 {
    let fixed = 64_u64.saturating_add(memory_mib / 8).min(192);
    let cache = match accelerator {
        Accelerator::Kvm => 0,
        Accelerator::Emulation => TRANSLATION_CACHE_MIB,
    };
    let share = memory_mib.div_ceil(100);
    fixed + cache + share + 8 * u64::from(vcpus)
}

/// Something of which there is not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Of what: `memory`, `processors`, or `processors of one machine`.
    pub resource: &'static str,
    /// Unit of the numbers; empty for plain counts.
    pub unit: &'static str,
    /// Asked for, overhead included.
    pub requested: u64,
    /// Free for workloads.
    pub free: u64,
    /// In all for workloads.
    pub total: u64,
    /// The largest value of the workload's own setting that would fit now.
    pub largest_possible: u64,
}

/// A workload that the machine cannot hold, with everything that is short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DoesNotFit {
    /// Every shortage.
    pub shortages: Vec<Shortage>,
    /// The overhead that is part of the memory asked for, in MiB.
    pub overhead_mib: u64,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("does not fit on this node")?;
        for (index, short) in self.shortages.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; " })?;
            let unit =
                if short.unit.is_empty() { String::new() } else { format!(" {}", short.unit) };
            write!(f, "{}: {}{unit} needed", short.resource, short.requested)?;
            if short.resource == "memory" && self.overhead_mib > 0 {
                write!(f, " (of which {} MiB are overhead)", self.overhead_mib)?;
            }
            write!(f, ", {} of {}{unit} free", short.free, short.total)?;
            write!(f, ", at most {}{unit} would fit", short.largest_possible)?;
        }
        f.write_str("; ask for less, or stop another workload")
    }
}

/// Whether a workload fits beside what is held already.
pub fn admit(capacity: &Capacity, held: &[Charge], request: &Charge) -> Result<(), DoesNotFit> {
    let mut shortages = Vec::new();
    let total = capacity.workload_mib();
    let used = held.iter().map(Charge::total_mib).fold(0, u64::saturating_add);
    let free = total.saturating_sub(used);
    if request.total_mib() > free {
        shortages.push(Shortage {
            resource: "memory",
            unit: "MiB",
            requested: request.total_mib(),
            free,
            total,
            largest_possible: largest_memory(free, request),
        });
    }
    let total = capacity.workload_vcpus();
    let used = held.iter().map(|charge| charge.vcpus).fold(0, u32::saturating_add);
    let free = total.saturating_sub(used);
    let squeezed = request.dedicated > 0 && used > total;
    if request.vcpus > free || squeezed {
        shortages.push(Shortage {
            resource: if squeezed { "processors that others share" } else { "processors" },
            unit: "",
            requested: if squeezed { used.into() } else { request.vcpus.into() },
            free: free.into(),
            total: total.into(),
            largest_possible: free.min(capacity.cpus).into(),
        });
    }
    if request.vcpus > capacity.cpus {
        shortages.push(Shortage {
            resource: "processors of one machine",
            unit: "",
            requested: request.vcpus.into(),
            free: capacity.cpus.into(),
            total: capacity.cpus.into(),
            largest_possible: free.min(capacity.cpus).into(),
        });
    }
    if shortages.is_empty() {
        Ok(())
    } else {
        Err(DoesNotFit { shortages, overhead_mib: request.overhead_mib })
    }
}

/// The most memory of its own that would fit. The overhead of a smaller workload is at most the one it
/// has now, so this is a value that certainly fits.
fn largest_memory(free: u64, request: &Charge) -> u64 {
    free.saturating_sub(request.overhead_mib)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vm(memory_mib: u64, vcpus: u32) -> VmSpec {
        let spec = serde_json::from_str(r#"{"image": "tiny"}"#).unwrap();
        VmSpec { memory_mib, vcpus, graphics: Graphics::None, ..spec }
    }

    /// What a kernel counts on a machine of 1 GiB with two processors.
    const SMALL: Capacity = Capacity { memory_mib: 960, cpus: 2 };

    #[test]
    fn a_tiny_guest_fits_on_a_node_of_one_gibibyte_either_way() {
        for accelerator in [Accelerator::Kvm, Accelerator::Emulation] {
            for memory in [128, 256] {
                let without = Charge::of_vm(&vm(memory, 1), accelerator);
                let seen = VmSpec { graphics: Graphics::Vnc, ..vm(memory, 1) };
                let charge = Charge::of_vm(&seen, accelerator);
                assert_eq!(charge.total_mib(), without.total_mib() + DISPLAY_MIB);
                let sealed = VmSpec { tpm: true, ..vm(memory, 1) };
                let sealed = Charge::of_vm(&sealed, accelerator);
                assert_eq!(sealed.total_mib(), without.total_mib() + TPM_MIB);
                assert_eq!(admit(&SMALL, &[], &charge), Ok(()), "{memory} {accelerator:?}");
            }
        }
    }

    #[test]
    fn the_overhead_covers_what_was_measured_and_ends_at_the_usual_allowance() {
        assert!(overhead_mib(128, 1, Accelerator::Emulation) > 60 + TRANSLATION_CACHE_MIB);
        assert!(overhead_mib(256, 2, Accelerator::Emulation) > 60 + TRANSLATION_CACHE_MIB);
        assert_eq!(overhead_mib(4096, 2, Accelerator::Kvm), 192 + 41 + 16);
    }

    #[test]
    fn a_refusal_names_every_shortage_with_its_numbers() {
        let held = [Charge { memory_mib: 200, overhead_mib: 100, vcpus: 3, dedicated: 0 }];
        let request = Charge::of_vm(&vm(512, 4), Accelerator::Kvm);
        let refused = admit(&SMALL, &held, &request).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "does not fit on this node: memory: 678 MiB needed (of which 166 MiB are overhead), \
             148 of 448 MiB free, at most 0 MiB would fit; processors: 4 needed, 1 of 4 free, at \
             most 1 would fit; processors of one machine: 4 needed, 2 of 2 free, at most 1 would \
             fit; ask for less, or stop another workload"
        );
    }

    #[test]
    fn larger_machines_keep_more_for_the_node() {
        assert_eq!(Capacity { memory_mib: 4096, cpus: 4 }.workload_mib(), 3584);
        assert_eq!(Capacity { memory_mib: 65536, cpus: 4 }.workload_mib(), 64512);
        assert_eq!(Capacity { memory_mib: 256, cpus: 1 }.workload_mib(), 0);
    }

    #[test]
    fn what_is_set_apart_is_not_shared() {
        let machine = Capacity { memory_mib: 8192, cpus: 8 };
        let mut topology = Topology::plain(8, 8192);
        assert_eq!(machine.shared(&topology, 0), machine);
        assert_eq!(machine.shared(&topology, 7).workload_vcpus(), 4, "the node's own is left");
        topology.cpus.iter_mut().skip(4).for_each(|cpu| cpu.isolated = true);
        let pages =
            crate::PagePool { size: skerry_model::HugePageSize::Mib2, total: 1024, free: 0 };
        topology.nodes.iter_mut().for_each(|node| node.pages.push(pages));
        let shared = Capacity { memory_mib: 6144, cpus: 4 };
        assert_eq!(machine.shared(&topology, 2), shared, "dedicated ones are isolated already");
        let own = serde_json::json!({"image": "tiny", "vcpus": 4, "memory_mib": 1024,
            "cpu": {"dedicated": true}, "huge_pages": "2Mi"});
        let spec: VmSpec = serde_json::from_value(own).unwrap();
        let charge = Charge::of_vm(&spec, Accelerator::Kvm);
        assert_eq!((charge.memory_mib, charge.vcpus, charge.dedicated), (0, 0, 4));
        assert!(charge.overhead_mib > 200, "QEMU itself lives in ordinary memory");
        let place = VmPlacement {
            cpus: vec![4, 5, 6],
            reserved: "4-7".parse().unwrap(),
            ..VmPlacement::default()
        };
        let runs = charge.placed(&spec, Some(&place));
        assert_eq!((runs.memory_mib, runs.dedicated), (1024, 4));
        assert_eq!(charge.placed(&spec, None).vcpus, 4);
    }

    #[test]
    fn dedicated_processors_are_not_taken_from_those_who_share() {
        let held = [Charge { vcpus: 10, ..Charge::default() }];
        let request = Charge { dedicated: 2, ..Charge::default() };
        let left = Capacity { memory_mib: 8192, cpus: 4 }.shared(&Topology::plain(4, 8192), 2);
        let refused = admit(&left, &held, &request).unwrap_err().to_string();
        assert!(
            refused.contains("processors that others share: 10 needed, 0 of 4 free"),
            "{refused}"
        );
        let roomy = Capacity { memory_mib: 8192, cpus: 8 }.shared(&Topology::plain(8, 8192), 2);
        assert_eq!(admit(&roomy, &held, &request), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_said_to_be_possible_fits(
            memory in 32_u64..65_536, vcpus in 1_u32..64, host in 512_u64..131_072,
            cpus in 1_u32..128, used in 0_u64..65_536,
        ) {
            let capacity = Capacity { memory_mib: host, cpus };
            let held = [Charge { memory_mib: used, ..Charge::default() }];
            let request = Charge::of_vm(&vm(memory, vcpus), Accelerator::Kvm);
            let Err(refused) = admit(&capacity, &held, &request) else { return Ok(()) };
            let mut spec = vm(memory, vcpus);
            for short in &refused.shortages {
                match short.resource {
                    "memory" => spec.memory_mib = short.largest_possible,
                    _ => spec.vcpus = u32::try_from(short.largest_possible).unwrap(),
                }
            }
            prop_assume!(spec.memory_mib > 0 && spec.vcpus > 0);
            let smaller = Charge::of_vm(&spec, Accelerator::Kvm);
            prop_assert_eq!(admit(&capacity, &held, &smaller), Ok(()));
        }

        #[test]
        fn nothing_is_admitted_beyond_the_capacity(
            sizes in prop::collection::vec((32_u64..4096, 1_u32..8), 1..40),
        ) {
            let capacity = Capacity { memory_mib: 16_384, cpus: 8 };
            let mut held = Vec::new();
            for (memory, vcpus) in sizes {
                let charge = Charge::of_vm(&vm(memory, vcpus), Accelerator::Kvm);
                if admit(&capacity, &held, &charge).is_ok() {
                    held.push(charge);
                }
            }
            let used: u64 = held.iter().map(Charge::total_mib).sum();
            prop_assert!(used <= capacity.workload_mib());
        }
    }
}
