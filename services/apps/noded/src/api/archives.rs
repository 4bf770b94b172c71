//! Container images on their way out, as one archive.

use futures::stream::{self, BoxStream, StreamExt};
use skerry_ipc::{Refusal, RefusalClass, StreamItem};
use skerry_model::{
    Image, ImageArchiveForm, ImageFormat, ImageReference, ImageSource, ImageState, Kind, Resource,
};
use skerry_trust::Permission;
use skerry_upkeep::{BlobFault, BlobTrouble};

use super::caller::Caller;
use super::read::find;
use super::refuse::{internal, wrong_field};
use super::write::resource;
use crate::node::Node;

type Items = BoxStream<'static, Result<StreamItem, Refusal>>;

/// The archive of an image: its name and size first, then its bytes.
pub async fn export(
    node: &Node,
    caller: &Caller,
    key: &str,
    form: ImageArchiveForm,
) -> Result<Items, Refusal> {
    caller.permit(Permission::Enter)?;
    let document = find(node, Kind::Image, key)?;
    let image: Resource<Image> = resource(&document)?;
    check(&image)?;
    let doubt = doubt(node, &image);
    let name = name_of(&image)?;
    let export = node.machine.blobs.export(&image.spec.files, form, &name).await;
    let export = export.map_err(|fault| refusal(&doubt, fault))?;
    tracing::info!(by = caller.name(), image = %image.meta.name, %form, "image exported");
    let name = format!("{}.{form}.tar", image.meta.name);
    let file = stream::iter([Ok(StreamItem::File { name, size: export.size })]);
    let pieces = export
        .pieces
        .map(move |piece| piece.map(StreamItem::Piece).map_err(|fault| refusal(&doubt, fault)));
    Ok(file.chain(pieces).boxed())
}

fn check(image: &Resource<Image>) -> Result<(), Refusal> {
    let name = &image.meta.name;
    if image.spec.format != ImageFormat::OciArchive {
        let word = image.spec.format.word();
        let detail = format!("`{name}` is a {word}: only container images are exported");
        return Err(wrong_field("format", detail));
    }
    let why = match image.status.state {
        ImageState::Available => return Ok(()),
        ImageState::Quarantined => "is damaged",
        ImageState::Pending => "has not been checked yet",
        ImageState::Receiving => "is still being brought in",
        ImageState::Failed => "could not be brought in",
    };
    Err(Refusal::new(RefusalClass::Conflict, format!("the image `{name}` {why}")))
}

/// Has the image read again, so that what is found damaged is known of at once.
fn doubt(node: &Node, image: &Resource<Image>) -> impl Fn() + Clone + Send + 'static {
    let (images, engine) = (node.images.clone(), node.engine.clone());
    let (id, subject) = (image.meta.id, image.local_ref());
    move || {
        images.doubt(id);
        engine.wake("images", subject);
    }
}

fn refusal(doubt: &impl Fn(), fault: BlobFault) -> Refusal {
    let class = match fault.trouble {
        BlobTrouble::Wrong => {
            tracing::warn!(%fault, "an export broke off");
            doubt();
            RefusalClass::Conflict
        }
        BlobTrouble::Passing | BlobTrouble::NoSpace => RefusalClass::Unavailable,
    };
    Refusal::new(class, fault.message)
}

/// What the archive calls the image: its name at the registry, or else its name on this node.
fn name_of(image: &Resource<Image>) -> Result<ImageReference, Refusal> {
    match &image.spec.source {
        ImageSource::Registry { reference, .. } => Ok(reference.clone()),
        _ => format!("localhost/{}:latest", image.meta.name).parse().map_err(internal),
    }
}
