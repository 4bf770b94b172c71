//! How to reach registries that container images come from.
//!
//! A registry needs no record to be pulled from: without one it is reached over TLS with the public authorities
//! and without a password. A record's password goes in and never comes out.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Kind, RegistryHost, ResourceKind, SignatureRule, Validate};

/// Most mirrors of one registry.
const MAX_MIRRORS: usize = 8;
/// Longest CA, in bytes.
const MAX_CA: usize = 64 << 10;
/// Longest user name or password, in bytes.
const MAX_SECRET: usize = 4096;

/// Marks [`crate::Resource`]s that are registries.
#[derive(Debug, Clone, Copy)]
pub enum Registry {}

impl ResourceKind for Registry {
    const KIND: Kind = Kind::Registry;
    type Spec = RegistrySpec;
    type Status = RegistryStatus;
}

/// How to reach a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// Its host as in references to images, with the port if there is one: `docker.io`, `10.0.0.5:5000`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub host: RegistryHost,
    /// Hosts that are asked first, in this order. One that has a record of its own is reached as that says;
    /// this record's password is not for them.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub mirrors: Vec<RegistryHost>,
    /// Without TLS. For laboratories: whoever sits on the way can read the password and choose what a tag means.
    #[serde(default)]
    pub plain_http: bool,
    /// Certificates (PEM) to trust for it, instead of the public authorities.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password or access token; never shown. The old one stays if a change does not name it.
    #[serde(default)]
    pub password: Option<String>,
    /// Which images of it must be signed, and by whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureRule>,
}

impl std::fmt::Debug for RegistrySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrySpec").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What is known of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RegistryStatus {}

impl Validate for RegistrySpec {
    fn validate(&self, found: &mut Invalid) {
        found.require(self.mirrors.len() <= MAX_MIRRORS, "spec.mirrors", "at most 8 mirrors");
        found.require(
            !self.mirrors.contains(&self.host),
            "spec.mirrors",
            "a registry is no mirror of itself",
        );
        let ca = self.ca_pem.as_deref().unwrap_or("-----BEGIN CERTIFICATE-----");
        found.require(
            ca.len() <= MAX_CA && ca.contains("-----BEGIN CERTIFICATE-----"),
            "spec.ca_pem",
            "must be PEM certificates of at most 64 KiB",
        );
        found.require(
            !(self.plain_http && self.ca_pem.is_some()),
            "spec.ca_pem",
            "is of no use with plain_http",
        );
        for (field, value) in [("spec.username", &self.username), ("spec.password", &self.password)]
        {
            let good = value
                .as_ref()
                .is_none_or(|text| text.len() <= MAX_SECRET && !text.chars().any(char::is_control));
            found.require(good, field, "at most 4096 bytes, no control characters");
        }
        found.require(
            self.username.as_ref().is_none_or(|name| !name.contains(':') && !name.is_empty()),
            "spec.username",
            "must not be empty or hold a colon",
        );
        found.require(
            self.password.is_none() || self.username.is_some(),
            "spec.password",
            "needs spec.username",
        );
        SignatureRule::validate_all(&self.signatures, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> RegistrySpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_password_is_not_in_the_debug_form() {
        let spec = spec(r#"{"host": "x.y", "username": "anna", "password": "secret"}"#);
        assert!(!format!("{spec:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_field() {
        for (text, field) in [
            (r#"{"host": "x.y", "mirrors": ["X.Y"]}"#, "spec.mirrors"),
            (r#"{"host": "x.y", "ca_pem": "x"}"#, "spec.ca_pem"),
            (r#"{"host": "x.y", "password": "p"}"#, "spec.password"),
            (r#"{"host": "x.y", "username": "a:b"}"#, "spec.username"),
            (r#"{"host": "x.y", "username": "a", "password": "p\nq"}"#, "spec.password"),
        ] {
            let mut found = Invalid::default();
            spec(text).validate(&mut found);
            assert_eq!(found.violations().len(), 1, "{text}: {found}");
            assert_eq!(found.violations()[0].field, field, "{text}");
        }
        let mut found = Invalid::default();
        spec(r#"{"host": "x.y", "mirrors": ["m.y:5000"], "username": "a", "password": "p"}"#)
            .validate(&mut found);
        assert!(found.into_result().is_ok());
        assert!(serde_json::from_str::<RegistrySpec>(r#"{"host": "https://x.y"}"#).is_err());
    }
}
