//! What people ask of the agent in a guest: what it knows now, and a new password.
//!
//! The password is passed on and forgotten: it reaches neither the store nor a log.

use skerry_compute::{AgentCommand, AgentLink, HypervisorError, read_done, read_report};
use skerry_ipc::{Answer, Refusal, RefusalClass};
use skerry_model::{Document, Hidden, Id, Kind, Vm};
use skerry_trust::Permission;

use super::caller::Caller;
use super::json;
use super::read::find;
use super::refuse::{internal, wrong_field};
use crate::node::Node;

/// Longest name of an account, and longest password, in bytes.
const LONGEST_USER: usize = 64;
const LONGEST_PASSWORD: usize = 256;

/// What the guest says of itself now.
pub async fn report(node: &Node, caller: &Caller, key: &str) -> Result<Answer, Refusal> {
    caller.permit(Permission::Enter)?;
    let (vm, name) = with_agent(node, key).await?;
    let ask = async |command| {
        node.machine.hypervisor.agent(vm, &command).await.map_err(|error| refused(&name, &error))
    };
    let (info, interfaces) = (ask(AgentCommand::Info).await?, ask(AgentCommand::Interfaces).await?);
    let report = read_report(&info, &interfaces)
        .map_err(|error| Refusal::new(RefusalClass::Conflict, error.to_string()))?;
    json(&report).map(Answer::Document)
}

/// Sets the password of an account in the guest.
pub async fn set_password(
    node: &Node,
    caller: &Caller,
    key: &str,
    user: String,
    password: Hidden,
) -> Result<Answer, Refusal> {
    caller.permit(Permission::Enter)?;
    check_account(&user, &password)?;
    let (vm, name) = with_agent(node, key).await?;
    let command = AgentCommand::SetPassword { user: user.clone(), password };
    let answer = node.machine.hypervisor.agent(vm, &command).await;
    let answer = answer.map_err(|error| refused(&name, &error))?;
    read_done(&answer).map_err(|error| Refusal::new(RefusalClass::Conflict, error.to_string()))?;
    tracing::info!(by = caller.name(), vm = name, user, "password of a guest's account set");
    Ok(Answer::Done)
}

/// Agents hand account and password to the guest's own tools as a line `account:password`.
fn check_account(user: &str, password: &Hidden) -> Result<(), Refusal> {
    let plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if !plain(user) || user.len() > LONGEST_USER || user.contains(':') {
        let message = format!("must be one line of 1 to {LONGEST_USER} bytes without a colon");
        return Err(wrong_field("user", message));
    }
    if !plain(password.reveal()) || password.reveal().len() > LONGEST_PASSWORD {
        let message = format!("must be one line of 1 to {LONGEST_PASSWORD} bytes");
        return Err(wrong_field("password", message));
    }
    Ok(())
}

/// A virtual machine in whose guest an agent listens, and its name.
async fn with_agent(node: &Node, key: &str) -> Result<(Id<Vm>, String), Refusal> {
    let document = find(node, Kind::Vm, key)?;
    let (vm, name) = (Id::new(document.metadata.id), document.metadata.name.to_string());
    let seen = node.machine.hypervisor.observe_one(vm).await.map_err(internal)?;
    let conflict = |detail: String| Err(Refusal::new(RefusalClass::Conflict, detail));
    match seen.filter(|domain| domain.power.is_up()).map(|domain| domain.agent) {
        None => conflict(format!("`{name}` does not run: start it first")),
        Some(AgentLink::Connected) => Ok((vm, name)),
        Some(AgentLink::Silent) => conflict(format!(
            "no agent listens in the guest of `{name}`: install `qemu-guest-agent` in it, or wait until it has booted"
        )),
        Some(AgentLink::Absent) if wants_agent(&document) => conflict(format!(
            "`{name}` was started without a line to its guest's agent: restart it"
        )),
        Some(AgentLink::Absent) => conflict(format!(
            "`{name}` has no line to an agent in its guest: set `spec.guest_agent` and restart it"
        )),
    }
}

fn wants_agent(document: &Document) -> bool {
    document.spec.get("guest_agent").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

fn refused(name: &str, error: &HypervisorError) -> Refusal {
    match error {
        HypervisorError::AgentRefused { message, .. } => Refusal::new(
            RefusalClass::Conflict,
            format!("the agent in the guest of `{name}` refused: {message}"),
        ),
        HypervisorError::TimedOut { seconds, .. } => Refusal::new(
            RefusalClass::Unavailable,
            format!(
                "the agent in the guest of `{name}` did not answer within {seconds} s; try again"
            ),
        ),
        other => Refusal::new(RefusalClass::Unavailable, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guests_tools_could_misread_is_refused() {
        let fault = |user: &str, password: &str| {
            let refused = check_account(user, &Hidden::new(password)).err();
            assert!(refused.as_ref().is_none_or(|r| !r.to_string().contains("swordfish")));
            refused.map(|refusal| refusal.violations[0].field.clone())
        };
        assert_eq!(fault("root", "swordfish"), None);
        assert_eq!(fault("Domain User", "a b:c"), None);
        for user in ["", "a:b", "a\nroot", "a\0", &"a".repeat(65)] {
            assert_eq!(fault(user, "swordfish").as_deref(), Some("user"), "{user}");
        }
        for password in ["", "swordfish\nroot:x", "swordfish\0", &"swordfish".repeat(30)] {
            assert_eq!(fault("root", password).as_deref(), Some("password"), "{password}");
        }
    }
}
