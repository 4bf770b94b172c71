//! A guest's processor and its place on the machine, as libvirt is told of them.
//!
//! Pure, as [`crate::xml`] is, and under the same rule: what changes here for an equal definition needs another form.

use skerry_compute::{DomainDefinition, HardwareDefinition};
use skerry_model::{
    Accelerator, CpuSet, DiskBus, GuestCell, HOST_MODEL, HOST_PASSTHROUGH, HugePageSize,
};

use crate::memory;
use crate::xml::Element;

/// What its memory is made of. Huge pages come from the kernel without a file system for them (`memfd`): one would have
/// to be mounted, and its folders handed to the guests' account.
pub fn backing(hardware: &HardwareDefinition) -> Option<Element> {
    let page = Element::new("page");
    let page = match hardware.huge_pages? {
        HugePageSize::Mib2 => page.attribute("size", 2).attribute("unit", "M"),
        HugePageSize::Gib1 => page.attribute("size", 1).attribute("unit", "G"),
    };
    let source = Element::new("source").attribute("type", "memfd");
    let huge = Element::new("hugepages").child(page);
    Some(Element::new("memoryBacking").child(huge).child(source))
}

/// How many processors it has, and how many it may be given while it runs.
pub fn vcpus(definition: &DomainDefinition) -> Element {
    let vcpu = Element::new("vcpu");
    match definition.hardware.max_vcpus {
        Some(most) => vcpu.attribute("current", definition.vcpus).text(most),
        None => vcpu.text(definition.vcpus),
    }
}

/// Threads that work on disks alone.
pub fn io_threads(hardware: &HardwareDefinition) -> Option<Element> {
    hardware.io_threads.map(|count| Element::new("iothreads").text(count))
}

/// The controller of SCSI disks. The thread that comes after those of the virtio disks works on all of them.
pub fn scsi(definition: &DomainDefinition) -> Element {
    let scsi = Element::new("controller").attribute("type", "scsi");
    let scsi = scsi.attribute("model", "virtio-scsi");
    let Some(threads) = definition.hardware.io_threads else { return scsi };
    let virtio = definition.disks.iter().filter(|disk| disk.bus == DiskBus::Virtio).count();
    let before = u32::try_from(virtio).unwrap_or(0).checked_rem(threads).unwrap_or(0);
    scsi.child(Element::new("driver").attribute("iothread", before.saturating_add(1)))
}

/// One period over which a guest's processor time is limited, in microseconds.
const PERIOD: u64 = 100_000;

/// What it may have of processors that it shares: control groups hold all of QEMU's threads to it.
fn shares(hardware: &HardwareDefinition) -> Vec<Element> {
    let weight = hardware.cpu_weight.map(|weight| Element::new("shares").text(weight));
    let mut elements: Vec<_> = weight.into_iter().collect();
    if let Some(percent) = hardware.cpu_limit_percent {
        let quota = PERIOD / 100 * u64::from(percent);
        elements.push(Element::new("global_period").text(PERIOD));
        elements.push(Element::new("global_quota").text(quota));
    }
    elements
}

/// Where its processors run, and on which NUMA nodes its memory lies.
pub fn pinning(hardware: &HardwareDefinition) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut pins = shares(hardware);
    if !hardware.cpus.is_empty() {
        for (vcpu, cpu) in hardware.cpus.iter().enumerate() {
            let pin = Element::new("vcpupin").attribute("vcpu", vcpu);
            pins.push(pin.attribute("cpuset", cpu));
        }
        if !hardware.emulator.is_empty() {
            let pin = Element::new("emulatorpin");
            pins.push(pin.attribute("cpuset", &hardware.emulator));
            for thread in 1..=hardware.io_threads.unwrap_or(0) {
                let pin = Element::new("iothreadpin").attribute("iothread", thread);
                pins.push(pin.attribute("cpuset", &hardware.emulator));
            }
        }
    }
    if !pins.is_empty() {
        elements.push(pins.into_iter().fold(Element::new("cputune"), Element::child));
    }
    // Huge pages were counted on these nodes, and there are no others for it. Ordinary memory is shared with all that
    // is bound nowhere: where they have filled a node, the kernel had to end the guest, so that is only preferred.
    let mode = if hardware.huge_pages.is_some() { "strict" } else { "preferred" };
    let on = |element: Element, nodes: CpuSet| {
        element.attribute("mode", mode).attribute("nodeset", nodes)
    };
    let mut tune = Vec::new();
    if matches!(
        (hardware.huge_pages, hardware.numa_nodes.as_slice()),
        (Some(_), [_, ..]) | (_, [_])
    ) {
        let nodes = hardware.numa_nodes.iter().copied().collect();
        tune.push(on(Element::new("memory"), nodes));
    }
    for (index, cell) in hardware.cells.iter().enumerate() {
        let own = Element::new("memnode").attribute("cellid", index);
        tune.push(on(own, [cell.node].into_iter().collect()));
    }
    if !tune.is_empty() {
        elements.push(tune.into_iter().fold(Element::new("numatune"), Element::child));
    }
    elements
}

