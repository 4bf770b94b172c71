//! The forms in which a container image leaves the node as one file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The form of an archive that a container image is exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageArchiveForm {
    /// An OCI image layout (OCI image specification 1.1, image-layout) in one tar archive.
    Oci,
    /// What `docker load` reads: a `manifest.json`, a configuration and layers in one tar archive.
    Docker,
}

impl ImageArchiveForm {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Docker => "docker",
        }
    }
}

impl fmt::Display for ImageArchiveForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that is no form of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be oci or docker")]
pub struct ImageArchiveFormError;

impl FromStr for ImageArchiveForm {
    type Err = ImageArchiveFormError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "oci" => Ok(Self::Oci),
            "docker" => Ok(Self::Docker),
            _ => Err(ImageArchiveFormError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_others_are_refused() {
        for form in [ImageArchiveForm::Oci, ImageArchiveForm::Docker] {
            assert_eq!(form.to_string().parse(), Ok(form));
            assert_eq!(serde_json::to_value(form).unwrap(), form.word());
        }
        assert!("tar".parse::<ImageArchiveForm>().is_err());
    }
}
