//! What is heard of a guest through its agent.
//!
//! Rarely, and never waited for: an agent is asked when it appears, then ever less often, and one that keeps silent
//! or lies changes nothing but what is told of the guest.

use std::time::Duration;

use skerry_model::{ConditionState, GuestReport, VmState};
use tokio::time::Instant;

use super::Pass;
use crate::memory::Memory;
use crate::{AgentCommand, AgentLink, DomainPower, HypervisorError, read_report};

/// How soon an agent that did not answer, or whose guest has no address yet, is asked again; twice as long each time.
const SOON: Duration = Duration::from_secs(5);

/// How often an agent is asked at most otherwise.
const RARELY: Duration = Duration::from_secs(300);

impl Pass<'_> {
    fn agent_link(&self) -> AgentLink {
        let up = self.observed.as_ref().filter(|domain| domain.power.is_up());
        up.map_or(AgentLink::Absent, |domain| domain.agent)
    }

    /// Whether the agent is to be asked first when the guest is to shut down.
    pub(super) fn agent_can_stop(&self) -> bool {
        self.agent_link() == AgentLink::Connected && self.memory.asked_at.is_none()
    }

    /// Asks the agent, if it is time to.
    pub(super) async fn hear_guest(&mut self) {
        if self.agent_link() != AgentLink::Connected {
            self.status.guest = None;
            self.memory.hear_at = None;
            self.memory.hear_wait = Duration::ZERO;
            return;
        }
        let running = self.status.state == VmState::Running && self.power() == DomainPower::Running;
        let due = self.memory.hear_at.is_none() || Memory::past(self.memory.hear_at);
        if !running || !due {
            return;
        }
        let Ok(_turn) = self.controller.hearing.try_acquire() else {
            self.memory.hear_at = Some(Instant::now() + SOON);
            return;
        };
        let heard = self.ask_agent().await;
        let waited = self.memory.hear_wait;
        self.memory.agent_silent = heard.is_none();
        self.memory.hear_wait = match &heard {
            Some(report) if report.has_address() => RARELY,
            _ => (waited * 2).clamp(SOON, RARELY),
        };
        self.memory.hear_at = Some(Instant::now() + self.memory.hear_wait);
        if heard.is_some() {
            self.status.guest = heard;
        }
    }

    async fn ask_agent(&self) -> Option<GuestReport> {
        let (id, hypervisor) = (self.id(), &self.controller.hypervisor);
        let answers = async {
            let info = hypervisor.agent(id, &AgentCommand::Info).await?;
            Ok((info, hypervisor.agent(id, &AgentCommand::Interfaces).await?))
        };
        let read = |(info, interfaces): (String, String)| read_report(&info, &interfaces);
        match answers.await.map(read) {
            Ok(Ok(report)) => Some(report),
            Ok(Err(error)) => {
                tracing::warn!(kind = "Vm", %id, %error, "the guest's agent was not understood");
                None
            }
            Err::<_, HypervisorError>(error) => {
                tracing::debug!(kind = "Vm", %id, %error, "the guest's agent did not answer");
                None
            }
        }
    }

    /// Tells whether the agent is there.
    pub(super) fn note_agent(&mut self) {
        let conditions = &mut self.status.conditions;
        let up = self.observed.as_ref().filter(|domain| domain.power.is_up());
        let link = up.map_or(AgentLink::Absent, |domain| domain.agent);
        let (state, reason, message) = match link {
            AgentLink::Absent => return conditions.clear("GuestAgent"),
            AgentLink::Silent => (
                ConditionState::False,
                "NotConnected",
                "no agent listens in the guest: install `qemu-guest-agent` in it, or wait until it has booted",
            ),
            AgentLink::Connected if self.memory.agent_silent => {
                (ConditionState::False, "NoAnswer", "the agent in the guest does not answer")
            }
            AgentLink::Connected => (ConditionState::True, "Connected", ""),
        };
        conditions.set("GuestAgent", state, reason, message, (self.controller.clock)());
    }
}
