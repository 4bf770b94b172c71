//! CD drives of virtual machines, and the discs in them: images of the library that guests only read.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Name, VmSpec};

/// Most drives of one virtual machine.
const MOST: usize = 2;

/// A CD drive of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VmMedium {
    /// Name of the CD image (format `iso`) in it; an empty drive if absent. Changed and taken out while the machine runs:
    /// a guest that has the disc in use is waited for.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image: Option<Name>,
    /// Its place among the disks that the firmware tries, from 1; not tried if absent. Counts from the next start.
    #[serde(default)]
    pub boot_index: Option<u32>,
}

impl VmSpec {
    /// Whether a place in the order of starting is taken by a disk or a drive.
    pub fn boots_at(&self, place: u32) -> bool {
        let disks = self.disks.iter().map(|disk| disk.boot_index);
        disks.chain(self.media.iter().map(|drive| drive.boot_index)).any(|at| at == Some(place))
    }

    /// Collects what is wrong with its CD drives.
    pub(crate) fn validate_media(&self, found: &mut Invalid) {
        found.require(self.media.len() <= MOST, "spec.media", "at most 2 CD drives");
        for (index, drive) in self.media.iter().enumerate() {
            let field = |name: &str| format!("spec.media[{index}].{name}");
            let mut before = self.media.iter().take(index);
            if drive.image.is_some() && before.clone().any(|other| other.image == drive.image) {
                found.add(field("image"), "is in another drive already");
            }
            let Some(place) = drive.boot_index else { continue };
            found.require((1..=99).contains(&place), &field("boot_index"), "must be 1 to 99");
            let disk = self.disks.iter().any(|disk| disk.boot_index == Some(place));
            if disk || before.any(|other| other.boot_index == Some(place)) {
                found.add(field("boot_index"), format!("{place} is given twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Validate;

    fn spec(media: Value) -> VmSpec {
        let disks = json!([{"volume": "root", "boot_index": 1}]);
        serde_json::from_value(json!({"image": "tiny", "disks": disks, "media": media})).unwrap()
    }

    fn faults(media: Value) -> Vec<String> {
        let mut found = Invalid::default();
        spec(media).validate(&mut found);
        found.violations().iter().map(|fault| fault.field.clone()).collect()
    }

    #[test]
    fn drives_are_few_and_have_places_of_their_own() {
        assert!(faults(json!([])).is_empty());
        assert!(faults(json!([{}, {}])).is_empty(), "empty drives");
        assert!(faults(json!([{"image": "a", "boot_index": 2}, {"image": "b"}])).is_empty());
        assert_eq!(faults(json!([{}, {}, {}])), ["spec.media"]);
        assert_eq!(faults(json!([{"image": "a"}, {"image": "a"}])), ["spec.media[1].image"]);
        let place = |place: u32| json!([{"boot_index": place}]);
        assert_eq!(faults(place(1)), ["spec.media[0].boot_index"], "the disk's");
        assert_eq!(faults(place(0)), ["spec.media[0].boot_index"]);
        assert_eq!(faults(place(100)), ["spec.media[0].boot_index"]);
        let both = json!([{"boot_index": 3}, {"boot_index": 3}]);
        assert_eq!(faults(both), ["spec.media[1].boot_index"]);
        let odd = json!({"image": "tiny", "media": [{"image": "a", "bus": "sata"}]});
        assert!(serde_json::from_value::<VmSpec>(odd).is_err());
    }

    #[test]
    fn a_machine_without_drives_is_written_as_before() {
        assert_eq!(serde_json::to_value(spec(json!([]))).unwrap().get("media"), None);
        assert!(spec(json!([{"boot_index": 2}])).boots_at(2));
        assert!(spec(json!([])).boots_at(1) && !spec(json!([])).boots_at(2));
    }
}
