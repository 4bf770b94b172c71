//! The machine that tests drive, without waiting for a whole boot. Needs an image and a builder root.

use std::time::Duration;

use xtask::paths::Paths;
use xtask::qemu::{Machine, QemuError};

const FIRMWARE: Duration = Duration::from_secs(120);

fn machine(name: &str) -> Result<Machine, QemuError> {
    let paths = Paths::find();
    let machine = Machine::new(&paths, &paths.target.join("machine-tests").join(name))?;
    machine.forget()?;
    Ok(machine)
}

#[test]
#[ignore = "needs an image: cargo xtask image"]
fn a_saved_state_can_be_gone_back_to_and_started_from() {
    let machine = machine("saved").unwrap();
    let mut vm = machine.start().unwrap();
    vm.wait_for("BdsDxe: starting", FIRMWARE).unwrap();
    vm.save("loader").unwrap();
    vm.wait_for("EFI stub", FIRMWARE).unwrap();

    vm.restore("loader").unwrap();
    vm.wait_for("EFI stub", FIRMWARE).unwrap();
    vm.power_cut().unwrap();

    let mut vm = machine.start_from("loader").unwrap();
    let seen = vm.wait_for("EFI stub", FIRMWARE).unwrap();
    assert!(!seen.contains("BdsDxe"), "the firmware ran again: {seen}");
}

#[test]
#[ignore = "needs an image: cargo xtask image"]
fn a_reset_starts_the_firmware_again_and_a_power_cut_ends_the_machine() {
    let machine = machine("reset").unwrap();
    let mut vm = machine.start().unwrap();
    vm.wait_for("BdsDxe: starting", FIRMWARE).unwrap();
    vm.reset().unwrap();
    vm.wait_for("BdsDxe: starting", FIRMWARE).unwrap();
    vm.power_cut().unwrap();
    machine.start().unwrap().wait_for("BdsDxe: starting", FIRMWARE).unwrap();
}

#[test]
#[ignore = "needs an image: cargo xtask image"]
fn a_disk_over_another_image_is_refused() {
    let mut machine = machine("stale").unwrap();
    let image = machine.folder.join("copy.raw");
    std::fs::create_dir_all(&machine.folder).unwrap();
    std::fs::write(&image, vec![0; 1 << 20]).unwrap();
    machine.image = image.clone();
    drop(machine.start().unwrap());
    std::fs::write(&image, vec![0; 2 << 20]).unwrap();
    assert!(matches!(machine.start(), Err(QemuError::Stale { .. })));
}
