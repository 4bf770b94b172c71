//! What the machine that builds needs, all named in one list, and its installation with apt.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// Debian 12 or 13 packages: name, and a file that is there when the package is.
const PACKAGES: &[(&str, &str)] = &[
    // The builder root
    ("mmdebstrap", "/usr/bin/mmdebstrap"),
    ("bubblewrap", "/usr/bin/bwrap"),
    ("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    // Building the services: C compiler for crates with C parts, libvirt for the VM adapter
    ("gcc", "/usr/bin/gcc"),
    ("libc6-dev", "/usr/include/stdio.h"),
    ("make", "/usr/bin/make"),
    ("pkg-config", "/usr/bin/pkg-config"),
    ("libvirt-dev", "/usr/include/libvirt/libvirt.h"),
    ("git", "/usr/bin/git"),
    ("ca-certificates", "/usr/sbin/update-ca-certificates"),
    // Tests with real packets and real containers, in namespaces of their own
    ("iproute2", "/usr/sbin/ip"),
    ("kmod", "/usr/bin/kmod"),
    ("nftables", "/usr/sbin/nft"),
    ("dnsmasq-base", "/usr/sbin/dnsmasq"),
    ("crun", "/usr/bin/crun"),
    ("busybox-static", "/usr/bin/busybox"),
];

/// Installs what is missing; does nothing when everything is there.
///
/// # Errors
/// When apt fails, or there is no apt.
pub fn setup() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, file)| !std::path::Path::new(file).exists())
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !std::path::Path::new("/usr/bin/apt-get").exists() {
        bail!("this machine has no apt-get; install by hand: {}", missing.join(" "));
    }
    println!("Installing on this machine: {}", missing.join(" "));
    apt(&["-q", "update"])?;
    let mut install = vec!["-q", "install", "-y", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command: Command = command::as_root("env");
    command.arg("DEBIAN_FRONTEND=noninteractive").arg("apt-get").args(arguments);
    command::run(&mut command)
}
