//! Builds, runs and checks the image.
//!
//! As a program this is `cargo xtask`; as a library it gives the system tests the machine in [`qemu`]. Building is a
//! program's work, so errors here are `anyhow` with context; only [`qemu`], which tests call, has an error type.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for the terminal")]

pub mod builder;
pub mod check;
pub mod command;
pub mod cpio;
pub mod guest_disk;
pub mod host;
pub mod image;
pub mod initrd;
pub mod layout;
pub mod legacy_boot;
pub mod outputs;
pub mod paths;
pub mod qemu;
pub mod run;
pub mod sbom;
pub mod sim;
pub mod suite;
pub mod test_log;
pub mod tree;
pub mod under_systemd;
pub mod web;
pub mod workloads;
