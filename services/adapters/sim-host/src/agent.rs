//! Agents in simulated guests: there as soon as the guest runs, and obedient unless a test says otherwise.

use std::collections::BTreeMap;

use serde_json::json;
use skerry_compute::{AgentCommand, AgentLink, HypervisorError, HypervisorEvent};
use skerry_model::{Id, Vm};
use skerry_storage::{Rest, StorageError};

use crate::world::{SimHost, World};

/// The agent in one guest.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimAgent {
    /// It answers nothing.
    mute: bool,
    /// The file systems are at rest.
    at_rest: bool,
    /// Passwords that were set.
    passwords: BTreeMap<String, String>,
}

/// What became of a command.
enum Said {
    Answer(String),
    Nothing,
    Refused(&'static str),
}

impl SimHost {
    /// The agent in a guest answers no more, or again.
    pub fn mute_agent(&self, vm: Id<Vm>, mute: bool) {
        if let Some(agent) = self.world().agents.get_mut(&vm) {
            agent.mute = mute;
        }
    }

    /// The agent in a guest ends.
    pub fn end_agent(&self, vm: Id<Vm>) {
        if let Some(domain) = self.world().domains.get_mut(&vm) {
            domain.agent = AgentLink::Silent;
        }
        self.hypervisor_news(HypervisorEvent::Changed(vm));
    }

    /// Whether the file systems of a guest are at rest.
    pub fn is_at_rest(&self, vm: Id<Vm>) -> bool {
        self.world().agents.get(&vm).is_some_and(|agent| agent.at_rest)
    }

    /// The password that was set for an account in a guest.
    pub fn guest_password(&self, vm: Id<Vm>, user: &str) -> Option<String> {
        self.world().agents.get(&vm)?.passwords.get(user).cloned()
    }

    pub(crate) async fn ask_agent(
        &self,
        vm: Id<Vm>,
        command: &AgentCommand,
    ) -> Result<String, HypervisorError> {
        let call = command.name();
        let failed = |message| HypervisorError::Failed { call, vm, message };
        let said = self.step(call, |world| obey(world, vm, command)).await.map_err(failed)?;
        match said {
            Said::Answer(text) => Ok(text),
            Said::Nothing => Err(HypervisorError::TimedOut { call, seconds: 5 }),
            Said::Refused(message) => {
                let message = message.to_owned();
                Err(HypervisorError::AgentRefused { call, vm, message })
            }
        }
    }

    pub(crate) async fn bring_to_rest(&self, vm: Id<Vm>) -> Rest {
        let link = self.world().domains.get(&vm).map_or(AgentLink::Absent, |domain| domain.agent);
        match link {
            AgentLink::Absent => return Rest::NoAgent,
            AgentLink::Silent => return Rest::Refused("no agent listens in its guest".to_owned()),
            AgentLink::Connected => {}
        }
        match self.ask_agent(vm, &AgentCommand::Freeze).await {
            Ok(_) => Rest::AtRest,
            Err(error @ HypervisorError::AgentRefused { .. }) => Rest::Refused(error.to_string()),
            Err(error) => Rest::Unknown(error.to_string()),
        }
    }

    pub(crate) async fn let_go_on(&self, vm: Id<Vm>) -> Result<(), StorageError> {
        let thawed = self.ask_agent(vm, &AgentCommand::Thaw).await;
        thawed.map(drop).map_err(|source| StorageError::Guest {
            what: "letting the file systems go on",
            source: Box::new(source),
        })
    }
}

fn obey(world: &mut World, vm: Id<Vm>, command: &AgentCommand) -> Said {
    let connected = |d: &skerry_compute::DomainObserved| d.agent == AgentLink::Connected;
    let there = world.domains.get(&vm).is_some_and(connected);
    let Some(agent) = world.agents.get_mut(&vm).filter(|agent| there && !agent.mute) else {
        return Said::Nothing;
    };
    let result = match command {
        AgentCommand::Thaw => {
            let count = u32::from(std::mem::take(&mut agent.at_rest));
            json!(count)
        }
        _ if agent.at_rest => return Said::Refused("the file systems are at rest"),
        AgentCommand::Freeze => {
            agent.at_rest = true;
            json!(1)
        }
        AgentCommand::Info => json!({ "version": "simulated" }),
        AgentCommand::Interfaces => json!([{
            "name": "eth0", "hardware-address": "02:00:00:00:00:01",
            "ip-addresses": [{ "ip-address-type": "ipv4", "ip-address": "192.0.2.7", "prefix": 24 }],
        }]),
        AgentCommand::SetPassword { user, .. } if user != "root" => {
            return Said::Refused("there is no such account");
        }
        AgentCommand::SetPassword { user, password } => {
            agent.passwords.insert(user.clone(), password.reveal().to_owned());
            json!({})
        }
        AgentCommand::Shutdown => return Said::Nothing,
    };
    Said::Answer(json!({ "return": result }).to_string())
}
