//! Pods: one or more containers that share a network namespace, addresses and a life.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::container::is_false;
use crate::vm::default_network;
use crate::{
    Autostart, Conditions, Container, HugePagesTaken, Id, Invalid, Kind, Name, PodDependency,
    PodRequest, PodRevision, PodTemplate, PodVolume, Port, Power, Publish, ResourceKind, Timestamp,
    UpdatePolicy, Validate, json_bytes,
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

/// Whose users those in a pod are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UserNamespace {
    /// The node's: root in it is the node's root, with little power.
    Host,
    /// The pod's own: to the node each of them is somebody who owns nothing else.
    Pod,
}

/// What is wanted of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PodSpec {
    /// Its containers, 1 to 16.
    pub containers: Vec<Container>,
    /// Containers that run before the others, one after the other, each to its good end; at most 16. They run
    /// again whenever the whole pod starts anew.
    #[serde(default)]
    pub init: Vec<Container>,
    /// Folders that its containers see, at most 32.
    #[serde(default)]
    pub volumes: Vec<PodVolume>,
    /// How it goes from one revision of these to the next.
    #[serde(default)]
    pub update: UpdatePolicy,
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
    /// It has no network of its own but the node's: its programs see the node's links and addresses, open ports at the
    /// node itself, and have its host name. `network` then means nothing, and nothing can be published; the node's
    /// rules for packets stay as they are. Only an admin may ask for it or change a pod with it, and it counts from the
    /// beginning: it cannot be changed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_network: bool,
    /// Whose users those in it are. If nothing is said they are the pod's own (`pod`), unless it has `host_network`, or a
    /// container with `privileged`, `devices` or `capabilities.add`: such a pod has the node's (`host`), and cannot ask
    /// for its own. With its own users, root in it is nobody to the node, while files in its layers and volumes keep
    /// their owners: it may be changed at any time. Users and groups in it, and owners of its image's files, are then
    /// numbers below 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<UserNamespace>,
    /// What is reachable at the node's addresses.
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// Seconds between the stop signal and the kill, 0 to 3600.
    #[serde(default = "PodSpec::default_stop_timeout")]
    pub stop_timeout_s: u32,
    /// What becomes of it when the node has been booted.
    #[serde(default)]
    pub autostart: Autostart,
    /// Its place in the order of starts of pods after a boot of the node, 0 to 1000: lower ones first.
    #[serde(default = "PodSpec::middle_order")]
    pub start_order: u32,
    /// Seconds to wait after a boot of the node, once it is its turn, 0 to 3600.
    #[serde(default)]
    pub start_delay_s: u32,
    /// Pods that have to be there before it starts, at most 16. They must not depend on it in turn.
    #[serde(default)]
    pub depends_on: Vec<PodDependency>,
    /// What was last asked of it, for the node to fill in.
    #[serde(default)]
    pub request: Option<PodRequest>,
}

impl PodSpec {
    /// Most bytes that it takes as JSON. A pod's record holds it three times: as it is wanted, as the newest revision
    /// and as the last good one; and what is known of the pod besides. All that must fit into one record of the store.
    pub const MOST_BYTES: usize = 48 * 1024;

    const fn middle_order() -> u32 {
        500
    }

    const fn default_stop_timeout() -> u32 {
        30
    }

    /// What a revision of it is.
    pub fn template(&self) -> PodTemplate {
        PodTemplate {
            containers: self.containers.clone(),
            init: self.init.clone(),
            volumes: self.volumes.clone(),
        }
    }

    /// All containers in the order in which they start: those that run before the others first.
    pub fn all_containers(&self) -> impl DoubleEndedIterator<Item = &Container> {
        self.init.iter().chain(&self.containers)
    }

    /// What of it loosens the hold on its containers, one sentence each; only an admin may ask for such.
    pub fn risks(&self) -> Vec<String> {
        let network = self.host_network.then(|| "the pod has the node's own network".to_owned());
        network.into_iter().chain(self.all_containers().flat_map(Container::risks)).collect()
    }

    /// Whether something in it is of no use to users of its own.
    pub fn needs_nodes_users(&self) -> bool {
        let needs = |container: &Container| {
            container.privileged
                || !container.devices.is_empty()
                || !container.capabilities.add.is_empty()
        };
        self.host_network || self.all_containers().any(needs)
    }

    /// Whether its users are its own, as they are unless it says otherwise or needs the node's.
    pub fn has_own_users(&self) -> bool {
        self.user_namespace != Some(UserNamespace::Host) && !self.needs_nodes_users()
    }

