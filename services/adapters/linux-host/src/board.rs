//! What the board's description, installed in the image, means for the node's services.

use std::path::Path;

use skerry_board_hal::{BoardError, INSTALLED, NicRole, parse_resolved};
use skerry_network::{UplinkPolicy, UplinkRule};

/// The board as far as services need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardProfile {
    /// Its name, such as `generic-x86_64`.
    pub name: String,
    /// Which network cards the node is reached through.
    pub uplinks: UplinkPolicy,
}

impl BoardProfile {
    /// Reads the installed description. Without one, which is normal outside the image, every card is an uplink.
    pub fn installed() -> Result<Self, BoardError> {
        let path = Path::new(INSTALLED);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { name: "unknown".to_owned(), uplinks: UplinkPolicy::default() });
            }
            Err(source) => return Err(BoardError::Read { file: path.to_owned(), source }),
        };
        Self::parse(&text, path)
    }

    /// Reads a merged description; `file` is only named in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, BoardError> {
        let board = parse_resolved(file, text)?;
        let rules = board.nics.into_iter().map(|nic| UplinkRule {
            path: nic.matches.path,
            driver: nic.matches.driver,
            management: nic.role == NicRole::Management,
        });
        Ok(Self { name: board.name, uplinks: UplinkPolicy { rules: rules.collect() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_of_the_project_has_a_way_in() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../board");
        for name in ["generic-x86_64", "qemu-q35"] {
            let board = skerry_board_hal::resolve(&boards, name).unwrap();
            let text = skerry_board_hal::to_toml(&board).unwrap();
            let profile = BoardProfile::parse(&text, Path::new("board.toml")).unwrap();
            assert_eq!(profile.name, name);
            assert!(profile.uplinks.rules.iter().any(|rule| rule.management), "{name}");
        }
    }
}
