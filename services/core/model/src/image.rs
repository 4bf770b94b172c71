//! Images: what workloads start from. The bytes lie in the node's library, found by digest.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Conditions, ImageReference, ImageSignature, Invalid, Kind, LocalRef, Name, ResourceKind,
    Timestamp, Validate,
};

/// Marks [`crate::Resource`]s that are images.
#[derive(Debug, Clone, Copy)]
pub enum Image {}

impl ResourceKind for Image {
    const KIND: Kind = Kind::Image;
    type Spec = ImageSpec;
    type Status = ImageStatus;
}

/// The form of an image. An image is kept as one of those that [`ImageFormat::is_kept`] names; the others are
/// converted when they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// An OCI image layout in one archive (OCI image specification 1.1, image-layout).
    OciArchive,
    /// A Linux kernel and an initial file system, booted directly. Comes in as an uncompressed tar archive of `kernel` (a
    /// bzImage), `initrd` and, if wanted, `cmdline`.
    KernelInitrd,
    /// A disk, QEMU's own format, without backing file.
    Qcow2,
    /// A disk, byte by byte.
    Raw,
    /// A disk of VMware's kind in one file; becomes `qcow2`.
    Vmdk,
    /// A disk of VirtualBox's kind; becomes `qcow2`.
    Vdi,
    /// A CD or DVD (ISO 9660), for virtual machines to read.
    Iso,
}

impl ImageFormat {
    /// Whether images are kept in this form.
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::Vmdk | Self::Vdi)
    }

    /// The form in which an image of this one is kept.
    pub const fn kept(self) -> Self {
        match self {
            Self::Vmdk | Self::Vdi => Self::Qcow2,
            kept => kept,
        }
    }

    /// Whether it is a disk that a virtual machine boots from.
    pub const fn is_disk(self) -> bool {
        matches!(self, Self::Qcow2 | Self::Raw | Self::Vmdk | Self::Vdi)
    }

    /// What the files of an image of this form are called, in [`ImageFile::role`].
    pub const fn roles(self) -> &'static [&'static str] {
        match self {
            Self::OciArchive => &["archive"],
            Self::KernelInitrd => &["kernel", "initrd"],
            Self::Qcow2 | Self::Raw | Self::Vmdk | Self::Vdi => &["disk"],
            Self::Iso => &["iso"],
        }
    }

    /// The word in documents.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OciArchive => "oci_archive",
            Self::KernelInitrd => "kernel_initrd",
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Iso => "iso",
        }
    }
}

/// How a machine starts from an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageFirmware {
    /// UEFI.
    Uefi,
    /// The older BIOS.
    Bios,
}

/// Where an image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Part of the operating-system image; cannot be deleted.
    BuiltIn,
    /// A finished upload of this node, by its id (`POST /api/v1/uploads`).
    Upload(Uuid),
    /// Fetched by the node; the address of the file (`https` or `http`). Needs `spec.sha256`.
    Url(String),
    /// A file on a USB stick or card in the node or in a folder of the node, as name of the medium and path, such as
    /// `STICK/debian.qcow2` or `import/debian.qcow2`; `GET /api/v1/media` lists them.
    Folder(String),
    /// The disk in a volume of this node, copied: an export. Needs the format `qcow2`.
    Volume {
        /// Name of the volume. No virtual machine may be running with it, unless a snapshot is given.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        volume: Name,
        /// Name of a snapshot that holds it: the volume as it was then.
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        snapshot: Option<Name>,
    },
    /// Pulled from a registry by the node.
    Registry {
        /// What to pull, such as `docker.io/library/busybox:1.36` or `10.0.0.5:5000/app@sha256:…`.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        reference: ImageReference,
        /// The same with the digest that the reference named when it was pulled. A tag is looked up once: from then
        /// on this is what is meant. For the node to fill in.
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        resolved: Option<ImageReference>,
    },
}

impl ImageSource {
    /// Whether the bytes have to be brought in first.
    pub const fn is_brought_in(&self) -> bool {
        !matches!(self, Self::BuiltIn)
    }

    /// Whether the node itself can bring the same bytes in again, if the network is there.
    pub const fn can_be_fetched(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Registry { .. })
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// What it is: `archive`, `kernel`, `initrd`, `disk` or `iso`; of what was pulled from a registry `index`,
    /// `manifest`, `config` or `layer`.
    pub role: String,
    /// Where it lies on the node.
    pub path: String,
    /// SHA-256 of its bytes, 64 lower-case hex digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
    /// Size of the disk in it, as a guest sees it, in bytes; of disks that were brought in.
    #[serde(default)]
    pub virtual_size: Option<u64>,
}

