use skerry_model::{
    Image, ImageFile, ImageFormat, ImageSource, ImageSpec, ImageState, ImageStatus, NewResource,
    Owner, PoolSpec, PoolState, VmSpec, VmState, VmStatus, VolumeSpec,
};
use skerry_model::{SnapshotSpec, SnapshotState, VolumeState};
use uuid::Uuid;

use super::*;
use crate::testing::ModelHost;
use crate::{DiskSeen, GuestPower};

const GIB: u64 = 1 << 30;

#[path = "kept_pool_tests.rs"]
mod kept_pool;
#[path = "tpm_tests.rs"]
mod tpm;

struct World {
    store: Store,
    host: Arc<ModelHost>,
    controller: StorageController,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn volume_spec(json: &str) -> VolumeSpec {
    serde_json::from_str(json).unwrap()
}

impl World {
    async fn new() -> Self {
        let store = Store::in_memory();
        let mut pool = NewResource::<Pool>::new(id(1), name("default"), PoolSpec::data_partition());
        pool.owner = Owner::System;
        let mut tx = Transaction::new();
        tx.create(pool);
        store.commit(tx).await.unwrap();
        let world = Self::again(store, Arc::default());
        world.settle().await;
        world
    }

    /// The service is started, in another boot of the node.
    fn again(store: Store, host: Arc<ModelHost>) -> Self {
        let (files, guests) = (Arc::clone(&host), Arc::clone(&host));
        let boot = Uuid::new_v4().to_string();
        let controller =
            StorageController::new(store.clone(), files, guests, boot, || Timestamp::UNIX_EPOCH);
        Self { store, host, controller }
    }

    async fn volume(&self, n: u128, text: &str, spec: &str) {
        let mut new = NewResource::<Volume>::new(id(n), name(text), volume_spec(spec));
        new.finalizers = vec![FINALIZER.to_owned()];
        let mut tx = Transaction::new();
        tx.create(new);
        self.store.commit(tx).await.unwrap();
    }

    /// An image `disk` of one file.
    async fn image(&self, n: u128) {
        let mut spec = ImageSpec::new(ImageFormat::Qcow2, ImageSource::BuiltIn, "x86_64");
        spec.files = vec![ImageFile::new("disk", "/images/disk", "a".repeat(64), 1)];
        let mut tx = Transaction::new();
        tx.create(NewResource::new(id::<Image>(n), name("disk"), spec));
        let state = ImageState::Available;
        tx.put_status(id::<Image>(n), ImageStatus { state, ..ImageStatus::default() });
        self.store.commit(tx).await.unwrap();
    }

    async fn snapshot(&self, n: u128, text: &str, volumes: &[&str]) {
        let volumes = volumes.iter().map(|v| name(v)).collect();
        let spec = SnapshotSpec { volumes, ..SnapshotSpec::default() };
        let mut new = NewResource::<Snapshot>::new(id(n), name(text), spec);
        new.finalizers = vec![FINALIZER.to_owned()];
        let mut tx = Transaction::new();
        tx.create(new);
        self.store.commit(tx).await.unwrap();
    }

