//! Devices of the node that machines have for themselves: which are meant, who has them, and what a running guest gets.
//!
//! Pure: what the node has now comes in. A machine waits with its start for what it names; while it runs, what is plugged
//! in by USB comes and goes with the plug.

use std::path::PathBuf;

use skerry_model::{HostDevice, Resource, UsbPlace, Vm, VmState, serial_line};

use crate::sources::Missing;
use crate::{DomainDefinition, DomainObserved, VmStep};

/// What the names of a machine stand for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Devices {
    /// What is plugged in and may be had.
    pub usb: Vec<UsbPlace>,
    /// Files of serial lines, there or not: they stay the same.
    pub lines: Vec<PathBuf>,
    /// The first that cannot be had, and why.
    pub missing: Option<Missing>,
}

/// Looks the devices of a machine up.
pub(crate) fn resolve(names: &[String], seen: &[HostDevice]) -> Devices {
    let mut found = Devices::default();
    for name in names {
        found.lines.extend(serial_line(name).map(PathBuf::from));
        match one(name, seen) {
            Ok(device) if serial_line(name).is_none() => found.usb.extend(device.usb),
            Ok(_) => {}
            Err(missing) => {
                found.missing.get_or_insert(missing);
            }
        }
    }
    found
}

fn one<'s>(name: &str, seen: &'s [HostDevice]) -> Result<&'s HostDevice, Missing> {
    let missing = |reason, message| Missing { reason, message, on: None };
    let mut called = seen.iter().filter(|device| device.is_called(name));
    match (called.next(), called.count()) {
        (None, _) => {
            let message = format!("waits for the device `{name}` to be plugged in");
            Err(missing("DeviceMissing", message))
        }
        (Some(device), 0) => match &device.refused {
            None => Ok(device),
            Some(why) => {
                Err(missing("DeviceRefused", format!("cannot have the device `{name}`: it {why}")))
            }
        },
        (Some(_), others) => {
            let count = others.saturating_add(1);
            let message = format!(
                "{count} devices are called `{name}`: name the one that is meant by its serial number or port"
            );
            Err(missing("DeviceAmbiguous", message))
        }
    }
}

/// Why a device that is plugged in can never be had.
pub(crate) fn unfit(names: &[String], seen: &[HostDevice]) -> Option<String> {
    let missing = names.iter().find_map(|name| one(name, seen).err());
    missing.filter(|missing| missing.reason == "DeviceRefused").map(|missing| missing.message)
}

/// Whether two names stand for one thing.
fn clash(one: &str, other: &str, seen: &[HostDevice]) -> bool {
    let called =
        |name: &str| seen.iter().filter(|device| device.is_called(name)).collect::<Vec<_>>();
    let (ones, others) = (called(one), called(other));
    one == other || ones.iter().any(|one| others.iter().any(|other| one.is_same(other)))
}

/// The device that another machine has, and that machine, if there is one. `has` tells which machines count.
pub(crate) fn taken(
    names: &[String],
    vms: &[Resource<Vm>],
    seen: &[HostDevice],
    has: impl Fn(&Resource<Vm>) -> bool,
) -> Option<String> {
    let theirs = |vm: &Resource<Vm>, name: &str| {
        vm.spec.host_devices.iter().any(|other| clash(name, other, seen))
    };
    names.iter().find_map(|name| {
        let vm = vms.iter().find(|vm| has(vm) && theirs(vm, name))?;
        Some(format!("the device `{name}` is given to the virtual machine `{}`", vm.meta.name))
    })
}

/// Whether a machine has its devices now, or will in a moment.
pub(crate) fn holds(vm: &Resource<Vm>) -> bool {
    let state = vm.status.state;
    matches!(state, VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping)
}

