//! Jobs: looked at, ended, tried again, cleared away.

use skerry_ipc::Action;
use skerry_model::Kind;

use crate::args::{JobVerb, Target};
use crate::shell::{Done, Shell};
use crate::text;
use crate::verbs::create::report;
use crate::verbs::wait::{Goal, wait_for};
use crate::verbs::{act, read, workload};

pub(super) async fn run(shell: &mut Shell<'_, '_>, verb: JobVerb) -> Done {
    match verb {
        JobVerb::Common(verb) => read(shell, Kind::Job, verb).await,
        JobVerb::Abort { target } => change(shell, target, Action::Abort).await,
        JobVerb::Retry { target } => change(shell, target, Action::Retry).await,
        JobVerb::Delete { target } => workload::delete(shell, Kind::Job, target).await,
    }
}

async fn change(shell: &mut Shell<'_, '_>, target: Target, action: Action) -> Done {
    let document = shell.document(act(Kind::Job, target.name.clone(), action)).await?;
    let name = text::cell(&document, "/metadata/name");
    let (goal, doing) = match action {
        Action::Abort => (Goal::Ended, "is being ended"),
        _ => (Goal::Completed, "is tried again"),
    };
    if !target.wait.wait {
        return report(shell, &document, &format!("{name} {doing}."));
    }
    let ended = wait_for(shell, Kind::Job, &document, goal).await?;
    let (state, message) =
        (text::cell(&ended, "/status/state"), text::cell(&ended, "/status/message"));
    report(shell, &ended, &format!("{name} {state}: {message}"))
}
