//! Why an engine cannot be built.

use skerry_model::Kind;

/// A set of controllers that cannot run together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two controllers write one kind's status, so each would undo the other's work.
    #[error("`{first}` and `{second}` both write {kind}: leave it to one of them")]
    TwoWriters {
        /// The kind.
        kind: Kind,
        /// The one that was added first.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Two controllers have one name.
    #[error("two controllers are called `{name}`: rename one")]
    TwoOfOneName {
        /// The name.
        name: &'static str,
    },
    /// No pass could ever run.
    #[error("the engine may run no pass at a time: allow at least one")]
    NoConcurrency,
}
