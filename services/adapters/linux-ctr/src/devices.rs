//! Devices of the machine in containers: found here, made in the container's own `/dev` by the runtime, and let through by
//! the unit's rules.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};
use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};

/// A device that the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    path: String,
    numbers: (u64, u64),
}

impl Device {
    /// Looks for it. Only what is a character device counts.
    pub fn find(path: &str) -> io::Result<Self> {
        let found = fs::symlink_metadata(Path::new(path))?;
        if !found.file_type().is_char_device() {
            return Err(io::Error::other("it is no character device"));
        }
        let number = found.rdev();
        Ok(Self { path: path.to_owned(), numbers: (major(number), minor(number)) })
    }

    /// As the runtime takes it. Whoever is in the container may use it: the rules of the unit are what holds it.
    pub fn described(&self) -> Result<LinuxDevice, OciSpecError> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        LinuxDeviceBuilder::default()
            .path(&self.path)
            .typ(LinuxDeviceType::C)
            .major(number(self.numbers.0))
            .minor(number(self.numbers.1))
            .file_mode(0o666_u32)
            .uid(0_u32)
            .gid(0_u32)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_with_its_numbers_and_nothing_else_is_one() {
        let null = Device::find("/dev/null").unwrap().described().unwrap();
        assert_eq!((null.major(), null.minor()), (1, 3));
        assert!(Device::find("/dev/no-such-device").is_err());
        assert!(Device::find("/dev").is_err());
    }
}
