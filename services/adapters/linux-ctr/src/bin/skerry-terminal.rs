//! Holds the terminal of a container. Started as the main process of the unit of a container that has one.

use std::process::ExitCode;

fn main() -> ExitCode {
    skerry_linux_ctr::terminal_program(std::env::args().skip(1))
}
