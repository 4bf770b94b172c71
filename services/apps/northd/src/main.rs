//! Starts the north side; see the library for what it is.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skerry_northd::service::{self, Settings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The north side of a Skerry node: HTTPS with the web page, /api/v1 and O2.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on, unless systemd hands over sockets. May be repeated.
    #[arg(long, default_value = "[::]:443")]
    listen: Vec<SocketAddr>,
    /// Socket of the node daemon.
    #[arg(long, default_value = "/run/skerry/noded.sock")]
    socket: PathBuf,
    /// Folder for files that come in.
    #[arg(long, default_value = "/var/lib/skerry/data/spool")]
    spool: PathBuf,
    /// Print the description of the API and end.
    #[arg(long)]
    print_openapi: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a log there is no other place.
            let _ = writeln!(std::io::stderr(), "northd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.print_openapi {
        let description = skerry_northd::openapi::description()?;
        writeln!(std::io::stdout(), "{description:#}")
            .context("the description cannot be written")?;
        return Ok(());
    }
    start_log();
    // Requests are short and wait for the node daemon: two threads serve hundreds of connections.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_name("northd")
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let Arguments { listen, socket, spool, .. } = arguments;
    let settings = Settings { listen, socket, spool };
    runtime.block_on(service::run(settings))
}

/// To the journal where systemd says that it is there, else to the terminal.
fn start_log() {
    let filter = EnvFilter::try_from_env("SKERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => {
            let terminal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
            registry.with(terminal).init();
        }
    }
}