    /// A virtual machine with a volume.
    async fn vm(&self, n: u128, volume: &str, state: VmState) {
        let text = format!(r#"{{"image":"tiny","disks":[{{"volume":"{volume}"}}]}}"#);
        let spec: VmSpec = serde_json::from_str(&text).unwrap();
        let mut tx = Transaction::new();
        tx.create(NewResource::<Vm>::new(id(n), name("guest"), spec));
        tx.put_status(id::<Vm>(n), VmStatus { state, ..VmStatus::default() });
        self.store.commit(tx).await.unwrap();
        let up = matches!(state, VmState::Running);
        let power = if up { GuestPower::Running } else { GuestPower::Off };
        self.host.model().guests.insert(id(n), power);
    }

    /// Passes over everything, as the engine would make them.
    async fn settle(&self) {
        for _ in 0..4 {
            for key in self.controller.all_keys() {
                // Failures are what some tests are about; the status tells.
                let _ = self.controller.reconcile(key).await;
            }
        }
    }

    fn seen(&self, n: u128) -> Resource<Volume> {
        self.store.get(id(n)).unwrap().unwrap()
    }

    fn taken(&self, n: u128) -> Resource<Snapshot> {
        self.store.get(id(n)).unwrap().unwrap()
    }

    fn write(&self, n: u128, word: &str) {
        self.host.model().volumes.get_mut(&id(n)).unwrap().data = word.to_owned();
    }

    fn data(&self, n: u128) -> String {
        self.host.model().volumes[&id(n)].data.clone()
    }

    async fn remove<K: ResourceKind>(&self, n: u128) {
        let mut tx = Transaction::new();
        tx.begin_removal(id::<K>(n), None);
        self.store.commit(tx).await.unwrap();
        self.settle().await;
    }
}

fn id<K>(n: u128) -> Id<K> {
    Id::new(Uuid::from_u128(n))
}

#[tokio::test]
async fn what_a_volume_is_being_made_on_is_not_removed() {
    let world = World::new().await;
    world.image(7).await;
    world.volume(2, "root", r#"{"source":{"image":"disk"}}"#).await;
    let halfway = world.host.halfway.lock().await;
    let keys = world.controller.all_keys();
    let key = |kind| *keys.iter().find(|key| key.kind == kind).unwrap();
    let mut making = Box::pin(world.controller.reconcile(key(Kind::Volume)));
    let copied = async {
        while world.host.model().bases.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = &mut making => panic!("made without what it builds on: {done:?}"),
        () = copied => {}
    }
    world.controller.reconcile(key(Kind::Pool)).await.unwrap();
    drop(halfway);
    making.await.unwrap();
    assert_eq!(world.seen(2).status.state, VolumeState::Available);
    assert_eq!(world.host.model().bases.len(), 1, "the volume has lost what it builds on");
    world.remove::<Volume>(2).await;
    assert!(world.host.model().bases.is_empty(), "nothing builds on it any more");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_copy_of_an_image_is_told_and_renewed() {
    let world = World::new().await;
    let pool = || world.store.get::<Pool>(id(1)).unwrap().unwrap();
    world.image(7).await;
    world.volume(2, "root", r#"{"source":{"image":"disk"}}"#).await;
    world.settle().await;
    world.controller.read_bases(&pool()).await.unwrap();
    world.settle().await;
    assert!(pool().status.conditions.holds("ImagesIntact"));
    // Damaged, and the image is gone: only an import of it helps.
    let mut tx = Transaction::new();
    tx.remove(id::<Image>(7));
    world.store.commit(tx).await.unwrap();
    let sha256 = "a".repeat(64);
    world.host.model().damaged_bases.insert(sha256.clone());
    world.controller.read_bases(&pool()).await.unwrap();
    world.settle().await;
    assert!(pool().status.conditions.holds("ImagesIntact"), "read once a day");
    tokio::time::advance(std::time::Duration::from_secs(24 * 3600)).await;
    world.controller.read_bases(&pool()).await.unwrap();
    world.settle().await;
    let intact = pool().status.conditions.get("ImagesIntact").cloned().unwrap();
    assert_eq!(intact.state, skerry_model::ConditionState::False);
    assert!(intact.message.contains(&sha256), "{}", intact.message);
    // It is there again: a new volume is made on a fresh copy.
    world.image(8).await;
    world.volume(3, "more", r#"{"source":{"image":"disk"}}"#).await;
    world.settle().await;
    assert_eq!(world.seen(3).status.state, VolumeState::Available);
    assert!(world.host.model().damaged_bases.is_empty());
    world.settle().await;
    assert!(pool().status.conditions.holds("ImagesIntact"));
    // And without one, too.
    world.host.model().damaged_bases.insert(sha256);
    tokio::time::advance(std::time::Duration::from_secs(24 * 3600)).await;
    world.controller.read_bases(&pool()).await.unwrap();
    assert!(world.host.model().damaged_bases.is_empty());
}

#[tokio::test]
async fn space_that_is_to_be_taken_at_once_is_given_once() {
    let world = World::new().await;
    let pool = || world.store.get::<Pool>(id(1)).unwrap().unwrap();
    let spec = r#"{"size_mib":30720,"allocation":"preallocated"}"#;
    let demand = crate::demand_of_volume(&volume_spec(spec), 0);
    world.controller.admit(&pool(), demand).unwrap();
    world.volume(2, "one", spec).await;
    // Nothing has been made yet, and the pool's figures are those of before.
    let refused = world.controller.admit(&pool(), demand).unwrap_err().to_string();
    assert!(refused.contains("free space: 30720 MiB needed, 10240 of"), "{refused}");
    let small = crate::Demand { promised: GIB, taken: GIB };
    world.controller.admit(&pool(), small).unwrap();
}

#[tokio::test]
async fn a_volume_is_made_attached_grown_and_removed() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    let volume = world.seen(2);
    assert_eq!(volume.status.state, VolumeState::Available);
    assert!(volume.status.conditions.holds("Ready"));
    assert_eq!(volume.status.size_bytes, GIB);
    assert_eq!(volume.status.serial.len(), 20);
    world.vm(9, "data", VmState::Running).await;
    let mut tx = Transaction::new();
    tx.put_spec(id::<Volume>(2), None, volume_spec(r#"{"size_mib":2048}"#));
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    let volume = world.seen(2);
    assert_eq!(volume.status.state, VolumeState::InUse);
    assert_eq!(volume.status.attached_to, Some(name("guest")));
    assert_eq!(volume.status.size_bytes, 2 * GIB);
    assert!(world.host.model().steps.contains(&"grow live"));
    let pool = world.store.get(id::<Pool>(1)).unwrap().unwrap();
    assert_eq!((pool.status.committed_bytes, pool.status.volumes), (2 * GIB, 1));
    // It goes when the machine is gone, not before.
    world.remove::<Volume>(2).await;
    assert_eq!(world.seen(2).status.state, VolumeState::Deleting);
    let mut tx = Transaction::new();
    tx.remove(id::<Vm>(9));
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    assert!(world.store.get(id::<Volume>(2)).unwrap().is_none());
    assert!(world.host.model().volumes.is_empty());
}

#[tokio::test]
async fn a_file_that_goes_is_lost_and_one_that_comes_back_is_taken_up() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    let file = world.host.model().volumes.remove(&id(2)).unwrap();
    world.settle().await;
    assert_eq!(world.seen(2).status.state, VolumeState::Lost);
    assert!(world.host.model().volumes.is_empty(), "it was made again");
    world.host.model().volumes.insert(id(2), file);
    world.settle().await;
    assert_eq!(world.seen(2).status.state, VolumeState::Available);
}

#[tokio::test]
async fn after_a_boot_each_volume_is_checked_once_and_damage_is_told() {
    let world = World::new().await;
    world.volume(2, "good", r#"{"size_mib":1024}"#).await;
    world.volume(3, "bad", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    assert!(!world.host.model().steps.contains(&"check"), "it has just been made");
    world.host.model().damaged.insert(id(3));
    let world = World::again(world.store.clone(), Arc::clone(&world.host));
    world.controller.prepare().await.unwrap();
    assert!(!world.seen(2).status.checked);
    world.settle().await;
    assert!(world.seen(2).status.checked);
    assert_eq!(world.seen(3).status.state, VolumeState::Error);
    assert!(world.seen(3).status.reason.contains("damaged"), "{}", world.seen(3).status.reason);
    let checks = world.host.model().steps.iter().filter(|step| **step == "check").count();
    world.settle().await;
    let bad_ones =
        world.host.model().steps.iter().filter(|step| **step == "check").count() - checks;
    assert_eq!(bad_ones, 4, "only the damaged one is looked at again");
}

#[tokio::test]
async fn a_running_guest_is_held_for_a_snapshot_and_a_revert_waits_for_none() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.vm(9, "data", VmState::Running).await;
    world.write(2, "first");
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    let snapshot = world.taken(5);
    assert_eq!(snapshot.status.state, SnapshotState::Ready);
    assert!(snapshot.status.guest_running && snapshot.status.taken.is_some());
    assert_eq!(world.host.model().guests[&id(9)], GuestPower::Running);
    assert!(!world.host.model().torn);
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None);
    world.write(2, "second");
    // While the guest runs it is refused, and not done later.
    revert(&world, 5).await;
    assert_eq!(world.data(2), "second");
    world.host.model().guests.insert(id(9), GuestPower::Off);
    let off = VmStatus { state: VmState::Stopped, ..VmStatus::default() };
    let mut tx = Transaction::new();
    tx.put_status(id::<Vm>(9), off);
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    assert_eq!(world.data(2), "second", "a refused wish came back");
    revert(&world, 5).await;
    assert_eq!(world.data(2), "first");
    assert!(!world.host.model().torn);
}

#[tokio::test]
async fn a_revert_of_several_volumes_is_whole_or_does_not_begin() {
    let world = World::new().await;
    world.volume(2, "one", r#"{"size_mib":1024}"#).await;
    world.volume(3, "two", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.snapshot(5, "both", &["one", "two"]).await;
    world.settle().await;
    world.write(2, "later");
    world.write(3, "later");
    // The disk has lost the second copy.
    world.host.model().snapshots.get_mut(&id(5)).unwrap().remove(&id::<Volume>(3));
    revert(&world, 5).await;
    assert_eq!((world.data(2).as_str(), world.data(3).as_str()), ("later", "later"));
    assert_eq!(world.taken(5).status.reverts, 1, "it is given up, and machines may start");
}

#[tokio::test]
async fn a_revert_outlasts_a_start_that_is_only_written_down() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.write(2, "first");
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    world.write(2, "second");
    world.vm(9, "data", VmState::Starting).await;
    revert(&world, 5).await;
    assert_eq!(world.data(2), "second");
    assert!(world.taken(5).sets_back(&name("data")), "it was given up");
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None);
    let off = VmStatus { state: VmState::Stopped, ..VmStatus::default() };
    let mut tx = Transaction::new();
    tx.put_status(id::<Vm>(9), off);
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    assert_eq!(world.data(2), "first");
    assert!(!world.taken(5).sets_back(&name("data")));
}

fn consistent(world: &World, n: u128) -> String {
    world.taken(n).status.conditions.get("Consistent").unwrap().reason.clone()
}

#[tokio::test]
async fn a_guest_with_an_agent_rests_for_a_snapshot_and_goes_on_whatever_comes() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.snapshot(4, "off", &["data"]).await;
    world.settle().await;
    assert_eq!(consistent(&world, 4), "GuestOff");
    world.vm(9, "data", VmState::Running).await;
    world.snapshot(5, "plain", &["data"]).await;
    world.settle().await;
    assert_eq!(consistent(&world, 5), "CrashConsistent");
    let agent = |obeys| world.host.model().agents.insert(id(9), (obeys, false));
    agent(true);
    world.snapshot(6, "rested", &["data"]).await;
    world.settle().await;
    assert_eq!(consistent(&world, 6), "FileSystemsAtRest");
    let at_rest = || world.host.model().agents[&id(9)].1;
    assert!(world.host.model().taken_at_rest && !at_rest());
    // The copy fails: the guest goes on all the same.
    world.host.model().failing = vec!["take snapshot"];
    world.snapshot(7, "failed", &["data"]).await;
    let key = LocalRef { kind: Kind::Snapshot, id: id::<Snapshot>(7).uuid() };
    assert!(world.controller.reconcile(key).await.is_err());
    assert!(!at_rest() && world.taken(7).status.frozen.is_empty());
    assert_eq!(world.host.model().guests[&id(9)], GuestPower::Running);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_gives_a_snapshot_that_says_so() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.vm(9, "data", VmState::Running).await;
    world.host.model().agents.insert(id(9), (false, false));
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    let status = world.taken(5).status;
    assert_eq!(status.state, SnapshotState::Ready);
    let said = status.conditions.get("Consistent").unwrap();
    assert!(said.message.contains("does not answer"), "{}", said.message);
    // It may have come to rest without saying so, and is told to go on until it says that it does.
    assert!(status.conditions.holds("Frozen") && status.conditions.holds("Ready"));
    let again = World::again(world.store.clone(), Arc::clone(&world.host));
    again.host.model().agents.insert(id(9), (true, true));
    again.settle().await;
    assert!(!again.host.model().agents[&id(9)].1, "forgotten after a restart");
    assert!(again.taken(5).status.conditions.get("Frozen").is_none());
    assert_eq!(again.taken(5).status.frozen, []);
}

#[tokio::test]
async fn a_guest_that_went_off_at_rest_is_not_waited_for() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.vm(9, "data", VmState::Running).await;
    world.host.model().agents.insert(id(9), (false, false));
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    assert_eq!(world.taken(5).status.frozen, [id(9)]);
    world.host.model().guests.insert(id(9), GuestPower::Off);
    world.remove::<Snapshot>(5).await;
    assert!(world.store.get::<Snapshot>(id(5)).unwrap().is_none());
}

#[tokio::test]
async fn a_disk_is_copied_out_when_nobody_runs_with_it_or_from_a_snapshot() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.volume(3, "files", r#"{"size_mib":64,"form":"folder"}"#).await;
    world.settle().await;
    world.write(2, "first");
    let out = |volume: &'static str, snapshot: Option<&'static str>, to: &'static str| {
        let snapshot = snapshot.map(name);
        let (controller, volume) = (&world.controller, name(volume));
        async move { controller.copy_out(&volume, snapshot.as_ref(), to.as_ref()).await }
    };
    let copied = |to: &str| world.host.model().copies.get(std::path::Path::new(to)).cloned();
    assert_eq!(out("data", None, "/a").await.unwrap(), None);
    assert_eq!(copied("/a").as_deref(), Some("first"));
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None);
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    world.write(2, "second");
    world.vm(9, "data", VmState::Running).await;
    let waits = out("data", None, "/b").await.unwrap_err();
    assert!(matches!(waits, crate::CopyOutError::Waits(_)), "{waits}");
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None, "it must not stay kept");
    out("data", Some("one"), "/c").await.unwrap();
    assert_eq!((copied("/b"), copied("/c").as_deref()), (None, Some("first")));
    assert!(!world.host.model().torn);
    for (volume, snapshot) in
        [("files", None), ("none", None), ("data", Some("two")), ("files", Some("one"))]
    {
        let refused = out(volume, snapshot, "/d").await.unwrap_err();
        assert!(matches!(refused, crate::CopyOutError::Refused(_)), "{volume} {refused}");
    }
}

async fn revert(world: &World, n: u128) {
    let mut spec = world.taken(n).spec;
    spec.reverts += 1;
    let mut tx = Transaction::new();
    tx.put_spec(id::<Snapshot>(n), None, spec);
    world.store.commit(tx).await.unwrap();
    world.settle().await;
}

#[tokio::test]
async fn the_tree_of_snapshots_closes_over_one_that_is_removed() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    for (n, text) in [(5, "one"), (6, "two"), (7, "three")] {
        world.snapshot(n, text, &["data"]).await;
        world.settle().await;
    }
    assert_eq!(world.taken(7).status.volumes[0].parent, Some(id(6)));
    world.remove::<Snapshot>(6).await;
    assert_eq!(world.taken(7).status.volumes[0].parent, Some(id(5)));
    world.remove::<Snapshot>(7).await;
    assert_eq!(world.seen(2).status.snapshot, Some(id(5)));
    assert_eq!(world.host.model().snapshots.len(), 1);
}

