//! Users of a pod's own: which of the machine's users they are, and how files keep their owners all the same.
//!
//! Layers, the writable layer and volumes are seen through mounts that turn each owner on disk into the pod's user of that
//! number. So nothing on disk is of the pod's range, whatever that is, and nothing has to be changed when it changes.

use std::path::Path;

use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use skerry_containers::USERS;

use crate::supervisor::HostMount;
use crate::user::User;

/// What the machine's own root is on disk in such a mount: the kernel makes an overlay's work folder as root, who would
/// else be nobody there. No image and no volume has files of this user.
const ROOT_ON_DISK: u32 = 0xffff_0000;

/// The groups that may ping in a pod's network: all that there are.
pub const ALL_GROUPS: &str = "0 65535";

/// The mapping of a pod's users, and of its groups.
pub fn mapping(first: u32) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    let one = LinuxIdMappingBuilder::default().container_id(0_u32).host_id(first).size(USERS);
    Ok(vec![one.build()?])
}

/// Whether the user and the groups are among those that a pod has.
pub fn has(user: &User) -> bool {
    [user.uid, user.gid].iter().chain(&user.groups).all(|id| *id < USERS)
}

/// Whether owners of files up to this one are among those that a pod has.
pub const fn covers(highest: u32) -> bool {
    highest < USERS
}

/// The data as the pod's users see it, somewhere else.
pub fn seen_by(first: u32, data: &Path, at: &Path) -> HostMount {
    HostMount {
        kind: "none",
        what: data.to_owned(),
        target: at.to_owned(),
        options: format!("bind,X-mount.idmap=b:0:{first}:{USERS} b:{ROOT_ON_DISK}:0:1"),
    }
}

/// A volume as the pod's users see it, somewhere else.
pub fn turned(first: u32, volume: &Path, at: &Path) -> HostMount {
    HostMount {
        kind: "none",
        what: volume.to_owned(),
        target: at.to_owned(),
        options: format!("bind,X-mount.idmap=b:0:{first}:{USERS}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_on_disk_is_the_pods_user_of_that_number() {
        let mount = seen_by(655_360, Path::new("/data"), Path::new("/run/seen"));
        assert_eq!(mount.options, "bind,X-mount.idmap=b:0:655360:65536 b:4294901760:0:1");
        assert_eq!((mount.kind, mount.what.as_path()), ("none", Path::new("/data")));
    }

    #[test]
    fn of_a_volume_nothing_is_the_machines_roots() {
        let mount = turned(655_360, Path::new("/v"), Path::new("/run/turned/v"));
        assert_eq!(mount.options, "bind,X-mount.idmap=b:0:655360:65536");
        assert_eq!((mount.kind, mount.what.as_path()), ("none", Path::new("/v")));
    }

    #[test]
    fn users_beyond_the_range_are_none_of_the_pods() {
        let user = |uid, gid, group| User { uid, gid, groups: vec![group] };
        assert!(covers(65_535) && !covers(65_536));
        assert!(has(&user(0, 65_535, 7)));
        for bad in [user(65_536, 0, 0), user(0, 65_536, 0), user(0, 0, 70_000)] {
            assert!(!has(&bad));
        }
    }
}
