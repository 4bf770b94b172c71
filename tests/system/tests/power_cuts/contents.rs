//! What disks hold: each of the first three has something of its own written over the image that it began with, and what was
//! made from it has the same.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use skerry_system_tests::NodeUnderTest;

use super::{POOL, RUNNING, digest, id, list, name};

/// The byte that is written over the first 64 KiB of a volume, by what the names of the volume and its copies begin with.
/// The disk of the machine that runs is its own to write to.
const MARKS: [(&str, u8); 4] = [("guest", 0x47), ("clone-", 0x47), ("kept", 0x4b), ("copy-", 0x4b)];

fn mark_of(volume: &str) -> Option<u8> {
    MARKS.into_iter().find(|(begin, _)| volume.starts_with(begin)).map(|(_, mark)| mark)
}

/// Writes the marks, while nobody has the volumes.
pub async fn mark(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    for volume in list(node, "volumes").await? {
        if let Some(mark) = mark_of(&name(&volume)) {
            let file = format!("{POOL}/volumes/{}.qcow2", id(&volume));
            node.shell(&format!("qemu-io -f qcow2 -c 'write -P {mark} 0 64k' -c flush {file}"))?;
        }
    }
    Ok(())
}

/// Compares all of them, and the files of images.
pub async fn are_what_they_were(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let base = digest(&node.get("/api/v1/images/base").await?);
    let mut marks = BTreeMap::new();
    for volume in list(node, "volumes").await? {
        marks.insert(id(&volume).to_owned(), (name(&volume), mark_of(&name(&volume))));
    }
    for mark in [0x47_u8, 0x4b] {
        node.shell(&format!(
            "cp {POOL}/bases/{base}.raw /run/{mark}.raw && \
             qemu-io -f raw -c 'write -P {mark} 0 64k' /run/{mark}.raw"
        ))?;
    }
    let found = node.shell(&format!("cd {POOL} && find volumes snapshots -name '*.qcow2'"))?;
    for file in found.lines() {
        // A copy in a snapshot is called as the volume is.
        let volume = file.rsplit('/').next().and_then(|name| name.strip_suffix(".qcow2"));
        let known = volume.and_then(|volume| marks.get(volume));
        let (name, mark) = known.with_context(|| format!("{file} is of no volume: {marks:?}"))?;
        let like = match mark {
            Some(mark) => format!("/run/{mark}.raw"),
            None => format!("bases/{base}.raw"),
        };
        node.shell(&format!(
            "cd {POOL} && qemu-img check -U -q -f qcow2 {file} && \
             qemu-img compare -U -q -f qcow2 -F raw {file} {like}"
        ))
        .or_else(|error| bail!("{file} of {name} does not hold what it held: {error:#}"))?;
    }
    ensure!(marks.values().any(|(name, _)| name.starts_with(RUNNING)), "{marks:?}");
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
