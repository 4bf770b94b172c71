//! The words of the command line. A flat list: what each means is done in `verbs`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use skerry_model::{Kind, Name, Since};

pub use crate::image_words::{ImageVerb, NewImage, RegistryVerb};
use crate::storage_words::{PoolVerb, SnapshotVerb, VolumeVerb};
pub use crate::vm_words::VmVerb;
use crate::workload_words::pair;
pub use crate::workload_words::{
    ExecTarget, Mount, NewWorkload, PodVerb, Restart, ValuesVerb, WorkloadVerb,
};

/// Printed after the help text.
const AFTER_HELP: &str = "\
Which node: --node, else SKERRY_URL, else the local socket if this is the node, else the node
of the last login. Who: SKERRY_TOKEN, else what `skerry login` stored in
~/.config/skerry/nodes.toml (mode 0600) together with the node's certificate fingerprint.
Without that file, SKERRY_FINGERPRINT or --fingerprint tells which certificate to trust.

Exit codes:
  0  done
  1  the node refused, or what was waited for failed
  2  wrong words on the command line
  3  the node could not be reached
  4  not logged in, not allowed, or the node's certificate is not the known one
  5  the time given by --timeout ran out before what was waited for happened
  130  interrupted with Ctrl-C
`skerry exec` ends with the code of the program that it ran.";

/// Runs and looks after the workloads of a Skerry node.
#[derive(Debug, Parser)]
#[command(name = "skerry", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Arguments {
    /// How to reach the node.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Address of the node, such as https://10.0.2.15
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "URL")]
    pub node: Option<String>,
    /// Talk to the node's local socket instead
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "PATH",
        conflicts_with = "node"
    )]
    pub socket: Option<PathBuf>,
    /// The certificate fingerprint that the node's console shows
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "SHA256")]
    pub fingerprint: Option<String>,
    /// Print JSON instead of tables
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Seconds that --wait waits at most
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "SECONDS",
        default_value_t = 300
    )]
    pub timeout: u64,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take possession of a new node: sets the first administrator
    Claim {
        /// The code that the node's console shows; asked for if it is not given
        #[arg(long)]
        code: Option<String>,
        /// The first administrator
        #[command(flatten)]
        account: Account,
    },
    /// Open a session and remember it
    Login {
        /// Whose session
        #[command(flatten)]
        account: Account,
    },
    /// End the session
    Logout,
    /// Whether the node is up, in a few lines
    Status,
    /// Everything on the node's first screen
    Summary,
    /// The machine's parts
    Inventory,
    /// Pods: containers that share a network address
    #[command(subcommand)]
    Pod(PodVerb),
    /// Texts for containers, as files or variables
    #[command(subcommand)]
    Config(ValuesVerb),
    /// The same, of which nobody gets the values back
    #[command(subcommand)]
    Secret(ValuesVerb),
    /// Make and change what a file describes
    ///
    /// Documents of this node, or Kubernetes' Pod, Deployment of one replica, ConfigMap and Secret, in YAML or JSON.
    /// What is not supported is named, and then nothing is applied.
    Apply {
        /// The file; - for standard input
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Virtual machines
    #[command(subcommand)]
    Vm(VmVerb),
    /// Networks
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Images that workloads start from
    #[command(subcommand)]
    Image(ImageVerb),
    /// Registries that container images are pulled from
    #[command(subcommand)]
    Registry(RegistryVerb),
    /// Disks of virtual machines, which outlive them
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Volumes as they were at one instant
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Where the data of volumes lies
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Attachments of workloads to networks
    #[command(subcommand)]
    Port(ReadVerb),
    /// Conditions that want an operator
    #[command(subcommand)]
    Alarm(ReadVerb),
    /// Long work
    #[command(subcommand)]
    Job(JobVerb),
    /// Local accounts
    #[command(subcommand)]
    User(ReadVerb),
    /// Run a program in a container of a pod; its exit code becomes this program's
    Exec {
        /// Where and what
        #[command(flatten)]
        target: ExecTarget,
    },
    /// Why a resource is as it is: plan, last error, what it waits for
    Explain {
        /// Kind, such as vm
        kind: Kind,
        /// Name or id
        name: String,
    },
    /// Print changes as they happen
    Watch {
        /// Kinds of interest; all if none is given
        kinds: Vec<Kind>,
        /// Begin after this revision instead of now
        #[arg(long, value_name = "REVISION")]
        after: Option<u64>,
    },
    /// The machine itself
    #[command(subcommand)]
    Node(NodeVerb),
    /// Write the node's whole state to a file (administrators only)
    Export {
        /// File to write; it must not exist
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the completion script of a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// An account and its password.
#[derive(Debug, Args)]
pub struct Account {
    /// Account name
    #[arg(long, short, default_value = "admin")]
    pub username: String,
    /// Read the password from standard input instead of asking at the terminal
    #[arg(long)]
    pub password_stdin: bool,
    /// Trust the certificate that the node shows now, without comparing it (only on a network you own)
    #[arg(long)]
    pub accept_new: bool,
}

/// Which of a kind.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Only names that contain this
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only with this label; may be repeated
    #[arg(long = "label", short = 'l', value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
}

/// Waits for the outcome.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Wait {
    /// Wait until it is so, showing what happens
    #[arg(long, short)]
    pub wait: bool,
}

