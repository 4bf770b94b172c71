//! How a virtual machine comes up: what its firmware is.

use serde::{Deserialize, Serialize};

use crate::{ImageFirmware, Invalid, LARGEST_VOLUME_MIB};

/// What a virtual machine that boots from a disk is started by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VmFirmware {
    /// The older BIOS.
    Bios,
    /// UEFI.
    Uefi,
    /// UEFI that starts only what is signed by the usual keys.
    UefiSecure,
}

impl VmFirmware {
    /// Whether it is UEFI.
    pub const fn is_uefi(self) -> bool {
        matches!(self, Self::Uefi | Self::UefiSecure)
    }

    /// What an image needs, as a machine has it.
    pub const fn kind(self) -> ImageFirmware {
        match self {
            Self::Bios => ImageFirmware::Bios,
            Self::Uefi | Self::UefiSecure => ImageFirmware::Uefi,
        }
    }

    /// What a machine has unless it is asked for something else.
    pub const fn usual(image: Option<ImageFirmware>) -> Self {
        match image {
            Some(ImageFirmware::Uefi) => Self::Uefi,
            Some(ImageFirmware::Bios) | None => Self::Bios,
        }
    }
}

/// Collects what is wrong with a wanted TPM. A firmware that is not given yet may still come from the image.
pub(crate) fn validate_tpm(tpm: bool, firmware: Option<VmFirmware>, found: &mut Invalid) {
    let message = "needs the firmware uefi or uefi_secure";
    found.require(!tpm || firmware != Some(VmFirmware::Bios), "spec.tpm", message);
}

/// Collects what is wrong with the wanted size of a machine's own disk.
pub(crate) fn validate_disk_size(size: Option<u64>, found: &mut Invalid) {
    if let Some(size) = size {
        let fits = (1..=LARGEST_VOLUME_MIB).contains(&size);
        found.require(fits, "spec.disk_size_mib", "must be 1 to 67108864");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tpm_needs_uefi() {
        let faults = |tpm, firmware| {
            let mut found = Invalid::default();
            validate_tpm(tpm, firmware, &mut found);
            found.violations().len()
        };
        assert_eq!(faults(true, Some(VmFirmware::Bios)), 1);
        for good in [None, Some(VmFirmware::Uefi), Some(VmFirmware::UefiSecure)] {
            assert_eq!(faults(true, good), 0);
        }
        assert_eq!(faults(false, Some(VmFirmware::Bios)), 0);
    }

    #[test]
    fn firmware_is_what_the_image_needs() {
        assert_eq!(VmFirmware::usual(None), VmFirmware::Bios);
        for needs in [ImageFirmware::Bios, ImageFirmware::Uefi] {
            assert_eq!(VmFirmware::usual(Some(needs)).kind(), needs);
        }
        assert_eq!(VmFirmware::UefiSecure.kind(), ImageFirmware::Uefi);
    }
}
