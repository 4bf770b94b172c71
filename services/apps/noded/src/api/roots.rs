//! The disk of its own that a virtual machine made from a disk or CD image gets, and what the image asks of it.

use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{
    Image, ImageFirmware, ImageFormat, ImageSpec, Name, Resource, VmDisk, VmFirmware, VmSpec,
    Volume, VolumeSource, VolumeSpec,
};
use skerry_store::Transaction;

use super::discs;
use super::refuse::{internal, store, wrong_field};
use super::storage::new_volume;
use crate::node::Node;

const MIB: u64 = 1024 * 1024;
/// Volumes that are looked at, each the copy of the next, to find the image behind them.
const MOST_COPIES: usize = 16;

/// Checks a new machine against its image, and gives it the disk that it boots from, if it is to have one.
pub fn boot_from_image(
    node: &Node,
    tx: &mut Transaction,
    vm: &Name,
    spec: &mut VmSpec,
) -> Result<(), Refusal> {
    if spec.clone_of.is_some() {
        // Its disks are copies, and were checked when the first of them was made.
        return Ok(());
    }
    let Some(name) = &spec.image else { return boot_from_what_is_there(node, spec) };
    let image = node.store.find::<Image>(name).map_err(store)?;
    let image =
        image.ok_or_else(|| wrong_field("spec.image", format!("there is no image `{name}`")))?;
    check_least(&image, spec)?;
    match image.spec.format {
        ImageFormat::KernelInitrd => without_disk(&image, spec),
        format if format.is_disk() => {
            let firmware = check_firmware(&image, spec.firmware)?;
            let size_mib = size(&image, spec.disk_size_mib)?;
            let source =
                VolumeSource { image: Some(image.meta.name.clone()), ..VolumeSource::default() };
            let root = VolumeSpec { size_mib, source, ..VolumeSpec::empty() };
            let root = root_disk(node, tx, vm, root, spec)?;
            spec.firmware = Some(firmware);
            spec.disks.insert(0, root);
            Ok(())
        }
        ImageFormat::Iso => {
            let firmware = check_firmware(&image, spec.firmware)?;
            let size_mib = Some(discs::size_beside(&image, spec)?);
            let root = VolumeSpec { size_mib, ..VolumeSpec::empty() };
            let root = root_disk(node, tx, vm, root, spec)?;
            spec.firmware = Some(firmware);
            spec.disks.insert(0, root);
            discs::insert(&image.meta.name, spec);
            Ok(())
        }
        _ => Err(wrong_field("spec.image", format!("`{name}` is a container image"))),
    }
}

/// A machine without an image starts from disks and CDs that it is given, in the order that they have. What firmware its
/// first disk needs is known if that was made from an image that is still there.
fn boot_from_what_is_there(node: &Node, spec: &mut VmSpec) -> Result<(), Refusal> {
    if spec.disk_size_mib.is_some() {
        let message = "leave it out: a machine without an image gets no disk of its own";
        return Err(wrong_field("spec.disk_size_mib", message));
    }
    if !(1..=99).any(|place| spec.boots_at(place)) {
        match (spec.disks.first_mut(), spec.media.first_mut()) {
            (Some(disk), _) => disk.boot_index = Some(1),
            (None, Some(drive)) => drive.boot_index = Some(1),
            (None, None) => {
                let message = "is needed, or a disk or CD to start from: in `disks` the volume of an \
                               earlier machine, say";
                return Err(wrong_field("spec.image", message));
            }
        }
    }
    let first = spec.disks.iter().filter(|disk| disk.boot_index.is_some());
    let first = first.min_by_key(|disk| disk.boot_index);
    let image = first.map(|disk| origin(node, &disk.volume)).transpose()?.flatten();
    spec.firmware = Some(match &image {
        Some(image) => check_firmware(image, spec.firmware)?,
        None => spec.firmware.unwrap_or_else(|| VmFirmware::usual(None)),
    });
    Ok(())
}

/// The image that a volume was made from, straight or as a copy of a copy, if that can still be told.
fn origin(node: &Node, volume: &Name) -> Result<Option<Resource<Image>>, Refusal> {
    let mut name = volume.clone();
    // Names come back, so that such a chain may lead to itself.
    for _ in 0..MOST_COPIES {
        let Some(found) = node.store.find::<Volume>(&name).map_err(store)? else { break };
        let source = found.spec.source;
        if let Some(image) = source.image {
            return node.store.find::<Image>(&image).map_err(store);
        }
        let Some(next) = source.volume else { break };
        name = next;
    }
    Ok(None)
}

