//! The words about images and the registries that they come from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use skerry_model::{ImageArchiveForm, ImageReference, Name, RegistryHost};

use crate::args::{ReadVerb, Target, Wait};

/// An image to bring in.
#[derive(Debug, Args)]
pub struct NewImage {
    /// File to upload, address that the node fetches from, or a file on a stick in the node or in a folder of the node,
    /// such as usb:STICK/debian.qcow2 or folder:import/debian.qcow2
    #[arg(value_name = "FILE|URL|usb:NAME/FILE|folder:NAME/FILE")]
    pub source: String,
    /// Name of the new image
    #[arg(long)]
    pub name: Name,
    /// What it is: qcow2, raw, vmdk, vdi, iso, oci_archive, or kernel_initrd for a tar of `kernel`, `initrd` and perhaps
    /// `cmdline`; by the end of the file's name if not given
    #[arg(long)]
    pub format: Option<String>,
    /// SHA-256 that it must have; needed for an address
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Processor architecture
    #[arg(long, default_value = "x86_64")]
    pub architecture: String,
    /// How a machine starts from it: uefi or bios
    #[arg(long)]
    pub firmware: Option<String>,
    /// Least memory of a machine, in MiB
    #[arg(long, value_name = "MIB")]
    pub min_memory: Option<u64>,
    /// Least number of virtual processors of a machine
    #[arg(long, value_name = "COUNT")]
    pub min_vcpus: Option<u32>,
    /// The operating system in it, such as "Debian 13"
    #[arg(long)]
    pub os: Option<String>,
    /// The account that it makes, such as debian
    #[arg(long)]
    pub default_user: Option<String>,
    /// The family that it is a version of: who names that when something is made gets its newest
    #[arg(long, value_name = "NAME")]
    pub family: Option<Name>,
    /// Its version
    #[arg(long)]
    pub version: Option<String>,
    /// One line for people
    #[arg(long)]
    pub description: Option<String>,
    /// Keep it from being deleted
    #[arg(long)]
    pub pinned: bool,
    /// For administrators: a container image without a signature, though a registry requires them
    #[arg(long)]
    pub allow_unsigned: bool,
    #[command(flatten)]
    pub wait: Wait,
}

/// Verbs for images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    #[command(flatten)]
    Read(ReadVerb),
    /// Pull a container image from a registry
    Pull {
        /// What to pull, such as busybox:1.36 or 10.0.0.5:5000/lab/app@sha256:…
        reference: ImageReference,
        /// Name of the new image; made from the reference if not given
        #[arg(long, value_name = "NAME")]
        name: Option<Name>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring an image in; an upload that broke off goes on where it was
    Import {
        #[command(flatten)]
        new: NewImage,
    },
    /// Write a container image to an archive, the same each time
    Export {
        /// Name or id
        name: String,
        /// oci for an OCI image layout, docker for what `docker load` reads
        #[arg(long, default_value = "oci")]
        format: ImageArchiveForm,
        /// File to write, or - for the output
        #[arg(long, short)]
        output: PathBuf,
    },
    /// List the USB sticks and cards in the node and the folders of the node, with the image files on them
    Media,
    /// Remove all images that nothing uses, but for pinned ones and those of the last hour
    Prune {
        /// Only tell which these are
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep an image from being deleted
    Pin {
        /// Name or id
        name: String,
    },
    /// Let an image be deleted again
    Unpin {
        /// Name or id
        name: String,
    },
    /// Delete an image that nothing uses
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}

/// Verbs for registries.
#[derive(Debug, Subcommand)]
pub enum RegistryVerb {
    #[command(flatten)]
    Read(ReadVerb),
    /// Say how to reach a registry (administrators only)
    Create {
        /// Name of the record
        name: Name,
        /// Its host as in references to images, with the port if there is one
        #[arg(long)]
        host: RegistryHost,
        /// A host that is asked first; may be repeated
        #[arg(long = "mirror", value_name = "HOST")]
        mirrors: Vec<RegistryHost>,
        /// File with the certificates (PEM) to trust for it, instead of the public ones
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// User name; the password is asked for, or read with --password-stdin
        #[arg(long, short)]
        username: Option<String>,
        /// Read the password from standard input instead of asking at the terminal
        #[arg(long)]
        password_stdin: bool,
        /// File with a public key (PEM): only images that one of these keys has signed are pulled; may be repeated
        #[arg(long = "signed-by", value_name = "FILE")]
        signed_by: Vec<PathBuf>,
        /// Without TLS, for laboratories: passwords and tags can be read and changed on the way
        #[arg(long, conflicts_with = "ca")]
        plain_http: bool,
    },
    /// Forget how to reach a registry; images from it stay
    #[command(visible_alias = "rm")]
    Delete {
        #[command(flatten)]
        target: Target,
    },
}
