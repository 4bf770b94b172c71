//! The line to the agent in a guest: an element of the domain, its state, and what is sent over it.
//!
//! libvirt opens the line, keeps question and answer together and limits an answer to 10 MiB; what is longer than the
//! compute domain reads is dropped here. A guest decides how long these calls take, so each has a thread of its own
//! ([`crate::agents`]).

use std::time::Duration;

use roxmltree::Document;
use skerry_compute::{AgentCommand, AgentLink, HypervisorError, LONGEST_ANSWER, harmless_reason};
use skerry_model::{Id, Vm};
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};

use crate::calls::with_domain;
use crate::failure::CallError;
use crate::libvirt::Libvirt;
use crate::xml::Element;

/// The name by which an agent finds its line.
const NAME: &str = "org.qemu.guest_agent.0";

/// What a call may take beyond the command itself: libvirt first asks whether anybody listens (5 s), and another
/// call to the same guest may come before.
const BEFORE: Duration = Duration::from_secs(10);

/// The line. Its socket is made by libvirt in a folder of its own.
pub fn channel() -> Element {
    let target = Element::new("target").attribute("type", "virtio").attribute("name", NAME);
    Element::new("channel").attribute("type", "unix").child(target)
}

/// How the line of a domain stands, from the domain's description while it runs.
pub fn link(xml: &str) -> AgentLink {
    let Ok(document) = Document::parse(xml) else { return AgentLink::Absent };
    let mut channels = document.descendants().filter(|node| {
        node.has_tag_name("target")
            && node.attribute("name") == Some(NAME)
            && node.parent().is_some_and(|parent| parent.has_tag_name("channel"))
    });
    match channels.next().map(|target| target.attribute("state")) {
        None => AgentLink::Absent,
        Some(Some("connected")) => AgentLink::Connected,
        Some(_) => AgentLink::Silent,
    }
}

impl Libvirt {
    /// Sends a command and gives the answer as it came.
    pub(crate) async fn ask_agent(
        &self,
        vm: Id<Vm>,
        command: &AgentCommand,
    ) -> Result<String, HypervisorError> {
        let (call, text, limit) = (command.name(), command.text(), command.deadline());
        let seconds = i32::try_from(limit.as_secs()).unwrap_or(i32::MAX);
        let secret = matches!(command, AgentCommand::SetPassword { .. });
        let work = move |connection: &Connect| {
            with_domain(connection, vm, call, |domain| {
                let answer = domain.qemu_agent_command(text.reveal(), seconds, 0);
                answer.map_err(|error| sorted(call, vm, limit, secret, error))
            })
        };
        let answer = self.agents().call(call, vm, limit + BEFORE, work).await?;
        if answer.len() > LONGEST_ANSWER {
            let message = format!("its answer is longer than {LONGEST_ANSWER} bytes");
            return Err(HypervisorError::AgentRefused { call, vm, message });
        }
        Ok(answer)
    }

    /// Asks a guest to shut down. A good agent does not answer that, so no answer is a good one; if nobody listened
    /// either, whoever asks presses the power button next.
    pub(crate) async fn shut_down_by_agent(&self, vm: Id<Vm>) -> Result<(), HypervisorError> {
        match self.ask_agent(vm, &AgentCommand::Shutdown).await {
            Ok(_) | Err(HypervisorError::TimedOut { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The text of a refusal is the guest's; that of one about a password might repeat it.
fn sorted(
    call: &'static str,
    vm: Id<Vm>,
    limit: Duration,
    secret: bool,
    error: Error,
) -> CallError {
    match error.code() {
        ErrorNumber::AgentCommandFailed if secret => {
            let message = "no such account, or the guest does not take the password".to_owned();
            HypervisorError::AgentRefused { call, vm, message }.into()
        }
        ErrorNumber::AgentCommandFailed => {
            let message = harmless_reason(error.message());
            HypervisorError::AgentRefused { call, vm, message }.into()
        }
        ErrorNumber::AgentUnresponsive | ErrorNumber::AgentCommandTimeout => {
            HypervisorError::TimedOut { call, seconds: limit.as_secs() }.into()
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_state_of_the_line_is_read() {
        let with = |target: &str| {
            link(&format!(
                "<domain><devices><channel type='unix'><source mode='bind' path='/run/x'/>{target}\
                 <alias name='channel0'/></channel></devices></domain>"
            ))
        };
        let target = |rest: &str| format!("<target type='virtio' name='{NAME}'{rest}/>");
        assert_eq!(with(&target(" state='connected'")), AgentLink::Connected);
        assert_eq!(with(&target(" state='disconnected'")), AgentLink::Silent);
        assert_eq!(with(&target("")), AgentLink::Silent);
        let other = "<target type='virtio' name='com.redhat.spice.0' state='connected'/>";
        assert_eq!(with(other), AgentLink::Absent);
        assert_eq!(link("no xml"), AgentLink::Absent);
        let elsewhere = format!("<domain><metadata>{}</metadata></domain>", target(""));
        assert_eq!(link(&elsewhere), AgentLink::Absent);
    }

    proptest! {
        #[test]
        fn no_description_panics(text in any::<String>()) {
            let _ = link(&text);
        }
    }
}
