//! The nodes that this user knows: certificate fingerprint and session of each, in one private file.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownNode {
    /// Its certificate, once somebody vouched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The session's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whose session it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    schema: u32,
    /// The node of the last login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default)]
    nodes: BTreeMap<String, KnownNode>,
}

/// Trouble with the file.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// It could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} can be read by others, and it holds secrets: run chmod 600 on it", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It is not what this program writes.
    #[error("{}: {detail}; correct it, or remove it and log in again", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        detail: String,
    },
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error(
        "neither XDG_CONFIG_HOME nor HOME is set, so there is no place for sessions; use SKERRY_TOKEN"
    )]
    NoHome,
}

/// The file `nodes.toml`.
#[derive(Debug, Clone)]
pub struct Nodes {
    path: PathBuf,
}

impl Nodes {
    /// The file at this path; it need not exist.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The user's own file; `variable` reads the environment.
    pub fn of_user(variable: impl Fn(&str) -> Option<String>) -> Result<Self, NodesError> {
        let given = |name| variable(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
        let folder = given("XDG_CONFIG_HOME")
            .or_else(|| Some(given("HOME")?.join(".config")))
            .ok_or(NodesError::NoHome)?;
        Ok(Self::at(folder.join("skerry/nodes.toml")))
    }

    /// What is known of a node.
    pub fn find(&self, node: &str) -> Result<KnownNode, NodesError> {
        Ok(self.read()?.nodes.remove(node).unwrap_or_default())
    }

    /// The node of the last login.
    pub fn last(&self) -> Result<Option<String>, NodesError> {
        Ok(self.read()?.default)
    }

    /// Changes what is known of a node; it becomes the default one.
    pub fn change(
        &self,
        node: &str,
        change: impl FnOnce(&mut KnownNode),
    ) -> Result<(), NodesError> {
        let mut book = self.read()?;
        change(book.nodes.entry(node.to_owned()).or_default());
        book.default = Some(node.to_owned());
        self.write(&book)
    }

    fn read(&self) -> Result<Book, NodesError> {
        let failed = |source| NodesError::File { action: "read", path: self.path.clone(), source };
        let text = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Book { schema: 1, ..Book::default() });
            }
            Err(error) => return Err(failed(error)),
            Ok(file) => {
                if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
                    return Err(NodesError::Open { path: self.path.clone() });
                }
                io::read_to_string(file).map_err(failed)?
            }
        };
        let content = |detail| NodesError::Content { path: self.path.clone(), detail };
        let book: Book = toml::from_str(&text).map_err(|error| content(error.to_string()))?;
        if book.schema != 1 {
            return Err(content(format!("schema {} is of another version", book.schema)));
        }
        Ok(book)
    }

    /// Writes beside and renames, so that a full disk or a power cut leaves the old file whole.
    fn write(&self, book: &Book) -> Result<(), NodesError> {
        let content = |error: toml::ser::Error| NodesError::Content {
            path: self.path.clone(),
            detail: error.to_string(),
        };
        let text = toml::to_string(book).map_err(content)?;
        write_private(&self.path, &text).map_err(|source| NodesError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn book() -> (tempfile::TempDir, Nodes) {
        let folder = tempfile::tempdir().unwrap();
        let nodes = Nodes::at(folder.path().join("config/skerry/nodes.toml"));
        (folder, nodes)
    }

    #[test]
    fn what_is_written_is_private_and_read_back() {
        let (_folder, nodes) = book();
        assert_eq!(nodes.find("https://a").unwrap(), KnownNode::default());
        nodes.change("https://a", |node| node.token = Some("t".to_owned())).unwrap();
        nodes.change("https://b:8443", |node| node.fingerprint = Some("f".to_owned())).unwrap();
        assert_eq!(nodes.find("https://a").unwrap().token.as_deref(), Some("t"));
        assert_eq!(nodes.last().unwrap().as_deref(), Some("https://b:8443"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&nodes.path), 0o600);
        assert_eq!(mode(nodes.path.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_folder, nodes) = book();
        nodes.change("https://a", |_| {}).unwrap();
        fs::set_permissions(&nodes.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(nodes.find("https://a"), Err(NodesError::Open { .. })));
    }

    #[test]
    fn odd_content_is_named() {
        let (_folder, nodes) = book();
        nodes.change("https://a", |_| {}).unwrap();
        for text in ["schema = 2", "schema = 1\nwhat = 3", "{"] {
            fs::write(&nodes.path, text).unwrap();
            assert!(matches!(nodes.last(), Err(NodesError::Content { .. })), "{text}");
        }
    }

    #[test]
    fn the_place_follows_the_environment() {
        let place = |pairs: &'static [(&str, &str)]| {
            let of = |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned());
            Nodes::of_user(of).map(|nodes| nodes.path.display().to_string()).ok()
        };
        assert_eq!(place(&[("HOME", "/h")]).as_deref(), Some("/h/.config/skerry/nodes.toml"));
        let both = place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(both.as_deref(), Some("/x/skerry/nodes.toml"));
        assert_eq!(place(&[("HOME", "relative")]), None);
    }
}
