//! The list of everything in the image, as SPDX 2.3 JSON: Debian packages, crates and npm packages with versions.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// mkosi's list of packages.
#[derive(Deserialize)]
struct Manifest {
    packages: Vec<DebianPackage>,
}

#[derive(Deserialize)]
struct DebianPackage {
    name: String,
    version: String,
    architecture: String,
}

#[derive(Deserialize)]
struct CargoLock {
    package: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// Builds the document for a board.
///
/// # Errors
/// When a list cannot be read or is not what was expected.
pub fn build(repo: &Path, board: &str, packages: &Path) -> Result<String> {
    let manifest: Manifest = serde_json::from_str(&read(packages)?)
        .with_context(|| format!("{} is not mkosi's manifest", packages.display()))?;
    let lock: CargoLock = toml::from_str(&read(&repo.join("Cargo.lock"))?)
        .context("Cargo.lock is not what was expected")?;
    let mut parts = Vec::new();
    for p in manifest.packages {
        let place = format!(
            "pkg:deb/debian/{}@{}?arch={}&distro=trixie",
            p.name, p.version, p.architecture
        );
        parts.push(part(&format!("deb-{}", p.name), &p.name, &p.version, &place, None));
    }
    for c in lock.package {
        let place = format!("pkg:cargo/{}@{}", c.name, c.version);
        let id = format!("cargo-{}-{}", c.name, c.version);
        let sum = c.checksum.filter(|_| c.source.is_some());
        parts.push(part(&id, &c.name, &c.version, &place, sum.as_deref()));
    }
    for (name, version) in npm_packages(&repo.join("services/apps/web/package-lock.json"))? {
        let place = format!("pkg:npm/{}@{version}", name.replace('@', "%40"));
        parts.push(part(&format!("npm-{name}-{version}"), &name, &version, &place, None));
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("skerry-{board}-{}", env!("CARGO_PKG_VERSION")),
        "documentNamespace": format!("https://skerry.invalid/spdx/{board}/{}", env!("CARGO_PKG_VERSION")),
        "creationInfo": { "created": "1970-01-01T00:00:00Z", "creators": ["Tool: skerry-xtask"] },
        "packages": parts,
    });
    Ok(serde_json::to_string_pretty(&document)?)
}

/// Run-time packages of the page; those that only build it are not in the image.
fn npm_packages(lock: &Path) -> Result<Vec<(String, String)>> {
    if !lock.exists() {
        return Ok(Vec::new());
    }
    let lock: Value = serde_json::from_str(&read(lock)?)?;
    let all = lock.get("packages").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (path, entry) in all {
        let Some((_, name)) = path.rsplit_once("node_modules/") else { continue };
        let flag = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(false);
        if flag("dev") || flag("optional") {
            continue;
        }
        if let Some(version) = entry.get("version").and_then(Value::as_str) {
            found.push((name.to_owned(), version.to_owned()));
        }
    }
    Ok(found)
}

fn part(id: &str, name: &str, version: &str, place: &str, sha256: Option<&str>) -> Value {
    let id: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let mut value = json!({
        "SPDXID": format!("SPDXRef-{id}"),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "externalRefs": [{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": place }],
    });
    if let (Some(sum), Some(object)) = (sha256, value.as_object_mut()) {
        object.insert("checksums".into(), json!([{ "algorithm": "SHA256", "checksumValue": sum }]));
    }
    value
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
