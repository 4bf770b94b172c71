//! Bringing images in, changing what is said of them, and deleting them.

use serde_json::Value;
use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{
    Document, Id, Image, ImageFormat, ImageSource, ImageSpec, ImageState, ImageStatus, Invalid,
    Kind, LocalRef, NewResource, Resource, Validate,
};
use skerry_store::Transaction;
use skerry_trust::Permission;
use skerry_upkeep::{IMAGE_FINALIZER, Incoming, LibraryError, image_users};
use uuid::Uuid;

use super::caller::Caller;
use super::draft::{Draft, typed};
use super::exports;
use super::families::check_family;
use super::jobs;
use super::refuse::{found, internal, store, wrong_field};
use super::registries;
use super::workloads::draw_id;
use super::write::resource;
use crate::images::{EXPORT, IMPORT};
use crate::node::Node;
use crate::pulls::PULL;

/// Names that a refusal lists at most.
const LISTED: usize = 10;

/// An image from a draft, together with the job that brings it in.
pub async fn create(
    node: &Node,
    caller: &Caller,
    draft: Draft,
) -> Result<(Transaction, Uuid), Refusal> {
    let mut spec: ImageSpec = typed(draft.spec, "spec")?;
    check(&spec)?;
    check_family(node, &draft.metadata.name, spec.family.as_ref())?;
    check_unsigned(node, caller, &spec)?;
    exports::ready(node, &mut spec)?;
    check_source(node, &spec).await?;
    let id = draw_id::<Image>(node);
    let subject = LocalRef { kind: Kind::Image, id: id.uuid() };
    let operation = match spec.source {
        ImageSource::Registry { .. } => PULL,
        ImageSource::Volume { .. } => EXPORT,
        _ => IMPORT,
    };
    let job = node.jobs.prepare(operation, Some(subject), Value::Null).map_err(jobs::refused)?;
    let status = ImageStatus {
        state: ImageState::Receiving,
        job: Some(job.id.uuid()),
        ..ImageStatus::default()
    };
    let mut new = NewResource::new(id, draft.metadata.name, spec);
    new.labels = draft.metadata.labels;
    new.finalizers = vec![IMAGE_FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.create(new);
    tx.put_status(id, status);
    tx.create(job);
    Ok((tx, id.uuid()))
}

fn check(spec: &ImageSpec) -> Result<(), Refusal> {
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    if spec.source == ImageSource::BuiltIn {
        faults.add(
            "spec.source",
            "must be an upload, a url, a folder, a volume or a registry; only the system brings built-in images",
        );
    }
    if let ImageSource::Registry { resolved, .. } = &spec.source {
        let message = "is for the node to fill in";
        faults.require(resolved.is_none(), "spec.source.registry.resolved", message);
        let message = "must be oci_archive for what comes from a registry";
        faults.require(spec.format == ImageFormat::OciArchive, "spec.format", message);
        let message = "is for files; name a digest in the reference instead";
        faults.require(spec.sha256.is_none(), "spec.sha256", message);
    }
    faults.require(spec.files.is_empty(), "spec.files", "is for the node to fill in");
    faults.require(spec.signature.is_none(), "spec.signature", "is for the node to fill in");
    let by_hand = spec.format == ImageFormat::OciArchive
        && !matches!(spec.source, ImageSource::Registry { .. });
    let message = "is for container images that are brought in by hand; a registry's settings say what is wanted there";
    faults.require(by_hand || !spec.allow_unsigned, "spec.allow_unsigned", message);
    faults.require(
        spec.architecture == "x86_64",
        "spec.architecture",
        "must be x86_64, as this node is",
    );
    faults.into_result().map_err(found)
}

/// A container image by hand carries no signature: where signatures are required, an administrator answers for it.
fn check_unsigned(node: &Node, caller: &Caller, spec: &ImageSpec) -> Result<(), Refusal> {
    let by_hand = !matches!(spec.source, ImageSource::Registry { .. });
    if spec.format != ImageFormat::OciArchive || !by_hand {
        return Ok(());
    }
    let Some(host) = registries::that_requires_signatures(node)? else { return Ok(()) };
    if !spec.allow_unsigned {
        let message = format!(
            "must be true: {host} requires signatures, and an archive carries none; pull the image, or have an administrator bring it in unsigned"
        );
        return Err(wrong_field("spec.allow_unsigned", message));
    }
    caller.permit(Permission::LoosenWorkloads).map_err(|refusal| {
        let detail = format!(
            "only an administrator may bring in an unsigned container image: {host} requires signatures"
        );
        Refusal::new(refusal.class, detail)
    })
}

/// What can be known beforehand: that there is something to take, that nobody else takes it, and that it fits.
async fn check_source(node: &Node, spec: &ImageSpec) -> Result<(), Refusal> {
    let (incoming, field) = match &spec.source {
        ImageSource::Upload(id) => (Incoming::Spooled(*id), "spec.source.upload"),
        ImageSource::Folder(path) => (Incoming::Medium(path.clone()), "spec.source.folder"),
        ImageSource::Url(_)
        | ImageSource::BuiltIn
        | ImageSource::Registry { .. }
        | ImageSource::Volume { .. } => return Ok(()),
    };
    let library = &node.machine.images;
    let arrived =
        library.incoming(&incoming).await.map_err(|error| wrong_field(field, error.to_string()))?;
    let Some(arrived) = arrived else {
        return Err(wrong_field(field, "is not there, or not complete"));
    };
    if matches!(incoming, Incoming::Spooled(_)) {
        let images = node.store.list::<Image>().map_err(store)?;
        let taken = images
            .iter()
            .find(|image| image.spec.source == spec.source && image.spec.files.is_empty());
        if let Some(taken) = taken {
            let detail = format!("the upload is being used for the image `{}`", taken.meta.name);
            return Err(Refusal::new(RefusalClass::Conflict, detail));
        }
    }
    // There is no job yet, so that all promises are those of others.
    let free = library.free_for(Uuid::nil()).await.map_err(library_fault)?;
    if arrived.copy > free {
        let error = LibraryError::NoSpace { needed: arrived.copy, free };
        return Err(Refusal::new(RefusalClass::Capacity, error.to_string()));
    }
    Ok(())
}

fn library_fault(error: LibraryError) -> Refusal {
    internal(error)
}

/// Changes what is said of an image. What it is made of stays.
pub fn change(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    spec: Value,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let before: Resource<Image> = resource(present)?;
    let spec: ImageSpec = typed(spec, "spec")?;
    if before.spec.source == ImageSource::BuiltIn {
        let detail = "this image belongs to the system and stays as it is";
        return Err(Refusal::new(RefusalClass::Forbidden, detail));
    }
    let mut faults = Invalid::default();
    spec.validate(&mut faults);
    let fixed = "cannot be changed; bring in another image";
    faults.require(spec.format == before.spec.format, "spec.format", fixed);
    faults.require(spec.source == before.spec.source, "spec.source", fixed);
    faults.require(spec.files == before.spec.files, "spec.files", fixed);
    faults.require(spec.sha256 == before.spec.sha256, "spec.sha256", fixed);
    faults.require(spec.architecture == before.spec.architecture, "spec.architecture", fixed);
    faults.require(spec.signature == before.spec.signature, "spec.signature", fixed);
    let same = spec.allow_unsigned == before.spec.allow_unsigned;
    faults.require(same, "spec.allow_unsigned", fixed);
    faults.into_result().map_err(found)?;
    check_family(node, &before.meta.name, spec.family.as_ref())?;
    tx.put_spec(before.id(), if_revision, spec);
    Ok(())
}

/// Takes an image down, if nobody needs it.
pub fn delete(
    node: &Node,
    tx: &mut Transaction,
    present: &Document,
    if_revision: Option<u64>,
) -> Result<(), Refusal> {
    let image: Resource<Image> = resource(present)?;
    let name = &image.meta.name;
    if image.spec.source == ImageSource::BuiltIn {
        let detail = "this image belongs to the system and stays";
        return Err(Refusal::new(RefusalClass::Forbidden, detail));
    }
    if image.spec.pinned {
        let detail = format!("the image `{name}` is pinned; unpin it first");
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    if let Some(job) = node.jobs.active_on(image.local_ref()) {
        let detail = format!("the job {} is at work on `{name}`; abort it first", job.meta.name);
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    let users = image_users(&node.store, name);
    if !users.is_empty() {
        let named = users.iter().take(LISTED).map(|user| {
            let user_name = node.store.document(*user).map(|d| d.metadata.name.to_string());
            format!("{} {}", user.kind.name().to_lowercase(), user_name.unwrap_or_default())
        });
        let list = named.collect::<Vec<_>>().join(", ");
        let more = users.len().saturating_sub(LISTED);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let detail = format!("the image `{name}` is used by {list}{rest}; delete these first");
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    tx.begin_removal(Id::<Image>::new(present.metadata.id), if_revision);
    Ok(())
}
