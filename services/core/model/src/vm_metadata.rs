//! What a guest is told when it asks for its data at [`crate::METADATA_ADDRESS`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Hidden;

/// One thing that a guest is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataEntry {
    /// Where it is found, without a slash at its beginning, such as `latest/meta-data/hostname`.
    pub path: String,
    /// What is found there.
    pub text: Hidden,
}

/// All that one guest is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestMetadata {
    /// The virtual machine.
    pub vm: Uuid,
    /// What it is told, ordered by path.
    pub entries: Vec<MetadataEntry>,
}

/// One thing that a guest is told, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetadataShown {
    /// Where the guest finds it.
    pub path: String,
    /// How many bytes it has.
    pub bytes: usize,
    /// What the guest finds there; absent for user-data, which is never shown.
    pub text: Option<String>,
}

/// What a guest would be told now, as people see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetadataReport {
    /// Whether it is told anything: `spec.init.metadata`.
    pub on: bool,
    /// What it is told, ordered by path.
    pub entries: Vec<MetadataShown>,
}

impl MetadataReport {
    /// What people may see of this.
    pub fn of(told: Option<&GuestMetadata>) -> Self {
        let entry = |entry: &MetadataEntry| MetadataShown {
            path: entry.path.clone(),
            bytes: entry.text.reveal().len(),
            text: (!entry.is_user_data()).then(|| entry.text.reveal().to_owned()),
        };
        let entries = told.into_iter().flat_map(|told| &told.entries).map(entry).collect();
        Self { on: told.is_some(), entries }
    }
}

impl MetadataEntry {
    fn is_user_data(&self) -> bool {
        matches!(self.path.rsplit('/').next(), Some("user-data" | "user_data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_everything_but_user_data() {
        let entry = |path: &str, text: &str| MetadataEntry {
            path: path.to_owned(),
            text: Hidden::new(text),
        };
        let entries = vec![
            entry("latest/meta-data/hostname", "web"),
            entry("latest/user-data", "swordfish"),
            entry("openstack/latest/user_data", "swordfish"),
        ];
        let told = GuestMetadata { vm: Uuid::nil(), entries };
        let report = MetadataReport::of(Some(&told));
        assert!(report.on);
        let texts: Vec<_> = report.entries.iter().map(|e| (e.bytes, e.text.as_deref())).collect();
        assert_eq!(texts, [(3, Some("web")), (9, None), (9, None)]);
        assert_eq!(MetadataReport::of(None), MetadataReport::default());
    }
}
