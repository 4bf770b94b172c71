//! Reads one image layer from its standard input and tells on its standard output what files it is to become.
//! Started by noded for each layer; it locks itself in before it reads the first byte.

use std::process::ExitCode;

fn main() -> ExitCode {
    skerry_linux_ctr::unpack_program(std::env::args().skip(1))
}