/// NUMA nodes that the guest sees, numbered from 0.
fn cells(hardware: &HardwareDefinition) -> Option<Element> {
    let cell = |(index, cell): (usize, &GuestCell)| {
        Element::new("cell")
            .attribute("id", index)
            .attribute("cpus", &cell.vcpus)
            .attribute("memory", cell.memory_mib)
            .attribute("unit", "MiB")
    };
    let cells = hardware.cells.iter().enumerate().map(cell);
    (!hardware.cells.is_empty()).then(|| cells.fold(Element::new("numa"), Element::child))
}

/// The processor that the guest sees.
pub fn cpu(definition: &DomainDefinition, kind: &str) -> Option<Element> {
    let HardwareDefinition { cpu_model, topology, .. } = &definition.hardware;
    let numa = memory::cells(definition).or_else(|| cells(&definition.hardware));
    let cpu = Element::new("cpu");
    let mut cpu = match cpu_model.as_deref() {
        Some(HOST_PASSTHROUGH) => Some(cpu.attribute("mode", HOST_PASSTHROUGH)),
        Some(HOST_MODEL) => Some(cpu.attribute("mode", HOST_MODEL)),
        Some(name) => {
            let model = Element::new("model").attribute("fallback", "forbid").text(name);
            Some(cpu.attribute("mode", "custom").attribute("match", "exact").child(model))
        }
        None if definition.accelerator == Accelerator::Kvm && kind == "kvm" => {
            Some(cpu.attribute("mode", HOST_MODEL))
        }
        // What emulation offers by default is the least a guest can need, and the fastest to emulate.
        None => (topology.is_some() || numa.is_some()).then_some(cpu),
    };
    if let Some(topology) = topology {
        let shape = Element::new("topology")
            .attribute("sockets", topology.sockets)
            .attribute("dies", 1)
            .attribute("cores", topology.cores)
            .attribute("threads", topology.threads);
        cpu = cpu.map(|cpu| cpu.child(shape));
    }
    cpu.map(|cpu| numa.into_iter().fold(cpu, Element::child))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::xml::{Serial, domain, kind_of, tests::definition};
    use skerry_model::CpuTopology;

    fn xml(accelerator: Accelerator, hardware: HardwareDefinition) -> String {
        let definition = DomainDefinition { hardware, ..definition(accelerator) };
        let path = Path::new("/x");
        domain(&definition, kind_of(accelerator), Serial { log: path, socket: path }).to_string()
    }

    /// What lies between metadata and clock, but for what is started and the features, and the interface's queues.
    fn own(accelerator: Accelerator, hardware: HardwareDefinition) -> String {
        let xml = xml(accelerator, hardware);
        let (_, rest) = xml.split_once("  </metadata>\n").unwrap();
        let (before, rest) = rest.split_once("  <os>\n").unwrap();
        let (_, rest) = rest.split_once("  </features>\n").unwrap();
        let (after, rest) = rest.split_once("  <clock").unwrap();
        let queues = rest.lines().find(|line| line.contains("queues")).unwrap_or("      no queues");
        format!("{before}{after}{queues}\n\n")
    }

    fn topology(sockets: u32, cores: u32, threads: u32) -> Option<CpuTopology> {
        Some(CpuTopology { sockets, cores, threads })
    }

    #[test]
    fn shares_are_written_beside_places_and_alone() {
        let shared = HardwareDefinition {
            cpu_weight: Some(500),
            cpu_limit_percent: Some(150),
            ..HardwareDefinition::default()
        };
        let alone = own(Accelerator::Kvm, shared.clone());
        let parts = ["shares>500<", "global_period>100000<", "global_quota>150000<"];
        for part in parts {
            assert!(alone.contains(part), "no {part} in {alone}");
        }
        let placed = HardwareDefinition { cpus: vec![2], ..shared };
        let placed = own(Accelerator::Kvm, placed);
        assert_eq!(placed.matches("<cputune>").count(), 1, "{placed}");
        assert!(parts.iter().all(|part| placed.contains(part)), "{placed}");
        let none = own(Accelerator::Kvm, HardwareDefinition::default());
        assert!(!none.contains("cputune"), "{none}");
    }

    #[test]
    fn processors_places_and_pages_are_as_written_down() {
        let model = |name: &str| HardwareDefinition {
            cpu_model: Some(name.to_owned()),
            ..HardwareDefinition::default()
        };
        let placed = HardwareDefinition {
            topology: topology(1, 1, 2),
            cpus: vec![2, 6],
            emulator: "0-1,4-5".parse().unwrap(),
            numa_nodes: vec![1],
            huge_pages: Some(HugePageSize::Gib1),
            nic_queues: Some(2),
            ..model("host-passthrough")
        };
        let spread = HardwareDefinition {
            cpus: vec![2, 9],
            numa_nodes: vec![0, 1],
            huge_pages: Some(HugePageSize::Mib2),
            ..HardwareDefinition::default()
        };
        let near = HardwareDefinition { huge_pages: None, numa_nodes: vec![0], ..spread.clone() };
        let apart = HardwareDefinition { huge_pages: None, ..spread.clone() };
        let cell = |node, vcpus: &str, memory_mib| GuestCell {
            node,
            vcpus: vcpus.parse().unwrap(),
            memory_mib,
        };
        let seen = HardwareDefinition {
            cells: vec![cell(0, "0", 128), cell(1, "1", 128)],
            emulator: "0".parse().unwrap(),
            io_threads: Some(2),
            ..spread.clone()
        };
        let loose = HardwareDefinition { huge_pages: None, ..seen.clone() };
        let shaped = HardwareDefinition { topology: topology(2, 1, 1), ..Default::default() };
        let (kvm, emulation) = (Accelerator::Kvm, Accelerator::Emulation);
        let all = [
            own(kvm, placed),
            own(kvm, spread),
            own(kvm, near),
            own(kvm, apart),
            own(kvm, model("host-model")),
            own(kvm, shaped.clone()),
            own(emulation, shaped),
            own(emulation, model("EPYC-v4")),
            own(emulation, HardwareDefinition::default()),
            own(emulation, HardwareDefinition { max_vcpus: Some(4), ..Default::default() }),
            own(kvm, seen),
            own(kvm, loose),
        ];
        assert_eq!(all.concat(), include_str!("golden/hardware.xml"));
    }

    #[test]
    fn scsi_disks_share_the_thread_that_is_next() {
        let mut with = definition(Accelerator::Kvm);
        assert!(!scsi(&with).to_string().contains("driver"));
        with.hardware.io_threads = Some(2);
        assert!(scsi(&with).to_string().contains("<driver iothread=\"1\"/>"));
        with.disks = vec![crate::xml::tests::disk("vda", DiskBus::Virtio)];
        assert!(scsi(&with).to_string().contains("<driver iothread=\"2\"/>"));
    }

    #[test]
    fn what_is_chosen_makes_another_definition_and_what_is_not_does_not() {
        let plain = definition(Accelerator::Kvm);
        let hardware = HardwareDefinition { cpus: vec![1, 2], ..HardwareDefinition::default() };
        let pinned = DomainDefinition { hardware, ..plain.clone() };
        assert_ne!(pinned.fingerprint(), plain.fingerprint());
    }
}
