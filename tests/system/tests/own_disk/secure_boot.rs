//! Secure Boot: the firmware starts what is signed, and nothing else.

use std::path::Path;

use anyhow::{bail, ensure};
use serde_json::json;
use skerry_system_tests::{GUEST, NodeUnderTest, eventually, short};

use super::{UEFI_STARTS, booted, gone, make, measured, spoken};

/// What the firmware says of a loader that nobody signed whom it trusts.
const REFUSES: &str = "Access Denied";

/// Machine `own` boots from this disk, which is signed. Beside it one with the disk that is not (image `own`) gets no
/// further than its firmware, and is deleted.
pub async fn starts_what_is_signed(
    node: &NodeUnderTest,
    port: u16,
    signed: &Path,
) -> anyhow::Result<()> {
    node.skerry(&["image", "import", &signed.display().to_string(), "--name", "signed", "--wait"])?;
    make(node, "unsigned", json!({"firmware": "uefi_secure", "publish": []})).await?;
    // GRUB holds the kernel several times over before it lets go of the firmware's memory.
    let own = json!({"image": "signed", "firmware": "uefi_secure", "tpm": true, "memory_mib": 256});
    make(node, "own", own).await?;
    says(node, "unsigned", REFUSES).await?;
    let said = spoken(node, "unsigned").await?;
    ensure!(!said.contains(UEFI_STARTS), "it starts what nobody signed: {said}");
    // At once, since firmware that waits for a key takes a processor as well.
    node.skerry(&["vm", "delete", "unsigned", "--delete-volumes"])?;
    gone(node, "/api/v1/volumes/unsigned-root").await?;

    if short() {
        println!("a short run: until its firmware starts shim, and not until its system answers");
        says(node, "own", UEFI_STARTS).await
    } else {
        let told = booted(node, port).await?;
        ensure!(told.contains("secure boot 1"), "{told}");
        measured(&told)
    }
}

async fn says(node: &NodeUnderTest, name: &str, text: &str) -> anyhow::Result<()> {
    eventually(2 * GUEST, || async {
        let said = spoken(node, name).await?;
        if said.contains(text) { Ok(()) } else { bail!("{name} says `{said}`") }
    })
    .await
}
