//! `cargo xtask`: everything that is done to build, run and check a node. See `cargo xtask help`.
#![allow(clippy::print_stderr, reason = "this is a program for the terminal")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::image::{Compression, Options};
use xtask::paths::Paths;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and checks Skerry")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what this machine needs for everything below
    Setup,
    /// Make the builder root
    Builder,
    /// Build the image
    Image {
        /// Board to build for
        #[arg(long, default_value = "qemu-q35")]
        board: String,
        /// Compression inside the root file system
        #[arg(long, value_enum, default_value = "none")]
        compression: Compression,
        /// Also make the compressed image, checksums and the list of parts
        #[arg(long)]
        publish: bool,
        /// Take the programs of the last build instead of building them
        #[arg(long)]
        no_programs: bool,
    },
    /// Start a node in QEMU with the terminal as its serial console
    Run {
        /// Memory in MiB
        #[arg(long, default_value_t = 1024)]
        memory: u32,
        /// Forget the disk of the last run
        #[arg(long)]
        fresh: bool,
        /// Cut the node off from everything but the forwarded ports
        #[arg(long)]
        cut_off: bool,
        /// Where all is emulated: let the processors run guests, ten times as fast; QEMU breaks off at guests with UEFI
        #[arg(long)]
        virtualization: bool,
    },
    /// Boot a node without a terminal, run command lines in its debug shell, print what they say, switch it off
    Probe {
        /// Forget the disk of the last probe
        #[arg(long)]
        fresh: bool,
        /// Memory in MiB
        #[arg(long, default_value_t = 1024)]
        memory: u32,
        /// Board whose image to boot
        #[arg(long, default_value = "qemu-q35")]
        board: String,
        /// Command lines
        commands: Vec<String>,
    },
    /// Run the services on this machine, on a simulated node
    Sim,
    /// Check boards, layout and units, or one board
    Check {
        #[command(subcommand)]
        what: Option<Checked>,
    },
    /// Remove everything that was made: builder root, image, disks of machines, cargo's output
    Clean,
    /// Ask the Internet whether anything is known against the crates we use
    Audit,
    /// Run the tests that start containers; `test` calls this in a mount namespace of its own
    #[command(hide = true)]
    LiveTests,
    /// Start systemd for the tests that need it; `test` calls this in a mount namespace of its own
    #[command(hide = true)]
    UnderSystemd,
    /// Run every check and test
    Test {
        /// Leave out the image and the tests that boot it
        #[arg(long)]
        quick: bool,
        /// One step alone, by the name it has in the closing lines
        #[arg(long)]
        only: Option<String>,
    },
}

#[derive(Subcommand)]
enum Checked {
    /// One board: parse, inherit, and print what it comes to
    Board {
        /// Name of its folder
        name: String,
    },
}

fn main() -> ExitCode {
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        // The causes in one line; a backtrace of a build tool helps nobody.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform() -> Result<()> {
    let paths = Paths::find();
    match Arguments::parse().command {
        Task::Setup => xtask::host::setup(),
        Task::Builder => xtask::builder::Builder::ensure(&paths).map(drop),
        Task::Image { board, compression, publish, no_programs } => xtask::image::build(
            &paths,
            &Options {
                board,
                compression,
                publish: publish.then_some(xtask::outputs::Effort::Small),
                programs: !no_programs,
            },
        )
        .map(drop),
        Task::Run { memory: memory_mib, fresh, cut_off, virtualization } => {
            let options = xtask::run::Options { memory_mib, fresh, cut_off, virtualization };
            xtask::run::run(&paths, &options)
        }
        Task::Sim => xtask::sim::run(&paths),
        Task::LiveTests => xtask::suite::live_tests(&paths),
        Task::UnderSystemd => xtask::under_systemd::boot(&paths),
        Task::Check { what: Some(Checked::Board { name }) } => xtask::check::board(&paths, &name),
        Task::Check { what: None } => {
            xtask::check::data(&paths)?;
            xtask::check::units(&paths, &xtask::builder::Builder::ensure(&paths)?)
        }
        Task::Audit => xtask::suite::audit(&paths),
        Task::Clean => {
            xtask::command::run(xtask::command::as_root("rm").arg("-rf").arg(&paths.target))
        }
        Task::Test { quick, only } => xtask::host::setup()
            .and_then(|()| xtask::suite::run(&paths, &xtask::suite::Options { quick, only })),
        Task::Probe { fresh, memory, board, commands } => xtask::run::probe(
            &paths,
            &xtask::run::Probe { fresh, memory_mib: memory, board, commands },
        ),
    }
}
