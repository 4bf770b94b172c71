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
    ("runc", "/usr/sbin/runc"),
    ("busybox-static", "/usr/bin/busybox"),
    ("curl", "/usr/bin/curl"),
    // A real registry to pull from, and the program that fills it
    ("docker-registry", "/usr/bin/docker-registry"),
    ("skopeo", "/usr/bin/skopeo"),
    // Opens archives of images, and makes and checks signatures, beside our own code
    ("umoci", "/usr/bin/umoci"),
    ("openssl", "/usr/bin/openssl"),
    // Tests with real disk images, sound and hostile ones
    ("qemu-utils", "/usr/bin/qemu-img"),
    ("util-linux", "/usr/bin/setpriv"),
    // And with real file systems
    ("e2fsprogs", "/usr/sbin/mkfs.ext4"),
    ("xfsprogs", "/usr/sbin/mkfs.xfs"),
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

/// Where Debian's packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// The archive.
    pub main: String,
    /// Security updates.
    pub security: String,
}

/// Debian's own addresses, for a machine whose apt has no source of the kind.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

/// The mirrors that this machine's apt uses, so that a site's own mirror or proxy is used here too; Debian's own
/// where it uses none.
///
/// # Errors
/// When apt cannot be asked.
pub fn mirrors() -> Result<Mirrors> {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(REPO_URI)"]);
    Ok(pick_mirrors(&command::output(&mut ask)?))
}

fn pick_mirrors(uris: &str) -> Mirrors {
    let ending = |name: &str| {
        uris.lines()
            .map(|uri| uri.trim().trim_end_matches('/'))
            .find(|uri| uri.ends_with(name))
            .map(ToOwned::to_owned)
    };
    Mirrors {
        main: ending("/debian").unwrap_or_else(|| ARCHIVE.to_owned()),
        // A freshly bootstrapped system knows the archive alone; the image is not built without security updates.
        security: ending("/debian-security").unwrap_or_else(|| SECURITY.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_those_of_the_machine() {
        let text = "http://m.example/x/debian-security/\nhttp://other.example/repo/\nhttp://m.example/x/debian/\n";
        let mirrors = pick_mirrors(text);
        assert_eq!(mirrors.main, "http://m.example/x/debian");
        assert_eq!(mirrors.security, "http://m.example/x/debian-security");
    }

    #[test]
    fn a_machine_that_knows_the_archive_alone_takes_security_updates_from_debian() {
        let mirrors = pick_mirrors("http://m.example/debian/\n");
        assert_eq!(mirrors.main, "http://m.example/debian");
        assert_eq!(mirrors.security, SECURITY);
        assert_eq!(pick_mirrors("http://m.example/ubuntu/\n").main, ARCHIVE);
    }
}
