//! Virtual machines.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    Autostart, Conditions, CrashPolicy, GuestOff, GuestReboot, GuestReport, HugePageSize, Id,
    Invalid, Kind, Name, NicModel, NumaPolicy, Port, Publish, ResourceKind, Timestamp, Validate,
    VmActionState, VmCpu, VmDisk, VmFirmware, VmInit, VmMedium, VmNic, VmNicStatus, VmPci,
    VmPlacement, VmPower, VmRequest,
};

/// Marks [`crate::Resource`]s that are virtual machines.
#[derive(Debug, Clone, Copy)]
pub enum Vm {}

impl ResourceKind for Vm {
    const KIND: Kind = Kind::Vm;
    type Spec = VmSpec;
    type Status = VmStatus;
}

/// The wanted power state of a pod. What was last wanted is what returns after a power cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// On.
    #[default]
    Running,
    /// Off.
    Stopped,
}

/// How people see a virtual machine. Its serial line is there in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Graphics {
    /// It has a display, a keyboard and a mouse, reached through the node by VNC.
    #[default]
    Vnc,
    /// Not at all: for guests that need none, which saves the display's memory.
    None,
}

/// What is wanted of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// Name of the image it starts from: a kernel, which is started directly, or a disk, of which the
    /// machine gets a volume of its own when it is made, or a CD to install from: then that volume is empty, has
    /// `disk_size_mib`, and is tried before the CD, which goes into the first drive. Another disk image, for a machine that
    /// is off, is a rebuild: a new volume takes the place of the first, which stays.
    ///
    /// Without an image it starts from what is there: from its disks and CDs that have a `boot_index`, and if none has, from
    /// the first disk, or the first CD if it has no disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image: Option<Name>,
    /// Virtual processors, 1 to 64.
    #[serde(default = "VmSpec::one")]
    pub vcpus: u32,
    /// The most that `vcpus` may be raised to while it runs, up to 64: its guest sees that there is room for so many.
    /// Without it, and for fewer, another number of them counts from the next start. Another value of this does, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vcpus: Option<u32>,
    /// Memory in MiB, 32 to 1048576.
    #[serde(default = "VmSpec::default_memory")]
    pub memory_mib: u64,
    /// The most that `memory_mib` may be raised to while it runs, in steps of 128 MiB, up to 1048576: its guest is offered
    /// the rest through virtio-mem. Without it, and for less, another amount counts from the next start. Another value of
    /// this does, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_mib: Option<u64>,
    /// The processor that its guest sees, and which of the machine's it has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<VmCpu>,
    /// Huge pages that its memory is made of; ordinary pages if absent. The machine has to have them set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePageSize>,
    /// From how many NUMA nodes it may have its dedicated processors and huge pages; from one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa: Option<NumaPolicy>,
    /// Queues of each network interface, and of each virtio disk that is there when it starts, 1 to 64. If absent an
    /// interface has as many as there are virtual processors, up to 8, and disks as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// Threads of QEMU that work on its disks alone, 1 to 16: virtio disks get them in turn, SCSI ones share one. Without
    /// it one thread works on all its devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_threads: Option<u32>,
    /// On, held, or off.
    #[serde(default)]
    pub power: VmPower,
    /// The newest request beside the wanted power. Set by actions; a change of the spec keeps it.
    #[serde(default)]
    pub request: Option<VmRequest>,
    /// Name of the network of its first interface.
    #[serde(default = "default_network")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network: Name,
    /// Further network interfaces. They come and go while it runs; the guest has to let go of one that goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<VmNic>,
    /// What all its interfaces are to its guest. Another one counts from the next start.
    #[serde(default, skip_serializing_if = "NicModel::is_usual")]
    pub nic_model: NicModel,
    /// What is reachable at the node's addresses: ports of its first interface.
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// Size of the volume that is made from a disk image, in MiB, 1 to 67108864; the image's own if absent. Needed for a
    /// CD image, which has none.
    /// Counts when the machine is made; after that the volume can be grown.
    #[serde(default)]
    pub disk_size_mib: Option<u64>,
    /// Name of a virtual machine that is off, of which this one is made as a copy: with volumes of its own that
    /// begin as the other's are, without what it publishes, devices and PCI functions of the node and protection, and with whatever else is given here. Counts when the
    /// machine is made.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub clone_of: Option<Name>,
    /// What a machine that boots from a disk or CD is started by; what its image needs if absent, or the image that its
    /// first disk was made from. Cannot be changed.
    #[serde(default)]
    pub firmware: Option<VmFirmware>,
    /// What its guest learns through cloud-init; nothing if absent.
    #[serde(default)]
    pub init: Option<VmInit>,
    /// Whether it has a line to the QEMU guest agent, which its guest has to bring along: for the guest's own
    /// addresses, passwords, an orderly shutdown, and snapshots in which its file systems are at rest.
    #[serde(default)]
    pub guest_agent: bool,
    /// Whether it has a TPM 2.0, emulated. Needs UEFI. What it keeps stays with the machine and goes with it. Snapshots of
    /// the machine hold it as well, and going back to one sets it back; clones and images of volumes begin without it.
    #[serde(default)]
    pub tpm: bool,
    /// Volumes that it has as disks, in the order in which the guest finds them.
    #[serde(default)]
    pub disks: Vec<VmDisk>,
    /// CD drives that it has, at most 2, with the discs in them. Other discs count at once; another number of drives counts
    /// from the next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<VmMedium>,
    /// PCI functions of the machine that it has for itself, in place of any emulation; for an admin to ask for. Another
    /// list counts from the next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<VmPci>,
    /// Devices of the node that it has for itself, by names that stay the same when they are plugged in again:
    /// `usb:0403:6001:A9XYZ`, `usb-port:0000:00:14.0/1.2`, `serial:by-id/…`, `serial:ttyS1`, as the inventory's
    /// `host_devices` gives them. Its start waits for them. While it runs, those on USB come and go with the plug. Only an
    /// admin may give devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_devices: Vec<String>,
    /// How people see it.
    #[serde(default)]
    pub graphics: Graphics,
    /// Seconds that the guest gets for its own shutdown before it is forced off, 0 to 3600.
    #[serde(default = "VmSpec::default_stop_timeout")]
    pub stop_timeout_s: u32,
    /// What is done about crashes.
    #[serde(default)]
    pub crash_policy: CrashPolicy,
    /// What it means when the guest turns itself off.
    #[serde(default)]
    pub on_guest_off: GuestOff,
    /// What it means when the guest reboots.
    #[serde(default)]
    pub on_guest_reboot: GuestReboot,
    /// What becomes of it when the node has been booted.
    #[serde(default)]
    pub autostart: Autostart,
    /// Its place in the order of starts after a boot of the node, 0 to 1000: lower ones first.
    #[serde(default = "VmSpec::middle_order")]
    pub start_order: u32,
    /// Seconds to wait after a boot of the node, once it is its turn, 0 to 3600.
    #[serde(default)]
    pub start_delay_s: u32,
    /// Its share of the processors where they are short, against those of the others, 1 to 10000; 100 if absent. Another one
    /// counts from the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// What it may use of the processors at most, QEMU's own threads included, in percent of one processor: 150 is one and a
    /// half. 1 to 100000; no limit if absent. Another one counts from the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit_percent: Option<u32>,
    /// Whether it is kept from being deleted: then that is refused until this is taken away.
    #[serde(default)]
    pub protected: bool,
}

