//! Limits the huge pages of a container. Started before crun in the unit of one that has some.

use std::process::ExitCode;

fn main() -> ExitCode {
    skerry_linux_ctr::pages_program(std::env::args().skip(1))
}
