//! The real machine: every port on Linux.

use std::sync::Arc;

use anyhow::Context;
use nix::unistd::User;
use skerry_linux_ctr::{ArchiveInspector, BlobStore, LinuxBlobs, LinuxContainers, Places};
use skerry_linux_disk::{
    DiskPlaces, ImportFolders, KeptPlaces, LinuxDisk, LinuxLibrary, Media, PoolDisks, QemuImg,
    UnitCage, hold_inbox,
};
use skerry_linux_host::systemd::Systemd;
use skerry_linux_host::{BoardProfile, LinuxHost, Roots};
use skerry_linux_net::{Cards, LinuxNet, Settings, SystemdUnits};
use skerry_linux_vm::{Libvirt, LibvirtConfig};
use skerry_noded::{BoardFacts, Config, Dirs, INBOX, Machine};

/// Whom tools run as that read disks made by strangers; see sysusers.d.
const TOOL_USER: &str = "skerry-disk";
/// The user that downloads.
const NORTH: &str = "skerry-northd";

/// Where pools on disks of their own are mounted.
const POOLS: &str = "/var/lib/skerry/pools";

/// The account that guests run as (config/libvirt/qemu.conf).
const GUESTS: &str = "libvirt-qemu";

fn guest_account() -> Option<(u32, u32)> {
    let user = User::from_name(GUESTS).ok().flatten()?;
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

/// The node's inbox, the folders that its settings name, and what lies beside pools on kept file systems.
async fn import_folders(
    places: &DiskPlaces,
    config: &Config,
    kept: &KeptPlaces,
) -> anyhow::Result<ImportFolders> {
    let inbox = places.inbox();
    hold_inbox(&inbox).await;
    let named = config.import_folders.iter().map(|(name, path)| (name.clone(), path.clone()));
    let named = [(INBOX.parse()?, inbox)].into_iter().chain(named).collect();
    Ok(ImportFolders::new(named, kept.clone()))
}

/// Finds the machine. Nothing of it is changed yet.
pub async fn machine(dirs: &Dirs, config: &Config) -> anyhow::Result<(Machine, BoardFacts)> {
    let board = BoardProfile::installed()?;
    let systemd = Systemd::system();
    let settings = Settings {
        cards: Cards::Hardware,
        hostname: config.hostname.as_ref().map(ToString::to_string),
    };
    let units = Arc::new(SystemdUnits::new(systemd.clone()));
    let network = LinuxNet::start(settings, units).context("the network cannot be reached")?;
    let hypervisor = Libvirt::start(LibvirtConfig::system(
        dirs.data.join("vm"),
        dirs.data.join("vm-memory"),
        dirs.run.clone(),
        guest_account().map(|(_, group)| group),
    ))
    .context("the threads for libvirt cannot be started")?;
    let hypervisor = Arc::new(hypervisor);
    let tool = QemuImg::new(Arc::new(UnitCage::new(systemd.clone(), TOOL_USER)));
    let places = DiskPlaces::below(&dirs.data, &dirs.run);
    let disks = PoolDisks::new(systemd.clone(), Roots::default(), POOLS);
    let folders = import_folders(&places, config, disks.kept().places()).await?;
    let media = Media::new(systemd.clone(), Roots::default(), places.media()).with_folders(folders);
    let mut of_containers = Places::below(&dirs.data, &dirs.run);
    of_containers.runtime = config.runtime.clone();
    let archives = Arc::new(ArchiveInspector::new(&of_containers));
    let images = LinuxLibrary::new(places, tool, archives).with_media(media);
    let places = of_containers;
    let written = places.written_by_containers();
    let blobs = BlobStore::new(places.blobs());
    let north = User::from_name(NORTH).ok().flatten();
    let owner = north.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
    let stored = LinuxBlobs::new(places.clone(), blobs.clone(), owner);
    let containers = Arc::new(LinuxContainers::start(places, blobs, systemd, config.log_rate));
    let host = Arc::new(LinuxHost::default());
    let volumes = LinuxDisk::new(dirs.data.join("pools"), guest_account())
        .with_disks(disks)
        .with_containers(written);
    let machine = Machine {
        topology: Arc::clone(&host) as _,
        host,
        network: Arc::new(network),
        hypervisor: Arc::clone(&hypervisor) as _,
        consoles: Arc::clone(&hypervisor) as _,
        access: Arc::clone(&containers) as _,
        containers,
        volumes: Arc::new(volumes),
        guests: hypervisor,
        images: Arc::new(images),
        blobs: Arc::new(stored),
    };
    Ok((machine, BoardFacts { name: board.name, uplinks: board.uplinks }))
}
