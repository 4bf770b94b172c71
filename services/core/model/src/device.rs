//! Devices of the machine that a container may be given: by class, and no other.
//!
//! A path alone decides its class. Whether the machine has the device is for others to find out.

use crate::{Container, Invalid};

/// Most devices of one container.
const MOST: usize = 16;

/// Why a class of devices loosens the hold on a container; `None` if it does not.
type Risk = Option<&'static str>;

/// The class of a device.
struct Class {
    /// As it is written in the list of what there is.
    shown: &'static str,
    /// What comes before the number, or the whole path.
    path: &'static str,
    numbered: bool,
    risk: Risk,
}

const DIRECT: Risk = Some("reads and writes memory by itself");
const WIRED: Risk = Some("is a line to what is outside, and may be the node's own console");

/// All classes. `/dev/net/tun` and `/dev/fuse` do nothing without a capability that only an admin may give;
/// `/dev/kvm` makes machines out of the container's own memory.
const CLASSES: [Class; 8] = [
    Class { shown: "/dev/net/tun", path: "/dev/net/tun", numbered: false, risk: None },
    Class { shown: "/dev/fuse", path: "/dev/fuse", numbered: false, risk: None },
    Class { shown: "/dev/kvm", path: "/dev/kvm", numbered: false, risk: None },
    Class { shown: "/dev/vfio/vfio", path: "/dev/vfio/vfio", numbered: false, risk: DIRECT },
    Class { shown: "/dev/vfio/N", path: "/dev/vfio/", numbered: true, risk: DIRECT },
    Class { shown: "/dev/ttySN", path: "/dev/ttyS", numbered: true, risk: WIRED },
    Class { shown: "/dev/ttyUSBN", path: "/dev/ttyUSB", numbered: true, risk: WIRED },
    Class { shown: "/dev/ttyACMN", path: "/dev/ttyACM", numbered: true, risk: WIRED },
];

impl Class {
    fn of(path: &str) -> Option<&'static Self> {
        let number =
            |rest: &str| (1..=4).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_digit());
        CLASSES.iter().find(|class| match class.numbered {
            true => path.strip_prefix(class.path).is_some_and(number),
            false => path == class.path,
        })
    }
}

impl Container {
    pub(crate) fn validate_devices(&self, found: &mut Invalid) {
        found.require(self.devices.len() <= MOST, "devices", "must be at most 16 devices");
        for (index, path) in self.devices.iter().enumerate() {
            let shown: String = path.chars().take(40).flat_map(char::escape_default).collect();
            if Class::of(path).is_none() {
                let known: Vec<&str> = CLASSES.iter().map(|class| class.shown).collect();
                let known = known.join(", ");
                found.add("devices", format!("`{shown}` is none of {known} (N is a number)"));
            }
            if self.devices.iter().take(index).any(|other| other == path) {
                found.add("devices", format!("`{shown}` is given twice"));
            }
        }
    }

    /// What of its devices loosens the hold on it.
    pub(crate) fn device_risks(&self) -> impl Iterator<Item = String> {
        let risky = |path: &String| Some((path.clone(), Class::of(path)?.risk?));
        self.devices.iter().filter_map(risky).map(|(path, why)| {
            format!("container `{}` has the device {path}, which {why}", self.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Validate;
    use proptest::prelude::*;

    fn container(devices: &[&str]) -> Container {
        let value = serde_json::json!({"name": "a", "image": "tiny", "devices": devices});
        serde_json::from_value(value).unwrap()
    }

    fn faults(devices: &[&str]) -> Vec<String> {
        let mut found = Invalid::default();
        container(devices).validate(&mut found);
        found.violations().iter().map(|violation| violation.message.clone()).collect()
    }

    #[test]
    fn devices_are_known_by_class_and_the_dangerous_ones_are_named() {
        let all = ["/dev/net/tun", "/dev/fuse", "/dev/kvm", "/dev/vfio/12", "/dev/ttyS0"];
        assert_eq!(faults(&all), Vec::<String>::new());
        let risks = container(&all).risks();
        assert_eq!(risks.len(), 2);
        assert!(risks[0].contains("/dev/vfio/12") && risks[1].contains("/dev/ttyS0"), "{risks:?}");
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_with_the_list() {
        for bad in [
            "/dev/sda",
            "/dev/mem",
            "/dev/net/tun ",
            "/dev/vfio/",
            "/dev/vfio/../sda",
            "/dev/ttyS",
            "/dev/ttyS99999",
            "tun",
            "",
        ] {
            let faults = faults(&[bad]);
            assert!(faults.len() == 1 && faults[0].contains("/dev/net/tun, /dev/fuse"), "{bad}");
        }
        assert_eq!(faults(&["/dev/kvm", "/dev/kvm"]), ["`/dev/kvm` is given twice"]);
    }

    proptest! {
        #[test]
        fn no_path_is_a_device_that_leads_elsewhere(path in "/dev/[a-zA-Z0-9./]{0,12}") {
            if faults(&[&path]).is_empty() {
                prop_assert!(!path.contains(".."), "{path}");
            }
        }
    }
}
