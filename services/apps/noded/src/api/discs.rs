//! CD images in virtual machines: the discs in their drives, and machines that are installed from one.

use skerry_ipc::Refusal;
use skerry_model::{Image, ImageFormat, Name, Resource, VmMedium, VmSpec};

use super::refuse::{store, wrong_field};
use crate::node::Node;

/// Checks the discs that a machine is to have and did not have before.
pub fn check_media(node: &Node, before: &[VmMedium], spec: &VmSpec) -> Result<(), Refusal> {
    for (index, drive) in spec.media.iter().enumerate() {
        let Some(name) = &drive.image else { continue };
        if before.iter().any(|drive| drive.image.as_ref() == Some(name)) {
            continue;
        }
        let field = format!("spec.media[{index}].image");
        let image = node.store.find::<Image>(name).map_err(store)?;
        let image =
            image.ok_or_else(|| wrong_field(&field, format!("there is no image `{name}`")))?;
        if image.spec.format != ImageFormat::Iso {
            let format = image.spec.format.word();
            let message = format!("`{name}` is {format}; a CD drive takes an image of format iso");
            return Err(wrong_field(&field, message));
        }
    }
    Ok(())
}

/// The size of the empty disk of a machine that is installed from a CD: nothing else tells it.
pub fn size_beside(image: &Resource<Image>, spec: &VmSpec) -> Result<u64, Refusal> {
    let name = &image.meta.name;
    spec.disk_size_mib.ok_or_else(|| {
        let message = format!(
            "is needed: `{name}` is a CD image, and the machine gets an empty disk to install it on"
        );
        wrong_field("spec.disk_size_mib", message)
    })
}

/// Puts the CD into the first drive, to be started from when the disk cannot be: it is empty at first, and has been
/// installed on later.
pub fn insert(name: &Name, spec: &mut VmSpec) {
    let place = (2..=99).find(|place| !spec.boots_at(*place));
    match spec.media.iter_mut().find(|drive| drive.image.as_ref() == Some(name)) {
        Some(drive) => drive.boot_index = drive.boot_index.or(place),
        None => {
            spec.media.insert(0, VmMedium { image: Some(name.clone()), boot_index: place });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn inserted(disks: Value, media: Value) -> Value {
        let spec = json!({"image": "cd", "disks": disks, "media": media});
        let mut spec: VmSpec = serde_json::from_value(spec).unwrap();
        insert(&Name::new("cd").unwrap(), &mut spec);
        serde_json::to_value(spec.media).unwrap()
    }

    #[test]
    fn the_cd_goes_into_the_first_drive_and_is_started_from_after_the_disk() {
        let root = json!({"volume": "a", "boot_index": 1});
        let cd = |place: u32| json!({"image": "cd", "boot_index": place});
        assert_eq!(inserted(json!([root]), json!([])), json!([cd(2)]));
        let drivers = json!({"image": "drivers", "boot_index": null});
        assert_eq!(inserted(json!([root]), json!([drivers])), json!([cd(2), drivers]));
        let second = json!({"volume": "b", "boot_index": 2});
        assert_eq!(inserted(json!([root, second]), json!([])), json!([cd(3)]));
        assert_eq!(inserted(json!([root]), json!([{"image": "cd"}])), json!([cd(2)]));
        assert_eq!(inserted(json!([root]), json!([drivers, cd(7)])), json!([drivers, cd(7)]));
    }
}
