//! Reading boards from files: parse, follow `inherit`, merge, check.

use std::path::{Path, PathBuf};

use crate::board::Board;
use crate::error::BoardError;
use crate::raw::{RawBoard, RawKernel, RawWatchdog, merge};

/// Reads the board `name` from `boards`, the folder that holds a folder for each board.
///
/// # Errors
/// When a file cannot be read or parsed, boards inherit in a circle, or a value is missing or unusable.
pub fn resolve(boards: &Path, name: &str) -> Result<Board, BoardError> {
    let file = file_of(boards, name);
    let raw = inherited(boards, name, &mut Vec::new())?;
    let board = Board::check(raw, &file)?;
    if board.name != name {
        let reason =
            format!("is {:?} but the folder is called {name:?}; make them the same", board.name);
        return Err(BoardError::Value { file, key: "name".into(), reason });
    }
    Ok(board)
}

/// Parses a description that inherits from nothing, such as the one in the image.
///
/// # Errors
/// When the text does not parse, or a value is missing or unusable.
pub fn parse_resolved(file: &Path, text: &str) -> Result<Board, BoardError> {
    Board::check(parse(file, text)?, file)
}

/// Writes the board as a file that [`parse_resolved`] reads back to the same value.
///
/// # Errors
/// When the value cannot be written as TOML, which is a mistake in this crate.
pub fn to_toml(board: &Board) -> Result<String, toml::ser::Error> {
    toml::to_string(&RawBoard {
        schema: Some(1),
        name: Some(board.name.clone()),
        description: Some(board.description.clone()),
        inherit: None,
        kernel: Some(RawKernel {
            command_line: Some(board.kernel.command_line.clone()),
            extra_command_line: None,
            modules: Some(board.kernel.modules.clone()),
            initrd_modules: Some(board.kernel.initrd_modules.clone()),
            microcode: Some(board.kernel.microcode),
        }),
        watchdog: Some(RawWatchdog {
            modules: Some(board.watchdog.modules.clone()),
            timeout_s: Some(board.watchdog.timeout_s),
        }),
        consoles: Some(board.consoles.clone()),
        nics: Some(board.nics.clone()),
    })
}

fn file_of(boards: &Path, name: &str) -> PathBuf {
    boards.join(name).join("board.toml")
}

fn inherited(boards: &Path, name: &str, seen: &mut Vec<String>) -> Result<RawBoard, BoardError> {
    let file = file_of(boards, name);
    let circle = seen.iter().any(|s| s == name);
    seen.push(name.to_owned());
    if circle {
        return Err(BoardError::Circle { file, chain: std::mem::take(seen) });
    }
    let text = std::fs::read_to_string(&file)
        .map_err(|source| BoardError::Read { file: file.clone(), source })?;
    let raw = parse(&file, &text)?;
    match raw.inherit.clone() {
        Some(parent) => Ok(merge(inherited(boards, &parent, seen)?, raw)),
        None => Ok(raw),
    }
}

fn parse(file: &Path, text: &str) -> Result<RawBoard, BoardError> {
    let refused = |key: String, error: &toml::de::Error| BoardError::Parse {
        file: file.to_owned(),
        line: error
            .span()
            .map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count()),
        key,
        reason: error.message().to_owned(),
    };
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| refused(".".into(), &error))?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| refused(error.path().to_string(), error.inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boards() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    fn all() -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(boards())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("board.toml").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(dir: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("board.toml"), text).unwrap();
    }

    #[test]
    fn every_board_resolves_and_survives_a_round_trip() {
        let names = all();
        assert!(names.iter().any(|n| n == "generic-x86_64"), "{names:?}");
        for name in names {
            let board = resolve(&boards(), &name).unwrap();
            let text = to_toml(&board).unwrap();
            assert_eq!(parse_resolved(Path::new("round-trip"), &text).unwrap(), board, "{name}");
        }
    }

    #[test]
    fn every_board_has_a_readme() {
        for name in all() {
            assert!(boards().join(&name).join("README.md").exists(), "{name} has no README.md");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_key() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", "schema = 1\nname = 'a'\n\n[watchdog]\ntimeout = 5\n");
        let message = resolve(dir.path(), "a").unwrap_err().to_string();
        assert!(message.contains("a/board.toml:5:"), "{message}");
        assert!(message.contains("watchdog"), "{message}");
        assert!(message.contains("timeout_s"), "{message}");
    }

    #[test]
    fn a_circle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", "inherit = 'b'\n");
        write(dir.path(), "b", "inherit = 'a'\n");
        let message = resolve(dir.path(), "a").unwrap_err().to_string();
        assert!(message.contains("a -> b -> a"), "{message}");
    }

    #[test]
    fn a_console_on_the_command_line_is_refused() {
        let text = to_toml(&resolve(&boards(), "generic-x86_64").unwrap()).unwrap();
        let text = text.replacen("command_line = [", "command_line = [\"console=ttyS1\", ", 1);
        let message = parse_resolved(Path::new("x.toml"), &text).unwrap_err().to_string();
        assert!(message.contains("kernel.command_line"), "{message}");
    }

    #[test]
    fn a_folder_with_another_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = to_toml(&resolve(&boards(), "generic-x86_64").unwrap()).unwrap();
        write(dir.path(), "other", &text);
        assert!(resolve(dir.path(), "other").unwrap_err().to_string().contains("name"));
    }
}
