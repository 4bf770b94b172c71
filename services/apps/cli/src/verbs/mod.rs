//! The verbs: each turns words into requests and answers into text.

mod apply;
mod copy;
mod create;
mod disc;
pub(crate) mod exec;
mod guest;
mod image;
mod image_export;
mod job;
mod machine;
mod nic;
mod read;
mod registry;
mod revision;
mod screen;
mod session;
mod stats;
mod storage;
mod values;
mod wait;
mod workload;

use serde_json::{Value, json};
use skerry_ipc::{Action, LogQuery, Request};
use skerry_model::{Kind, Since};

use crate::args::{NetworkVerb, PodVerb, ReadVerb, Tail, Verb, VmVerb};
use crate::shell::{Done, Shell};

/// Does one verb.
pub(crate) async fn run(shell: &mut Shell<'_, '_>, verb: Verb) -> Done {
    match verb {
        Verb::Claim { code, account } => session::claim(shell, code, account).await,
        Verb::Login { account } => session::login(shell, account).await,
        Verb::Logout => session::logout(shell).await,
        Verb::Status => machine::status(shell).await,
        Verb::Summary => machine::summary(shell).await,
        Verb::Inventory => machine::inventory(shell).await,
        Verb::Pod(verb) => pod(shell, verb).await,
        Verb::Config(verb) => values::run(shell, Kind::Config, verb).await,
        Verb::Secret(verb) => values::run(shell, Kind::Secret, verb).await,
        Verb::Apply { file, dry_run } => apply::apply(shell, &file, dry_run).await,
        Verb::Vm(verb) => vm(shell, verb).await,
        Verb::Network(verb) => network(shell, verb).await,
        Verb::Image(verb) => image::run(shell, verb).await,
        Verb::Registry(verb) => registry::registry(shell, verb).await,
        Verb::Volume(verb) => storage::volume(shell, verb).await,
        Verb::Snapshot(verb) => storage::snapshot(shell, verb).await,
        Verb::Pool(verb) => storage::pool(shell, verb).await,
        Verb::Port(verb) => read(shell, Kind::Port, verb).await,
        Verb::Alarm(verb) => read(shell, Kind::Alarm, verb).await,
        Verb::Job(verb) => job::run(shell, verb).await,
        Verb::User(verb) => read(shell, Kind::User, verb).await,
        Verb::Exec { target } => exec::exec(shell, target).await,
        Verb::Explain { kind, name } => read::explain(shell, kind, name).await,
        Verb::Watch { kinds, after } => read::watch(shell, kinds, after).await,
        Verb::Node(verb) => machine::node(shell, verb).await,
        Verb::Export { output } => machine::export(shell, &output).await,
        Verb::Completion { shell: kind } => machine::completion(shell, kind),
    }
}

async fn pod(shell: &mut Shell<'_, '_>, verb: PodVerb) -> Done {
    match verb {
        PodVerb::Common(verb) => workload::run(shell, Kind::Pod, verb).await,
        PodVerb::Create { new, image, holding, env, volume, after, starting, restart, command } => {
            let mut spec = create::pod(&new, &image, &holding, env, &volume, restart, command);
            if let Value::Object(spec) = &mut spec {
                starting.add_to(spec);
                if !after.is_empty() {
                    spec.insert("depends_on".to_owned(), json!(after));
                }
            }
            create::workload(shell, Kind::Pod, &new, spec).await
        }
        PodVerb::History { name } => revision::history(shell, name).await,
        PodVerb::Rollback { name, to } => revision::rollback(shell, name, to).await,
        PodVerb::Hold { name } => revision::pause(shell, name, true).await,
        PodVerb::Release { name } => revision::pause(shell, name, false).await,
        PodVerb::Attach { name, container, interactive: _, tty } => {
            exec::attach(shell, name, container, tty).await
        }
        PodVerb::Cp { copy } => copy::copy(shell, copy).await,
        PodVerb::Stats { name } => stats::of_pod(shell, name).await,
        PodVerb::Logs { name, container, tail, since, timestamps } => {
            let query = log_query(Kind::Pod, name, tail, since.since);
            logs(shell, LogQuery { container, timestamps, ..query }).await
        }
    }
}

async fn vm(shell: &mut Shell<'_, '_>, verb: VmVerb) -> Done {
    match verb {
        VmVerb::Common(verb) => workload::run(shell, Kind::Vm, verb).await,
        VmVerb::Power(verb) => {
            let (action, target) = verb.order();
            workload::change(shell, Kind::Vm, target, action).await
        }
        VmVerb::Create { new, image, placing, boot, disk, graphics, keeping } => {
            let image = image.as_ref();
            let spec = create::vm(&new, image, &placing, &boot, &disk, graphics, &keeping)?;
            create::workload(shell, Kind::Vm, &new, spec).await
        }
        VmVerb::Disc(verb) => disc::run(shell, verb).await,
        VmVerb::Guest(verb) => guest::run(shell, verb).await,
        VmVerb::Console { name } => exec::console(shell, name).await,
        VmVerb::Clone { source, name, publish, stopped, wait } => {
            let spec = create::clone(&source, &publish, stopped);
            create::machine(shell, &name, spec, stopped, wait).await
        }
        VmVerb::Protect { name, off } => create::protect(shell, name, !off).await,
        VmVerb::Rebuild { name, image } => create::rebuild(shell, name, &image).await,
        VmVerb::Screen { name, listen, once } => screen::screen(shell, name, listen, once).await,
        VmVerb::Serial { name, tail } => logs(shell, log_query(Kind::Vm, name, tail, None)).await,
    }
}

async fn network(shell: &mut Shell<'_, '_>, verb: NetworkVerb) -> Done {
    match verb {
        NetworkVerb::List { selection } => read::list(shell, Kind::Network, selection).await,
        NetworkVerb::Show { name } => read::show(shell, Kind::Network, name).await,
        NetworkVerb::Create { name, subnet, isolated } => {
            create::network(shell, &name, subnet, isolated).await
        }
        NetworkVerb::Attach { network, vm } => nic::attach(shell, &network, &vm).await,
        NetworkVerb::Detach { network, vm } => nic::detach(shell, &network, &vm).await,
        NetworkVerb::Delete { target } => workload::delete(shell, Kind::Network, target).await,
    }
}

async fn read(shell: &mut Shell<'_, '_>, kind: Kind, verb: ReadVerb) -> Done {
    match verb {
        ReadVerb::List { selection } => read::list(shell, kind, selection).await,
        ReadVerb::Show { name } => read::show(shell, kind, name).await,
    }
}

fn log_query(kind: Kind, key: String, tail: Tail, since: Option<Since>) -> LogQuery {
    // Whoever names a moment wants all that came after it.
    let lines = tail.tail.unwrap_or(if since.is_some() { 10_000 } else { 100 });
    let follow = tail.follow;
    LogQuery { kind, key, container: None, tail: lines, since, timestamps: false, follow }
}

/// Prints a log as it comes.
async fn logs(shell: &mut Shell<'_, '_>, query: LogQuery) -> Done {
    use futures::StreamExt;
    let mut items = shell.items(Request::Log(query)).await?;
    while let Some(item) = items.next().await {
        shell.item(&item?)?;
    }
    Ok(())
}

/// Asks for an action on a workload.
fn act(kind: Kind, key: String, action: Action) -> Request {
    Request::Act { kind, key, action }
}
