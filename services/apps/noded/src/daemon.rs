//! The daemon: built from settings, folders and a machine; then run until told to end.
//!
//! [`Daemon::build`] may fail and says why; [`Daemon::run`] cannot. Ending or restarting the daemon touches
//! no workload: they are not its children, and the next start finds and adopts them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::{Group, chown};
use skerry_compute::{Capacity, VmController};
use skerry_containers::PodController;
use skerry_engine::{Controller, Engine};
use skerry_faults::Faults;
use skerry_ipc::{PeerRole, Server};
use skerry_model::{Id, Node as NodeKind};
use skerry_network::{NetworkController, UplinkPolicy};
use skerry_storage::StorageController;
use skerry_store::Store;
use skerry_upkeep::ImageController;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::alarm_watch::AlarmController;
use crate::api::Api;
use crate::clock::now;
use crate::config::Config;
use crate::dirs::Dirs;
use crate::events::{self, Names};
use crate::fault_watch::watch_faults;
use crate::going_down::stop_guests_with_machine;
use crate::identity::{load_claim, load_identity};
use crate::images::{ExportVolume, FetchDesk, ImportImage, keep_room, tidy_library};
use crate::jobs::Jobs;
use crate::node::{Machine, Node};
use crate::node_controller::NodeController;
use crate::pages::SharedPages;
use crate::pulls::{Keeper, PullDesk, PullImage};
use crate::serial_hub::SerialHub;
use crate::typists::Typists;
use crate::{seed, version};

/// Group of those who may connect to the socket.
const GROUP: &str = "skerry";

/// A checkpoint is written after so much quiet.
const QUIET: Duration = Duration::from_secs(60);

/// Controllers wait so long for virtual functions, which cards make within seconds.
const FUNCTIONS_FIRST: Duration = Duration::from_secs(20);

/// What the board's description says, as far as the daemon needs it.
#[derive(Debug, Clone, Default)]
pub struct BoardFacts {
    /// Its name.
    pub name: String,
    /// Which cards are uplinks.
    pub uplinks: UplinkPolicy,
}

/// What a process may do, by user id and group id.
pub type Roles = Box<dyn Fn(u32, u32) -> Option<PeerRole> + Send + Sync>;

/// Something found wrong at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Key in the alarm catalogue.
    pub alarm: &'static str,
    /// What happened.
    pub message: String,
}

impl Concern {
    /// The store was damaged and has been brought back.
    pub const STORE_RECOVERED: &'static str = "STORE_RECOVERED";
    /// The state partition is not there.
    pub const STATE_ON_TEMPORARY_MEMORY: &'static str = "STATE_ON_TEMPORARY_MEMORY";
}

/// Everything that the daemon is built from.
pub struct Parts {
    /// Settings.
    pub config: Config,
    /// Folders.
    pub dirs: Dirs,
    /// The machine.
    pub machine: Machine,
    /// The board.
    pub board: BoardFacts,
    /// State.
    pub store: Store,
    /// What was found wrong before there was a node to raise alarms.
    pub concerns: Vec<Concern>,
    /// Who may connect.
    pub roles: Roles,
}

/// A daemon that is ready to run.
pub struct Daemon {
    node: Arc<Node>,
    engine: Engine,
    server: Server,
    names: Names,
    /// The store had to be brought back, so its records may be of yesterday.
    recovered: bool,
}

