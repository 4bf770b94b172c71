//! The words for what can be done with a virtual machine beyond starting and stopping it, and for what is to
//! become of it by itself.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use skerry_ipc::Action;

use crate::args::Target;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum PowerVerb {
    /// Hold it: it keeps its memory and gets no processor time
    Pause {
        #[command(flatten)]
        target: Target,
    },
    /// Let it go on
    Resume {
        #[command(flatten)]
        target: Target,
    },
    /// Press its reset button: what it has not written is lost, its process stays
    Reset {
        #[command(flatten)]
        target: Target,
    },
    /// Ask its guest to reboot; its process stays
    Reboot {
        #[command(flatten)]
        target: Target,
    },
    /// Put its memory on disk and switch it off; the next start goes on where it was
    Suspend {
        #[command(flatten)]
        target: Target,
    },
}

impl PowerVerb {
    /// What is to be done to which machine.
    pub fn order(self) -> (Action, Target) {
        match self {
            Self::Pause { target } => (Action::Pause, target),
            Self::Resume { target } => (Action::Resume, target),
            Self::Reset { target } => (Action::Reset, target),
            Self::Reboot { target } => (Action::Reboot, target),
            Self::Suspend { target } => (Action::Suspend, target),
        }
    }
}

/// What happens after a crash.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Crash {
    /// Started again, after ever longer waits
    Restart,
    /// Left until somebody starts it
    Alarm,
    /// Switched off
    Stop,
}

/// What it means when a guest turns itself off.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum GuestOff {
    /// It is wanted off from now on
    StayOff,
    /// It is started again, with the waits of a crash
    Restart,
}

/// What it means when a guest reboots.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum GuestReboot {
    /// It reboots
    Restart,
    /// It goes off
    Stop,
}

/// What happens after a boot of the node.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Boot {
    /// What was last wanted
    LastState,
    /// Started, even if it was off
    Always,
    /// Left off, even if it ran
    Never,
}

/// What becomes of a workload after a boot of the node.
#[derive(Debug, Default, Args)]
pub struct Starting {
    /// What happens after a boot of the node
    #[arg(long, value_enum)]
    pub autostart: Option<Boot>,
    /// Place in the order of starts after a boot of the node; lower ones first
    #[arg(long, value_name = "0-1000")]
    pub start_order: Option<u32>,
    /// Seconds to wait after a boot of the node, once it is its turn
    #[arg(long, value_name = "SECONDS")]
    pub start_delay: Option<u32>,
}

/// What becomes of a virtual machine by itself.
#[derive(Debug, Default, Args)]
pub struct Keeping {
    /// What happens after a crash
    #[arg(long, value_enum)]
    pub on_crash: Option<Crash>,
    /// What it means when its guest turns itself off
    #[arg(long, value_enum)]
    pub on_guest_off: Option<GuestOff>,
    /// What it means when its guest reboots
    #[arg(long, value_enum)]
    pub on_guest_reboot: Option<GuestReboot>,
    /// Keep it from being deleted, until `skerry vm protect --off`
    #[arg(long)]
    pub protect: bool,
    #[command(flatten)]
    pub starting: Starting,
}

impl Keeping {
    /// Puts what was given into a spec; the node's defaults hold for the rest.
    pub fn add_to(&self, spec: &mut Map<String, Value>) {
        if let Some(crash) = self.on_crash {
            let action = match crash {
                Crash::Restart => "restart",
                Crash::Alarm => "alarm",
                Crash::Stop => "stop",
            };
            spec.insert("crash_policy".to_owned(), json!({ "action": action }));
        }
        if let Some(off) = self.on_guest_off {
            let meant = match off {
                GuestOff::StayOff => "stay_off",
                GuestOff::Restart => "restart",
            };
            spec.insert("on_guest_off".to_owned(), json!(meant));
        }
        if let Some(reboot) = self.on_guest_reboot {
            let meant = match reboot {
                GuestReboot::Restart => "restart",
                GuestReboot::Stop => "stop",
            };
            spec.insert("on_guest_reboot".to_owned(), json!(meant));
        }
        if self.protect {
            spec.insert("protected".to_owned(), json!(true));
        }
        self.starting.add_to(spec);
    }
}

impl Starting {
    /// Puts what was given into a spec; the node's defaults hold for the rest.
    pub fn add_to(&self, spec: &mut Map<String, Value>) {
        if let Some(boot) = self.autostart {
            let when = match boot {
                Boot::LastState => "last_state",
                Boot::Always => "always",
                Boot::Never => "never",
            };
            spec.insert("autostart".to_owned(), json!(when));
        }
        if let Some(order) = self.start_order {
            spec.insert("start_order".to_owned(), json!(order));
        }
        if let Some(delay) = self.start_delay {
            spec.insert("start_delay_s".to_owned(), json!(delay));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use skerry_model::{Autostart, CrashAction, VmSpec};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        keeping: Keeping,
    }

    #[test]
    fn the_words_are_those_of_the_node() {
        for (crash, action) in [
            ("restart", CrashAction::Restart),
            ("alarm", CrashAction::Alarm),
            ("stop", CrashAction::Stop),
        ] {
            for (boot, autostart) in [
                ("last-state", Autostart::LastState),
                ("always", Autostart::Always),
                ("never", Autostart::Never),
            ] {
                let words = ["x", "--on-crash", crash, "--autostart", boot];
                let more = ["--start-order", "7", "--start-delay", "30", "--protect"];
                let line = Line::parse_from(words.into_iter().chain(more));
                let mut spec = Map::from_iter([("image".to_owned(), json!("tiny"))]);
                line.keeping.add_to(&mut spec);
                let spec: VmSpec = serde_json::from_value(Value::Object(spec)).unwrap();
                assert_eq!((spec.crash_policy.action, spec.autostart), (action, autostart));
                assert_eq!((spec.start_order, spec.start_delay_s), (7, 30));
                assert!(spec.protected);
            }
        }
    }
}