    /// Whether what runs in it can reach the node itself, so that each change of it is for an admin.
    pub fn reaches_node(&self) -> bool {
        self.host_network || self.all_containers().any(|container| container.privileged)
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
    /// Whether it can do its work: it runs, has started up, and its readiness probe, if it has one, succeeds.
    pub ready: bool,
    /// Process id of its first process.
    pub pid: Option<u32>,
    /// Exit code of the last run.
    pub exit_code: Option<i32>,
    /// Why it ended, such as `exited`, `signal 9`, `oom` or `unhealthy: …`.
    pub exit_reason: String,
    /// How often it was started again.
    pub restarts: u32,
    /// When it last started.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// The run of it whose startup probe has answered, by the node's own name for the run; it is not asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_run: Option<String>,
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
    /// Those that run before the others.
    pub init: Vec<ContainerStatus>,
    /// The number of the revision that runs, or is to run once it is on.
    pub revision: u32,
    /// Revisions that can be gone back to, oldest first; the images of all of them are kept.
    pub history: Vec<PodRevision>,
    /// What of it loosens the hold on its containers, one sentence each.
    pub risks: Vec<String>,
    /// Whose users those in it are: its own, or the node's because it asks for them or needs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<UserNamespace>,
    /// The first of the 65536 users of the machine that are kept for it, once it had users of its own. They stay its
    /// own for as long as it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// Huge pages that are set aside for it; none while it is down.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub huge_pages: Vec<HugePagesTaken>,
    /// When the next start is tried, for people.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_try: Option<Timestamp>,
    /// The number of the last request that has been seen to.
    pub request_done: u64,
    /// The boot of the node in which it was last looked after.
    pub boot: Option<String>,
    /// Details.
    pub conditions: Conditions,
}

impl PodStatus {
    /// What the revision that runs is.
    pub fn template(&self) -> Option<&PodTemplate> {
        let running = self.history.iter().find(|revision| revision.number == self.revision)?;
        Some(&running.template)
    }
}

impl Validate for PodSpec {
    fn validate(&self, found: &mut Invalid) {
        found.require(
            (1..=16).contains(&self.containers.len()),
            "spec.containers",
            "must be 1 to 16 containers",
        );
        found.require(self.init.len() <= 16, "spec.init", "must be at most 16 containers");
        self.validate_containers(found);
        self.validate_volumes(found);
        self.validate_pages(found);
        self.update.validate(found);
        for (index, container) in self.init.iter().enumerate() {
            let probed = container.probes().next().is_some();
            let field = format!("spec.init[{index}]");
            found.require(!probed, &field, "runs to its end and can have no probes");
        }
        found.require(self.stop_timeout_s <= 3600, "spec.stop_timeout_s", "must be 0 to 3600");
        found.require(self.start_order <= 1000, "spec.start_order", "must be 0 to 1000");
        found.require(self.start_delay_s <= 3600, "spec.start_delay_s", "must be 0 to 3600");
        PodDependency::validate_all(&self.depends_on, found);
        Publish::validate_all(&self.publish, found);
        self.validate_users(found);
        self.validate_size(found);
        found.require(
            !self.host_network || self.publish.is_empty(),
            "spec.publish",
            "must be empty with `host_network`: such a pod opens its ports at the node itself",
        );
    }
}

impl PodSpec {
    /// What needs the node's users cannot be had together with users of its own.
    fn validate_users(&self, found: &mut Invalid) {
        found.require(
            self.user_namespace != Some(UserNamespace::Pod) || !self.needs_nodes_users(),
            "spec.user_namespace",
            "must be host, or left out, together with `host_network`, `privileged`, `devices` or `capabilities.add`: these \
             are of use to the node's users alone",
        );
    }

    fn validate_size(&self, found: &mut Invalid) {
        let (bytes, most) = (json_bytes(self), Self::MOST_BYTES);
        if bytes > most {
            let advice = "put long scripts and texts into a config, or into the image";
            found.add("spec", format!("takes {bytes} bytes as JSON, more than {most}: {advice}"));
        }
    }

    fn validate_volumes(&self, found: &mut Invalid) {
        found.require(self.volumes.len() <= 32, "spec.volumes", "must be at most 32 volumes");
        for (index, volume) in self.volumes.iter().enumerate() {
            let field = format!("spec.volumes[{index}]");
            volume.validate_at(&field, found);
            if self.volumes.iter().take(index).any(|other| other.name == volume.name) {
                found.add(format!("{field}.name"), format!("`{}` is given twice", volume.name));
            }
        }
        for (list, containers) in [("init", &self.init), ("containers", &self.containers)] {
            for (index, container) in containers.iter().enumerate() {
                for (place, mount) in container.mounts.iter().enumerate() {
                    let field = format!("spec.{list}[{index}].mounts[{place}]");
                    mount.validate_at(&field, &self.volumes, found);
                }
            }
        }
    }

