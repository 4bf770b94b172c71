//! The alarm catalogue and the rules of raising and clearing alarms.
//!
//! One row per alarm in [`CATALOGUE`]; O2, page, console and docs all read the same row. An alarm is known by
//! its definition and object: seen again, it counts up instead of multiplying. Nothing here looks at the
//! machine; whoever notices a condition calls [`Faults::raise`] or [`Faults::clear`].

mod catalogue;
mod record;

pub use catalogue::{CATALOGUE, Clearing, Definition, definition};
pub use record::{Faults, FaultsError};
