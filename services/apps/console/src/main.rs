//! The program `skerry-console`: one for each terminal.

use std::io::{IsTerminal, Read, stdin, stdout};
use std::process::ExitCode;

use clap::Parser;
use skerry_console::drive::{Options, run};
use skerry_console::{Output, Raw, rescue::Rescue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The maintenance menu of a Skerry node, on this terminal.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The node's socket
    #[arg(long, default_value = skerry_cli::SOCKET)]
    socket: std::path::PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let raw = if stdin().is_terminal() { Raw::new(stdin()) } else { None };
    let output = Output::to(stdout(), raw.is_some());
    let options = Options { socket: arguments.socket, rescue: Rescue::default() };
    runtime.block_on(async {
        let keys = keys();
        // Outside of systemd there is nobody to notify, and that is fine.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        run(options, keys, output, stop_signal(), || {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        })
        .await;
    });
    drop(raw);
    // The thread that waits for a key has nothing to clean up.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

/// Bytes of the standard input, read on a thread that may wait for ever.
fn keys() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        let mut input = stdin();
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    if sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Waits until somebody wants this program to end.
async fn stop_signal() {
    let (Ok(mut end), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = end.recv() => {}
        _ = hangup.recv() => {}
    }
}
