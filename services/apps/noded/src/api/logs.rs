//! Logs of workloads and of the node, as streams of lines.

use futures::stream::{self, BoxStream, StreamExt};
use skerry_compute::LogPosition;
use skerry_containers::LogRequest;
use skerry_ipc::{LogQuery, Refusal, RefusalClass, StreamItem};
use skerry_model::{Id, Kind, Pod, Timestamp, Vm};
use skerry_trust::Permission;
use skerry_upkeep::JournalQuery;

use super::caller::Caller;
use super::read::find;
use super::refuse::wrong_field;
use super::write::resource;
use crate::clock::now;
use crate::node::Node;
use crate::serial_lines::SerialLines;

const MOST_LINES: u32 = 10_000;

type Lines = BoxStream<'static, Result<StreamItem, Refusal>>;

/// The lines asked for.
pub async fn log(node: &Node, caller: &Caller, query: LogQuery) -> Result<Lines, Refusal> {
    caller.permit(Permission::ReadLogs)?;
    if query.tail > MOST_LINES {
        return Err(wrong_field("tail", format!("must be at most {MOST_LINES}")));
    }
    match query.kind {
        Kind::Node => node_log(node, query).await,
        Kind::Vm => {
            let document = find(node, Kind::Vm, &query.key)?;
            vm_log(node, Id::new(document.metadata.id), query).await
        }
        Kind::Pod => pod_log(node, query).await,
        kind => Err(Refusal::new(RefusalClass::NotFound, format!("a {kind} has no log"))),
    }
}

async fn node_log(node: &Node, query: LogQuery) -> Result<Lines, Refusal> {
    let since = since(&query);
    let unit = Some(query.key).filter(|unit| !unit.is_empty());
    if query.timestamps {
        return Err(wrong_field("timestamps", "is for pods; the node's log always has times"));
    }
    let query = JournalQuery { unit, tail: query.tail, since, follow: query.follow };
    let lines = node.machine.host.journal(query).await.map_err(unavailable)?;
    Ok(lines.map(|line| line.map(StreamItem::Line).map_err(unavailable)).boxed())
}

async fn pod_log(node: &Node, query: LogQuery) -> Result<Lines, Refusal> {
    let document = find(node, Kind::Pod, &query.key)?;
    let pod = resource::<Pod>(&document)?;
    let container = match &query.container {
        None => None,
        Some(wanted) => {
            let known = || pod.spec.all_containers().map(|c| &c.name);
            let found = known().find(|name| name.as_str() == wanted).cloned();
            Some(found.ok_or_else(|| {
                let names: Vec<_> = known().map(ToString::to_string).collect();
                wrong_field("container", format!("is none of {}", names.join(", ")))
            })?)
        }
    };
    let request = LogRequest {
        pod: pod.id(),
        container,
        tail: query.tail,
        since: since(&query),
        timestamps: query.timestamps,
        follow: query.follow,
    };
    let lines = node.machine.containers.logs(request).await.map_err(unavailable)?;
    Ok(lines.map(|line| line.map(StreamItem::Line).map_err(unavailable)).boxed())
}

/// The moment from which on lines are wanted, by this machine's clock.
fn since(query: &LogQuery) -> Option<Timestamp> {
    query.since.map(|since| since.moment(now()))
}

async fn vm_log(node: &Node, vm: Id<Vm>, query: LogQuery) -> Result<Lines, Refusal> {
    for (field, given) in [("since", query.since.is_some()), ("timestamps", query.timestamps)] {
        if given {
            return Err(wrong_field(field, "is for pods: a serial line's output has no times"));
        }
    }
    let hypervisor = node.machine.hypervisor.clone();
    let mut reader = SerialLines::new(hypervisor, vm, LogPosition::default());
    let first = reader.read_to_end(usize::try_from(query.tail).unwrap_or(0)).await;
    let first = first.map_err(unavailable)?;
    let present = stream::iter(first.into_iter().map(|line| Ok(StreamItem::Line(line))));
    if !query.follow {
        return Ok(present
            .chain(stream::iter(reader.rest().map(StreamItem::Line).map(Ok)))
            .boxed());
    }
    let following = stream::unfold(reader, |mut reader| async move {
        let line = reader.next_line().await;
        Some((line.map(StreamItem::Line).map_err(unavailable), reader))
    });
    Ok(present.chain(following).boxed())
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalClass::Unavailable, error.to_string())
}