/// One resource, and whether to wait.
#[derive(Debug, Args)]
pub struct Target {
    /// Name or id
    pub name: String,
    #[command(flatten)]
    pub wait: Wait,
}

/// Verbs for kinds that are only looked at.
#[derive(Debug, Subcommand)]
pub enum ReadVerb {
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
}

/// Verbs for jobs.
#[derive(Debug, Subcommand)]
pub enum JobVerb {
    #[command(flatten)]
    Common(ReadVerb),
    /// End a job; what it has half done is undone
    Abort {
        #[command(flatten)]
        target: Target,
    },
    /// Try a failed job again
    Retry {
        #[command(flatten)]
        target: Target,
    },
    /// Remove the record of a finished job
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// Verbs for networks.
#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// List networks
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
    /// Make a network
    Create {
        /// Name of the new network
        name: Name,
        /// Its addresses, such as 10.90.0.0/24
        #[arg(long, value_name = "NETWORK/PREFIX", value_parser = subnet)]
        subnet: (Ipv4Addr, u8),
        /// No way out and no way in
        #[arg(long)]
        isolated: bool,
    },
    /// Give a virtual machine a further interface on this network, also while it runs
    Attach {
        /// The network
        network: Name,
        /// The virtual machine
        vm: Name,
    },
    /// Take a virtual machine's further interface on this network, also while it runs
    Detach {
        /// The network
        network: Name,
        /// The virtual machine
        vm: Name,
    },
    /// Take a network down; no workload may be on it
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// Verbs for the machine.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Show the node's record
    Show,
    /// List what virtual machines may have of the node: devices on USB, and serial lines
    Devices,
    /// The system's log
    Log {
        /// Only this unit, such as skerry-noded.service
        #[arg(long, short)]
        unit: Option<String>,
        #[command(flatten)]
        tail: Tail,
        #[command(flatten)]
        since: From,
    },
    /// Restart the machine; workloads come back by themselves
    Restart {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Power the machine off
    PowerOff {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// How much of a log.
#[derive(Debug, Clone, Copy, Args)]
pub struct Tail {
    /// The last so many lines; 100 if not given, or 10000 where a time is
    #[arg(long, short = 'n', value_name = "LINES",
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub tail: Option<u32>,
    /// Go on as lines come; ends with Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
}

/// From when on lines of a log are wanted.
#[derive(Debug, Clone, Copy, Args)]
pub struct From {
    /// Only lines since then: a time such as 2026-01-31T08:00:00Z, or 90s, 10m, 1h30m, 2d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Since>,
}

/// `10.90.0.0/24`.
fn subnet(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || "write a network and its prefix length, such as 10.90.0.0/24".to_owned();
    let (network, prefix) = text.split_once('/').ok_or_else(wrong)?;
    Ok((network.parse().map_err(|_| wrong())?, prefix.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn subnets_and_pairs_are_read() {
        assert_eq!(subnet("10.90.0.0/24").unwrap(), (Ipv4Addr::new(10, 90, 0, 0), 24));
        for bad in ["10.90.0.0", "10.90.0.0/x", "/24", "10.90.0/24", "10.90.0.0/300"] {
            assert!(subnet(bad).is_err(), "{bad}");
        }
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }

    #[test]
    fn every_verb_of_the_manual_is_understood() {
        for line in [
            "skerry pod create web --image tiny --publish 8080:8080",
            "skerry vm create m --image tiny-vm --memory 128 --publish 8081:8080 --wait",
            "skerry --json pod list",
            "skerry pod create x -i tiny -- /bin/start -v",
            "skerry vm stop m --force",
            "skerry vm console m",
            "skerry pod logs web --follow --tail 5",
            "skerry pod create x -i tiny --cpu-limit 500 --memory-reservation 32 --disk-write 1048576",
            "skerry pod create x -i tiny --stdin --device /dev/net/tun --device /dev/fuse",
            "skerry pod create x -i tiny --host-network --privileged",
            "skerry pod create x -i tiny --huge-pages 2Mi=64 --huge-pages 1Gi=1024",
            "skerry pod create x -i tiny --tty --user-namespace -- /bin/sh",
            "skerry pod create x -i tiny --user-namespace=host",
            "skerry pod attach x -c main",
            "skerry pod attach -it x",
            "skerry pod logs web --since 10m --timestamps -f",
            "skerry node log --since 2026-01-31T08:00:00Z",
            "skerry node power-off --yes",
            "skerry volume create d --size 20G --wait",
            "skerry volume create d --image debian --label a=b",
            "skerry volume clone d e",
            "skerry volume grow d --size 30G",
            "skerry snapshot create s --volume d --volume e",
            "skerry pool list",
            "skerry pool create fast --disk wwn-0x5000c500a1b2c3d4 --erase --overcommit 100 --wait",
            "skerry pool create old --file-system 0a1b2c3d-0000-4000-8000-000000000001 --folder vms/skerry --wait",
            "skerry pool rm fast --wait",
            "skerry vm create m --image tiny-vm --disk d --disk e",
            "skerry vm delete m --delete-volumes",
            "skerry volume attach d m --read-only",
            "skerry volume attach d m --bus scsi --boot-index 2 --iops 500 --bytes-per-second 1048576 --delete-with-vm",
            "skerry vm create m --image tiny-vm --on-guest-off restart --on-guest-reboot restart",
            "skerry volume detach d",
            "skerry vm create m --image tiny-vm --nic lab --nic core",
            "skerry network attach lab m",
            "skerry network detach lab m",
            "skerry exec web -it -c main -- /bin/sh -l",
            "skerry explain vm m",
            "skerry watch vms pod",
            "skerry job abort import --wait",
            "skerry job ls",
            "skerry image import disk.qcow2 --name debian --wait",
            "skerry image import https://x/d.img --name d --format raw --sha256 00 --firmware uefi",
            "skerry image import usb:STICK/debian.qcow2 --name debian --wait",
            "skerry image import folder:import/debian.qcow2 --name debian --wait",
            "skerry image media",
            "skerry node devices",
            "skerry vm create v --image i --host-device usb:0403:6001:A9 --host-device serial:ttyS1",
            "skerry image pin debian",
            "skerry completion bash",
            "skerry apply -f web.yaml --dry-run",
            "skerry pod rollback web --to 3",
            "skerry pod history web",
            "skerry pod hold web",
            "skerry config set app --value motd=hello --file page=/tmp/x --remove old",
            "skerry secret list",
        ] {
            Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