/// The network that exists from the first boot on.
pub(crate) fn default_network() -> Name {
    // The literal follows the rule, which a test below holds it to.
    Name::new("default").unwrap_or_else(|_| unreachable!())
}

impl VmSpec {
    /// The wanted size.
    pub const fn size(&self) -> VmSize {
        VmSize { vcpus: self.vcpus, memory_mib: self.memory_mib }
    }

    const fn one() -> u32 {
        1
    }
    const fn default_memory() -> u64 {
        256
    }
    /// Seconds that a guest gets for its own shutdown if nothing is said of that.
    pub const fn default_stop_timeout() -> u32 {
        90
    }
    /// The place in the order of starts if nothing is said of it.
    pub const fn middle_order() -> u32 {
        500
    }
}

/// The life-cycle state of a virtual machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Accepted; port and definition are being made.
    #[default]
    Creating,
    /// Defined, off.
    Stopped,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// Held: it has memory and gets no processor time.
    Paused,
    /// Off, with its memory on disk.
    Suspended,
    /// The guest was asked to shut down.
    Stopping,
    /// The process died or the guest panicked.
    Crashed,
    /// Waiting for the next try.
    Backoff,
    /// Needs an operator.
    Failed,
    /// Being taken down.
    Deleting,
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// The processor, through KVM.
    Kvm,
    /// Emulation: works everywhere, ten times slower or worse.
    Emulation,
}

