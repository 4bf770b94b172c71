//! Words for what the container of a new pod may take and do.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use skerry_model::{ContainerPages, HugePageSize};

/// Whose users those in a pod are.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Users {
    /// The pod's own: its root is nobody to the node. So it is unless the pod needs the node's
    Pod,
    /// The node's
    Host,
}

/// How a container is held.
#[derive(Debug, Default, Args)]
pub struct Holding {
    /// Keep its standard input open, for pod attach
    #[arg(long)]
    pub stdin: bool,
    /// Give it a terminal of its own, for pod attach -t; its input is open then
    #[arg(long)]
    pub tty: bool,
    /// Hold the container by nearly nothing: all capabilities, all system calls. Only for an admin
    #[arg(long)]
    pub privileged: bool,
    /// Give the pod the node's own network instead of one of its own. Only for an admin
    #[arg(long, conflicts_with = "publish")]
    pub host_network: bool,
    /// Whose users those in the pod are: its own, unless it has the node's network, devices or privileges
    #[arg(long, value_enum, value_name = "WHOSE", num_args = 0..=1, default_missing_value = "pod", require_equals = true)]
    pub user_namespace: Option<Users>,
    /// A device of the machine that it may use, such as /dev/net/tun; may be repeated
    #[arg(long, value_name = "PATH")]
    pub device: Vec<String>,
    /// Processor limit in thousandths of a CPU
    #[arg(long, value_name = "MILLI")]
    pub cpu_limit: Option<u32>,
    /// Memory in MiB that the kernel leaves to it as long as there is anything else to take
    #[arg(long, value_name = "MIB")]
    pub memory_reservation: Option<u64>,
    /// Memory in huge pages that it may have: their size and MiB, such as 2Mi=64 or 1Gi=1024; once for each size
    #[arg(long, value_name = "SIZE=MIB", value_parser = pages)]
    pub huge_pages: Vec<ContainerPages>,
    /// Most bytes it may read from disk per second
    #[arg(long, value_name = "BYTES")]
    pub disk_read: Option<u64>,
    /// Most bytes it may write to disk per second
    #[arg(long, value_name = "BYTES")]
    pub disk_write: Option<u64>,
    /// Most read operations on the disk per second
    #[arg(long, value_name = "COUNT")]
    pub disk_read_iops: Option<u64>,
    /// Most write operations on the disk per second
    #[arg(long, value_name = "COUNT")]
    pub disk_write_iops: Option<u64>,
}

impl Holding {
    /// Puts what was said of the whole pod into its description.
    pub fn add_to_pod(&self, spec: &mut Map<String, Value>) {
        if self.host_network {
            spec.insert("host_network".to_owned(), Value::Bool(true));
        }
        if let Some(users) = self.user_namespace {
            let word = match users {
                Users::Pod => "pod",
                Users::Host => "host",
            };
            spec.insert("user_namespace".to_owned(), Value::from(word));
        }
    }

    /// Puts what was said into a container's description.
    pub fn add_to(&self, container: &mut Map<String, Value>) {
        let io = [
            ("read_bytes_per_s", self.disk_read),
            ("write_bytes_per_s", self.disk_write),
            ("read_iops", self.disk_read_iops),
            ("write_iops", self.disk_write_iops),
        ];
        let io: Map<String, Value> = io
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.into())))
            .collect();
        for (key, value) in [
            ("devices", Some(json!(self.device)).filter(|_| !self.device.is_empty())),
            ("stdin", (self.stdin || self.tty).then_some(Value::Bool(true))),
            ("tty", self.tty.then_some(Value::Bool(true))),
            ("privileged", self.privileged.then_some(Value::Bool(true))),
            ("cpu_limit_m", self.cpu_limit.map(Value::from)),
            ("memory_reservation_mib", self.memory_reservation.map(Value::from)),
            ("huge_pages", Some(json!(self.huge_pages)).filter(|_| !self.huge_pages.is_empty())),
            ("io", Some(io).filter(|io| !io.is_empty()).map(|io| json!(io))),
        ] {
            if let Some(value) = value {
                container.insert(key.to_owned(), value);
            }
        }
    }
}

fn pages(text: &str) -> Result<ContainerPages, String> {
    let wrong = || format!("`{text}` is not a size and MiB, such as 2Mi=64 or 1Gi=1024");
    let (size, mib) = text.split_once('=').ok_or_else(wrong)?;
    let size: HugePageSize = serde_json::from_value(json!(size)).map_err(|_| wrong())?;
    Ok(ContainerPages { size, mib: mib.parse().map_err(|_| wrong())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_asked_for() {
        let mut container = Map::new();
        Holding::default().add_to(&mut container);
        assert_eq!(Value::Object(container.clone()), json!({}));
        let said = Holding {
            memory_reservation: Some(32),
            disk_write: Some(1 << 20),
            huge_pages: vec![pages("2Mi=64").unwrap()],
            ..Holding::default()
        };
        said.add_to(&mut container);
        let wanted = json!({"memory_reservation_mib": 32, "io": {"write_bytes_per_s": 1 << 20},
            "huge_pages": [{"size": "2Mi", "mib": 64}]});
        assert_eq!(Value::Object(container), wanted);
    }

    #[test]
    fn huge_pages_are_a_size_and_how_much() {
        assert_eq!(pages("1Gi=2048").unwrap().count(), 2);
        for bad in ["", "2Mi", "2Mi=", "4Mi=4", "2Mi=x", "2Mi=-2", "64=2Mi"] {
            assert!(pages(bad).unwrap_err().contains("such as 2Mi=64"), "{bad}");
        }
    }

    #[test]
    fn users_are_left_to_the_node_unless_said() {
        for (users, wanted) in [
            (None, json!({})),
            (Some(Users::Pod), json!({"user_namespace": "pod"})),
            (Some(Users::Host), json!({"user_namespace": "host"})),
        ] {
            let mut spec = Map::new();
            Holding { user_namespace: users, ..Holding::default() }.add_to_pod(&mut spec);
            assert_eq!(Value::Object(spec), wanted);
        }
    }
}
