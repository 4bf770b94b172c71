//! The words about pods, what they share with virtual machines, and what they are given.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use skerry_model::{DependencyCondition, Name, PodDependency, Protocol, Publish};

use crate::args::{From, Selection, Tail, Target, Wait};
use crate::container_words::Holding;
use crate::power_words::Starting;
use crate::storage_words::size;

/// Verbs that pods and virtual machines share.
#[derive(Debug, Subcommand)]
pub enum WorkloadVerb {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        selection: Selection,
    },
    /// Show one
    Show {
        /// Name or id
        name: String,
    },
    /// Start; it is also started again after a power cut
    Start {
        #[command(flatten)]
        target: Target,
    },
    /// Stop; it stays off after a power cut
    Stop {
        #[command(flatten)]
        target: Target,
        /// At once, without its own shutdown
        #[arg(long)]
        force: bool,
    },
    /// Stop and start
    Restart {
        #[command(flatten)]
        target: Target,
    },
    /// Stop and remove for good; its volumes stay
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
        /// Delete the volumes that it has, too
        #[arg(long)]
        delete_volumes: bool,
    },
}

/// What pods and virtual machines have in common at creation.
#[derive(Debug, Args)]
pub struct NewWorkload {
    /// Name; also its host name on the network
    pub name: Name,
    /// Make a port reachable at the node, such as 8080:80 or 5353:53/udp; may be repeated
    #[arg(long, short, value_name = "HOST:WORKLOAD[/udp]", value_parser = publish)]
    pub publish: Vec<Publish>,
    /// Memory in MiB
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u64>,
    /// Network to attach to
    #[arg(long, default_value = "default")]
    pub network: Name,
    /// Seconds for its own shutdown before it is forced off
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<u32>,
    /// Mark; may be repeated
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Make it, but do not start it
    #[arg(long)]
    pub stopped: bool,
    /// Only check whether the node would take it
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    #[command(flatten)]
    pub wait: Wait,
}

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Restart {
    /// However it ended
    Always,
    /// Only after a failure
    OnFailure,
    /// Never
    Never,
}

/// Verbs for pods.
#[derive(Debug, Subcommand)]
pub enum PodVerb {
    #[command(flatten)]
    Common(WorkloadVerb),
    /// Make a pod of one container
    Create {
        #[command(flatten)]
        new: NewWorkload,
        /// Image to start from; see `skerry image list`
        #[arg(long, short)]
        image: Name,
        #[command(flatten)]
        holding: Box<Holding>,
        /// Variable in its environment; may be repeated
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
        env: Vec<(String, String)>,
        /// Mount a volume of form folder, such as data:/var/lib/app or data:/srv:ro; may be repeated
        #[arg(long, short = 'v', value_name = "VOLUME:PATH[:ro]", value_parser = mount)]
        volume: Vec<Mount>,
        /// Start only when this pod is ready, or with :running when it runs; may be repeated
        #[arg(long, value_name = "POD[:running]", value_parser = dependency)]
        after: Vec<PodDependency>,
        #[command(flatten)]
        starting: Starting,
        /// When to start it again after it ended
        #[arg(long, value_enum, default_value = "always")]
        restart: Restart,
        /// Program and arguments instead of the image's own, after --
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Its revisions, oldest first
    History {
        /// Name or id
        name: String,
    },
    /// Go back to an earlier revision
    Rollback {
        /// Name or id
        name: String,
        /// Number of the revision; the last good one before the newest if not given
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
    },
    /// Hold changes of its containers back
    Hold {
        /// Name or id
        name: String,
    },
    /// Let changes of its containers through again
    Release {
        /// Name or id
        name: String,
    },
    /// Speak to a container's own program, whose input must be open (--stdin)
    Attach {
        /// Name or id
        name: String,
        /// Which container, if it has several
        #[arg(long, short)]
        container: Option<String>,
        /// Pass on what is typed, as it does anyway
        #[arg(long, short)]
        interactive: bool,
        /// Sit down at its terminal (--tty), key by key; Ctrl-] leaves
        #[arg(long, short)]
        tty: bool,
    },
    /// Copy files into a container or out of it, by the container's own tar
    Cp {
        #[command(flatten)]
        copy: Copying,
    },
    /// What its running containers take of the machine
    Stats {
        /// Name or id
        name: String,
    },
    /// What its containers print
    Logs {
        /// Name or id
        name: String,
        /// Which container, if it has several
        #[arg(long, short)]
        container: Option<String>,
        #[command(flatten)]
        tail: Tail,
        #[command(flatten)]
        since: From,
        /// Begin each line with its moment, in UTC
        #[arg(long)]
        timestamps: bool,
    },
}

/// Files to copy.
#[derive(Debug, Args)]
pub struct Copying {
    /// POD:/PATH, or a file or folder here
    pub source: String,
    /// A file or folder here, or POD:/PATH; a path that ends with / is a folder
    pub target: String,
    /// Which container, if it has several
    #[arg(long, short)]
    pub container: Option<String>,
    /// The most that may come out of the container
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = size)]
    pub limit: u64,
}

