//! Life of pods and virtual machines.

use serde_json::{Value, json};
use skerry_ipc::{Action, RefusalClass, Request};
use skerry_model::Kind;

use crate::args::{Target, WorkloadVerb};
use crate::shell::{Done, Failure, Shell};
use crate::text;
use crate::verbs::create::report;
use crate::verbs::wait::{Goal, wait_for};
use crate::verbs::{act, read, storage};

pub(super) async fn run(shell: &mut Shell<'_, '_>, kind: Kind, verb: WorkloadVerb) -> Done {
    match verb {
        WorkloadVerb::List { selection } => read::list(shell, kind, selection).await,
        WorkloadVerb::Show { name } => read::show(shell, kind, name).await,
        WorkloadVerb::Start { target } => change(shell, kind, target, Action::Start).await,
        WorkloadVerb::Stop { target, force: false } => {
            change(shell, kind, target, Action::Stop).await
        }
        WorkloadVerb::Stop { target, force: true } => {
            change(shell, kind, target, Action::ForceStop).await
        }
        WorkloadVerb::Restart { target } => change(shell, kind, target, Action::Restart).await,
        WorkloadVerb::Delete { target, delete_volumes } => {
            delete_with(shell, kind, target, delete_volumes).await
        }
    }
}

pub(super) async fn change(
    shell: &mut Shell<'_, '_>,
    kind: Kind,
    target: Target,
    action: Action,
) -> Done {
    let before = match action {
        // What runs already is not yet restarted: the new run is known by its later start.
        Action::Restart if target.wait.wait => {
            let key = target.name.clone();
            Some(shell.document(Request::Get { kind, key }).await?)
        }
        _ => None,
    };
    let document = shell.document(act(kind, target.name.clone(), action)).await?;
    let (goal, doing, done) = match action {
        Action::Start => (Goal::Running, "is to start", "runs"),
        Action::Restart => (Goal::restarted(before.as_ref()), "is to restart", "runs again"),
        Action::Pause => (Goal::Paused, "is to pause", "is paused"),
        Action::Resume => (Goal::Running, "is to go on", "runs"),
        Action::Reset => (Goal::Dealt, "is to be reset", "was reset"),
        Action::Reboot => (Goal::Dealt, "is to reboot", "was asked to reboot"),
        Action::Suspend => (Goal::Suspended, "is to be suspended", "is suspended"),
        _ => (Goal::Stopped, "is to stop", "is stopped"),
    };
    let name = text::cell(&document, "/metadata/name");
    if !target.wait.wait {
        return report(shell, &document, &format!("{name} {doing}."));
    }
    let reached = wait_for(shell, kind, &document, goal).await?;
    report(shell, &reached, &format!("{name} {done}."))
}

pub(super) async fn delete(shell: &mut Shell<'_, '_>, kind: Kind, target: Target) -> Done {
    delete_with(shell, kind, target, false).await
}

pub(super) async fn delete_with(
    shell: &mut Shell<'_, '_>,
    kind: Kind,
    target: Target,
    with_volumes: bool,
) -> Done {
    let key = target.name.clone();
    let document =
        shell.document(Request::Delete { kind, key, if_revision: None, with_volumes }).await?;
    let name = text::cell(&document, "/metadata/name");
    if !target.wait.wait {
        return report(shell, &document, &format!("{name} is being deleted."));
    }
    let last = wait_for(shell, kind, &document, Goal::Gone).await?;
    report(shell, &last, &format!("{name} is deleted."))
}

/// Changes a list in the spec of a virtual machine as it is now.
pub(super) async fn change_list(
    shell: &Shell<'_, '_>,
    vm: &str,
    field: &str,
    change: impl Fn(&mut Vec<Value>),
) -> Result<(), Failure> {
    for last in [false, false, true] {
        let request = Request::Get { kind: Kind::Vm, key: vm.to_owned() };
        let document = shell.document(request).await?;
        let list = document.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        let mut list = list.cloned().unwrap_or_default();
        change(&mut list);
        let revision = document.pointer("/metadata/revision").and_then(Value::as_u64);
        let patch = json!({ "spec": { field: list } });
        match storage::change(shell, Kind::Vm, vm.to_owned(), &patch, revision).await {
            // Something else about it changed meanwhile: once more from there.
            Err(failure)
                if !last && failure.refusal().is_some_and(|r| r.class == RefusalClass::Stale) => {}
            Err(failure) => return Err(failure),
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}