/// The steps that bring what a running guest has by USB to what is wanted and plugged in.
pub fn plan_devices(wanted: &DomainDefinition, observed: &DomainObserved) -> Vec<VmStep> {
    // One that was started without a controller gets nothing before its next start.
    let room = wanted.usb
        && observed.live.as_ref().is_some_and(|live| wanted.fingerprint().same_but_hot(live));
    if !observed.power.is_up() {
        return Vec::new();
    }
    let vm = wanted.vm;
    let gone = observed.usb.iter().filter(|place| !wanted.usb_devices.contains(place));
    let come = wanted.usb_devices.iter().filter(|place| room && !observed.usb.contains(place));
    gone.map(|place| VmStep::Unplug { vm, place: *place })
        .chain(come.map(|place| VmStep::Plug { vm, place: *place }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ModelHypervisor, definition, vm_resource};
    use proptest::prelude::*;

    fn place(device: u16) -> UsbPlace {
        UsbPlace { bus: 1, device, vendor: 0x0403, product: 0x6001 }
    }

    fn plugged(device: u16, names: &[&str]) -> HostDevice {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        HostDevice { names, usb: Some(place(device)), ..HostDevice::default() }
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_stands_for_one_device_or_for_none() {
        let mut seen = vec![
            plugged(2, &["usb:0403:6001:A", "usb-port:c/1", "usb:0403:6001"]),
            plugged(3, &["usb:0403:6001:B", "usb-port:c/2", "usb:0403:6001"]),
        ];
        let found = |name: &str, seen: &[HostDevice]| resolve(&names(&[name]), seen);
        assert_eq!(found("usb:0403:6001:B", &seen).usb, [place(3)]);
        assert_eq!(found("usb-port:c/1", &seen).usb, [place(2)]);
        let reason = |name: &str, seen: &[HostDevice]| found(name, seen).missing.unwrap();
        assert!(reason("usb:0403:6001", &seen).message.starts_with("2 devices are called"));
        assert!(reason("usb:0403:6001:C", &seen).message.contains("to be plugged in"));
        seen[1].refused = Some("holds a disk of the node (sdb)".into());
        let refused = reason("usb-port:c/2", &seen);
        assert_eq!(refused.reason, "DeviceRefused");
        assert!(refused.message.ends_with("it holds a disk of the node (sdb)"), "{refused:?}");
        assert_eq!(unfit(&names(&["usb-port:c/2"]), &seen), Some(refused.message));
        assert_eq!(unfit(&names(&["usb-port:c/1", "usb-port:c/9"]), &seen), None);
        seen.pop();
        assert_eq!(found("usb:0403:6001", &seen).usb, [place(2)]);
    }

    #[test]
    fn a_serial_line_keeps_its_file_while_it_is_away() {
        let name = names(&["serial:by-id/usb-x"]);
        let away = resolve(&name, &[]);
        assert_eq!(away.lines, [PathBuf::from("/dev/serial/by-id/usb-x")]);
        assert_eq!(away.missing.unwrap().reason, "DeviceMissing");
        let line = Some("/dev/ttyUSB3".to_owned());
        let there = resolve(&name, &[HostDevice { line, ..plugged(4, &["serial:by-id/usb-x"]) }]);
        assert_eq!((there.lines, there.usb, there.missing), (away.lines, vec![], None));
    }

    #[test]
    fn what_another_machine_has_is_named_by_whatever_name() {
        let line = Some("/dev/ttyUSB0".to_owned());
        let seen = [
            plugged(2, &["usb:0403:6001:A", "usb-port:c/1"]),
            HostDevice { line, ..plugged(2, &["serial:by-id/usb-A"]) },
        ];
        let spec = |name: &str| serde_json::json!({"image": "tiny", "host_devices": [name]});
        let has = |theirs: &str, ours: &str| {
            taken(&names(&[ours]), &[vm_resource(spec(theirs))], &seen, |_| true)
        };
        for (theirs, ours) in [
            ("usb-port:c/1", "usb:0403:6001:A"),
            ("usb-port:c/1", "serial:by-id/usb-A"),
            ("serial:ttyS1", "serial:ttyS1"),
        ] {
            let said = has(theirs, ours).unwrap();
            assert!(said.contains(ours) && said.ends_with("virtual machine `web`"), "{said}");
        }
        assert_eq!(has("serial:ttyS1", "serial:ttyS2"), None);
        let off = taken(&names(&["a"]), &[vm_resource(spec("a"))], &seen, holds);
        assert_eq!(off, None, "one that is being made has nothing yet");
    }

    fn with(usb: bool, devices: &[u16]) -> DomainDefinition {
        let usb_devices = devices.iter().map(|device| place(*device)).collect();
        DomainDefinition { usb, usb_devices, ..definition(1) }
    }

    #[test]
    fn nothing_is_plugged_into_a_guest_without_a_controller() {
        let mut hypervisor = ModelHypervisor::default();
        hypervisor.apply(&VmStep::Define(Box::new(definition(1))));
        hypervisor.apply(&VmStep::Start(definition(1).vm));
        assert_eq!(plan_devices(&with(true, &[2]), &hypervisor.look().unwrap()), []);
        assert!(!with(true, &[2]).fingerprint().same_but_hot(&definition(1).fingerprint()));
        assert!(with(true, &[2]).fingerprint().same_but_hot(&with(true, &[]).fingerprint()));
        assert_ne!(with(true, &[2]).fingerprint(), with(true, &[3]).fingerprint());
    }

    proptest! {
        #[test]
        fn after_the_steps_there_are_none(
            before in prop::collection::btree_set(0_u16..6, 0..4),
            after in prop::collection::btree_set(0_u16..6, 0..4),
        ) {
            let definition = |set: std::collections::BTreeSet<u16>| {
                with(true, &set.into_iter().collect::<Vec<_>>())
            };
            let (before, after) = (definition(before), definition(after));
            let mut hypervisor = ModelHypervisor::default();
            hypervisor.apply(&VmStep::Define(Box::new(before.clone())));
            hypervisor.apply(&VmStep::Start(before.vm));
            for step in plan_devices(&after, &hypervisor.look().unwrap()) {
                hypervisor.apply(&step);
            }
            prop_assert_eq!(plan_devices(&after, &hypervisor.look().unwrap()), []);
        }
    }
}
