//! The shape of the project: who may depend on whom, and the README's map against the real tree.

// A test ends where something is not as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The layer of a crate by its folder; a higher one may use a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Core,
    Domain,
    Adapter,
    App,
    Board,
    Tool,
}

fn layer(folder: &str) -> Layer {
    let known = [
        ("services/core/", Layer::Core),
        ("services/domains/", Layer::Domain),
        ("services/adapters/", Layer::Adapter),
        ("services/apps/", Layer::App),
        ("board/", Layer::Board),
        ("image/", Layer::Tool),
        ("tests/", Layer::Tool),
    ];
    known
        .into_iter()
        .find(|(prefix, _)| folder.starts_with(prefix))
        .unwrap_or_else(|| panic!("{folder} belongs to no layer"))
        .1
}

fn allowed(from: Layer, to: Layer) -> bool {
    match from {
        Layer::Core | Layer::Board => to == Layer::Core,
        Layer::Domain => to == Layer::Core,
        Layer::Adapter => matches!(to, Layer::Core | Layer::Domain | Layer::Adapter | Layer::Board),
        Layer::App => matches!(to, Layer::Core | Layer::Domain | Layer::Adapter | Layer::App),
        Layer::Tool => true,
    }
}

struct Package {
    name: String,
    folder: String,
    uses: Vec<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = root();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let folder = manifest.parent().unwrap().strip_prefix(&root).unwrap();
            let dependencies = package["dependencies"].as_array().unwrap();
            Package {
                name: text(&package["name"]),
                folder: folder.to_str().unwrap().to_owned(),
                // What only tests use does not shape the product.
                uses: dependencies
                    .iter()
                    .filter(|d| d["kind"] != "dev")
                    .map(|d| text(&d["name"]))
                    .collect(),
            }
        })
        .collect()
}

#[test]
fn dependencies_point_downwards() {
    let packages = packages();
    assert!(packages.len() > 15, "only {} packages found", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        for used in &package.uses {
            let Some(other) = packages.iter().find(|p| p.name == *used) else { continue };
            if !allowed(layer(&package.folder), layer(&other.folder)) {
                wrong.push(format!("{} must not depend on {}", package.name, other.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn nothing_depends_on_the_daemon_and_wire_types_stay_outside() {
    for package in packages() {
        let outside = matches!(layer(&package.folder), Layer::App | Layer::Tool);
        if layer(&package.folder) != Layer::Tool {
            assert!(!package.uses.contains(&"skerry-noded".to_owned()), "{}", package.name);
        }
        if !outside {
            assert!(!package.uses.contains(&"skerry-o2".to_owned()), "{}", package.name);
        }
    }
}

/// Paths in the README's map: the first word of each line of the block after the heading `## Map`.
fn mapped() -> BTreeSet<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, map) = readme.split_once("## Map").expect("README.md has a section `## Map`");
    let (_, block) = map.split_once("```text\n").expect("the map is a ```text block");
    let (block, _) = block.split_once("```").unwrap();
    let first =
        |line: &str| line.split_whitespace().next().map(|w| w.trim_end_matches('/').to_owned());
    block.lines().filter_map(first).collect()
}

#[test]
fn the_readme_map_is_the_tree() {
    let root = root();
    let mapped = mapped();
    let missing: Vec<_> = mapped.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "the README's map names what does not exist: {missing:?}");

    let output = Command::new("git").args(["ls-files"]).current_dir(&root).output().unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    let tops = files.lines().filter_map(|file| file.split('/').next());
    let hidden = |path: &&str| !path.starts_with('.') || *path == ".ci";
    let mut wanted: BTreeSet<String> = tops.filter(hidden).map(ToOwned::to_owned).collect();
    wanted.extend(packages().into_iter().map(|package| package.folder));
    for folder in ["board", "config", "tests"] {
        let prefix = format!("{folder}/");
        let below = files.lines().filter_map(|file| file.strip_prefix(&prefix));
        wanted.extend(
            below
                .filter_map(|rest| rest.split_once('/'))
                .map(|(name, _)| format!("{folder}/{name}")),
        );
    }
    let unmapped: Vec<_> = wanted.difference(&mapped).collect();
    assert!(unmapped.is_empty(), "the README's map leaves out {unmapped:?}");
}

#[test]
fn source_files_stay_short() {
    let output =
        Command::new("git").args(["ls-files", "*.rs"]).current_dir(root()).output().unwrap();
    let mut long = Vec::new();
    for file in String::from_utf8(output.stdout).unwrap().lines() {
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        // Tests in files of their own are lists of cases; they may be long.
        if file.ends_with("_tests.rs") || file.contains("/tests/") {
            continue;
        }
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > 600 {
            long.push(format!("{file}: {lines}"));
        }
    }
    assert_eq!(long, Vec::<String>::new(), "the hard limit is 600 lines without tests");
}
