//! Which processor a virtual machine sees, and what of the machine's processors and memory is its own.

use serde::{Deserialize, Serialize};

use crate::{CpuSet, GuestCell, Invalid, PciGiven, VmSpec};

/// The model that is the machine's own processor, whatever it can do.
pub const HOST_PASSTHROUGH: &str = "host-passthrough";

/// The model that is nearest to the machine's own processor.
pub const HOST_MODEL: &str = "host-model";

/// The processor that a guest sees, and where it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmCpu {
    /// `host-passthrough`, the machine's own processor as it is, which needs KVM and ties the guest to it; `host-model`,
    /// the model that is nearest to it, which needs KVM too and is what guests get under KVM if this is absent; or
    /// the name of a model, such as `EPYC-v4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How its virtual processors are arranged; each is a socket of its own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<CpuTopology>,
    /// Whether each virtual processor has a processor of the machine that no other guest has. The node chooses
    /// whole cores, from the isolated processors if the machine has any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dedicated: bool,
    /// Processors of the machine that it has for itself, as many as it has virtual ones, such as `2-5,8`. They are
    /// dedicated, and chosen by whoever names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub set: Option<CpuSet>,
}

/// How virtual processors are arranged; the product is their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CpuTopology {
    /// Sockets.
    pub sockets: u32,
    /// Cores of each socket.
    pub cores: u32,
    /// Threads of each core.
    pub threads: u32,
}

/// Size of huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HugePageSize {
    /// 2 MiB.
    #[serde(rename = "2Mi")]
    Mib2,
    /// 1 GiB.
    #[serde(rename = "1Gi")]
    Gib1,
}

impl HugePageSize {
    /// The size in MiB.
    pub const fn mib(self) -> u64 {
        match self {
            Self::Mib2 => 2,
            Self::Gib1 => 1024,
        }
    }

    /// The size for people.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Mib2 => "2 MiB",
            Self::Gib1 => "1 GiB",
        }
    }
}

/// From how many NUMA nodes a machine may have its processors and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NumaPolicy {
    /// From one; if none has enough, it is refused.
    Single,
    /// From several, if none has enough.
    Spread,
}

/// Huge pages of one NUMA node that a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HugePagesTaken {
    /// The NUMA node.
    pub node: u32,
    /// Their size.
    pub size: HugePageSize,
    /// How many.
    pub count: u64,
}

/// What of the machine's processors and memory is a virtual machine's own. Kept while it is off, so that its next start
/// has the same if it is free.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct VmPlacement {
    /// The machine's processor for each virtual one, in their order; empty if they are not dedicated.
    pub cpus: Vec<u32>,
    /// Processors that nobody else gets: those, and the idle threads of their cores.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub reserved: CpuSet,
    /// Processors for the threads of QEMU that are not the guest's; empty if they may run anywhere.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub emulator: CpuSet,
    /// NUMA nodes of its processors and memory; empty if the machine has only one.
    pub numa_nodes: Vec<u32>,
    /// Its huge pages.
    pub huge_pages: Vec<HugePagesTaken>,
    /// NUMA nodes that its guest sees, if it has processors and memory of several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<GuestCell>,
    /// Its PCI functions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<PciGiven>,
}

impl VmPlacement {
    /// Whether it is what this spec asks for, wherever it lies.
    pub fn suits(&self, spec: &VmSpec) -> bool {
        let cpus = if spec.has_dedicated_cpus() { spec.vcpus } else { 0 };
        let set = spec.cpu.as_ref().and_then(|cpu| cpu.set.as_ref());
        let own = || self.cpus.iter().copied().collect::<CpuSet>();
        let sizes = |size| self.huge_pages.iter().all(|taken| Some(taken.size) == size);
        let pages: u64 = self.huge_pages.iter().map(|taken| taken.count * taken.size.mib()).sum();
        let wanted = if spec.huge_pages.is_some() { spec.memory_mib } else { 0 };
        let in_cells = self.cells.iter().map(|cell| cell.memory_mib).fold(0, u64::saturating_add);
        u32::try_from(self.cpus.len()).is_ok_and(|count| count == cpus)
            && set.is_none_or(|set| *set == own())
            && sizes(spec.huge_pages)
            && pages == wanted
            && self.pci_suits(spec)
            && (self.cells.is_empty() || in_cells == spec.memory_mib)
            && (self.numa_nodes.len() < 2 || spec.numa == Some(NumaPolicy::Spread))
    }
}

