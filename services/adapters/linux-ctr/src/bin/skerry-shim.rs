//! Stands in as the parent of a container for a runtime that does not stay.

use std::process::ExitCode;

fn main() -> ExitCode {
    skerry_linux_ctr::shim_program(std::env::args().skip(1))
}
