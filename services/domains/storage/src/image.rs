//! Which images are disks.

use skerry_model::ImageSpec;

use crate::BaseImage;

/// The size that a guest sees of an image's disk, in bytes; 0 if it is not known.
pub fn image_size(_spec: &ImageSpec) -> u64 {
    0
}

/// The disk of an image, if it is one.
pub fn base_image(_spec: &ImageSpec) -> Option<BaseImage> {
    None
}
