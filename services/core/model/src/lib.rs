//! The node's resources, as every face and the store see them.
//!
//! A resource is metadata, a `Spec` (what is wanted) and a `Status` (what is). This crate holds the
//! types, their units and the checks that need nothing but the document itself. It must not touch
//! Linux, the network, the clock or the store, and it holds no rule that compares wanted with observed:
//! that is the domains' work.

mod alarm;
mod condition;
mod config;
mod container;
mod container_limits;
mod container_pages;
mod cpu_set;
mod device;
mod disk;
mod hidden;
mod host_device;
mod id;
mod image;
mod image_archive;
mod job;
mod kind;
mod log;
mod mac_address;
mod meta;
mod network;
mod node;
mod pod;
mod pod_life;
mod pod_stats;
mod pod_volume;
mod pool;
mod port;
mod probe;
mod reference;
mod registry;
mod resource;
mod revision;
mod signature;
mod snapshot;
mod toml_text;
mod user;
mod validate;
mod version;
mod vm;
mod vm_agent;
mod vm_boot;
mod vm_cells;
mod vm_init;
mod vm_life;
mod vm_media;
mod vm_memory;
mod vm_metadata;
mod vm_nic;
mod vm_pci;
mod vm_placement;
mod volume;

pub use alarm::{Alarm, AlarmSpec, AlarmStatus, Severity};
pub use condition::{Condition, ConditionState, Conditions};
pub use config::{Config, ConfigSpec, ConfigStatus, Secret, SecretSpec, SecretStatus};
pub use container::{Capabilities, Container, EnvVar, KeyOf, Tmpfs};
pub use container_limits::IoLimits;
pub use container_pages::{ContainerPages, are_as_many};
pub use cpu_set::{CpuSet, CpuSetError};
pub use disk::{DiskBus, DiskLimits, VmDisk};
pub use hidden::Hidden;
pub use host_device::{HostDevice, UsbPlace, is_device_name, serial_line};
pub use id::{Id, ParseIdError};
pub use image::{
    Image, ImageFile, ImageFirmware, ImageFormat, ImageSource, ImageSpec, ImageState, ImageStatus,
};
pub use image_archive::{ImageArchiveForm, ImageArchiveFormError};
pub use job::{Job, JobSpec, JobState, JobStatus};
pub use kind::{Kind, ParseKindError};
pub use log::{LogRate, Since, SinceError};
pub use mac_address::{MacAddress, MacAddressError};
pub use meta::{LocalRef, Meta, Owner, Phase, Timestamp};
pub use network::{METADATA_ADDRESS, Network, NetworkMode, NetworkSpec, NetworkStatus, Subnet};
pub use node::{NicAddress, Node, NodeSpec, NodeStatus, UnmanagedVm};
pub use pod::{
    ContainerState, ContainerStatus, Pod, PodSpec, PodState, PodStatus, RestartPolicy,
    UserNamespace,
};
pub use pod_life::{DependencyCondition, PodDependency, PodRequest, PodRequestKind};
pub use pod_stats::{ContainerStats, PodStats};
pub use pod_volume::{FilesOf, Medium, PodVolume, PodVolumeSource, VolumeMount, VolumeOf};
pub use pool::{
    Pool, PoolDisk, PoolFileSystem, PoolSource, PoolSpec, PoolState, PoolStatus, UnmanagedFile,
};
pub use port::{Binding, Port, PortSpec, PortStatus, Protocol, Publish};
pub use probe::{Probe, ProbeCheck};
pub use reference::{ImageReference, ReferenceError, RegistryHost};
pub use registry::{Registry, RegistrySpec, RegistryStatus};
pub use resource::{Document, DocumentError, NewResource, Resource, ResourceKind};
pub use revision::{PodRevision, PodTemplate, RevisionState, UpdatePolicy};
pub use signature::{ImageSignature, SignatureRule, SignatureState};
pub use snapshot::{Snapshot, SnapshotSpec, SnapshotState, SnapshotStatus, SnapshotVolume};
pub use toml_text::{TomlTextError, read_toml};
pub use user::{Role, Session, SessionSpec, SessionStatus, User, UserSpec, UserStatus};
pub use validate::{Invalid, Name, NameError, Validate, Violation, json_bytes};
pub use version::compare_versions;
pub use vm::{Accelerator, Graphics, Power, Vm, VmSize, VmSpec, VmState, VmStatus};
pub use vm_agent::{GuestInterface, GuestReport};
pub use vm_boot::VmFirmware;
pub use vm_cells::GuestCell;
pub use vm_init::VmInit;
pub use vm_life::{
    Autostart, CrashAction, CrashPolicy, GuestOff, GuestReboot, VmAction, VmActionState, VmPower,
    VmRequest, VmRequestKind,
};
pub use vm_media::VmMedium;
pub use vm_memory::MEMORY_STEP_MIB;
pub use vm_metadata::{GuestMetadata, MetadataEntry, MetadataReport, MetadataShown};
pub use vm_nic::{NicModel, VmNic, VmNicStatus};
pub use vm_pci::{PciAddress, PciAddressError, PciGiven, VmPci};
pub use vm_placement::{
    CpuTopology, HOST_MODEL, HOST_PASSTHROUGH, HugePageSize, HugePagesTaken, NumaPolicy, VmCpu,
    VmPlacement,
};
pub use volume::{
    Allocation, LARGEST_VOLUME_MIB, Volume, VolumeForm, VolumeOperation, VolumeSource, VolumeSpec,
    VolumeState, VolumeStatus,
};
