//! Pods: one or more containers that share a network namespace, addresses and a life.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::vm::default_network;
use crate::{
    Conditions, Id, Invalid, Kind, Name, Port, Power, Publish, ResourceKind, Timestamp, Validate,
};

/// Marks [`crate::Resource`]s that are pods.
#[derive(Debug, Clone, Copy)]
pub enum Pod {}

impl ResourceKind for Pod {
    const KIND: Kind = Kind::Pod;
    type Spec = PodSpec;
    type Status = PodStatus;
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// However it ended.
    #[default]
    Always,
    /// Only after a failure.
    OnFailure,
    /// Never.
    Never,
}

/// A variable in a container's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// Name: letters, digits and `_`, not starting with a digit.
    pub name: String,
    /// Value; no NUL.
    pub value: String,
}

/// What is wanted of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Unique within the pod.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Name,
    /// Name of the image.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub image: Name,
    /// Program and arguments; the image's own if empty. No shell is put around it.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments that replace the image's own.
    #[serde(default)]
    pub args: Vec<String>,
    /// Added to the image's environment.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// Hard memory limit in MiB, 4 to 1048576.
    #[serde(default = "Container::default_memory")]
    pub memory_mib: u64,
    /// Processor limit in thousandths of a CPU, 10 to 1024000; none if not given.
    #[serde(default)]
    pub cpu_limit_m: Option<u32>,
    /// Most processes at once, 1 to 32768.
    #[serde(default = "Container::default_pids")]
    pub pids: u32,
}

impl Container {
    const fn default_memory() -> u64 {
        64
    }
    const fn default_pids() -> u32 {
        1024
    }
}

/// What is wanted of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    /// Its containers, 1 to 16.
    pub containers: Vec<Container>,
    /// On or off.
    #[serde(default)]
    pub power: Power,
    /// When an ended container is started again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Name of the network.
    #[serde(default = "default_network")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub network: Name,
    /// What is reachable at the node's addresses.
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// Seconds between the stop signal and the kill, 0 to 3600.
    #[serde(default = "PodSpec::default_stop_timeout")]
    pub stop_timeout_s: u32,
}

impl PodSpec {
    const fn default_stop_timeout() -> u32 {
        30
    }
}

/// The life-cycle state of a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PodState {
    /// Waits for its image or port.
    #[default]
    Pending,
    /// On its way up.
    Starting,
    /// All containers run.
    Running,
    /// At least one container waits for its next start.
    Backoff,
    /// The stop signal was sent.
    Stopping,
    /// Off by request.
    Stopped,
    /// All containers ended well and are not to be started again.
    Succeeded,
    /// Needs an operator.
    Failed,
    /// Being taken down.
    Deleting,
}

/// What one container does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Not started.
    #[default]
    Waiting,
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

/// What one container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// What it does.
    pub state: ContainerState,
    /// Process id of its first process.
    pub pid: Option<u32>,
    /// Exit code of the last run.
    pub exit_code: Option<i32>,
    /// Why it ended, such as `exited`, `signal 9` or `oom`.
    pub exit_reason: String,
    /// How often it was started again.
    pub restarts: u32,
    /// When it last started.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
}

/// What a pod is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PodStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Life-cycle state.
    pub state: PodState,
    /// A sentence on why it is in this state, if there is something to say.
    pub reason: String,
    /// Its port, once made.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Uuid))]
    pub port: Option<Id<Port>>,
    /// Its addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
    /// When the next start is tried, for people.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_try: Option<Timestamp>,
    /// Details.
    pub conditions: Conditions,
}

impl Validate for Container {
    fn validate(&self, found: &mut Invalid) {
        found.require(
            (4..=1_048_576).contains(&self.memory_mib),
            "memory_mib",
            "must be 4 to 1048576",
        );
        if let Some(limit) = self.cpu_limit_m {
            found.require(
                (10..=1_024_000).contains(&limit),
                "cpu_limit_m",
                "must be 10 to 1024000",
            );
        }
        found.require((1..=32_768).contains(&self.pids), "pids", "must be 1 to 32768");
        for word in self.command.iter().chain(&self.args) {
            found.require(!word.contains('\0'), "command", "must not contain NUL");
        }
        for variable in &self.env {
            let first = variable.name.chars().next();
            let good = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && variable.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            found.require(
                good,
                "env",
                "a name must be letters, digits and _, not starting with a digit",
            );
            found.require(!variable.value.contains('\0'), "env", "a value must not contain NUL");
        }
    }
}

impl Validate for PodSpec {
    fn validate(&self, found: &mut Invalid) {
        found.require(
            (1..=16).contains(&self.containers.len()),
            "spec.containers",
            "must be 1 to 16 containers",
        );
        for (index, container) in self.containers.iter().enumerate() {
            let mut inner = Invalid::default();
            container.validate(&mut inner);
            for violation in inner.violations() {
                found.add(
                    format!("spec.containers[{index}].{}", violation.field),
                    violation.message.clone(),
                );
            }
            if self.containers.iter().take(index).any(|other| other.name == container.name) {
                found.add(
                    format!("spec.containers[{index}].name"),
                    format!("`{}` is given twice", container.name),
                );
            }
        }
        found.require(self.stop_timeout_s <= 3600, "spec.stop_timeout_s", "must be 0 to 3600");
        Publish::validate_all(&self.publish, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(text: &str) -> Vec<String> {
        let spec: PodSpec = serde_json::from_str(text).unwrap();
        let mut found = Invalid::default();
        spec.validate(&mut found);
        found.violations().iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn the_shortest_pod_is_good() {
        let text = r#"{"containers":[{"name":"web","image":"tiny"}]}"#;
        assert_eq!(violations(text), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named() {
        let text = r#"{"containers":[{"name":"a","image":"tiny","memory_mib":1},
            {"name":"a","image":"tiny","env":[{"name":"1X","value":""}]}]}"#;
        assert_eq!(
            violations(text),
            ["spec.containers[0].memory_mib", "spec.containers[1].env", "spec.containers[1].name"]
        );
        assert_eq!(violations(r#"{"containers":[]}"#), ["spec.containers"]);
    }
}
