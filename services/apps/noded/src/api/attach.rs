//! Attaching to a container: its own program's input, and what it writes, as it comes.
//!
//! What it writes is read back from its log, by the line, so that any number may watch, and nobody who leaves, not even
//! this service, changes anything for the container. A container with a terminal shows that as it is instead: it is held
//! by a program in the container's own unit. Who attaches is told in the log; what is typed is not.

use std::time::Duration;

use futures::stream::{self, BoxStream, Fuse, StreamExt};
use skerry_containers::{ExecInput, LogRequest, Run, RuntimeError, RuntimeEvent, RuntimeFault};
use skerry_ipc::{Channel, Input, Refusal, RefusalClass, Reply, StreamItem};
use skerry_model::{Id, Kind, Name, Pod};
use skerry_trust::Permission;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::caller::Caller;
use super::exec::{check_size, container, permit, size};
use super::read::find;
use super::write::resource;
use crate::node::{Machine, Node};
use crate::typists::Typist;

/// Lines of the past that are shown at first.
const PAST: u32 = 20;
/// What a program wrote at its end may come so much later.
const REST: Duration = Duration::from_secs(1);

/// Attaches to a container that runs with an open input.
pub async fn attach(
    node: &Node,
    caller: &Caller,
    key: &str,
    name: Option<&str>,
) -> Result<Reply, Refusal> {
    caller.permit(Permission::Enter)?;
    let pod = resource::<Pod>(&*find(node, Kind::Pod, key)?)?;
    let container = container(&pod, name)?;
    permit(caller, &pod, container)?;
    let (id, name) = (pod.id(), container.name.clone());
    if !container.stdin {
        let detail = format!("container `{name}` has no open input: set its `stdin` to true");
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    // Listening before looking: so no end is missed.
    let events = node.machine.containers.events();
    let run = running(&node.machine, id, &name).await?;
    let typist = node.typists.sit_down(id, &name);
    let (input, inputs) = mpsc::channel(1);
    let first = match &typist {
        Some(_) => Vec::new(),
        None => vec![line("-- somebody else types here; you only watch --".to_owned())],
    };
    let inputs = typist.map(|typist| (typist, inputs));
    let (typing, shown) = match container.tty {
        true => terminal(node, id, &name, inputs).await?,
        false => log(node, id, &name, inputs).await?,
    };
    tracing::info!(by = caller.name(), pod = %pod.meta.name, container = %name, "attached to a container");
    let watched = Watched { machine: node.machine.clone(), events, pod: id, name, run };
    let (items, received) = mpsc::channel(16);
    tokio::spawn(async move {
        let gone = items.clone();
        // Either may be cut short: what is on its way then has no taker.
        tokio::select! {
            () = gone.closed() => {}
            () = show(watched, shown, items) => {}
        }
        // With whoever leaves goes the turn to type, also if the container has not taken what was typed.
        drop(typing);
    });
    let coming = stream::unfold(received, |mut received| async move {
        received.recv().await.map(|item| (item, received))
    });
    Ok(Reply::TwoWay {
        items: stream::iter(first.into_iter().map(Ok)).chain(coming).boxed(),
        input,
    })
}

/// What passes on what is typed, with the turn to type.
type Typing = Option<(AbortOnDropHandle<()>, Typist)>;
/// The turn to type, and what is typed.
type Turn = Option<(Typist, mpsc::Receiver<Input>)>;
type Shown = Fuse<BoxStream<'static, Result<StreamItem, Refusal>>>;

/// A container without a terminal: its input, and its log.
async fn log(
    node: &Node,
    pod: Id<Pod>,
    name: &Name,
    turn: Turn,
) -> Result<(Typing, Shown), Refusal> {
    let typing = match turn {
        Some((typist, inputs)) => {
            let target = node.machine.access.input(pod, name).await.map_err(refused)?;
            Some((AbortOnDropHandle::new(tokio::spawn(pass_on(inputs, target))), typist))
        }
        None => None,
    };
    let request = LogRequest {
        pod,
        container: Some(name.clone()),
        tail: PAST,
        since: None,
        timestamps: false,
        follow: true,
    };
    let lines = node.machine.containers.logs(request).await.map_err(refused)?;
    Ok((typing, lines.map(|next| next.map(line).map_err(refused)).boxed().fuse()))
}

/// A container with a terminal.
async fn terminal(
    node: &Node,
    pod: Id<Pod>,
    name: &Name,
    turn: Turn,
) -> Result<(Typing, Shown), Refusal> {
    let look = node.machine.access.terminal(pod, name).await.map_err(refused)?;
    let typing = turn.map(|(typist, inputs)| {
        (AbortOnDropHandle::new(tokio::spawn(pass_keys(inputs, look.input))), typist)
    });
    let shown = look.output.map(|bytes| Ok(StreamItem::Output { channel: Channel::Out, bytes }));
    Ok((typing, shown.boxed().fuse()))
}

/// The run of a container that runs.
async fn running(machine: &Machine, pod: Id<Pod>, name: &Name) -> Result<String, Refusal> {
    let observed = machine.containers.observe(pod).await.map_err(refused)?;
    match observed.container(name).run {
        Run::Running { run, .. } => Ok(run),
        _ => {
            let detail = format!("container `{name}` does not run: start the pod first");
            Err(Refusal::new(RefusalClass::Conflict, detail))
        }
    }
}

fn line(mut text: String) -> StreamItem {
    text.push('\n');
    StreamItem::Output { channel: Channel::Out, bytes: text.into_bytes() }
}

/// A run of a container.
struct Watched {
    machine: Machine,
    events: broadcast::Receiver<RuntimeEvent>,
    pod: Id<Pod>,
    name: Name,
    run: String,
}

impl Watched {
    /// Waits for its end; its code, if it is known.
    async fn end(&mut self) -> Option<i32> {
        loop {
            // What cannot be seen now is looked at again with the next news.
            if let Ok(observed) = self.machine.containers.observe(self.pod).await {
                match observed.container(&self.name).run {
                    Run::Running { run, .. } if run == self.run => {}
                    Run::Stopping => {}
                    Run::Ended { run, exit, .. } if run == self.run => return exit.code(),
                    _ => return None,
                }
            }
            loop {
                match self.events.recv().await {
                    Ok(RuntimeEvent::Pod(pod)) if pod != self.pod => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return None,
                }
            }
        }
    }
}

type Items = mpsc::Sender<Result<StreamItem, Refusal>>;

/// Shows what comes until the end of the run, and the end.
async fn show(mut watched: Watched, mut shown: Shown, items: Items) {
    let code = {
        let mut end = std::pin::pin!(watched.end());
        loop {
            // Taking something loses nothing when the other arm wins.
            tokio::select! {
                code = &mut end => break code,
                next = shown.next() => match next {
                    Some(next) => {
                        if items.send(next).await.is_err() {
                            return;
                        }
                    }
                    None => break end.await,
                },
            }
        }
    };
    let rest = async {
        while let Some(Ok(item)) = shown.next().await {
            if items.send(Ok(item)).await.is_err() {
                return;
            }
        }
    };
    // The log goes on, the run does not.
    let _ = timeout(REST, rest).await;
    if let Some(code) = code {
        // Whoever does not listen any more does not want to know.
        let _ = items.send(Ok(StreamItem::Exit(code))).await;
    }
}

/// Passes on what is typed. An end of what is typed is not one of the container's input.
async fn pass_on(mut inputs: mpsc::Receiver<Input>, container: mpsc::Sender<Vec<u8>>) {
    while let Some(input) = inputs.recv().await {
        if let Input::Bytes(bytes) = input
            && container.send(bytes).await.is_err()
        {
            break;
        }
    }
}

/// The same for a terminal, with its sizes. A size that no terminal has is passed over.
async fn pass_keys(mut inputs: mpsc::Receiver<Input>, container: mpsc::Sender<ExecInput>) {
    while let Some(input) = inputs.recv().await {
        let said = match input {
            Input::Bytes(bytes) => ExecInput::Bytes(bytes),
            Input::Resize(to) if check_size(Some(to)).is_ok() => ExecInput::Resize(size(to)),
            Input::Resize(_) | Input::End => continue,
        };
        if container.send(said).await.is_err() {
            break;
        }
    }
}

fn refused(error: RuntimeError) -> Refusal {
    let class = match error.fault {
        RuntimeFault::Refused => RefusalClass::Conflict,
        _ => RefusalClass::Unavailable,
    };
    Refusal::new(class, error.message)
}
