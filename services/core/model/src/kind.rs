//! The kinds of resource and their names on every face.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of resource. The text form is used in documents; [`Kind::plural`] in paths and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Kind {
    /// The machine itself; exactly one.
    Node,
    /// A local account.
    User,
    /// A login or an API token, known by the hash of its secret.
    Session,
    /// A layer-2 segment with its subnet.
    Network,
    /// A workload's attachment to a network.
    Port,
    /// Where container images are pulled from.
    Registry,
    /// Something workloads start from.
    Image,
    /// Where the data of volumes lies.
    Pool,
    /// A disk that outlives the virtual machine it is attached to.
    Volume,
    /// Volumes as they were at one instant.
    Snapshot,
    /// Texts for containers, as files or variables.
    Config,
    /// The same, of which no face gives the values back.
    Secret,
    /// A virtual machine.
    Vm,
    /// Containers that share one network namespace.
    Pod,
    /// Long work with progress.
    Job,
    /// A condition that wants an operator.
    Alarm,
}

impl Kind {
    /// Every kind, in the order in which an import must create them.
    pub const ALL: [Self; 16] = [
        Self::Node,
        Self::User,
        Self::Session,
        Self::Network,
        Self::Port,
        Self::Registry,
        Self::Image,
        Self::Pool,
        Self::Volume,
        Self::Snapshot,
        Self::Config,
        Self::Secret,
        Self::Vm,
        Self::Pod,
        Self::Job,
        Self::Alarm,
    ];

    /// The name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::User => "User",
            Self::Session => "Session",
            Self::Network => "Network",
            Self::Port => "Port",
            Self::Registry => "Registry",
            Self::Image => "Image",
            Self::Pool => "Pool",
            Self::Volume => "Volume",
            Self::Snapshot => "Snapshot",
            Self::Config => "Config",
            Self::Secret => "Secret",
            Self::Vm => "Vm",
            Self::Pod => "Pod",
            Self::Job => "Job",
            Self::Alarm => "Alarm",
        }
    }

    /// The name in paths (`/api/v1/vms`) and on the command line.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Node => "nodes",
            Self::User => "users",
            Self::Session => "sessions",
            Self::Network => "networks",
            Self::Port => "ports",
            Self::Registry => "registries",
            Self::Image => "images",
            Self::Pool => "pools",
            Self::Volume => "volumes",
            Self::Snapshot => "snapshots",
            Self::Config => "configs",
            Self::Secret => "secrets",
            Self::Vm => "vms",
            Self::Pod => "pods",
            Self::Job => "jobs",
            Self::Alarm => "alarms",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such kind of resource: `{text}`")]
pub struct ParseKindError {
    text: String,
}

impl FromStr for Kind {
    type Err = ParseKindError;
    /// Accepts the document name, the plural, and the lower-case singular (`vm`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| {
                text == kind.name() || text == kind.plural() || text == kind.name().to_lowercase()
            })
            .ok_or_else(|| ParseKindError { text: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_finds_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(kind.plural().parse::<Kind>().unwrap(), kind);
            assert_eq!(kind.name().to_lowercase().parse::<Kind>().unwrap(), kind);
        }
        assert!("vmz".parse::<Kind>().is_err());
    }
}