impl ImageFile {
    /// A file without a disk in it.
    pub fn new(
        role: impl Into<String>,
        path: impl Into<String>,
        sha256: impl Into<String>,
        size: u64,
    ) -> Self {
        let (role, path, sha256) = (role.into(), path.into(), sha256.into());
        Self { role, path, sha256, size, virtual_size: None }
    }
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
    /// Its files. The node fills them in for what it brings in.
    #[serde(default)]
    pub files: Vec<ImageFile>,
    /// SHA-256 that the brought-in bytes must have, 64 lower-case hex digits. Needed for a URL.
    #[serde(default)]
    pub sha256: Option<String>,
    /// How a machine starts from it; a disk's, if known.
    #[serde(default)]
    pub firmware: Option<ImageFirmware>,
    /// Least memory of a machine that starts from it, in MiB.
    #[serde(default)]
    pub min_memory_mib: Option<u64>,
    /// Least number of virtual processors of a machine that starts from it, 1 to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_vcpus: Option<u32>,
    /// Least size of a disk made from it, in bytes.
    #[serde(default)]
    pub min_disk_bytes: Option<u64>,
    /// The account that it makes for whoever configures it, such as `debian`.
    #[serde(default)]
    pub default_user: String,
    /// The operating system in it, for people, such as `Debian 13`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// The family that it is a version of. Whoever names a family when something is made means its newest usable version at
    /// that moment. No image has the name of a family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub family: Option<Name>,
    /// Its version, for people; within a family the newest is the one with the highest numbers, such as `13.10` after `13.9`,
    /// and `14` after `14~rc1`.
    #[serde(default)]
    pub version: String,
    /// Whether it must not be deleted.
    #[serde(default)]
    pub pinned: bool,
    /// Kernel command line, for `kernel_initrd`; what came in with the kernel if none is given.
    #[serde(default)]
    pub kernel_arguments: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// What was found of its signatures when it was pulled, where its registry has a rule for them. For the node to
    /// fill in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<ImageSignature>,
    /// A container image that is brought in by hand carries no signature. Where any registry requires them, only an
    /// administrator may bring one in, and says so with this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_unsigned: bool,
}

impl ImageSpec {
    /// An image of this format of which nothing more is known.
    pub fn new(format: ImageFormat, source: ImageSource, architecture: impl Into<String>) -> Self {
        Self {
            format,
            source,
            architecture: architecture.into(),
            files: Vec::new(),
            sha256: None,
            firmware: None,
            min_memory_mib: None,
            min_vcpus: None,
            min_disk_bytes: None,
            default_user: String::new(),
            os: String::new(),
            family: None,
            version: String::new(),
            pinned: false,
            kernel_arguments: String::new(),
            description: String::new(),
            signature: None,
            allow_unsigned: false,
        }
    }

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
    /// Being brought in by a job.
    Receiving,
    /// A file is missing or has other bytes than recorded: nothing is started from it until that is mended.
    #[serde(alias = "damaged")]
    Quarantined,
    /// It could not be brought in; the conditions say why.
    Failed,
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
    /// The job that brings it in.
    pub job: Option<Uuid>,
    /// Who uses it.
    pub used_by: Vec<LocalRef>,
    /// When something last began or ceased to use it, or it came in. What `used_by` names uses it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_used: Option<Timestamp>,
    /// When its bytes were last found to be as recorded.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub verified: Option<Timestamp>,
    /// Details.
    pub conditions: Conditions,
}

/// Longest text of a field, in bytes.
const LONGEST: usize = 1024;

/// Whether a text is a SHA-256 as this node writes it.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

impl Validate for ImageSpec {
    fn validate(&self, found: &mut Invalid) {
        // What is brought in has no files before that is done, and all of them after.
        if !self.source.is_brought_in() || !self.files.is_empty() {
            let roles: &[&str] = match self.source {
                ImageSource::Registry { .. } => &["manifest", "config"],
                _ => self.format.roles(),
            };
            for role in roles {
                if self.file(role).is_none() {
                    let message = format!("this format needs a file with role `{role}`");
                    found.add("spec.files", message);
                }
            }
        }
        for (index, file) in self.files.iter().enumerate() {
            let field = format!("spec.files[{index}].sha256");
            found.require(is_digest(&file.sha256), &field, "must be 64 lower-case hex digits");
        }
        if let Some(sha256) = &self.sha256 {
            found.require(is_digest(sha256), "spec.sha256", "must be 64 lower-case hex digits");
        }
        for (field, text) in [
            ("spec.architecture", &self.architecture),
            ("spec.kernel_arguments", &self.kernel_arguments),
            ("spec.description", &self.description),
            ("spec.default_user", &self.default_user),
            ("spec.version", &self.version),
            ("spec.os", &self.os),
        ] {
            let good = text.len() <= LONGEST && !text.chars().any(char::is_control);
            found.require(good, field, "must be one line of at most 1024 bytes");
        }
        let vcpus = self.min_vcpus.is_none_or(|count| (1..=64).contains(&count));
        found.require(vcpus, "spec.min_vcpus", "must be 1 to 64");
        self.source.validate(self.sha256.is_some(), found);
    }
}

