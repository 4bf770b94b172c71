//! The node's identity and its claim, as files on the state and data partitions.
//!
//! They are outside the store, because a node whose store is lost must still know who it is, and must not
//! fall back to being unclaimed: set-up needs the positive mark that nobody ever claimed this node.

use rand::RngCore;
use serde::{Deserialize, Serialize};
use skerry_trust::{ClaimCode, Identity, IdentityError};
use uuid::Uuid;

use crate::config::Config;
use crate::dirs::Dirs;
use crate::durable::{TwinFile, WriteError};

/// Identity or claim could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFilesError {
    /// A key or certificate could not be made.
    #[error("the node's identity could not be made")]
    Make(#[from] IdentityError),
    /// A file could not be written.
    #[error("the node's identity could not be kept")]
    Write(#[from] WriteError),
    /// Files are there, but none is good.
    #[error(
        "every copy of {what} is damaged; restore one from a backup, or erase the state and data \
         partitions to begin anew"
    )]
    Damaged {
        /// Which file.
        what: &'static str,
    },
    /// The content is not what it should be.
    #[error("{what} cannot be read")]
    Form {
        /// Which file.
        what: &'static str,
        /// The JSON error.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum ClaimFile {
    Open { code: String },
    Claimed,
}

/// Whether somebody may still set the first admin, and with which code.
#[derive(Debug, Clone)]
pub struct Claim {
    file: TwinFile,
    code: Option<ClaimCode>,
}

impl Claim {
    /// The code, while the node is unclaimed.
    pub const fn code(&self) -> Option<&ClaimCode> {
        self.code.as_ref()
    }

    /// Remembers for ever that the node is claimed.
    pub fn close(&mut self) -> Result<(), IdentityFilesError> {
        write_json(&self.file, "the claim", &ClaimFile::Claimed)?;
        self.code = None;
        Ok(())
    }
}

/// Reads the identity, or makes it if there never was one.
pub fn load_identity(dirs: &Dirs, config: &Config) -> Result<Identity, IdentityFilesError> {
    const WHAT: &str = "the identity";
    let file = twin(dirs, "identity.json");
    if let Some(bytes) = file.read() {
        return read_json(&bytes, WHAT);
    }
    if file.exists() {
        return Err(IdentityFilesError::Damaged { what: WHAT });
    }
    let node_id = Uuid::new_v4();
    let identity = Identity::make(node_id, &hostname(config, node_id))?;
    write_json(&file, WHAT, &identity)?;
    tracing::info!(%node_id, "identity made");
    Ok(identity)
}

/// Reads the claim, or draws a code if there never was one.
pub fn load_claim(dirs: &Dirs) -> Result<Claim, IdentityFilesError> {
    const WHAT: &str = "the claim";
    let file = twin(dirs, "claim.json");
    if let Some(bytes) = file.read() {
        let code = match read_json(&bytes, WHAT)? {
            ClaimFile::Claimed => None,
            ClaimFile::Open { code } => ClaimCode::from_stored(&code),
        };
        return Ok(Claim { file, code });
    }
    if file.exists() {
        return Err(IdentityFilesError::Damaged { what: WHAT });
    }
    let code = draw_code();
    write_json(&file, WHAT, &ClaimFile::Open { code: code.display() })?;
    Ok(Claim { file, code: Some(code) })
}

/// The host name for the first boot.
pub fn hostname(config: &Config, node_id: Uuid) -> String {
    let short: String = node_id.simple().to_string().chars().take(4).collect();
    config.hostname.as_ref().map_or_else(|| format!("skerry-{short}"), ToString::to_string)
}

fn draw_code() -> ClaimCode {
    loop {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        if let Some(code) = ClaimCode::from_random(&bytes) {
            return code;
        }
    }
}

fn twin(dirs: &Dirs, name: &str) -> TwinFile {
    TwinFile::new(&dirs.state.join("identity"), &dirs.data.join("system/identity"), name)
}

fn read_json<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, IdentityFilesError> {
    serde_json::from_slice(bytes).map_err(|source| IdentityFilesError::Form { what, source })
}

fn write_json<T: Serialize>(
    file: &TwinFile,
    what: &'static str,
    value: &T,
) -> Result<(), IdentityFilesError> {
    let bytes =
        serde_json::to_vec(value).map_err(|source| IdentityFilesError::Form { what, source })?;
    Ok(file.write(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn setup() -> (tempfile::TempDir, Dirs, Config) {
        let folder = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(folder.path());
        (folder, dirs, Config::parse("schema = 1", Path::new("x")).unwrap())
    }

    #[test]
    fn identity_and_code_stay_the_same() {
        let (_folder, dirs, config) = setup();
        let first = load_identity(&dirs, &config).unwrap();
        assert_eq!(load_identity(&dirs, &config).unwrap().fingerprint(), first.fingerprint());
        let code = load_claim(&dirs).unwrap().code().unwrap().display();
        assert_eq!(load_claim(&dirs).unwrap().code().unwrap().display(), code);
    }

    #[test]
    fn a_claimed_node_stays_claimed_even_if_the_state_partition_is_empty() {
        let (_folder, dirs, _) = setup();
        load_claim(&dirs).unwrap().close().unwrap();
        std::fs::remove_dir_all(&dirs.state).unwrap();
        assert!(load_claim(&dirs).unwrap().code().is_none());
    }

    #[test]
    fn damaged_files_never_open_the_node_to_a_new_claim() {
        let (_folder, dirs, config) = setup();
        load_identity(&dirs, &config).unwrap();
        load_claim(&dirs).unwrap().close().unwrap();
        for folder in [dirs.state.join("identity"), dirs.data.join("system/identity")] {
            std::fs::write(folder.join("claim.json"), "junk").unwrap();
            std::fs::write(folder.join("identity.json"), "junk").unwrap();
        }
        assert!(matches!(load_claim(&dirs), Err(IdentityFilesError::Damaged { .. })));
        assert!(matches!(load_identity(&dirs, &config), Err(IdentityFilesError::Damaged { .. })));
    }
}
