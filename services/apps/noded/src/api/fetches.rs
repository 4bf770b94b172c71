//! What the north side is to fetch: orders out, reports in.

use futures::stream::{self, BoxStream, StreamExt};
use skerry_ipc::{Answer, FetchReport, PeerRole, Refusal, RefusalClass, StreamItem};
use uuid::Uuid;

use super::caller::Caller;
use super::json;
use crate::node::Node;

/// Only the process itself: no user's session makes another program the north side.
fn permit(caller: &Caller) -> Result<(), Refusal> {
    let process = caller.principal.is_none();
    if process && matches!(caller.peer, PeerRole::North | PeerRole::Root) {
        return Ok(());
    }
    Err(Refusal::new(RefusalClass::Forbidden, "only the north side fetches files"))
}

/// All orders, at once and whenever they change.
pub fn watch(
    node: &Node,
    caller: &Caller,
) -> Result<BoxStream<'static, Result<StreamItem, Refusal>>, Refusal> {
    permit(caller)?;
    let orders = stream::unfold(node.fetches.watch(), |mut watch| async {
        let orders = watch.next().await?;
        let item = json(&orders).map(|text| StreamItem::Line(text.0));
        Some((item, watch))
    });
    Ok(orders.boxed())
}

/// Takes a report.
pub fn report(
    node: &Node,
    caller: &Caller,
    id: Uuid,
    report: FetchReport,
) -> Result<Answer, Refusal> {
    permit(caller)?;
    if node.fetches.report(id, report) {
        return Ok(Answer::Done);
    }
    Err(Refusal::new(RefusalClass::NotFound, "the order no longer stands"))
}
