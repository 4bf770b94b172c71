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
        StoreError::Removing { .. } => RefusalClass::Conflict,
        StoreError::TooLarge { .. } => RefusalClass::TooLarge,
        StoreError::Full { .. } => RefusalClass::Capacity,
        StoreError::Journal(_) | StoreError::ReadOnly { .. } | StoreError::Closed => {
            RefusalClass::Unavailable
        }
        _ => return internal(error),
    };
    Refusal::new(class, error.to_string())
}

#[cfg(test)]
mod tests {
    use skerry_model::LocalRef;

    use super::*;

    #[test]
    fn what_a_record_or_the_store_cannot_hold_is_told_with_numbers() {
        let subject = LocalRef { kind: Kind::Vm, id: uuid::Uuid::nil() };
        let refusal = store(StoreError::TooLarge { subject, bytes: 300_000, limit: 262_144 });
        assert_eq!(refusal.class, RefusalClass::TooLarge);
        assert!(refusal.detail.contains("300000 bytes, more than 262144"), "{}", refusal.detail);
        let refusal = store(StoreError::Full { bytes: 9, limit: 8 });
        assert_eq!(refusal.class, RefusalClass::Capacity);
        assert_eq!(store(StoreError::Removing { subject }).class, RefusalClass::Conflict);
    }
}