impl VmSpec {
    /// Whether its processors are its own.
    pub fn has_dedicated_cpus(&self) -> bool {
        self.cpu.as_ref().is_some_and(|cpu| cpu.dedicated || cpu.set.is_some())
    }

    /// Whether something of the machine has to be set apart for it.
    pub fn needs_placement(&self) -> bool {
        self.has_dedicated_cpus() || self.huge_pages.is_some()
    }

    pub(crate) fn validate_max_vcpus(&self, found: &mut Invalid) {
        let Some(max) = self.max_vcpus else { return };
        if !(self.vcpus..=64).contains(&max) {
            let message =
                format!("must be {} to 64, the number of vcpus being the least", self.vcpus);
            found.add("spec.max_vcpus", message);
        }
        found.require(
            !self.has_dedicated_cpus(),
            "spec.max_vcpus",
            "cannot be set with dedicated processors, which are given out when it starts",
        );
    }

    pub(crate) fn validate_placement(&self, found: &mut Invalid) {
        if let Some(cpu) = &self.cpu {
            validate_cpu(cpu, self.vcpus, self.max_vcpus.unwrap_or(self.vcpus), found);
        }
        if let Some(size) = self.huge_pages
            && !self.memory_mib.is_multiple_of(size.mib())
        {
            let message = format!("must be a multiple of {} MiB for such huge pages", size.mib());
            found.add("spec.memory_mib", message);
        }
        found.require(
            self.numa.is_none() || self.needs_placement(),
            "spec.numa",
            "says nothing without dedicated processors or huge pages",
        );
    }
}

