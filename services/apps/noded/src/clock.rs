//! The wall clock, in one place. For display, certificates and the end of sessions only: it may be wrong and
//! may jump, so nothing waits by it.

use skerry_model::Timestamp;

/// The wall clock's present moment.
pub fn now() -> Timestamp {
    Timestamp::now()
}
