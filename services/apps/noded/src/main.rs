//! `noded`: reads its settings, opens the store, finds the machine, and runs the node.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use skerry_compute::VmController;
use skerry_noded::{Config, Daemon, Dirs, watch_over};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "linux")]
mod linux;
mod start;

/// The node daemon.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Settings of the node.
    #[arg(long, default_value = "/etc/skerry/node.toml")]
    config: PathBuf,
    /// Keep everything below this folder instead of the node's own partitions.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Run on the simulated machine.
    #[cfg(feature = "sim")]
    #[arg(long)]
    sim: bool,
    /// Check the settings and end.
    #[arg(long)]
    check: bool,
}

impl Arguments {
    fn dirs(&self) -> Dirs {
        self.root.as_deref().map_or_else(Dirs::default, Dirs::below)
    }

    #[cfg(feature = "sim")]
    const fn simulated(&self) -> bool {
        self.sim
    }

    #[cfg(not(feature = "sim"))]
    const fn simulated(&self) -> bool {
        false
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            start::complain(&anyhow::Error::new(error));
            return ExitCode::from(2);
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    start::logging(&config);
    match run(&arguments, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            start::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let parts = start::parts(config, arguments.dirs(), arguments.simulated()).await?;
        let daemon = Daemon::build(parts).await?;
        let cancel = CancellationToken::new();
        tokio::spawn(watch_over(daemon.node()));
        tokio::spawn(end_on_signal(Arc::clone(&daemon.node().vms), cancel.clone()));
        daemon.run(cancel).await;
        Ok(())
    })
}

async fn end_on_signal(vms: Arc<VmController>, cancel: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!(
            "signals cannot be received; the service manager will have to kill this process"
        );
        return;
    };
    // Either arm may be dropped: a signal that came is not needed twice.
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    // If the machine goes down, guests are ended too, and that must not pass for their own wish.
    vms.hold();
    cancel.cancel();
}
