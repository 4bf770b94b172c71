//! Nodes that stand ready in seconds: booted and claimed once, saved, and gone on from by every test that does not care
//! how they came about; and the same with a guest that has booted. Each test gets a copy of its own.
//!
//! What a saved state cannot tell: the clock of the node stands where it stood when it was saved, and the machine's
//! hardware must be the same, forwarded ports aside.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use xtask::command::Lock;
use xtask::paths::Paths;
use xtask::qemu::Machine;

use crate::{GUEST, NodeUnderTest, PASSWORD, USER, machine};

/// Port of the node, forwarded, at which the guest of [`NodeUnderTest::with_guest`] answers.
pub const GUEST_PORT: u16 = 8081;

/// What the guest of [`NodeUnderTest::with_guest`] is given to set itself up with.
pub const USER_DATA: &str = "#cloud-config\nruncmd:\n  - echo as the test said\n";
/// A key for whoever comes to it.
pub const SSH_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cDHdKsrOkZ9Ob1cjM3qpk2JzWkqJFn7Q5B5bKq7xF ada@desk";

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
        let base = claimed_base().await.context("the node that tests go on from")?;
        Self::going_on_from(&base, name, forward, change).await
    }

    /// A claimed node on which the virtual machine `guest` has booted. Gives the port here at which the guest answers.
    ///
    /// # Errors
    /// As above.
    pub async fn with_guest(name: &str) -> anyhow::Result<(Self, u16)> {
        let base = guest_base().await.context("the node with a guest that tests go on from")?;
        let (node, ports) = Self::going_on_from(&base, name, &[GUEST_PORT], |_| {}).await?;
        let port = *ports.first().context("a port was forwarded")?;
        Ok((node, port))
    }

    async fn going_on_from(
        base: &Base,
        name: &str,
        forward: &[u16],
        change: impl FnOnce(&mut Machine),
    ) -> anyhow::Result<(Self, Vec<u16>)> {
        let mut machine = machine(name)?;
        machine.debug_shell = true;
        change(&mut machine);
        machine.take_over(&base.folder)?;
        let page = machine.forward(443)?;
        let ports = forward.iter().map(|port| machine.forward(*port)).collect::<Result<_, _>>()?;
        let mut node = Self::over(machine.start_from(base.state)?, machine, page)?;
        node.token = Some(base.token.clone());
        node.fingerprint.clone_from(&base.fingerprint);
        node.wait_api().await?;
        Ok((node, ports))
    }

    /// Saves the node as it stands for others to go on from, and ends it.
    fn keep_as(self, state: &'static str) -> anyhow::Result<Base> {
        let Self { machine, mut vm, token, fingerprint, .. } = self;
        vm.save(state)?;
        let session = json!({"token": token, "fingerprint": fingerprint});
        vm.power_cut()?;
        ensure!(!machine.is_stale(), "the image was built anew meanwhile");
        // Last, so that a base that was broken off is none.
        std::fs::write(note(&machine.folder), session.to_string())?;
        present(&machine.folder, state)?.context("the saved node is not there")
    }
}

/// A saved node.
struct Base {
    folder: PathBuf,
    /// Name of the saved state.
    state: &'static str,
    token: String,
    fingerprint: String,
}

/// Makes it, unless the one of this image is there.
async fn claimed_base() -> anyhow::Result<Base> {
    let (name, state) = ("claimed-base", "claimed");
    let (folder, _lock) = folder(name)?;
    if let Some(base) = present(&folder, state)? {
        return Ok(base);
    }
    let mut machine = machine(name)?;
    machine.debug_shell = true;
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;
    let claim = json!({"code": code, "username": USER, "password": PASSWORD});
    node.post("/api/v1/claim", claim).await?;
    node.login().await?;
    // The prompt is there, so that the shell is usable from the saved state on.
    node.shell("systemctl is-system-running --wait; sync")?;
    node.keep_as(state)
}

/// The same with a guest.
async fn guest_base() -> anyhow::Result<Base> {
    let (name, state) = ("guest-base", "guest");
    let (folder, _lock) = folder(name)?;
    if let Some(base) = present(&folder, state)? {
        return Ok(base);
    }
    let (mut node, ports) = NodeUnderTest::claimed(name, &[GUEST_PORT]).await?;
    let spec = json!({"image": "tiny-vm", "memory_mib": 96,
        "publish": [{"host_port": GUEST_PORT, "workload_port": 8080}],
        "init": {"user_data": USER_DATA, "ssh_keys": [SSH_KEY], "hostname": "told"}});
    node.post("/api/v1/vms", json!({"metadata": {"name": "guest"}, "spec": spec})).await?;
    for port in ports {
        node.wait_answer(port, "skerry tiny vm", GUEST).await?;
    }
    node.shell("sync")?;
    node.keep_as(state)
}

/// The folder of a saved node. Tests run beside each other: the first makes the node, the others wait for it.
fn folder(name: &str) -> anyhow::Result<(PathBuf, Lock)> {
    let folder = Paths::find().target.join("system-tests").join(name);
    std::fs::create_dir_all(folder.parent().context("a folder has a parent")?)?;
    let lock = xtask::command::lock(
        &folder.with_extension("lock"),
        "Waiting for the node that another test makes and saves",
    )?;
    Ok((folder, lock))
}

fn note(folder: &Path) -> PathBuf {
    folder.join("session.json")
}

fn present(folder: &Path, state: &'static str) -> anyhow::Result<Option<Base>> {
    if Machine::new(&Paths::find(), folder)?.is_stale() {
        return Ok(None);
    }
    let Ok(text) = std::fs::read_to_string(note(folder)) else { return Ok(None) };
    let session: Value = serde_json::from_str(&text)?;
    let word = |key: &str| session.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = word("token").zip(word("fingerprint"));
    Ok(found.map(|(token, fingerprint)| Base {
        folder: folder.to_owned(),
        state,
        token,
        fingerprint,
    }))
}