#[tokio::test]
async fn clones_read_what_nobody_writes() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.write(2, "word");
    world.vm(9, "data", VmState::Running).await;
    world.volume(3, "copy", r#"{"source":{"volume":"data"}}"#).await;
    world.settle().await;
    assert_eq!(world.seen(3).status.state, VolumeState::Creating);
    assert!(world.seen(3).status.reason.contains("`guest` is stopped"));
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None);
    world.host.model().guests.insert(id(9), GuestPower::Off);
    world.settle().await;
    assert_eq!(world.data(3), "word");
    assert_eq!(world.seen(3).status.size_bytes, GIB);
}

#[tokio::test]
async fn a_step_that_fails_is_done_later_and_leaves_no_operation_behind() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.host.model().failing = vec!["create volume", "create volume"];
    let key = LocalRef { kind: Kind::Volume, id: Uuid::from_u128(2) };
    assert!(world.controller.reconcile(key).await.is_err());
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None);
    assert_eq!(world.seen(2).status.state, VolumeState::Creating);
    world.settle().await;
    assert_eq!(world.seen(2).status.state, VolumeState::Available);
    world.host.model().failing = vec!["take snapshot"];
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    assert_eq!(world.taken(5).status.state, SnapshotState::Ready);
    assert_eq!(world.seen(2).status.operation, VolumeOperation::None);
}

