//! Measures the image in QEMU and prints the figures as Markdown, each beside its aim.
//!
//! Nothing is asserted: a missed aim is printed as missed, and a figure that could not be taken is printed with the
//! reason. What is measured where: [`builds`] sizes and build times, [`memory`] the idle node, [`boot`] times from
//! kernel start, [`work`] workloads and the API, [`peers`] the same beside others' tools, [`scale`] many and large ones.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for the terminal")]

mod boot;
mod builds;
mod clock;
mod figures;
mod host;
#[path = "../../../services/apps/registry/tests/registry/image.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
mod image;
mod memory;
mod peers;
#[path = "../../../services/apps/registry/tests/registry/registry.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
mod registry;
mod scale;
mod work;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use figures::{Figure, Figures};
use skerry_system_tests::{NodeUnderTest, PASSWORD, USER, machine};
use xtask::paths::Paths;

#[derive(Parser)]
#[command(about = "Measures the image in QEMU and prints a table of figures beside their aims")]
struct Arguments {
    /// Also build the programs from scratch and the image, in a folder of their own, and say how long it took
    #[arg(long)]
    build: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // One thread: QEMU ends with the thread that started it.
    let measured = runtime
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(measure(arguments.build)));
    match measured {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(build: bool) -> Result<Figures> {
    let paths = Paths::find();
    let mut figures = Figures::new(host::describe());
    step("sizes");
    builds::sizes(&paths, &mut figures)?;
    let seen = node(&paths, &mut figures).await;
    if let Err(error) = seen {
        figures.add(Figure::missing("the rest of the node's figures", "", &error));
    }
    if build {
        step("building");
        builds::times(&paths, &mut figures);
    }
    Ok(figures)
}

/// One machine's life: first boot, idle, workloads, the plug, second boot.
async fn node(paths: &Paths, figures: &mut Figures) -> Result<()> {
    let mut machine = machine("perf")?;
    peers::attach(paths, &mut machine)?;
    machine.debug_shell = true;
    // Room for the largest image: the node refuses one that can grow beyond its disk.
    machine.disk_mib = 24 * 1024;
    // A name of its own, so that a build of the image meanwhile does not take it away between two boots.
    let image = machine.folder.join("image.raw");
    std::fs::hard_link(&machine.image, &image).context("cannot link the image")?;
    machine.image = image;
    let ports = work::Ports { pod: machine.forward(8080)?, vm: machine.forward(8081)? };
    step("first boot");
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;
    boot::settle(&mut node)?;
    boot::first(&mut node, figures)?;
    step("idle node");
    memory::idle(&mut node, figures)?;
    builds::root_size(&mut node, figures)?;

    step("workloads");
    let claim = serde_json::json!({"code": code, "username": USER, "password": PASSWORD});
    node.post("/api/v1/claim", claim).await?;
    node.login().await?;
    work::create(&mut node, ports, figures).await?;
    step("API");
    work::latencies(&node, figures).await?;
    step("beside others' tools");
    peers::add(&mut node, figures).await;
    step("many and large");
    scale::add(&mut node, figures).await;

    step("second boot, after the plug was pulled");
    node.shell("sync")?;
    boot::second(node, ports, figures).await
}

/// Says on the other output what is being done, so that the table can be redirected.
fn step(text: &str) {
    eprintln!("== {text}");
}
