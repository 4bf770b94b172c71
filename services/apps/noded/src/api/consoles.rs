//! Consoles of virtual machines: the serial line, with what it showed lately, and the screen.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use skerry_compute::{GuestConnection, HypervisorError, LogPosition};
use skerry_ipc::{Channel, Input, Refusal, RefusalClass, Reply, StreamItem};
use skerry_model::{Document, Graphics, Id, Kind, Vm};
use skerry_trust::Permission;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::read::find;
use super::write::resource;
use crate::node::Node;
use crate::serial_hub::Shown;

/// How much of the past is shown at first.
const REPLAY: usize = 64 * 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Opens the serial line of a running guest.
pub async fn serial(node: &Node, caller: &Caller, key: &str) -> Result<Reply, Refusal> {
    let (document, vm) = running(node, caller, key).await?;
    // First the line, then the past: so nothing is missed, and a few bytes may be shown twice.
    let look = node.serial.look(vm).await.map_err(refused)?;
    let past = past(node, vm).await.map_err(refused)?;
    let name = document.metadata.name.to_string();
    tracing::info!(by = caller.name(), vm = name, types = look.types(), "serial line opened");
    let (input, inputs) = mpsc::channel(1);
    let mut first = vec![past];
    match look.input() {
        Some(target) => {
            tokio::spawn(pass_on(inputs, target));
        }
        None => first.push(b"\r\n-- somebody else types here; you only watch --\r\n".to_vec()),
    }
    let first = first.into_iter().filter(|bytes| !bytes.is_empty());
    let present = look.shown().map(|shown| match shown {
        Shown::Piece(piece) => piece.to_vec(),
        Shown::Lost(count) => format!("\r\n-- {count} pieces lost --\r\n").into_bytes(),
    });
    let items = stream::iter(first).chain(present);
    let items = items.map(|bytes| Ok(StreamItem::Output { channel: Channel::Out, bytes }));
    Ok(Reply::TwoWay { items: items.boxed(), input })
}

/// Opens the screen of a running guest.
pub async fn screen(node: &Node, caller: &Caller, key: &str) -> Result<Reply, Refusal> {
    let (document, vm) = running(node, caller, key).await?;
    let name = document.metadata.name.to_string();
    let connection = node.machine.consoles.screen(vm).await.map_err(refused)?;
    let Some(GuestConnection { input: target, output }) = connection else {
        let wanted = resource::<Vm>(&document)?.spec.graphics;
        let detail = match wanted {
            Graphics::None => format!("`{name}` has no screen: set its `graphics` to `vnc`"),
            Graphics::Vnc => format!("`{name}` was started without its screen: restart it"),
        };
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    };
    tracing::info!(by = caller.name(), vm = name, "screen opened");
    let (input, inputs) = mpsc::channel(1);
    tokio::spawn(pass_on(inputs, target));
    let items = output.map(|piece| {
        let bytes = piece.map_err(refused)?;
        Ok(StreamItem::Output { channel: Channel::Out, bytes })
    });
    Ok(Reply::TwoWay { items: items.boxed(), input })
}

/// A virtual machine that runs, for those who may sit down in front of it.
async fn running(
    node: &Node,
    caller: &Caller,
    key: &str,
) -> Result<(Arc<Document>, Id<Vm>), Refusal> {
    caller.permit(Permission::Enter)?;
    let document = find(node, Kind::Vm, key)?;
    let vm: Id<Vm> = Id::new(document.metadata.id);
    let seen = node.machine.hypervisor.observe_one(vm).await.map_err(refused)?;
    if seen.is_some_and(|domain| domain.power.is_up()) {
        return Ok((document, vm));
    }
    let detail = format!("`{}` does not run: start it first", document.metadata.name);
    Err(Refusal::new(RefusalClass::Conflict, detail))
}

/// The end of the serial log.
async fn past(node: &Node, vm: Id<Vm>) -> Result<Vec<u8>, HypervisorError> {
    let mut position = LogPosition::default();
    let mut kept: Vec<u8> = Vec::new();
    loop {
        let chunk = node.machine.hypervisor.serial_log(vm, position, CHUNK).await?;
        if chunk.bytes.is_empty() {
            return Ok(kept);
        }
        position = chunk.next;
        kept.extend_from_slice(&chunk.bytes);
        let beyond = kept.len().saturating_sub(REPLAY);
        kept.drain(..beyond);
    }
}

async fn pass_on(mut inputs: mpsc::Receiver<Input>, guest: mpsc::Sender<Vec<u8>>) {
    while let Some(input) = inputs.recv().await {
        // Neither a serial line nor a screen has a size of that kind, or an end of input.
        if let Input::Bytes(bytes) = input
            && guest.send(bytes).await.is_err()
        {
            return;
        }
    }
}

fn refused(error: HypervisorError) -> Refusal {
    Refusal::new(RefusalClass::Unavailable, error.to_string())
}
