//! What the process needs before there is a node: the log, the machine, the store.

#[cfg(feature = "linux")]
use crate::linux;
use std::path::Path;

use anyhow::Context;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{Uid, User};
use skerry_ipc::PeerRole;
use skerry_model::Timestamp;
use skerry_noded::{BoardFacts, Concern, Config, Dirs, Machine, Parts, Roles};
use skerry_store::{Store, StoreDirs};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Says why the daemon ends, where the service manager and a person will see it.
#[expect(clippy::print_stderr, reason = "the log may not be there yet")]
pub fn complain(error: &anyhow::Error) {
    eprintln!("noded: {error:#}");
}

/// Log to the journal if it is there, else to the terminal.
pub fn logging(config: &Config) {
    let filter: Targets = config.log_level.parse().unwrap_or_else(|_| {
        Targets::new().with_default(tracing_subscriber::filter::LevelFilter::INFO)
    });
    let registry = tracing_subscriber::registry().with(filter);
    #[cfg(feature = "linux")]
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal).init();
        return;
    }
    registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init();
}

/// Finds the machine and opens the store.
pub async fn parts(config: Config, dirs: Dirs, simulated: bool) -> anyhow::Result<Parts> {
    for folder in [&dirs.state, &dirs.data, &dirs.run] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut concerns = Vec::new();
    let store = open_store(&dirs, &mut concerns).await?;
    if !simulated {
        concerns.extend(lost_on_restart(&dirs.state));
    }
    let (machine, board) =
        if simulated { simulation(&dirs)? } else { real(&dirs, &config).await? };
    Ok(Parts { config, dirs, machine, board, store, concerns, roles: roles(simulated) })
}

async fn open_store(dirs: &Dirs, concerns: &mut Vec<Concern>) -> anyhow::Result<Store> {
    let places = StoreDirs {
        state: dirs.state.join("store"),
        second: Some(dirs.data.join("system/checkpoints")),
    };
    let opened = tokio::task::spawn_blocking(move || Store::open(&places, Timestamp::now)).await?;
    let (store, report) = opened.context("the store cannot be opened")?;
    if !report.is_clean() {
        concerns.push(Concern { alarm: Concern::STORE_RECOVERED, message: report.summary() });
    }
    Ok(store)
}

/// Without the state partition its folder lies in memory: the node works, and somebody must hear of it.
fn lost_on_restart(state: &Path) -> Option<Concern> {
    let in_memory = statfs(state).ok()?.filesystem_type() == TMPFS_MAGIC;
    in_memory.then(|| Concern {
        alarm: Concern::STATE_ON_TEMPORARY_MEMORY,
        message: format!(
            "{} is not on a disk: its partition could not be mounted",
            state.display()
        ),
    })
}

/// The north side, the console and the service that answers guests run as users of their own; root may everything; others need a session.
fn roles(simulated: bool) -> Roles {
    let id = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    let (north, console) = (id("skerry-northd"), id("skerry-console"));
    let guests = id("skerry-metad");
    let own = simulated.then(|| Uid::current().as_raw());
    Box::new(move |uid, _gid| {
        Some(match uid {
            0 => PeerRole::Root,
            uid if Some(uid) == north => PeerRole::North,
            uid if Some(uid) == console => PeerRole::Console,
            uid if Some(uid) == guests => PeerRole::Guests,
            uid if Some(uid) == own => PeerRole::Root,
            _ => PeerRole::Member,
        })
    })
}

#[cfg(feature = "sim")]
fn simulation(dirs: &Dirs) -> anyhow::Result<(Machine, BoardFacts)> {
    use std::sync::Arc;
    skerry_sim_host::write_images(&dirs.images).context("cannot write the simulated images")?;
    let host = skerry_sim_host::SimHost::new();
    let machine = Machine {
        host: Arc::new(host.clone()),
        network: Arc::new(host.clone()),
        hypervisor: Arc::new(host.clone()),
        topology: Arc::new(host.clone()),
        consoles: Arc::new(host.clone()),
        containers: Arc::new(host.clone()),
        access: Arc::new(host.clone()),
        volumes: Arc::new(host.clone()),
        guests: Arc::new(host.clone()),
        images: Arc::new(host.clone()),
        blobs: Arc::new(skerry_sim_host::SimBlobs::new(host, &dirs.data)),
    };
    Ok((machine, BoardFacts { name: "simulated".to_owned(), ..BoardFacts::default() }))
}

#[cfg(not(feature = "sim"))]
fn simulation(_dirs: &Dirs) -> anyhow::Result<(Machine, BoardFacts)> {
    anyhow::bail!("this build has no simulated machine")
}

#[cfg(not(feature = "linux"))]
async fn real(_dirs: &Dirs, _config: &Config) -> anyhow::Result<(Machine, BoardFacts)> {
    anyhow::bail!("this build knows only the simulated machine")
}

#[cfg(feature = "linux")]
async fn real(dirs: &Dirs, config: &Config) -> anyhow::Result<(Machine, BoardFacts)> {
    linux::machine(dirs, config).await
}
