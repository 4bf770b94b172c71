//! The words for what can be done with a virtual machine beyond starting and stopping it.

use clap::Subcommand;
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
