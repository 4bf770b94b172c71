//! Changes as they happen.

use futures::stream::{self, BoxStream, StreamExt};
use skerry_ipc::{Refusal, RefusalClass, StreamItem};
use skerry_model::Kind;
use skerry_store::{Change, Watch};
use skerry_trust::Permission;

use super::caller::Caller;
use super::read::{permission, shown};
use crate::node::Node;

/// A stream of the changes that the caller may see.
pub fn watch(
    node: &Node,
    caller: &Caller,
    kinds: Vec<Kind>,
    after: Option<u64>,
) -> Result<BoxStream<'static, Result<StreamItem, Refusal>>, Refusal> {
    caller.permit(Permission::Read)?;
    for kind in &kinds {
        caller.permit(permission(*kind))?;
    }
    let wanted: Vec<Kind> = if kinds.is_empty() {
        Kind::ALL.into_iter().filter(|kind| caller.permit(permission(*kind)).is_ok()).collect()
    } else {
        kinds
    };
    let watch = node.store.watch(after).map_err(|_| gone())?;
    Ok(stream::unfold(Some((watch, wanted)), step).boxed())
}

type State = Option<(Watch, Vec<Kind>)>;

async fn step(state: State) -> Option<(Result<StreamItem, Refusal>, State)> {
    let (mut watch, wanted) = state?;
    loop {
        match watch.next().await {
            Ok(change) if wanted.contains(&change.subject.kind) => {
                let item = item(&change)?;
                return Some((item, Some((watch, wanted))));
            }
            Ok(_) => {}
            Err(_) => return Some((Err(gone()), None)),
        }
    }
}

fn item(change: &Change) -> Option<Result<StreamItem, Refusal>> {
    let document = change.after.as_ref().or(change.before.as_ref())?;
    Some(shown(document).map(|document| StreamItem::Change {
        revision: change.revision,
        kind: change.subject.kind,
        document,
        removed: change.after.is_none(),
    }))
}

fn gone() -> Refusal {
    Refusal::new(
        RefusalClass::Gone,
        "changes since that revision are no longer kept; list again and watch from there",
    )
}
