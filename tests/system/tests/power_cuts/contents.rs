//! What disks hold: what the image held that they, or what they were made from, began with. There are two such images, so
//! that one disk is not taken for another.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use skerry_system_tests::NodeUnderTest;

use super::{OTHER, POOL, digest, id, list, name};

/// The image that a volume comes from.
fn image_of(volume: &str) -> &'static str {
    let other = ["guest-", "clone-"].iter().any(|begin| volume.starts_with(begin));
    if other { OTHER } else { "base" }
}

/// Compares all of them, and the files of images.
pub async fn are_what_they_were(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let mut names = BTreeMap::new();
    for volume in list(node, "volumes").await? {
        names.insert(id(&volume).to_owned(), name(&volume));
    }
    let mut bases = BTreeMap::new();
    for image in ["base", OTHER] {
        bases.insert(image, digest(&node.get(&format!("/api/v1/images/{image}")).await?));
    }
    let found = node.shell(&format!("cd {POOL} && find volumes snapshots -name '*.qcow2'"))?;
    let mut seen = BTreeSet::new();
    for file in found.lines() {
        // A copy in a snapshot is called as the volume is.
        let volume = file.rsplit('/').next().and_then(|name| name.strip_suffix(".qcow2"));
        let name = volume.and_then(|volume| names.get(volume));
        let name = name.with_context(|| format!("{file} is of no volume: {names:?}"))?;
        let image = image_of(name);
        let base = &bases[image];
        node.shell(&format!(
            "cd {POOL} && qemu-img check -U -q -f qcow2 {file} && \
             qemu-img compare -U -q -f qcow2 -F raw {file} bases/{base}.raw"
        ))
        .or_else(|error| bail!("{file} of {name} does not hold what it held: {error:#}"))?;
        seen.insert(image);
    }
    ensure!(seen.len() == 2, "only volumes of {seen:?} are there");
    images(node).await
}

async fn images(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let mut expected = BTreeSet::new();
    for image in list(node, "images").await? {
        if image["status"]["state"] == "available" && image["metadata"]["owner"] != "system" {
            expected.insert(digest(&image));
        }
    }
    let sums = "find /var/lib/skerry/data/images -type f -exec sha256sum {} +";
    let sums = node.shell(sums)?;
    let found: BTreeSet<String> = sums
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(ToOwned::to_owned)
        .collect();
    ensure!(found == expected, "the library holds {found:?}, should hold {expected:?}");
    Ok(())
}
