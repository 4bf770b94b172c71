//! Text that must not show up where it is not used: not in logs, not in errors, not in debug output.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that debug output does not show. It is stored and sent as any text.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for where it is used.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_it() {
        let hidden = Hidden::new("swordfish");
        assert_eq!(format!("{hidden:?}"), "[hidden]");
        assert_eq!(hidden.reveal(), "swordfish");
    }
}