    fn validate_containers(&self, found: &mut Invalid) {
        let mut names: Vec<&Name> = Vec::new();
        for (list, containers) in [("init", &self.init), ("containers", &self.containers)] {
            for (index, container) in containers.iter().enumerate() {
                let mut inner = Invalid::default();
                container.validate(&mut inner);
                for violation in inner.violations() {
                    found.add(
                        format!("spec.{list}[{index}].{}", violation.field),
                        violation.message.clone(),
                    );
                }
                if names.contains(&&container.name) {
                    found.add(
                        format!("spec.{list}[{index}].name"),
                        format!("`{}` is given twice", container.name),
                    );
                }
                names.push(&container.name);
            }
        }
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

    #[test]
    fn what_its_record_cannot_hold_is_refused_with_numbers() {
        let with = |words: usize| {
            let command = vec!["x".repeat(1000); words];
            let spec = serde_json::json!({"containers":
                [{"name": "a", "image": "tiny", "command": command}]});
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let mut found = Invalid::default();
            spec.validate(&mut found);
            found
        };
        assert_eq!(with(45).violations(), []);
        let found = with(140);
        let [violation] = found.violations() else { panic!("{found}") };
        assert_eq!(violation.field, "spec");
        let message = &violation.message;
        assert!(message.contains(" 49152") && message.contains("takes 14"), "{message}");
    }

    #[test]
    fn with_the_nodes_network_nothing_is_published_and_the_risk_is_named() {
        let text = r#"{"containers":[{"name":"a","image":"tiny","privileged":true}],"host_network":true,
            "publish":[{"host_port":80,"workload_port":80}]}"#;
        assert_eq!(violations(text), ["spec.publish"]);
        let spec: PodSpec = serde_json::from_str(text).unwrap();
        let risks = spec.risks();
        assert!(spec.reaches_node() && risks.len() == 2, "{risks:?}");
        assert!(risks[0].contains("node's own network") && risks[1].contains("`a` is privileged"));
    }

    #[test]
    fn users_of_its_own_are_not_for_what_needs_the_nodes() {
        let with = |container: &str, pod: &str| {
            let text = format!(
                r#"{{"containers":[{{"name":"a","image":"tiny"{container}}}],"user_namespace":"pod"{pod}}}"#
            );
            violations(&text)
        };
        assert_eq!(with("", ""), Vec::<String>::new());
        assert_eq!(with(r#","capabilities":{"drop":["ALL"]}"#, ""), Vec::<String>::new());
        for (container, pod) in [
            ("", r#","host_network":true"#),
            (r#","privileged":true"#, ""),
            (r#","devices":["/dev/kvm"]"#, ""),
            (r#","capabilities":{"add":["NET_ADMIN"]}"#, ""),
        ] {
            assert_eq!(with(container, pod), ["spec.user_namespace"], "{container}{pod}");
        }
    }

    #[test]
    fn users_are_its_own_unless_it_says_otherwise_or_needs_the_nodes() {
        for (container, pod, own) in [
            ("", "", true),
            ("", r#","user_namespace":null"#, true),
            ("", r#","user_namespace":"pod""#, true),
            ("", r#","user_namespace":"host""#, false),
            ("", r#","host_network":true"#, false),
            (r#","privileged":true"#, "", false),
            (r#","devices":["/dev/kvm"]"#, "", false),
            (r#","capabilities":{"add":["NET_ADMIN"]}"#, "", false),
            (r#","capabilities":{"drop":["ALL"]}"#, "", true),
        ] {
            let text =
                format!(r#"{{"containers":[{{"name":"a","image":"tiny"{container}}}]{pod}}}"#);
            let spec: PodSpec = serde_json::from_str(&text).unwrap();
            assert_eq!(spec.has_own_users(), own, "{text}");
            assert_eq!(violations(&text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_terminal_is_for_those_who_can_type() {
        let with = |stdin: bool| {
            format!(
                r#"{{"containers":[{{"name":"a","image":"tiny","tty":true,"stdin":{stdin}}}]}}"#
            )
        };
        assert_eq!(violations(&with(true)), Vec::<String>::new());
        assert_eq!(violations(&with(false)), ["spec.containers[0].tty"]);
    }

    #[test]
    fn what_came_later_is_not_written_unless_it_is_wanted() {
        let plain: PodSpec =
            serde_json::from_str(r#"{"containers":[{"name":"a","image":"tiny"}]}"#).unwrap();
        let text = serde_json::to_string(&plain).unwrap();
        for later in ["host_network", "privileged", "tty", "user_namespace"] {
            assert!(!text.contains(later), "{later}: {text}");
        }
        assert!(!plain.reaches_node() && plain.risks().is_empty());
    }
}
