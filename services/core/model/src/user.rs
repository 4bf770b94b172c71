//! Local accounts and the logins and tokens made for them.
//!
//! Secrets are kept only as hashes, and no face may show even those.

use serde::{Deserialize, Serialize};

use crate::{Id, Invalid, Kind, ResourceKind, Timestamp, Validate};

/// Marks [`crate::Resource`]s that are local accounts.
#[derive(Debug, Clone, Copy)]
pub enum User {}

impl ResourceKind for User {
    const KIND: Kind = Kind::User;
    type Spec = UserSpec;
    type Status = UserStatus;
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read everything but accounts and the audit log.
    Viewer,
    /// Viewer, and change workloads, networks and images.
    Operator,
    /// Everything.
    Admin,
    /// Viewer, and read the audit log.
    Auditor,
}

/// What is wanted of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// What the account may do.
    pub role: Role,
    /// Argon2id hash in PHC form; never shown.
    #[serde(default)]
    pub password_hash: String,
}

/// What is known of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct UserStatus {
    /// The last good login.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_login: Option<Timestamp>,
}

impl Validate for UserSpec {
    fn validate(&self, _found: &mut Invalid) {}
}

/// Marks [`crate::Resource`]s that are logins and tokens.
#[derive(Debug, Clone, Copy)]
pub enum Session {}

impl ResourceKind for Session {
    const KIND: Kind = Kind::Session;
    type Spec = SessionSpec;
    type Status = SessionStatus;
}

/// A login or token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// Whose it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub user: Id<User>,
    /// What it allows; never more than the account's role at the time of use.
    pub role: Role,
    /// SHA-256 of the secret in hex; never shown.
    #[serde(default)]
    pub secret_hash: String,
    /// What it is for: `page`, `cli`, `token`.
    pub purpose: String,
    /// When it ends; never, if absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires: Option<Timestamp>,
}

/// What is known of a login or token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SessionStatus {}

impl Validate for SessionSpec {
    fn validate(&self, _found: &mut Invalid) {}
}