impl Copying {
    /// The most that may come out of the container, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit.saturating_mul(1 << 20)
    }
}

/// A volume of the node as a pod's container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume.
    pub volume: Name,
    /// Where in the container.
    pub path: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// `data:/var/lib/app`, `data:/srv:ro`.
fn mount(text: &str) -> Result<Mount, String> {
    let wrong = || "write it as VOLUME:/PATH or VOLUME:/PATH:ro".to_owned();
    let (volume, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (path, read_only) = match rest.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (rest, false),
    };
    if !path.starts_with('/') || path.contains(':') {
        return Err(wrong());
    }
    let volume = Name::new(volume).map_err(|error| error.to_string())?;
    Ok(Mount { volume, path: path.to_owned(), read_only })
}

/// `db`, `db:ready`, `db:running`.
fn dependency(text: &str) -> Result<PodDependency, String> {
    let (pod, condition) = text.split_once(':').unwrap_or((text, "ready"));
    let condition = match condition {
        "ready" => DependencyCondition::Ready,
        "running" => DependencyCondition::Running,
        _ => return Err("write it as POD or POD:running".to_owned()),
    };
    let pod = Name::new(pod).map_err(|error| error.to_string())?;
    Ok(PodDependency { pod, condition })
}

/// Verbs for configs and secrets.
#[derive(Debug, Subcommand)]
pub enum ValuesVerb {
    /// List them
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        selection: Selection,
    },
    /// Show one
    Show {
        /// Name or id
        name: String,
    },
    /// Set keys; makes it if there is none. Other keys stay
    Set {
        /// Its name
        name: Name,
        /// A key and its value; may be repeated. Others on this machine may see it: use --file for secrets
        #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
        value: Vec<(String, String)>,
        /// A key and the file that holds its value; may be repeated
        #[arg(long, short, value_name = "KEY=FILE", value_parser = pair_of_file)]
        file: Vec<(String, PathBuf)>,
        /// Remove a key; may be repeated
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
    },
    /// Remove it; no pod may name it
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// A program for a container.
#[derive(Debug, Args)]
pub struct ExecTarget {
    /// Name or id of the pod
    pub pod: String,
    /// Which container, if it has several
    #[arg(long, short)]
    pub container: Option<String>,
    /// Pass on what is typed
    #[arg(long, short)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// Variable in its environment; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// Program and arguments, after --
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// `KEY=FILE`.
fn pair_of_file(text: &str) -> Result<(String, PathBuf), String> {
    pair(text)
        .map(|(key, file)| (key, PathBuf::from(file)))
        .map_err(|_| "write KEY=FILE".to_owned())
}

/// `8080:80`, `8080:80/tcp`, `53:53/udp`.
pub fn publish(text: &str) -> Result<Publish, String> {
    let wrong = || "write HOST:WORKLOAD, such as 8080:80, or 53:53/udp".to_owned();
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.split('/').next().unwrap_or(text), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let (host, workload) = ports.split_once(':').ok_or_else(wrong)?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    Ok(Publish { protocol, host_port: port(host)?, workload_port: port(workload)? })
}

/// `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_dependencies_are_read() {
        let plain = mount("data:/srv").unwrap();
        assert_eq!((plain.path.as_str(), plain.read_only), ("/srv", false));
        assert!(mount("data:/srv:ro").unwrap().read_only);
        for bad in ["data", "data:", "data:srv", "data:/a:rw", ":/a", "Data:/a"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
        assert_eq!(dependency("db").unwrap().condition, DependencyCondition::Ready);
        assert_eq!(dependency("db:running").unwrap().condition, DependencyCondition::Running);
        assert!(dependency("db:gone").is_err() && dependency("").is_err());
    }

    #[test]
    fn the_limit_of_a_copy_is_in_bytes() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            copying: Copying,
        }
        let limit = |words: &[&str]| {
            let line =
                <Line as clap::Parser>::try_parse_from([&["cp", "web:/a", "b"], words].concat());
            line.unwrap().copying.limit_bytes()
        };
        assert_eq!(limit(&[]), 10 << 30);
        assert_eq!(limit(&["--limit", "3M"]), 3 << 20);
    }

    #[test]
    fn published_ports_are_read() {
        let udp = publish("53:5353/udp").unwrap();
        assert_eq!((udp.protocol, udp.host_port, udp.workload_port), (Protocol::Udp, 53, 5353));
        assert_eq!(publish("8080:80").unwrap(), publish("8080:80/tcp").unwrap());
        for bad in ["", "80", "0:80", "80:0", "80:80/sctp", "70000:1", "a:b", "1:2:3", "80:80/"] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }
}
