//! A claimed node that stands ready in seconds: booted and claimed once, saved, and gone on from by every test that
//! does not care how it came about. Each test gets a copy of its own.
//!
//! What a saved state cannot tell: the clock of the node stands where it stood when it was saved, and the machine's
//! hardware must be the same, forwarded ports aside.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use xtask::paths::Paths;
use xtask::qemu::Machine;

use crate::{NodeUnderTest, PASSWORD, USER, machine};

/// Name of the saved state.
const STATE: &str = "claimed";

impl NodeUnderTest {
    /// A claimed node in a folder of its own, with a debug shell and these ports of it forwarded. Gives the ports here.
    ///
    /// # Errors
    /// When the machine cannot be started, or the first boot fails.
    pub async fn claimed(name: &str, forward: &[u16]) -> anyhow::Result<(Self, Vec<u16>)> {
        Self::claimed_as(name, forward, |_| {}).await
    }

    /// The same, with something changed that is not hardware.
    ///
    /// # Errors
    /// As above.
    pub async fn claimed_as(
        name: &str,
        forward: &[u16],
        change: impl FnOnce(&mut Machine),
    ) -> anyhow::Result<(Self, Vec<u16>)> {
        let base = base().await.context("the node that tests go on from")?;
        let mut machine = machine(name)?;
        machine.debug_shell = true;
        change(&mut machine);
        machine.take_over(&base.folder)?;
        let page = machine.forward(443)?;
        let ports = forward.iter().map(|port| machine.forward(*port)).collect::<Result<_, _>>()?;
        let mut node = Self::over(machine.start_from(STATE)?, machine, page)?;
        node.token = Some(base.token);
        node.fingerprint = base.fingerprint;
        node.wait_api().await?;
        Ok((node, ports))
    }
}

/// The saved node.
struct Base {
    folder: PathBuf,
    token: String,
    fingerprint: String,
}

/// Makes it, unless the one of this image is there.
async fn base() -> anyhow::Result<Base> {
    let folder = Paths::find().target.join("system-tests/claimed-base");
    std::fs::create_dir_all(folder.parent().context("a folder has a parent")?)?;
    // Tests run beside each other; the first makes it, the others wait for it.
    let _lock = xtask::command::lock(
        &folder.with_extension("lock"),
        "Waiting for the node that another test claims and saves",
    )?;
    if let Some(base) = present(&folder)? {
        return Ok(base);
    }
    let mut machine = machine("claimed-base")?;
    machine.debug_shell = true;
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;
    let claim = json!({"code": code, "username": USER, "password": PASSWORD});
    node.post("/api/v1/claim", claim).await?;
    node.login().await?;
    // The prompt is there, so that the shell is usable from the saved state on.
    node.shell("systemctl is-system-running --wait; sync")?;
    node.vm.save(STATE)?;
    let session = json!({"token": node.token, "fingerprint": node.fingerprint});
    let (stay, vm) = (node.machine, node.vm);
    vm.power_cut()?;
    // Last, so that a base that was broken off is none.
    std::fs::write(note(&folder), session.to_string())?;
    let base = present(&folder)?;
    ensure!(!stay.is_stale(), "the image was built anew meanwhile");
    base.context("the saved node is not there")
}

fn note(folder: &Path) -> PathBuf {
    folder.join("session.json")
}

fn present(folder: &Path) -> anyhow::Result<Option<Base>> {
    if Machine::new(&Paths::find(), folder)?.is_stale() {
        return Ok(None);
    }
    let Ok(text) = std::fs::read_to_string(note(folder)) else { return Ok(None) };
    let session: Value = serde_json::from_str(&text)?;
    let word = |key: &str| session.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = word("token").zip(word("fingerprint"));
    Ok(found.map(|(token, fingerprint)| Base { folder: folder.to_owned(), token, fingerprint }))
}
