//! Machines that are not as they should be: no network card, BIOS firmware, a small disk, little memory.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use anyhow::ensure;
use skerry_system_tests::{BOOT, NodeUnderTest, SOON, machine};
use xtask::qemu::Firmware;

#[test]
fn without_a_network_card_the_console_still_serves() -> anyhow::Result<()> {
    let mut machine = machine("no-nic")?;
    machine.network = false;
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    ensure!(code.matches('-').count() == 2, "{code}");
    // The menu answers: log tail and back, then power off with its confirmation.
    node.vm.send(b"2\r")?;
    node.vm.wait_for("orkload", SOON)?;
    node.vm.send(b"\r")?;
    node.vm.send(b"6\r")?;
    node.vm.wait_for("power off", SOON)?;
    node.vm.send(b"power off\r")?;
    node.vm.wait_off(Duration::from_secs(240))?;
    Ok(())
}

#[test]
fn a_bios_machine_says_what_it_needs() -> anyhow::Result<()> {
    let mut machine = machine("bios")?;
    machine.firmware = Firmware::Bios;
    let mut vm = machine.start()?;
    vm.wait_for("UEFI", SOON)?;
    vm.power_cut()?;
    Ok(())
}

#[test]
fn a_disk_that_is_too_small_is_named() -> anyhow::Result<()> {
    let mut machine = machine("small-disk")?;
    machine.disk_mib = 4096;
    let mut vm = machine.start()?;
    vm.wait_for("too small", BOOT)?;
    vm.wait_for("8 GB disk", SOON)?;
    vm.power_cut()?;
    Ok(())
}

#[test]
fn too_little_memory_is_named() -> anyhow::Result<()> {
    let mut machine = machine("small-memory")?;
    machine.memory_mib = 512;
    let mut vm = machine.start()?;
    vm.wait_for("Too little memory", BOOT)?;
    vm.wait_for("at least 1 GiB", SOON)?;
    vm.power_cut()?;
    Ok(())
}
