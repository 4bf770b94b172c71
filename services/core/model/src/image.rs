//! Images: what workloads start from. The bytes lie in the node's library, found by digest.

use serde::{Deserialize, Serialize};

use crate::{Conditions, Invalid, Kind, ResourceKind, Validate};

/// Marks [`crate::Resource`]s that are images.
#[derive(Debug, Clone, Copy)]
pub enum Image {}

impl ResourceKind for Image {
    const KIND: Kind = Kind::Image;
    type Spec = ImageSpec;
    type Status = ImageStatus;
}

/// The form of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// An OCI image layout in one archive (OCI image specification 1.1, image-layout).
    OciArchive,
    /// A Linux kernel and an initial file system, booted directly.
    KernelInitrd,
}

/// Where an image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Part of the operating-system image; cannot be deleted.
    BuiltIn,
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// What it is: `archive`, `kernel` or `initrd`.
    pub role: String,
    /// Where it lies on the node.
    pub path: String,
    /// SHA-256 of its bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Its form.
    pub format: ImageFormat,
    /// Where it came from.
    pub source: ImageSource,
    /// Processor architecture, `x86_64`.
    pub architecture: String,
    /// Its files.
    pub files: Vec<ImageFile>,
    /// Kernel command line, for `kernel_initrd`.
    #[serde(default)]
    pub kernel_arguments: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
}

impl ImageSpec {
    /// The file with this role.
    pub fn file(&self, role: &str) -> Option<&ImageFile> {
        self.files.iter().find(|file| file.role == role)
    }
}

/// Whether an image can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Not yet checked.
    #[default]
    Pending,
    /// Checked and usable.
    Available,
    /// A file is missing or has other bytes than recorded.
    Damaged,
}

/// What is known of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ImageStatus {
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// Whether it can be used.
    pub state: ImageState,
    /// Details.
    pub conditions: Conditions,
}

impl Validate for ImageSpec {
    fn validate(&self, found: &mut Invalid) {
        let roles: &[&str] = match self.format {
            ImageFormat::OciArchive => &["archive"],
            ImageFormat::KernelInitrd => &["kernel", "initrd"],
        };
        for role in roles {
            if self.file(role).is_none() {
                found.add("spec.files", format!("this format needs a file with role `{role}`"));
            }
        }
        for (index, file) in self.files.iter().enumerate() {
            let good =
                file.sha256.len() == 64 && file.sha256.chars().all(|c| c.is_ascii_hexdigit());
            if !good {
                found.add(format!("spec.files[{index}].sha256"), "must be 64 hex digits");
            }
        }
    }
}
