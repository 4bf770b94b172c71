//! Images that the north side is to pull: orders out, reports in.

use futures::StreamExt;
use skerry_ipc::{Answer, PeerRole, PullReport, Refusal, RefusalClass, StreamItem};
use skerry_model::Kind;
use uuid::Uuid;

use super::caller::Caller;
use super::refuse::{not_found, wrong_field};
use crate::node::Node;

/// Signatures of one image, of a registry and all its mirrors.
const MAX_SIGNATURES: usize = 300;

/// Whether the caller is the process that downloads; nobody else may see passwords or speak of pulls.
fn permit(caller: &Caller) -> Result<(), Refusal> {
    let process = caller.principal.is_none();
    if process && matches!(caller.peer, PeerRole::North | PeerRole::Root) {
        return Ok(());
    }
    Err(Refusal::new(RefusalClass::Forbidden, "only the north side pulls images"))
}

/// All pulls that are wanted, whenever they change.
pub fn watch(node: &Node, caller: &Caller) -> Result<skerry_ipc::Reply, Refusal> {
    permit(caller)?;
    let orders = node.pulls.watch().map(|orders| Ok(StreamItem::Pulls(orders)));
    Ok(skerry_ipc::Reply::Stream(orders.boxed()))
}

/// Takes a report.
pub fn report(
    node: &Node,
    caller: &Caller,
    job: Uuid,
    report: PullReport,
) -> Result<Answer, Refusal> {
    permit(caller)?;
    if let PullReport::Done { blobs, .. } = &report
        && blobs.len() > skerry_containers::oci::MAX_LAYERS + 3
    {
        return Err(wrong_field("blobs", "more than an image has".to_owned()));
    }
    if let PullReport::Done { signatures, .. } = &report
        && signatures.len() > MAX_SIGNATURES
    {
        return Err(wrong_field("signatures", "more than anybody makes".to_owned()));
    }
    if node.pulls.report(job, report) {
        return Ok(Answer::Done);
    }
    Err(not_found(Kind::Job, &job.to_string()))
}
