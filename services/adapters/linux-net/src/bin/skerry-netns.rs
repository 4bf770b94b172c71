//! Makes and removes the network namespaces of pods. Started by the service manager on noded's behalf.

use std::process::ExitCode;

fn main() -> ExitCode {
    skerry_linux_net::netns_program(std::env::args().skip(1))
}
