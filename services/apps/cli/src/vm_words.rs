//! The words about virtual machines.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use skerry_model::{Name, Publish};

use crate::args::{Tail, Wait};
use crate::placing_words::Placing;
use crate::power_words::{Keeping, PowerVerb};
use crate::storage_words::size;
use crate::workload_words::{NewWorkload, WorkloadVerb, publish};

/// Whether a virtual machine has a screen.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Graphics {
    /// One that is reached through the node, as it is by default
    Vnc,
    /// Only the serial line
    None,
}

impl Graphics {
    /// The node's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::None => "none",
        }
    }
}

/// What the network interfaces of a virtual machine are to its guest.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum NicModel {
    /// virtio, the fastest, as it is by default
    Virtio,
    /// Intel's 82574L, which every guest knows
    E1000e,
}

impl NicModel {
    /// The node's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::E1000e => "e1000e",
        }
    }
}

/// How a virtual machine comes up, and what cloud-init tells its guest.
#[derive(Debug, Default, Args)]
pub struct Boot {
    /// Size of its own disk, such as 20G; a disk image's own if not given, needed for a CD image to install from
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub disk_size: Option<u64>,
    /// Put a CD image into a drive of it; may be given twice
    #[arg(long, value_name = "IMAGE")]
    pub cd: Vec<Name>,
    /// What starts it from the disk; what the image needs if not given
    #[arg(long, value_enum)]
    pub firmware: Option<Firmware>,
    /// Give it a TPM 2.0; needs UEFI
    #[arg(long)]
    pub tpm: bool,
    /// Give it a line to the QEMU guest agent, which its guest has to bring along
    #[arg(long)]
    pub guest_agent: bool,
    /// Give it a further network interface, on this network; may be repeated
    #[arg(long, value_name = "NETWORK")]
    pub nic: Vec<Name>,
    /// What its network interfaces are to its guest: e1000e for one without virtio drivers
    #[arg(long, value_enum)]
    pub nic_model: Option<NicModel>,
    /// Give it a device of the node, as `skerry node devices` calls it; may be repeated, for admins alone
    #[arg(long, value_name = "NAME")]
    pub host_device: Vec<String>,
    /// File with user-data for cloud-init
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// File with a network configuration for cloud-init
    #[arg(long, value_name = "FILE")]
    pub network_data: Option<PathBuf>,
    /// File with a public key that may log in, through cloud-init; may be repeated
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Vec<PathBuf>,
    /// Host name that cloud-init sets; the machine's name if only other data is given
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// File with a password, or the hash of one, for the image's own account, through cloud-init
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Let its guest also ask at 169.254.169.254 for its data, but for the password; any program in it may
    #[arg(long)]
    pub metadata: bool,
}

/// What starts a virtual machine from its disk.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Firmware {
    /// The older BIOS
    Bios,
    /// UEFI
    Uefi,
    /// UEFI that starts only what is signed
    UefiSecure,
}

/// Verbs about a virtual machine's guest, and its name.
#[derive(Debug, Subcommand)]
pub enum GuestVerb {
    /// What the agent in its guest says now: the guest's addresses
    Guest {
        /// Name or id
        name: String,
    },
    /// What its guest is told when it asks for its data at 169.254.169.254
    Metadata {
        /// Name or id
        name: String,
    },
    /// Set a password in its guest, by the agent there; it counts at once
    Password {
        /// Name or id
        name: String,
        /// The account in the guest
        #[arg(long, short, default_value = "root")]
        user: String,
        /// Read the password from standard input instead of asking at the terminal
        #[arg(long)]
        password_stdin: bool,
    },
    /// Call it otherwise; its id, addresses and volumes stay
    Rename {
        /// Name or id
        name: String,
        /// The new name
        to: Name,
    },
}

/// Verbs about the discs in a virtual machine's CD drives.
#[derive(Debug, Subcommand)]
pub enum DiscVerb {
    /// Put a CD image into a drive, also while it runs; a drive that it has not yet comes with the next start
    Insert {
        /// Name or id
        name: String,
        /// The CD image
        image: Name,
        /// Which drive
        #[arg(long, default_value_t = 1, value_parser = drive)]
        drive: usize,
    },
    /// Take the disc out of a drive, also while it runs; a guest that has it in use is waited for
    Eject {
        /// Name or id
        name: String,
        /// Which drive
        #[arg(long, default_value_t = 1, value_parser = drive)]
        drive: usize,
    },
}

fn drive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(drive @ 1..=2) => Ok(drive),
        _ => Err("must be 1 or 2".to_owned()),
    }
}

/// Verbs for virtual machines.
#[derive(Debug, Subcommand)]
pub enum VmVerb {
    #[command(flatten)]
    Common(WorkloadVerb),
    #[command(flatten)]
    Power(PowerVerb),
    /// Make a virtual machine
    Create {
        #[command(flatten)]
        new: NewWorkload,
        /// Image to start from; see `skerry image list`. Without one it starts from its first --disk, or else --cd
        #[arg(long, short, required_unless_present_any = ["disk", "cd"])]
        image: Option<Name>,
        #[command(flatten)]
        placing: Box<Placing>,
        #[command(flatten)]
        boot: Box<Boot>,
        /// Attach a volume; may be repeated
        #[arg(long, value_name = "VOLUME")]
        disk: Vec<Name>,
        /// Whether it has a screen
        #[arg(long, value_enum)]
        graphics: Option<Graphics>,
        #[command(flatten)]
        keeping: Keeping,
    },
    /// Sit down at its serial line; Ctrl-] leaves
    Console {
        /// Name or id
        name: String,
    },
    /// Copy one that is off, with copies of its volumes that share its data
    Clone {
        /// The one to copy: its name
        source: Name,
        /// Name of the new one
        name: Name,
        /// Make a port of the new one reachable at the node; may be repeated
        #[arg(long, short, value_name = "HOST:WORKLOAD[/udp]", value_parser = publish)]
        publish: Vec<Publish>,
        /// Make it, but do not start it
        #[arg(long)]
        stopped: bool,
        #[command(flatten)]
        wait: Wait,
    },
    #[command(flatten)]
    Guest(GuestVerb),
    /// Keep it from being deleted
    Protect {
        /// Name or id
        name: String,
        /// Let it be deleted again
        #[arg(long)]
        off: bool,
    },
    #[command(flatten)]
    Disc(DiscVerb),
    /// Begin anew with another disk image; its first volume is detached and stays
    Rebuild {
        /// Name or id
        name: String,
        /// The disk image
        #[arg(long, short)]
        image: Name,
    },
    /// Show its screen to a VNC viewer on this machine
    Screen {
        /// Name or id
        name: String,
        /// Where the viewer finds it; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// End when the first viewer goes
        #[arg(long)]
        once: bool,
    },
    /// What it prints on its serial line
    Serial {
        /// Name or id
        name: String,
        #[command(flatten)]
        tail: Tail,
    },
}
