//! The running service: sockets, certificate, readiness, watchdog, end.
//!
//! Ready means: a certificate has been fetched from the node daemon and connections are taken. When the node
//! daemon goes away later, the page and honest 503 answers are still served, and it is asked again and again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use sd_notify::NotifyState;
use skerry_ipc::{Answer, Auth, Request};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::intake::{Fetcher, Reach, Spool};
use crate::ipc_node::IpcNode;
use crate::node::{Node, NodeError};
use crate::server::{Limits, Listeners, Server, TlsIdentity};

/// The pause between tries to reach the node daemon.
const RETRY: Duration = Duration::from_millis(500);
/// How often the certificate is asked for, besides after each new connection: it may have been renewed.
const REFRESH: Duration = Duration::from_secs(600);

/// How often stale files of the spool are looked for.
const TIDY: Duration = Duration::from_secs(3600);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses to listen on, unless systemd hands over sockets.
    pub listen: Vec<SocketAddr>,
    /// Socket of the node daemon.
    pub socket: PathBuf,
    /// Folder for files that come in.
    pub spool: PathBuf,
}

/// Serves until the process is told to end.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    let listeners = Listeners::open(&settings.listen)?;
    let node = Arc::new(IpcNode::new(&settings.socket));
    status("waiting for the node daemon");
    let Some((identity, identities)) = first_identity(&node, &stop).await else { return Ok(()) };
    tokio::spawn(keep_identity(Arc::clone(&node), identities, stop.clone()));
    let puller: Arc<dyn Node> = Arc::<IpcNode>::clone(&node);
    tokio::spawn(crate::pulls::run(puller, stop.clone()));

    let addresses: Vec<_> = listeners.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(addresses = addresses.join(" "), page = crate::is_built(), "serving");
    let spool = Spool::new(&settings.spool);
    let fetcher = Fetcher::new(Arc::clone(&node) as _, spool.clone(), Reach::Elsewhere);
    let fetcher = fetcher.map_err(anyhow::Error::msg).context("nothing can be fetched")?;
    tokio::spawn(fetcher.run(stop.clone()));
    tokio::spawn(keep_spool(spool.clone(), stop.clone()));
    let router = crate::router(App::new(node, spool, stop.clone()));
    let server = Server { router, identity, limits: Limits::default() };
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let watchdog = sd_notify::watchdog_enabled().is_some();
    server
        .run(listeners, stop, || {
            if watchdog {
                notify(&[NotifyState::Watchdog]);
            }
        })
        .await;
    tracing::info!("ended");
    Ok(())
}

/// Removes uploads that nobody goes on with.
async fn keep_spool(spool: Spool, stop: CancellationToken) {
    let keep = async {
        loop {
            match spool.blocking(|spool| spool.tidy(SystemTime::now())).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "stale files of the spool were removed"),
                Err(error) => tracing::warn!(%error, "the spool could not be cleared"),
            }
            sleep(TIDY).await;
        }
    };
    stop.run_until_cancelled(keep).await;
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

fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

type Identities = (watch::Receiver<TlsIdentity>, watch::Sender<TlsIdentity>);

/// Asks for the certificate until there is one; `None` if told to end before.
async fn first_identity(node: &IpcNode, stop: &CancellationToken) -> Option<Identities> {
    let mut told = false;
    loop {
        match fetch(node).await {
            Ok(identity) => {
                let (sender, receiver) = watch::channel(identity);
                return Some((receiver, sender));
            }
            Err(error) if !told => {
                tracing::warn!(error = format!("{error:#}"), "no server certificate yet");
                told = true;
            }
            Err(_) => {}
        }
        // Both may be cancelled: neither holds anything.
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(RETRY) => {}
        }
    }
}

async fn fetch(node: &IpcNode) -> anyhow::Result<TlsIdentity> {
    match node.call(Auth::Peer, Request::ServerIdentity).await? {
        Answer::Identity { certificates, private_key } => {
            Ok(TlsIdentity::from_pem(&certificates, &private_key)?)
        }
        _ => anyhow::bail!("the node daemon answered something else than its certificate"),
    }
}

/// Keeps a connection to the node daemon, and the certificate up to date.
async fn keep_identity(
    node: Arc<IpcNode>,
    identities: watch::Sender<TlsIdentity>,
    stop: CancellationToken,
) {
    let mut connections = node.connections();
    connections.mark_unchanged();
    loop {
        // All may be cancelled: none holds anything.
        tokio::select! {
            () = stop.cancelled() => return,
            _ = connections.changed() => {}
            () = sleep(REFRESH) => {}
        }
        match fetch(&node).await {
            Ok(identity) => {
                identities.send_replace(identity);
            }
            // The old certificate stays; a new connection brings the next try.
            Err(error) if error.downcast_ref::<NodeError>().is_some() => {}
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the certificate is not renewed");
            }
        }
    }
}
