//! The CD drives of a virtual machine: images of the library become discs, and what lies in the drives of a running guest is
//! brought to what is wanted.
//!
//! The drives themselves stay while the guest runs: a drive that is asked for then comes with the next start, and one that
//! is to go is emptied.

use std::path::PathBuf;

use skerry_model::{DiskBus, Image, ImageFormat, ImageState, Name, Resource, Vm, VmMedium};
use skerry_store::{Store, StoreError};

use crate::sources::Missing;
use crate::{DiskDefinition, DiskKind, DomainDefinition, DomainObserved, VmStep};

/// A CD drive that a running guest has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveObserved {
    /// Name of the device.
    pub device: String,
    /// The file of the disc in it.
    pub disc: Option<PathBuf>,
}

impl DriveObserved {
    /// What a guest has that was started with this drive.
    pub fn of(drive: &DiskDefinition) -> Self {
        let disc = Some(&drive.path).filter(|path| !path.as_os_str().is_empty()).cloned();
        Self { device: drive.device.clone(), disc }
    }
}

/// The drives of a machine in their order, or what is missing for them. `disks` are those that it has beside them.
pub(crate) fn drives_of(
    store: &Store,
    vm: &Resource<Vm>,
    disks: &[DiskDefinition],
) -> Result<Result<Vec<DiskDefinition>, Missing>, StoreError> {
    let mut found = Vec::new();
    // SATA and SCSI disks share these names, and a SATA disk's place follows from its name.
    let before = disks.iter().filter(|disk| disk.bus != DiskBus::Virtio).count();
    for (index, drive) in vm.spec.media.iter().enumerate() {
        let path = match &drive.image {
            None => PathBuf::new(),
            Some(name) => match disc(store, name)? {
                Ok(path) => path,
                Err(missing) => return Ok(Err(missing)),
            },
        };
        found.push(drive_of(drive, path, before.saturating_add(index)));
    }
    Ok(Ok(found))
}

fn drive_of(drive: &VmMedium, path: PathBuf, place: usize) -> DiskDefinition {
    DiskDefinition {
        kind: DiskKind::Cdrom,
        path,
        format: "raw",
        device: format!("sd{}", crate::disks::letter(place)),
        bus: DiskBus::Sata,
        serial: String::new(),
        boot: drive.boot_index,
        read_only: true,
        iops: None,
        bytes_per_s: None,
        queues: None,
        io_thread: None,
    }
}

/// The file of a CD image.
fn disc(store: &Store, name: &Name) -> Result<Result<PathBuf, Missing>, StoreError> {
    let missing = |reason, message, on| Ok(Err(Missing { reason, message, on }));
    let Some(image) = store.find::<Image>(name)? else {
        let message = format!("there is no CD image `{name}`: bring it in, or empty the drive");
        return missing("ImageMissing", message, None);
    };
    let on = Some(image.local_ref());
    match image.spec.file("iso") {
        Some(file)
            if image.spec.format == ImageFormat::Iso
                && image.status.state == ImageState::Available =>
        {
            Ok(Ok(file.path.clone().into()))
        }
        _ if image.spec.format != ImageFormat::Iso => {
            missing("ImageUnfit", format!("the image `{name}` is no CD image"), on)
        }
        _ => missing("WaitingForImage", format!("waits for the image `{name}` to be usable"), on),
    }
}

/// The steps that bring the discs in the drives of a running guest to what is wanted: the n-th drive that it has is the
/// n-th that is wanted. First what is taken out, then what is put in.
pub fn plan_drives(wanted: &DomainDefinition, observed: &DomainObserved) -> Vec<VmStep> {
    if !observed.power.is_up() {
        return Vec::new();
    }
    let vm = wanted.vm;
    let disc_for =
        |index: usize| wanted.drives.get(index).and_then(|drive| DriveObserved::of(drive).disc);
    let pairs = observed.drives.iter().enumerate().map(|(at, drive)| (drive, disc_for(at)));
    let differ: Vec<_> = pairs.filter(|(drive, disc)| drive.disc != *disc).collect();
    let (out, new): (Vec<_>, Vec<_>) = differ.into_iter().partition(|(_, disc)| disc.is_none());
    let step = |(drive, disc): (&DriveObserved, Option<PathBuf>)| VmStep::ChangeDisc {
        vm,
        device: drive.device.clone(),
        disc,
    };
    out.into_iter().chain(new).map(step).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::OffReason;
    use crate::testing::{ModelHypervisor, definition};

    fn with(discs: &[Option<u8>]) -> DomainDefinition {
        let drive = |(place, disc): (usize, &Option<u8>)| {
            let medium = VmMedium { image: None, boot_index: None };
            let path = disc.map(|n| format!("/images/{n}").into()).unwrap_or_default();
            drive_of(&medium, path, place)
        };
        DomainDefinition { drives: discs.iter().enumerate().map(drive).collect(), ..definition(1) }
    }

    fn runs(with: &DomainDefinition) -> ModelHypervisor {
        let mut hypervisor = ModelHypervisor::default();
        hypervisor.apply(&VmStep::Define(Box::new(with.clone())));
        hypervisor.apply(&VmStep::Start(with.vm));
        hypervisor
    }

    #[test]
    fn discs_are_no_part_of_what_is_fixed_and_drives_are() {
        let print = |discs: &[Option<u8>]| with(discs).fingerprint();
        assert_eq!(print(&[]), definition(1).fingerprint());
        assert_ne!(print(&[Some(1)]), print(&[Some(2)]));
        assert!(print(&[Some(1)]).same_but_hot(&print(&[Some(2)])));
        assert!(print(&[Some(1)]).same_but_hot(&print(&[None])));
        assert!(!print(&[Some(1)]).same_but_hot(&print(&[])));
        assert!(!print(&[None, None]).same_but_hot(&print(&[None])));
        let mut boots = with(&[Some(1)]);
        boots.drives[0].boot = Some(2);
        assert!(!boots.fingerprint().same_but_hot(&print(&[Some(1)])));
    }

    #[test]
    fn a_drive_that_is_to_go_is_emptied_first() {
        let hypervisor = runs(&with(&[Some(1), Some(2)]));
        let steps = plan_drives(&with(&[Some(2)]), &hypervisor.look().unwrap());
        let change = |device: &str, disc: Option<&str>| VmStep::ChangeDisc {
            vm: definition(1).vm,
            device: device.to_owned(),
            disc: disc.map(Into::into),
        };
        assert_eq!(steps, [change("sdb", None), change("sda", Some("/images/2"))]);
        let steps = plan_drives(&with(&[]), &hypervisor.look().unwrap());
        assert_eq!(steps, [change("sda", None), change("sdb", None)]);
    }

    proptest! {
        #[test]
        fn after_the_steps_there_are_none(
            before in prop::collection::vec(prop::option::of(0_u8..3), 0..3),
            after in prop::collection::vec(prop::option::of(0_u8..3), 0..3),
        ) {
            let (before, after) = (with(&before), with(&after));
            let mut hypervisor = runs(&before);
            for step in plan_drives(&after, &hypervisor.look().unwrap()) {
                hypervisor.apply(&step);
            }
            let seen = hypervisor.look().unwrap();
            prop_assert_eq!(plan_drives(&after, &seen), []);
            prop_assert_eq!(seen.drives.len(), before.drives.len());
            prop_assert!(hypervisor.wrong.is_empty(), "{:?}", hypervisor.wrong);
            hypervisor.end(OffReason::Shutdown);
            prop_assert_eq!(plan_drives(&before, &hypervisor.look().unwrap()), []);
        }
    }
}