impl Daemon {
    /// Builds everything; nothing of the machine is changed yet.
    pub async fn build(parts: Parts) -> anyhow::Result<Self> {
        let Parts { config, dirs, machine, board, store, concerns, roles } = parts;
        std::fs::create_dir_all(&dirs.run)
            .with_context(|| format!("cannot make {}", dirs.run.display()))?;
        let identity = load_identity(&dirs, &config)?;
        let mut claim = load_claim(&dirs)?;
        seed::seed(&store, &dirs, &config, &identity).await?;
        close_if_claimed(&store, &mut claim, identity.node_id)?;
        let faults = Faults::new(store.clone(), now, Uuid::new_v4);
        raise_concerns(&faults, &concerns).await?;
        let recovered = concerns.iter().any(|concern| concern.alarm == Concern::STORE_RECOVERED);
        let facts = machine.host.facts().await;
        let capacity =
            Capacity { memory_mib: facts.memory.total / (1024 * 1024), cpus: facts.cpus.max(1) };
        let vms = VmController::new(
            store.clone(),
            Arc::clone(&machine.hypervisor),
            Arc::clone(&machine.topology),
            capacity,
            now,
            &facts.boot_id,
        );
        let vms = Arc::new(vms.with_functions(config.functions()));
        let pods =
            PodController::new(store.clone(), Arc::clone(&machine.containers), now, &facts.boot_id);
        let pods = Arc::new(pods.with_pages(Arc::new(SharedPages(Arc::clone(&vms)))));
        let storage = Arc::new(StorageController::new(
            store.clone(),
            Arc::clone(&machine.volumes),
            Arc::clone(&machine.guests),
            facts.boot_id.clone(),
            now,
        ));
        storage.prepare().await?;
        // What is left of it is told wrong for a moment, no worse.
        for told in [vms.prepare().await, pods.prepare().await] {
            if let Err(error) = told {
                tracing::warn!(%error, "records may say that workloads run which ended with the last boot");
            }
        }
        let network =
            NetworkController::new(store.clone(), Arc::clone(&machine.network), board.uplinks, now);
        // A machine that cannot be looked at now is looked at again by the first pass.
        if let Err(error) = network.prepare().await {
            tracing::warn!(%error, "what the records say of ports was not compared with the machine");
        }
        let network: Arc<dyn Controller> = Arc::new(network);
        let names = Names { network: network.name(), vms: vms.name(), pods: pods.name() };
        let jobs = Jobs::new(store.clone(), now);
        let claimed = tokio::sync::watch::Sender::new(claim.code().is_none());
        let images = Arc::new(ImageController::new(
            store.clone(),
            Arc::clone(&machine.host),
            Arc::clone(&machine.images),
            now,
        ));
        let (pulls, pull_turn) = (PullDesk::default(), Arc::new(Mutex::new(())));
        jobs.register(Arc::new(PullImage::new(
            store.clone(),
            Arc::clone(&machine.blobs),
            Arc::clone(&machine.images),
            pulls.clone(),
            Arc::clone(&images),
            Arc::clone(&pull_turn),
        )));
        let fetches = FetchDesk::default();
        jobs.register(Arc::new(ImportImage::new(
            store.clone(),
            Arc::clone(&machine.images),
            fetches.clone(),
            Arc::clone(&images),
        )));
        jobs.register(Arc::new(ExportVolume::new(
            store.clone(),
            Arc::clone(&machine.images),
            Arc::clone(&storage),
            Arc::clone(&images),
        )));
        let controllers: Vec<Arc<dyn Controller>> = vec![
            network,
            Arc::clone(&images) as Arc<dyn Controller>,
            Arc::clone(&vms) as Arc<dyn Controller>,
            Arc::clone(&pods) as Arc<dyn Controller>,
            Arc::clone(&storage) as Arc<dyn Controller>,
            Arc::new(AlarmController::new(store.clone(), faults.clone())),
            Arc::new(NodeController::new(
                store.clone(),
                faults.clone(),
                machine.clone(),
                Arc::clone(&vms),
                Id::<NodeKind>::new(identity.node_id),
                claimed.subscribe(),
                now,
            )),
        ];
        let builder = Engine::builder(store.clone()).clock(now);
        let engine = controllers.into_iter().fold(builder, |b, c| b.controller(c)).build()?;
        let node = Arc::new(Node {
            serial: Arc::new(SerialHub::new(Arc::clone(&machine.consoles))),
            typists: Typists::default(),
            store,
            faults,
            engine: engine.handle(),
            machine,
            config,
            dirs,
            identity,
            claim: Arc::new(Mutex::new(claim)),
            claimed,
            vms,
            pods,
            jobs,
            storage,
            fetches,
            pulls,
            pull_turn,
            images,
            limiter: Arc::default(),
            hashing: Arc::new(Semaphore::new(1)),
            admission: Mutex::new(()),
            board: board.name,
            started: Instant::now(),
            ready: AtomicBool::new(false),
        });
        let api = Arc::new(Api::new(Arc::clone(&node)));
        let server = Server::bind(&node.dirs.socket(), version::BUILD, roles, api)?;
        share_socket(server.path())?;
        Ok(Self { node, engine, server, names, recovered })
    }

