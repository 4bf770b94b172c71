//! Starts the service that answers guests; see the library for what it is.

use std::io::Write;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use sd_notify::NotifyState;
use skerry_metad::{Limits, Node, Server, Tokens, bind};
use skerry_model::METADATA_ADDRESS;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Answers guests of a Skerry node that ask for their data.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on; the node need not have it yet.
    #[arg(long, default_value_t = SocketAddrV4::new(METADATA_ADDRESS, 80))]
    listen: SocketAddrV4,
    /// Socket of the node daemon.
    #[arg(long, default_value = "/run/skerry/noded.sock")]
    socket: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a log there is no other place.
            let _ = writeln!(std::io::stderr(), "metad: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    start_log();
    // One thread is enough for short answers, and the least that a process can have.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let listen = arguments.listen;
    let listener = bind(listen).with_context(|| {
        format!("cannot listen on {listen}: is another program there, or is the port too low?")
    })?;
    let node = Node::new(&arguments.socket);
    let server = Server::new(node, Tokens::new(rand::random()), Limits::default());
    tracing::info!(address = %listen, "serving");
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    server.run(listener, stop).await;
    tracing::info!("ended");
    Ok(())
}

fn stop_on_signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    tokio::spawn(async move {
        // Whichever comes; waiting for a signal loses nothing when cancelled.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify(&[NotifyState::Stopping]);
        stop.cancel();
    });
    Ok(())
}

/// Without systemd there is nobody to tell.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
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