impl ImageSource {
    fn validate(&self, has_digest: bool, found: &mut Invalid) {
        match self {
            Self::BuiltIn | Self::Upload(_) | Self::Registry { .. } | Self::Volume { .. } => {}
            Self::Url(url) => {
                let good = ["https://", "http://"].iter().any(|scheme| {
                    url.strip_prefix(scheme)
                        .is_some_and(|rest| !rest.starts_with(['/', '?', '#']) && !rest.is_empty())
                }) && url.len() <= 2048
                    && url.chars().all(|c| c.is_ascii_graphic())
                    && !url.contains('@');
                let message = "must be an address such as https://example.org/disk.qcow2, without a user in it";
                found.require(good, "spec.source.url", message);
                let message = "is needed for a URL: the SHA-256 that its publisher names";
                found.require(has_digest, "spec.sha256", message);
            }
            Self::Folder(path) => {
                let good = path.len() <= LONGEST
                    && !path.chars().any(char::is_control)
                    && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
                let message =
                    "must be a path below the medium's folder, such as images/debian.qcow2";
                found.require(good, "spec.source.folder", message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(source: ImageSource) -> ImageSpec {
        ImageSpec::new(ImageFormat::Qcow2, source, "x86_64")
    }

    fn faults(spec: &ImageSpec) -> Vec<String> {
        let mut found = Invalid::default();
        spec.validate(&mut found);
        found.violations().iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn sources_are_written_as_documented() {
        let id = Uuid::from_u128(7);
        for (source, json) in [
            (ImageSource::BuiltIn, "\"built_in\"".to_owned()),
            (ImageSource::Upload(id), format!("{{\"upload\":\"{id}\"}}")),
            (ImageSource::Url("https://x/y".to_owned()), "{\"url\":\"https://x/y\"}".to_owned()),
            (
                ImageSource::Volume { volume: Name::new("data").unwrap(), snapshot: None },
                "{\"volume\":{\"volume\":\"data\",\"snapshot\":null}}".to_owned(),
            ),
            (ImageSource::Folder("a/b".to_owned()), "{\"folder\":\"a/b\"}".to_owned()),
        ] {
            assert_eq!(serde_json::to_string(&source).unwrap(), json);
            assert_eq!(serde_json::from_str::<ImageSource>(&json).unwrap(), source);
        }
    }

    #[test]
    fn what_is_brought_in_needs_a_digest_for_a_url_and_no_files() {
        assert!(faults(&spec(ImageSource::Upload(Uuid::nil()))).is_empty());
        assert_eq!(faults(&spec(ImageSource::BuiltIn)), ["spec.files"]);
        let url = spec(ImageSource::Url("https://example.org/d.qcow2".to_owned()));
        assert_eq!(faults(&url), ["spec.sha256"]);
        assert!(faults(&ImageSpec { sha256: Some("a".repeat(64)), ..url }).is_empty());
    }

    #[test]
    fn addresses_and_paths_that_lead_elsewhere_are_refused() {
        for url in [
            "file:///etc/passwd",
            "ftp://x/y",
            "https://",
            "https:///x",
            "https://u:p@h/x",
            "https://x/ y",
        ] {
            let found = faults(&spec(ImageSource::Url(url.to_owned())));
            assert!(found.contains(&"spec.source.url".to_owned()), "{url}");
        }
        for path in ["/etc/passwd", "../x", "a/../b", "", "a//b", "./a", "a\n"] {
            let found = faults(&spec(ImageSource::Folder(path.to_owned())));
            assert_eq!(found, ["spec.source.folder"], "{path}");
        }
        let mut wrong = spec(ImageSource::Folder("a.img".to_owned()));
        wrong.sha256 = Some("A".repeat(64));
        wrong.description = "two\nlines".to_owned();
        wrong.os = "a\0".to_owned();
        assert_eq!(faults(&wrong), ["spec.sha256", "spec.description", "spec.os"]);
        for (count, good) in [(0, false), (1, true), (64, true), (65, false)] {
            let image =
                ImageSpec { min_vcpus: Some(count), ..spec(ImageSource::Upload(Uuid::nil())) };
            assert_eq!(faults(&image).is_empty(), good, "{count}");
        }
    }
}