    /// The node, for those who run it inside their own process.
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Runs until cancelled, then ends in order: no new requests, the current passes, the guests if the machine goes down
    /// too, a checkpoint. Else workloads run on.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { node, engine, server, names, recovered } = self;
        let tasks = TaskTracker::new();
        let probes = node.pods.probe_news();
        events::listen(&node.machine, &node.engine, names, probes, &tasks, &cancel);
        tasks.spawn(keep_checkpoints(node.store.clone(), cancel.clone()));
        let faults = watch_faults(node.engine.clone(), node.faults.clone());
        let until = cancel.clone();
        tasks.spawn(async move {
            until.run_until_cancelled(faults).await;
        });
        let (storage, until) = (Arc::clone(&node.storage), cancel.clone());
        tasks.spawn(async move {
            until.run_until_cancelled(storage.keep_reserves()).await;
        });
        let (storage, until) = (Arc::clone(&node.storage), cancel.clone());
        tasks.spawn(async move {
            until.run_until_cancelled(storage.keep_bases()).await;
        });
        let (working, until) = (Arc::clone(&node), cancel.clone());
        tasks.spawn(async move {
            // First, since it takes away what no record names.
            if !recovered {
                tidy_library(&working.store, working.machine.images.as_ref()).await;
            }
            working.jobs.run(until).await;
        });
        let (keeper, until) = (Keeper::of(&node, recovered), cancel.clone());
        tasks.spawn(async move {
            until.run_until_cancelled(keeper.run()).await;
        });
        let (full, until) = (Arc::clone(&node), cancel.clone());
        tasks.spawn(async move {
            until.run_until_cancelled(keep_room(full, recovered)).await;
        });
        let (vms, until) = (Arc::clone(&node.vms), cancel.clone());
        tasks.spawn(async move {
            // A machine that wants a virtual function should not find none and wait for its next try.
            let first = timeout(FUNCTIONS_FIRST, vms.keep_virtual());
            if let Some(Err(_) | Ok(Err(_))) = until.run_until_cancelled(first).await {
                tracing::warn!(
                    "virtual functions are not made yet; machines may have to wait for them"
                );
            }
            engine.run(until).await;
        });
        node.ready.store(true, Ordering::Relaxed);
        tracing::info!(
            node_id = %node.identity.node_id,
            version = version::VERSION,
            build = version::BUILD,
            "node up"
        );
        server.run(cancel).await;
        tasks.close();
        tasks.wait().await;
        // Nothing acts on workloads any more, so what ends now is taken for nobody's own wish.
        stop_guests_with_machine(&node).await;
        if let Err(error) = node.store.checkpoint().await {
            tracing::warn!(%error, "no checkpoint at the end");
        }
        tracing::info!("node daemon ended");
    }
}

/// The recovery of a store is for a person to clear; the other concern ends with a start that is without it.
async fn raise_concerns(faults: &Faults, concerns: &[Concern]) -> anyhow::Result<()> {
    for concern in concerns {
        faults.raise(concern.alarm, None, &concern.message).await?;
    }
    let temporary = Concern::STATE_ON_TEMPORARY_MEMORY;
    if !concerns.iter().any(|concern| concern.alarm == temporary) {
        faults.clear(temporary, None).await?;
    }
    Ok(())
}

/// Lets the group of the node's services connect, where there is one; elsewhere only the same user may.
fn share_socket(socket: &Path) -> anyhow::Result<()> {
    let Some(group) = Group::from_name(GROUP)? else { return Ok(()) };
    let shared = || format!("cannot give {} to the group {GROUP}", socket.display());
    chown(socket, None, Some(group.gid)).with_context(shared)?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o660)).with_context(shared)
}

async fn keep_checkpoints(store: Store, cancel: CancellationToken) {
    // Broken off between checkpoints or inside one: a half-written one is left as a temporary file.
    cancel.run_until_cancelled(store.keep_checkpoints(QUIET)).await;
}

/// The store may know of a claim that the claim file missed by a power cut.
fn close_if_claimed(
    store: &Store,
    claim: &mut crate::identity::Claim,
    node_id: Uuid,
) -> anyhow::Result<()> {
    let node = store.get(Id::<NodeKind>::new(node_id))?;
    if claim.code().is_some() && node.is_some_and(|node| node.status.claimed) {
        claim.close()?;
    }
    Ok(())
}
