//! Turning the node's own errors into refusals for callers.

use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{Invalid, Kind, Violation};
use skerry_store::StoreError;

/// A fault of the node; the cause goes to the log, not to the caller.
pub fn internal(cause: impl std::fmt::Display) -> Refusal {
    tracing::error!(%cause, "a request failed by a fault of the node");
    Refusal::new(RefusalClass::Internal, "the node failed to do this; its log says why")
}

/// No such resource.
pub fn not_found(kind: Kind, key: &str) -> Refusal {
    let key: String = key.chars().take(80).flat_map(char::escape_default).collect();
    Refusal::new(RefusalClass::NotFound, format!("there is no {kind} `{key}`"))
}

/// A wrong document with every fault.
pub fn invalid(detail: impl Into<String>, violations: Vec<Violation>) -> Refusal {
    Refusal { class: RefusalClass::Invalid, detail: detail.into(), violations }
}

/// One wrong field.
pub fn wrong_field(field: &str, message: impl Into<String>) -> Refusal {
    let message = message.into();
    let violation = Violation { field: field.to_owned(), message: message.clone() };
    invalid(format!("{field}: {message}"), vec![violation])
}

/// All faults of a spec.
pub fn found(invalid_spec: Invalid) -> Refusal {
    invalid(invalid_spec.to_string(), invalid_spec.violations().to_vec())
}

/// What the store said.
pub fn store(error: StoreError) -> Refusal {
    let class = match &error {
        StoreError::NameTaken { .. } => RefusalClass::Conflict,
        StoreError::NotFound { .. } => RefusalClass::NotFound,
        StoreError::Stale { .. } => RefusalClass::Stale,
        StoreError::Journal(_) => RefusalClass::Unavailable,
        _ => return internal(error),
    };
    Refusal::new(class, error.to_string())
}
