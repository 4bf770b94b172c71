//! Which images are disks.

use skerry_model::{ImageFormat, ImageSpec};

use crate::{BaseImage, DiskFormat};

/// The disk of an image, if it is one.
pub fn base_image(spec: &ImageSpec) -> Option<BaseImage> {
    let format = match spec.format {
        ImageFormat::Qcow2 => DiskFormat::Qcow2,
        ImageFormat::Raw => DiskFormat::Raw,
        _ => return None,
    };
    let file = spec.file("disk")?;
    Some(BaseImage { sha256: file.sha256.clone(), path: file.path.clone().into(), format })
}

/// The size that a guest sees of an image's disk, in bytes; 0 if it is not known.
pub fn image_size(spec: &ImageSpec) -> u64 {
    spec.file("disk").and_then(|file| file.virtual_size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_model::{ImageFile, ImageSource};

    #[test]
    fn only_disks_are_disks() {
        let mut spec = ImageSpec::new(ImageFormat::Qcow2, ImageSource::BuiltIn, "x86_64");
        assert_eq!(base_image(&spec), None, "it has not been brought in yet");
        spec.files = vec![ImageFile {
            virtual_size: Some(7),
            ..ImageFile::new("disk", "/library/a", "a".repeat(64), 5)
        }];
        assert_eq!(base_image(&spec).unwrap().format, DiskFormat::Qcow2);
        assert_eq!(image_size(&spec), 7);
        spec.format = ImageFormat::Iso;
        assert_eq!(base_image(&spec), None);
    }
}