/// A kernel is started directly: neither firmware nor a disk has a part in that.
fn without_disk(image: &Resource<Image>, spec: &VmSpec) -> Result<(), Refusal> {
    let name = &image.meta.name;
    let given = [
        ("spec.firmware", spec.firmware.is_some()),
        ("spec.disk_size_mib", spec.disk_size_mib.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => {
            let message =
                format!("leave it out: `{name}` is a kernel, and no disk is made from it");
            Err(wrong_field(field, message))
        }
        None => Ok(()),
    }
}

/// Whether the machine is as large as its image needs.
fn check_least(image: &Resource<Image>, spec: &VmSpec) -> Result<(), Refusal> {
    if let Some(least) = image.spec.min_vcpus.filter(|least| spec.vcpus < *least) {
        let (name, asked) = (&image.meta.name, spec.vcpus);
        let message = format!(
            "`{name}` needs {least} virtual processors or more, and {asked} were asked for"
        );
        return Err(wrong_field("spec.vcpus", message));
    }
    match image.spec.min_memory_mib {
        Some(least) if spec.memory_mib < least => {
            let (name, asked) = (&image.meta.name, spec.memory_mib);
            let message =
                format!("`{name}` needs {least} MiB or more, and {asked} MiB were asked for");
            Err(wrong_field("spec.memory_mib", message))
        }
        _ => Ok(()),
    }
}

/// What a machine from this image is started by.
pub fn check_firmware(
    image: &Resource<Image>,
    asked: Option<VmFirmware>,
) -> Result<VmFirmware, Refusal> {
    let needs = image.spec.firmware;
    let firmware = asked.unwrap_or_else(|| VmFirmware::usual(needs));
    match needs.filter(|needs| *needs != firmware.kind()) {
        Some(needs) => {
            let word = match needs {
                ImageFirmware::Uefi => "UEFI",
                ImageFirmware::Bios => "BIOS",
            };
            let name = &image.meta.name;
            Err(wrong_field("spec.firmware", format!("`{name}` starts by {word} only")))
        }
        None => Ok(firmware),
    }
}

/// The first disk of a machine. It stays when the machine is deleted, as every volume does.
fn root_disk(
    node: &Node,
    tx: &mut Transaction,
    vm: &Name,
    volume: VolumeSpec,
    spec: &VmSpec,
) -> Result<VmDisk, Refusal> {
    let first = |disk: &VmDisk| disk.boot_index == Some(1);
    if let Some(index) = spec.disks.iter().position(first) {
        let field = format!("spec.disks[{index}].boot_index");
        return Err(wrong_field(&field, "1 is the disk that the machine gets of its own"));
    }
    let name = root_name(node, vm)?;
    new_volume(node, tx, &name, volume, std::collections::BTreeMap::new()).map_err(of_machine)?;
    Ok(VmDisk { boot_index: Some(1), ..VmDisk::of(name) })
}

fn root_name(node: &Node, vm: &Name) -> Result<Name, Refusal> {
    let cut: String = vm.as_str().chars().take(58).collect();
    let name = Name::new(format!("{}-root", cut.trim_end_matches('-'))).map_err(internal)?;
    if node.store.find::<Volume>(&name).map_err(store)?.is_none() {
        return Ok(name);
    }
    let detail = format!(
        "a volume `{name}` is there already, perhaps of an earlier `{vm}`: delete it, or choose \
         another name for the machine"
    );
    Err(Refusal::new(RefusalClass::Conflict, detail))
}

/// The size to ask for; none if the image's own will do.
fn size(image: &Resource<Image>, asked: Option<u64>) -> Result<Option<u64>, Refusal> {
    let ImageSpec { min_disk_bytes, .. } = &image.spec;
    let Some(least) = min_disk_bytes.map(|bytes| bytes.div_ceil(MIB)) else { return Ok(asked) };
    match asked {
        Some(asked) if asked < least => {
            let name = &image.meta.name;
            let message =
                format!("`{name}` needs {least} MiB or more, and {asked} MiB were asked for");
            Err(wrong_field("spec.disk_size_mib", message))
        }
        Some(asked) => Ok(Some(asked)),
        None => {
            let own = skerry_storage::image_size(&image.spec).div_ceil(MIB);
            Ok((own < least).then_some(least))
        }
    }
}

/// The least size in MiB of a disk made from an image.
pub fn least_size(image: &Resource<Image>) -> u64 {
    let own = skerry_storage::image_size(&image.spec);
    own.max(image.spec.min_disk_bytes.unwrap_or(0)).div_ceil(MIB)
}

/// What is wrong with the volume, said in the words of the machine.
fn of_machine(mut refusal: Refusal) -> Refusal {
    for violation in &mut refusal.violations {
        match violation.field.as_str() {
            "spec.size_mib" => "spec.disk_size_mib".clone_into(&mut violation.field),
            "spec.source.image" => "spec.image".clone_into(&mut violation.field),
            _ => {}
        }
    }
    refusal
}
