//! Programs that people run inside containers.
//!
//! Who may is decided here. Each start and end is told in the log by who, where and the program's name; its
//! arguments and environment, which may hold secrets, are not.

use futures::StreamExt;
use skerry_containers::{ExecInput, ExecOutput, ExecRequest, RuntimeFault, Size};
use skerry_ipc::{
    Channel, ExecQuery, Input, Refusal, RefusalClass, Reply, StreamItem, TerminalSize,
};
use skerry_model::{Container, Kind, Pod, Resource};
use skerry_trust::Permission;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::read::find;
use super::refuse::wrong_field;
use super::write::resource;
use crate::node::Node;

const MOST_WORDS: usize = 256;
const MOST_BYTES: usize = 64 * 1024;
/// The longest name of a program in the log.
const LOGGED: usize = 80;

/// Starts a program and connects it with the caller.
pub async fn exec(node: &Node, caller: &Caller, query: ExecQuery) -> Result<Reply, Refusal> {
    caller.permit(Permission::Enter)?;
    check(&query)?;
    let document = find(node, Kind::Pod, &query.key)?;
    let pod = resource::<Pod>(&document)?;
    let container = container(&pod, query.container.as_deref())?;
    permit(caller, &pod, container)?;
    let program: String =
        query.argv.first().map_or("", String::as_str).chars().take(LOGGED).collect();
    let request = ExecRequest {
        pod: pod.id(),
        container: container.name.clone(),
        argv: query.argv,
        env: query.env,
        terminal: query.terminal.map(size),
        memory_mib: container.memory_mib,
        tasks: container.pids,
    };
    let session = node.machine.access.exec(request).await.map_err(refused)?;
    let told = Told { by: caller.name(), pod: pod.meta.name.to_string(), program };
    tracing::info!(by = told.by, pod = told.pod, container = %container.name,
        program = told.program, terminal = query.terminal.is_some(), "program started in a container");
    let (input, inputs) = mpsc::channel(1);
    tokio::spawn(pass_on(inputs, session.input));
    let items = session.output.map(move |item| {
        let _ = &told;
        item.map(shown).map_err(refused)
    });
    Ok(Reply::TwoWay { items: items.boxed(), input })
}

/// Tells of a program's end when its outputs are dropped.
struct Told {
    by: String,
    pod: String,
    program: String,
}

impl Drop for Told {
    fn drop(&mut self) {
        let Self { by, pod, program } = self;
        tracing::info!(%by, %pod, %program, "program in a container ended");
    }
}

fn check(query: &ExecQuery) -> Result<(), Refusal> {
    if query.argv.first().is_none_or(String::is_empty) {
        return Err(wrong_field("command", "is missing: give a program and its arguments"));
    }
    let words = query.argv.iter().chain(query.env.iter().flat_map(|(name, value)| [name, value]));
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for word in words {
        if word.contains('\0') {
            return Err(wrong_field("command", "must not hold a zero byte"));
        }
        count += 1;
        bytes = bytes.saturating_add(word.len());
    }
    if count > MOST_WORDS || bytes > MOST_BYTES {
        let limit = format!("must be at most {MOST_WORDS} words of {MOST_BYTES} bytes in all");
        return Err(wrong_field("command", limit));
    }
    if query.env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(wrong_field("env", "each variable needs a name without `=`"));
    }
    check_size(query.terminal)
}

/// Whoever is in a privileged container rules the node. What runs may be of an earlier revision than what is wanted.
pub fn permit(caller: &Caller, pod: &Resource<Pod>, container: &Container) -> Result<(), Refusal> {
    let runs = pod.status.template().into_iter().flat_map(|template| &template.containers);
    let mut same = runs.filter(|other| other.name == container.name);
    if !container.privileged && !same.any(|other| other.privileged) {
        return Ok(());
    }
    let detail =
        format!("container `{}` is privileged: only an admin may enter it", container.name);
    caller
        .permit(Permission::LoosenWorkloads)
        .map_err(|refusal| Refusal::new(refusal.class, detail))
}

/// Refuses a terminal that cannot be.
pub fn check_size(size: Option<TerminalSize>) -> Result<(), Refusal> {
    let fits = |length: u16| (1..=1000).contains(&length);
    match size {
        Some(size) if !fits(size.cols) || !fits(size.rows) => {
            Err(wrong_field("terminal", "must be 1 to 1000 columns and rows"))
        }
        _ => Ok(()),
    }
}

/// The container of that name; the only one if none is named.
pub fn container<'p>(pod: &'p Resource<Pod>, name: Option<&str>) -> Result<&'p Container, Refusal> {
    let all = &pod.spec.containers;
    let found = match (name, all.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), _) => all.iter().find(|container| container.name.as_str() == name),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|container| container.name.to_string()).collect();
        let names = names.join(", ");
        let message = match name {
            Some(_) => format!("is none of {names}"),
            None => format!("is missing: the pod has several, {names}"),
        };
        wrong_field("container", message)
    })
}

/// A terminal's size as containers have it.
pub const fn size(size: TerminalSize) -> Size {
    Size { cols: size.cols, rows: size.rows }
}

async fn pass_on(mut inputs: mpsc::Receiver<Input>, program: mpsc::Sender<ExecInput>) {
    while let Some(input) = inputs.recv().await {
        let input = match input {
            Input::Bytes(bytes) => ExecInput::Bytes(bytes),
            Input::Resize(to) if check_size(Some(to)).is_err() => continue,
            Input::Resize(to) => ExecInput::Resize(size(to)),
            Input::End => ExecInput::End,
        };
        if program.send(input).await.is_err() {
            return;
        }
    }
}

fn shown(output: ExecOutput) -> StreamItem {
    match output {
        ExecOutput::Out(bytes) => StreamItem::Output { channel: Channel::Out, bytes },
        ExecOutput::Err(bytes) => StreamItem::Output { channel: Channel::Err, bytes },
        ExecOutput::Exit(code) => StreamItem::Exit(code),
    }
}

fn refused(error: skerry_containers::RuntimeError) -> Refusal {
    let class = match error.fault {
        RuntimeFault::Refused => RefusalClass::Conflict,
        RuntimeFault::Passing | RuntimeFault::NoSpace => RefusalClass::Unavailable,
        RuntimeFault::Broken => RefusalClass::Internal,
    };
    if class == RefusalClass::Internal {
        tracing::error!(error = error.chain(), "a program cannot be run in a container");
    }
    Refusal::new(class, error.message)
}
