//! Images of one family: versions of the same thing, each with a name of its own. Whoever names the family means its newest
//! version at that moment; what is written down is the name of that image.
//!
//! A family's name is never that of an image, so that a name means one thing.

use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{
    Image, ImageFormat, ImageState, Name, Phase, PodSpec, Resource, VmSpec, compare_versions,
};

use super::refuse::{store, wrong_field};
use crate::node::Node;

/// The image that a name means. `present` are those that the workload has already in this place: one of them stays if it is
/// of the family.
fn meant(
    node: &Node,
    field: &str,
    name: &Name,
    present: &[&Name],
    fits: fn(ImageFormat) -> bool,
) -> Result<Name, Refusal> {
    let images = node.store.list::<Image>().map_err(store)?;
    let named = |wanted: &Name| images.iter().find(|image| image.meta.name == *wanted);
    let of_family = |image: &&Resource<Image>| image.spec.family.as_ref() == Some(name);
    if named(name).is_some() || !images.iter().any(|image| of_family(&image)) {
        // An image of that name, or nothing at all: what follows says so.
        return Ok(name.clone());
    }
    if let Some(stays) = present.iter().find(|own| named(own).as_ref().is_some_and(of_family)) {
        return Ok((*stays).clone());
    }
    let usable = |image: &&Resource<Image>| {
        image.status.state == ImageState::Available
            && image.meta.phase == Phase::Present
            && fits(image.spec.format)
    };
    newest(images.iter().filter(of_family).filter(usable)).map_or_else(
        || {
            let message = format!("no image of the family `{name}` can be used for this now");
            Err(wrong_field(field, message))
        },
        |image| Ok(image.meta.name.clone()),
    )
}

/// The newest by version; of equal versions what came last.
fn newest<'i>(images: impl Iterator<Item = &'i Resource<Image>>) -> Option<&'i Resource<Image>> {
    images.max_by(|one, other| {
        compare_versions(&one.spec.version, &other.spec.version)
            .then_with(|| one.meta.created.cmp(&other.meta.created))
            .then_with(|| one.meta.name.cmp(&other.meta.name))
    })
}

/// Settles which images a machine is to have.
pub fn settle_vm(node: &Node, spec: &mut VmSpec, before: Option<&VmSpec>) -> Result<(), Refusal> {
    let present: Vec<&Name> = before.and_then(|before| before.image.as_ref()).into_iter().collect();
    let starts = |format| format != ImageFormat::OciArchive;
    if let Some(image) = &spec.image {
        spec.image = Some(meant(node, "spec.image", image, &present, starts)?);
    }
    let drives = before.map(|before| before.media.as_slice()).unwrap_or_default();
    let present: Vec<&Name> = drives.iter().filter_map(|drive| drive.image.as_ref()).collect();
    for (index, drive) in spec.media.iter_mut().enumerate() {
        if let Some(name) = &drive.image {
            let field = format!("spec.media[{index}].image");
            let is_disc = |format| format == ImageFormat::Iso;
            drive.image = Some(meant(node, &field, name, &present, is_disc)?);
        }
    }
    Ok(())
}

/// Settles which images a pod is to have. A container keeps its image for as long as it names its family.
pub fn settle_pod(
    node: &Node,
    spec: &mut PodSpec,
    before: Option<&PodSpec>,
) -> Result<(), Refusal> {
    let known: Vec<_> =
        before.iter().flat_map(|before| before.init.iter().chain(&before.containers)).collect();
    for (list, containers) in [("init", &mut spec.init), ("containers", &mut spec.containers)] {
        for (index, container) in containers.iter_mut().enumerate() {
            let same = known.iter().filter(|other| other.name == container.name);
            let present: Vec<&Name> = same.map(|other| &other.image).collect();
            let field = format!("spec.{list}[{index}].image");
            let is_container = |format| format == ImageFormat::OciArchive;
            container.image = meant(node, &field, &container.image, &present, is_container)?;
        }
    }
    Ok(())
}

/// The disk image that a new volume begins with.
pub fn settle_disk(node: &Node, name: &Name) -> Result<Name, Refusal> {
    meant(node, "spec.source.image", name, &[], ImageFormat::is_disk)
}

/// Whether an image may be called this and be of this family.
pub fn check_family(node: &Node, name: &Name, family: Option<&Name>) -> Result<(), Refusal> {
    let images = node.store.list::<Image>().map_err(store)?;
    let others = || images.iter().filter(|image| image.meta.name != *name);
    if others().any(|image| image.spec.family.as_ref() == Some(name)) || family == Some(name) {
        let detail = format!("`{name}` is the name of a family of images; take another");
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    match family.filter(|family| others().any(|image| image.meta.name == **family)) {
        Some(family) => {
            let message = format!("`{family}` is the name of an image; take another");
            Err(wrong_field("spec.family", message))
        }
        None => Ok(()),
    }
}
