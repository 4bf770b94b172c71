//! Alarms: conditions that want an operator. What they mean stands in the alarm catalogue.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Kind, LocalRef, ResourceKind, Timestamp, Validate};

/// Marks [`crate::Resource`]s that are alarms.
#[derive(Debug, Clone, Copy)]
pub enum Alarm {}

impl ResourceKind for Alarm {
    const KIND: Kind = Kind::Alarm;
    type Spec = AlarmSpec;
    type Status = AlarmStatus;
}

/// Perceived severity, in the order of ITU-T X.733.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Service is gone; act at once.
    Critical,
    /// Service is badly hurt; act soon.
    Major,
    /// Something needs attention before it grows.
    Minor,
    /// Nothing is hurt yet.
    Warning,
}

/// Which alarm it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlarmSpec {
    /// Key in the alarm catalogue, such as `STORE_RECOVERED`.
    pub definition: String,
    /// What it is about; the node itself if absent.
    pub object: Option<LocalRef>,
    /// How bad.
    pub severity: Severity,
}

/// How an alarm stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct AlarmStatus {
    /// What happened, for people.
    pub message: String,
    /// First seen.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub raised: Option<Timestamp>,
    /// Last seen or changed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub changed: Option<Timestamp>,
    /// When it ended; it is active while this is absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub cleared: Option<Timestamp>,
    /// When somebody took note.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub acknowledged: Option<Timestamp>,
    /// How often it was seen.
    pub count: u32,
}

impl Validate for AlarmSpec {
    fn validate(&self, _found: &mut Invalid) {}
}