#[tokio::test]
async fn space_is_told_by_levels_and_strangers_by_name() {
    let world = World::new().await;
    let status = |world: &World| world.store.get(id::<Pool>(1)).unwrap().unwrap().status;
    assert!(!status(&world).conditions.holds("SpaceLow"));
    world.host.model().free = 8 * GIB;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    let low = status(&world).conditions.get("SpaceLow").cloned().unwrap();
    assert_eq!(low.reason, "Major");
    let mut tx = Transaction::new();
    tx.remove(id::<Volume>(2));
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    assert_eq!(status(&world).unmanaged.len(), 1);
    assert!(status(&world).conditions.holds("Unmanaged"));
    assert_eq!(world.host.model().volumes.len(), 1, "a stranger was removed");
}

#[tokio::test]
async fn a_folder_is_held_by_the_pods_that_name_it() {
    let world = World::new().await;
    world.volume(2, "data", r#"{"form":"folder","size_mib":64}"#).await;
    world.settle().await;
    let seen = world.seen(2).status;
    assert_eq!(seen.state, VolumeState::Available);
    assert!(seen.path.ends_with(".folder") && seen.conditions.holds("SizeLimit"), "{seen:?}");
    let spec = r#"{"containers":[{"name":"a","image":"tiny"}],
        "volumes":[{"name":"v","source":{"volume":{"name":"data"}}}]}"#;
    let mut tx = Transaction::new();
    tx.create(NewResource::<Pod>::new(id(9), name("web"), serde_json::from_str(spec).unwrap()));
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    let seen = world.seen(2).status;
    assert_eq!((seen.state, seen.attached_to), (VolumeState::InUse, Some(name("web"))));
    assert_eq!(seen.used_by, [LocalRef { kind: Kind::Pod, id: id::<Pod>(9).uuid() }]);
    world.remove::<Volume>(2).await;
    assert_eq!(world.seen(2).status.state, VolumeState::Deleting);
    assert!(world.host.model().volumes.contains_key(&id(2)), "it stays while a pod has it");
    let mut tx = Transaction::new();
    tx.remove(id::<Pod>(9));
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    assert!(world.store.get(id::<Volume>(2)).unwrap().is_none());
    assert!(world.host.model().volumes.is_empty());
}