/// How large a virtual machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmSize {
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// What a virtual machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct VmStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Life-cycle state.
    pub state: VmState,
    /// A sentence on why it is in this state, if there is something to say.
    pub reason: String,
    /// The port of its first interface, once made.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Uuid))]
    pub port: Option<Id<Port>>,
    /// Process id of its QEMU while it runs.
    pub pid: Option<u32>,
    /// Its addresses, that of its first interface first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// Its further interfaces, once they have a port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<VmNicStatus>,
    /// What the agent in its guest said last; absent if there is none, or it has not answered. It comes from inside
    /// the guest and proves nothing.
    pub guest: Option<GuestReport>,
    /// What runs its instructions.
    pub accelerator: Option<Accelerator>,
    /// Versioned machine type, chosen at its first definition and kept, so that an update of the
    /// hypervisor does not change the guest's hardware.
    pub machine: Option<String>,
    /// The size it runs with, which is that of its start; of a suspended one, that of its memory.
    pub running_size: Option<VmSize>,
    /// What of the machine's processors, memory and PCI functions is its own while it runs; absent if nothing has to be.
    pub placement: Option<VmPlacement>,
    /// Volumes that its process has or is about to get, those too that its guest has not let go of yet. Until it has,
    /// nobody else gets them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub volumes: Vec<Name>,
    /// CD images that lie in its drives or are about to, those too that its guest has not let go of yet. Until it has,
    /// they are not deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub media: Vec<Name>,
    /// When it last started.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// How often it was started.
    pub starts: u32,
    /// Crashes in a row, for the waiting time before the next try.
    pub crashes: u32,
    /// When the next try is due, for people; the wait itself follows monotonic time.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_try: Option<Timestamp>,
    /// The boot of the node after which it was last looked at.
    pub boot: Option<String>,
    /// Number of the last request that was dealt with.
    pub request_done: u64,
    /// What can be done with it now, and why the rest cannot.
    pub actions: Vec<VmActionState>,
    /// Details: `Ready`; `Pending`, `CrashLoop`; `GuestAgent`, whether the agent in its guest is there; `Placed`, whether
    /// it has the processors and pages that it asks for; `MemoryTaken`, while its guest has not taken all the memory that
    /// it was given.
    pub conditions: Conditions,
}