fn validate_cpu(cpu: &VmCpu, vcpus: u32, most: u32, found: &mut Invalid) {
    if let Some(model) = &cpu.model {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let named = (1..=64).contains(&model.len()) && model.bytes().all(plain);
        let message =
            "must be host-passthrough, host-model, or the name of a model such as EPYC-v4";
        found.require(named, "spec.cpu.model", message);
    }
    if let Some(CpuTopology { sockets, cores, threads }) = cpu.topology {
        let product = sockets.checked_mul(cores).and_then(|count| count.checked_mul(threads));
        if product != Some(most) {
            let message = format!(
                "sockets x cores x threads must be the number of vcpus, or of max_vcpus if that is set: {most}"
            );
            found.add("spec.cpu.topology", message);
        }
    }
    if let Some(set) = &cpu.set {
        let count = u32::try_from(set.len()).unwrap_or(u32::MAX);
        if count != vcpus {
            let message = format!("names {count} processors, and vcpus is {vcpus}: name as many");
            found.add("spec.cpu.set", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Validate;

    fn spec(more: serde_json::Value) -> VmSpec {
        let mut spec = serde_json::json!({"image": "tiny", "vcpus": 4, "memory_mib": 1024});
        let fields = spec.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn faults(more: serde_json::Value) -> Vec<String> {
        let mut found = Invalid::default();
        spec(more).validate(&mut found);
        found.violations().iter().map(|fault| fault.field.clone()).collect()
    }

    #[test]
    fn what_makes_sense_is_taken() {
        for good in [
            serde_json::json!({"cpu": {}}),
            serde_json::json!({"cpu": {"model": "host-passthrough", "dedicated": true}}),
            serde_json::json!({"cpu": {"model": "Skylake-Server-v4"}}),
            serde_json::json!({"cpu": {"topology": {"sockets": 1, "cores": 2, "threads": 2}}}),
            serde_json::json!({"cpu": {"set": "2-5"}, "huge_pages": "1Gi", "numa": "spread"}),
            serde_json::json!({"huge_pages": "2Mi"}),
            serde_json::json!({"max_vcpus": 8, "cpu": {"topology": {"sockets": 2, "cores": 2, "threads": 2}}}),
            serde_json::json!({"cpu": {"dedicated": true}, "numa": "single"}),
        ] {
            assert_eq!(faults(good.clone()), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn what_makes_none_is_refused() {
        let topology = serde_json::json!({"sockets": 65536, "cores": 65536, "threads": 1});
        for (bad, field) in [
            (serde_json::json!({"cpu": {"model": ""}}), "spec.cpu.model"),
            (serde_json::json!({"cpu": {"model": "a b"}}), "spec.cpu.model"),
            (serde_json::json!({"cpu": {"topology": topology}}), "spec.cpu.topology"),
            (serde_json::json!({"cpu": {"set": "2-4"}}), "spec.cpu.set"),
            (serde_json::json!({"huge_pages": "1Gi", "memory_mib": 1025}), "spec.memory_mib"),
            (serde_json::json!({"huge_pages": "2Mi", "memory_mib": 33}), "spec.memory_mib"),
            (serde_json::json!({"numa": "spread"}), "spec.numa"),
            (serde_json::json!({"max_vcpus": 3}), "spec.max_vcpus"),
            (serde_json::json!({"max_vcpus": 65}), "spec.max_vcpus"),
            (serde_json::json!({"max_vcpus": 8, "cpu": {"dedicated": true}}), "spec.max_vcpus"),
            (serde_json::json!({"queues": 0}), "spec.queues"),
            (serde_json::json!({"queues": 65}), "spec.queues"),
            (serde_json::json!({"io_threads": 0}), "spec.io_threads"),
            (serde_json::json!({"io_threads": 17}), "spec.io_threads"),
        ] {
            assert_eq!(faults(bad.clone()), [field], "{bad}");
        }
        let unread = serde_json::json!({"image": "tiny", "cpu": {"set": "5-2"}});
        let told = serde_json::from_value::<VmSpec>(unread).unwrap_err().to_string();
        assert!(told.contains("no set of processors"), "{told}");
    }

    #[test]
    fn what_is_not_asked_for_is_not_written() {
        let text = serde_json::to_string(&spec(serde_json::json!({}))).unwrap();
        for field in ["cpu\"", "huge_pages", "numa", "queues", "max_vcpus", "io_threads"] {
            assert!(!text.contains(field), "{text}");
        }
        let empty = serde_json::to_string(&VmCpu::default()).unwrap();
        assert_eq!(empty, "{}");
    }

    #[test]
    fn a_placement_suits_the_spec_it_was_made_for() {
        let pages = |count| HugePagesTaken { node: 0, size: HugePageSize::Mib2, count };
        let own = VmPlacement {
            cpus: vec![2, 6, 3, 7],
            huge_pages: vec![pages(512)],
            ..VmPlacement::default()
        };
        let wish = serde_json::json!({"cpu": {"dedicated": true}, "huge_pages": "2Mi"});
        assert!(own.suits(&spec(wish.clone())));
        let set = serde_json::json!({"cpu": {"set": "2-3,6-7"}, "huge_pages": "2Mi"});
        assert!(own.suits(&spec(set)));
        for other in [
            serde_json::json!({"cpu": {"dedicated": true}}),
            serde_json::json!({"cpu": {"set": "2-5"}, "huge_pages": "2Mi"}),
            serde_json::json!({"huge_pages": "2Mi"}),
        ] {
            assert!(!own.suits(&spec(other.clone())), "{other}");
        }
        assert!(!own.suits(&VmSpec { memory_mib: 512, ..spec(wish.clone()) }));
        let spread = VmPlacement { numa_nodes: vec![0, 1], ..own };
        assert!(!spread.suits(&spec(wish.clone())));
        let both =
            serde_json::json!({"cpu": {"dedicated": true}, "huge_pages": "2Mi", "numa": "spread"});
        let cell = |node| GuestCell { node, vcpus: CpuSet::default(), memory_mib: 512 };
        let seen = VmPlacement { cells: vec![cell(0), cell(1)], ..spread.clone() };
        assert!(spread.suits(&spec(both.clone())) && seen.suits(&spec(both.clone())));
        let other = VmPlacement { cells: vec![cell(0)], ..spread };
        assert!(!other.suits(&spec(both)), "its guest would see other memory than it has");
    }
}