#[tokio::test]
async fn a_pool_tells_what_guests_may_write_and_whether_anything_holds_them() {
    let world = World::new().await;
    let status = || world.store.get::<Pool>(id(1)).unwrap().unwrap().status;
    assert_eq!(
        status().guest_room_bytes,
        Some(40 * GIB),
        "50 are free, and a tenth of 100 is kept"
    );
    assert!(status().conditions.holds("ReserveHeld"));
    world.host.model().free = 8 * GIB;
    world.settle().await;
    assert_eq!(status().guest_room_bytes, Some(0));
    world.host.model().holds = false;
    world.settle().await;
    assert_eq!(status().guest_room_bytes, None);
    assert!(!status().conditions.holds("ReserveHeld"));
}

/// A pool on the disk `wwn-1`, which is there and holds this.
async fn with_disk(content: Option<&str>) -> World {
    let world = World::new().await;
    let seen = DiskSeen {
        name: "sdb".into(),
        size_bytes: 8 * GIB,
        content: content.map(Into::into),
        busy: None,
    };
    world.host.model().disks.insert("wwn-1".into(), seen);
    let spec: PoolSpec = serde_json::from_str(r#"{"source":{"disk":{"id":"wwn-1"}}}"#).unwrap();
    let mut new = NewResource::<Pool>::new(id(50), name("fast"), spec);
    new.finalizers = vec![FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.create(new);
    world.store.commit(tx).await.unwrap();
    world.host.model().steps.clear();
    world.settle().await;
    world
}

impl World {
    fn fast(&self) -> skerry_model::PoolStatus {
        self.store.get::<Pool>(id(50)).unwrap().unwrap().status
    }
}

#[tokio::test]
async fn a_disk_is_formatted_once_mounted_again_and_given_back() {
    let world = with_disk(None).await;
    assert_eq!((world.fast().state, world.fast().prepared), (PoolState::Ready, true));
    assert_eq!(world.host.model().steps, ["format pool", "mount pool"]);
    world.volume(51, "data", r#"{"size_mib":64,"pool":"fast"}"#).await;
    world.settle().await;
    assert_eq!(world.seen(51).status.state, VolumeState::Available);
    // Another boot.
    world.host.model().mounted.clear();
    world.host.model().steps.clear();
    let again = World::again(world.store.clone(), Arc::clone(&world.host));
    again.settle().await;
    assert_eq!(world.host.model().steps.first(), Some(&"mount pool"));
    assert!(!world.host.model().steps.contains(&"format pool"));
    assert_eq!(again.fast().state, PoolState::Ready);
    // Nothing is removed while a volume lies there.
    again.remove::<Pool>(50).await;
    assert!(again.store.get::<Pool>(id(50)).unwrap().is_some());
    again.remove::<Volume>(51).await;
    again.settle().await;
    assert!(again.store.get::<Pool>(id(50)).unwrap().is_none());
    assert!(again.host.model().mounted.is_empty());
    assert!(!again.host.model().formatted.is_empty(), "what is on the disk stays");
}

#[tokio::test]
async fn without_its_disk_a_pool_waits_and_so_do_its_volumes() {
    let world = with_disk(None).await;
    world.volume(51, "data", r#"{"size_mib":64,"pool":"fast"}"#).await;
    world.settle().await;
    let disk = world.host.model().pull("wwn-1").unwrap();
    world.settle().await;
    assert_eq!(world.fast().state, PoolState::Failed);
    assert!(world.fast().reason.contains("`wwn-1` is not there"), "{}", world.fast().reason);
    let status = world.seen(51).status;
    assert_eq!(status.state, VolumeState::Available, "it is not lost");
    assert!(
        !status.checked && status.reason.contains("`fast` cannot be used"),
        "{}",
        status.reason
    );
    // An empty disk in its place is not taken for it.
    let other = DiskSeen { name: "sdc".into(), ..disk.clone() };
    world.host.model().disks.insert("wwn-1".into(), other);
    world.host.model().formatted.clear();
    world.host.model().steps.clear();
    world.settle().await;
    assert!(world.fast().reason.contains("does not hold"), "{}", world.fast().reason);
    assert!(world.host.model().steps.is_empty());
    world.host.model().formatted.insert(id(50), "wwn-1".into());
    world.settle().await;
    assert_eq!(world.fast().state, PoolState::Ready);
    let status = world.seen(51).status;
    assert!(status.checked && status.conditions.holds("Ready"), "{status:?}");
}

#[tokio::test]
async fn a_disk_with_something_on_it_is_left_alone_until_it_is_given_up() {
    let world = with_disk(Some("2 partitions")).await;
    assert!(world.fast().reason.contains("holds 2 partitions"), "{}", world.fast().reason);
    assert!(world.host.model().steps.is_empty());
    let spec = r#"{"source":{"disk":{"id":"wwn-1","erase":true}}}"#;
    let mut tx = Transaction::new();
    tx.put_spec(id::<Pool>(50), None, serde_json::from_str::<PoolSpec>(spec).unwrap());
    world.store.commit(tx).await.unwrap();
    world.host.model().failing = vec!["format pool"];
    world.settle().await;
    let steps = world.host.model().steps.clone();
    assert_eq!(steps, ["format pool", "format pool", "mount pool"], "broken off, it begins anew");
    assert_eq!(world.fast().state, PoolState::Ready);
}

#[tokio::test]
async fn a_disk_that_never_comes_back_holds_up_no_deletion_but_that_of_what_is_to_be_overwritten() {
    let world = with_disk(None).await;
    world.volume(51, "data", r#"{"size_mib":64,"pool":"fast"}"#).await;
    world.volume(52, "secret", r#"{"size_mib":64,"pool":"fast","erase_on_delete":true}"#).await;
    world.settle().await;
    world.snapshot(53, "one", &["data"]).await;
    world.settle().await;
    assert_eq!(world.taken(53).status.pool, Some(name("fast")));
    // Not mounted yet, as after a boot: whatever is being deleted waits.
    world.host.model().mounted.clear();
    let mut tx = Transaction::new();
    tx.begin_removal(id::<Volume>(51), None);
    world.store.commit(tx).await.unwrap();
    let key = LocalRef { kind: Kind::Volume, id: id::<Volume>(51).uuid() };
    world.controller.reconcile(key).await.unwrap();
    assert!(world.store.get::<Volume>(id(51)).unwrap().is_some());
    world.host.model().pull("wwn-1");
    world.remove::<Snapshot>(53).await;
    world.remove::<Volume>(52).await;
    assert!(world.store.get::<Volume>(id(51)).unwrap().is_none());
    assert!(world.store.get::<Snapshot>(id(53)).unwrap().is_none());
    assert!(world.seen(52).status.reason.contains("cannot be used"));
}