impl Validate for VmSpec {
    fn validate(&self, found: &mut Invalid) {
        found.require((1..=64).contains(&self.vcpus), "spec.vcpus", "must be 1 to 64");
        found.require(
            (32..=1_048_576).contains(&self.memory_mib),
            "spec.memory_mib",
            "must be 32 to 1048576",
        );
        found.require(self.stop_timeout_s <= 3600, "spec.stop_timeout_s", "must be 0 to 3600");
        found.require(self.start_order <= 1000, "spec.start_order", "must be 0 to 1000");
        found.require(self.start_delay_s <= 3600, "spec.start_delay_s", "must be 0 to 3600");
        self.crash_policy.validate(found);
        found.require(
            (self.on_guest_off, self.on_guest_reboot) != (GuestOff::Restart, GuestReboot::Stop),
            "spec.on_guest_reboot",
            "cannot be stop while on_guest_off is restart: a reboot would look like a power-off",
        );
        Publish::validate_all(&self.publish, found);
        self.validate_nics(found);
        crate::vm_boot::validate_disk_size(self.disk_size_mib, found);
        crate::vm_boot::validate_tpm(self.tpm, self.firmware, found);
        if let Some(init) = &self.init {
            init.validate(found);
        }
        VmDisk::validate_all(&self.disks, found);
        self.validate_media(found);
        crate::host_device::validate_devices(&self.host_devices, found);
        let queues = self.queues.is_none_or(|queues| (1..=64).contains(&queues));
        found.require(queues, "spec.queues", "must be 1 to 64");
        let threads = self.io_threads.is_none_or(|threads| (1..=16).contains(&threads));
        found.require(threads, "spec.io_threads", "must be 1 to 16");
        let weight = self.cpu_weight.is_none_or(|weight| (1..=10_000).contains(&weight));
        found.require(weight, "spec.cpu_weight", "must be 1 to 10000");
        let limit = self.cpu_limit_percent.is_none_or(|limit| (1..=100_000).contains(&limit));
        found.require(limit, "spec.cpu_limit_percent", "must be 1 to 100000");
        self.validate_max_vcpus(found);
        self.validate_max_memory(found);
        self.validate_placement(found);
        self.validate_pci(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_document_gets_defaults() {
        let spec: VmSpec = serde_json::from_str(r#"{"image":"tiny"}"#).unwrap();
        assert_eq!(spec.network.as_str(), "default");
        assert_eq!((spec.vcpus, spec.memory_mib, spec.power), (1, 256, VmPower::Running));
        assert_eq!(spec.graphics, Graphics::Vnc);
        let mut found = Invalid::default();
        spec.validate(&mut found);
        assert_eq!(found.into_result(), Ok(()));
    }

    #[test]
    fn shares_of_the_processors_are_bounded() {
        let faults = |json: &str| {
            let mut found = Invalid::default();
            serde_json::from_str::<VmSpec>(json).unwrap().validate(&mut found);
            found.violations().iter().map(|v| v.field.clone()).collect::<Vec<_>>()
        };
        for good in [(1, 1), (10_000, 100_000)] {
            let (weight, limit) = good;
            let json =
                format!(r#"{{"image":"tiny","cpu_weight":{weight},"cpu_limit_percent":{limit}}}"#);
            assert_eq!(faults(&json), [""; 0]);
        }
        for bad in [(0, 0), (10_001, 100_001)] {
            let (weight, limit) = bad;
            let json =
                format!(r#"{{"image":"tiny","cpu_weight":{weight},"cpu_limit_percent":{limit}}}"#);
            assert_eq!(faults(&json), ["spec.cpu_weight", "spec.cpu_limit_percent"]);
        }
    }

    #[test]
    fn unknown_keys_and_odd_sizes_are_refused() {
        assert!(serde_json::from_str::<VmSpec>(r#"{"image":"tiny","cpus":2}"#).is_err());
        let spec: VmSpec = serde_json::from_str(
            r#"{"image":"tiny","vcpus":0,"memory_mib":1,"publish":[
                {"host_port":0,"workload_port":1},
                {"host_port":80,"workload_port":1},{"host_port":80,"workload_port":2}]}"#,
        )
        .unwrap();
        let mut found = Invalid::default();
        spec.validate(&mut found);
        let fields: Vec<_> = found.violations().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.vcpus",
                "spec.memory_mib",
                "spec.publish[0].host_port",
                "spec.publish[2].host_port"
            ]
        );
    }
}
