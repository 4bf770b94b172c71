//! Life of pods and virtual machines.

use skerry_ipc::{Action, Request};
use skerry_model::Kind;

use crate::args::{Target, WorkloadVerb};
use crate::shell::{Done, Shell};
use crate::text;
use crate::verbs::create::report;
use crate::verbs::wait::{Goal, wait_for};
use crate::verbs::{act, read};

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
