//! TPMs in snapshots of their machines, whatever fails or ends in between.

use super::*;

/// A machine that has run, with a volume and a TPM.
async fn sealed(power: VmState) -> World {
    let world = World::new().await;
    world.volume(2, "data", r#"{"size_mib":1024}"#).await;
    world.settle().await;
    world.vm(9, "data", power).await;
    let mut spec = world.machine().spec;
    spec.tpm = true;
    world.put_machine(spec).await;
    world.host.model().tpms.insert(id(9), "first".to_owned());
    world.write(2, "first");
    world
}

impl World {
    fn machine(&self) -> Resource<Vm> {
        self.store.get(id(9)).unwrap().unwrap()
    }

    async fn put_machine(&self, spec: VmSpec) {
        let mut tx = Transaction::new();
        tx.put_spec(id::<Vm>(9), None, spec);
        self.store.commit(tx).await.unwrap();
    }

    async fn power(&self, state: VmState) {
        let mut tx = Transaction::new();
        tx.put_status(id::<Vm>(9), VmStatus { state, ..VmStatus::default() });
        self.store.commit(tx).await.unwrap();
        let up = state == VmState::Running;
        let power = if up { GuestPower::Running } else { GuestPower::Off };
        self.host.model().guests.insert(id(9), power);
    }

    /// A snapshot of the machine.
    async fn snapshot_of_vm(&self, n: u128, text: &str) {
        let spec = SnapshotSpec {
            vm: Some(name("guest")),
            volumes: vec![name("data")],
            ..SnapshotSpec::default()
        };
        let mut new = NewResource::<Snapshot>::new(id(n), name(text), spec);
        new.finalizers = vec![FINALIZER.to_owned()];
        let mut tx = Transaction::new();
        tx.create(new);
        self.store.commit(tx).await.unwrap();
        self.settle().await;
    }

    fn tpm(&self) -> String {
        self.host.model().tpms[&id(9)].clone()
    }

    fn use_both(&self, word: &str) {
        self.write(2, word);
        self.host.model().tpms.insert(id(9), word.to_owned());
    }
}

#[tokio::test]
async fn a_tpm_is_taken_along_set_back_and_removed() {
    for power in [VmState::Running, VmState::Stopped] {
        let world = sealed(power).await;
        world.snapshot_of_vm(5, "one").await;
        assert_eq!(world.taken(5).status.state, SnapshotState::Ready);
        assert_eq!(world.taken(5).status.tpm, Some(id(9)));
        assert!(!world.host.model().torn, "it was copied while the guest ran");
        world.use_both("second");
        world.power(VmState::Stopped).await;
        revert(&world, 5).await;
        assert_eq!((world.data(2), world.tpm()), ("first".to_owned(), "first".to_owned()));
        world.remove::<Snapshot>(5).await;
        assert!(world.host.model().kept_tpms.is_empty());
        assert_eq!(world.tpm(), "first");
    }
}

#[tokio::test]
async fn a_snapshot_of_volumes_alone_or_of_a_machine_without_tpm_leaves_tpms_alone() {
    let world = sealed(VmState::Stopped).await;
    world.snapshot(5, "one", &["data"]).await;
    world.settle().await;
    let mut spec = world.machine().spec;
    spec.tpm = false;
    world.put_machine(spec).await;
    world.snapshot_of_vm(6, "two").await;
    world.use_both("second");
    for n in [5, 6] {
        assert_eq!(world.taken(n).status.tpm, None);
        revert(&world, n).await;
        assert_eq!((world.data(2).as_str(), world.tpm().as_str()), ("first", "second"));
    }
}

#[tokio::test]
async fn a_machine_that_never_ran_has_nothing_to_keep() {
    let world = sealed(VmState::Stopped).await;
    world.host.model().tpms.clear();
    world.host.model().failing = vec!["take snapshot"];
    world.snapshot_of_vm(5, "one").await;
    assert_eq!(world.taken(5).status.state, SnapshotState::Ready);
    assert_eq!(world.taken(5).status.tpm, None);
    world.use_both("second");
    revert(&world, 5).await;
    assert_eq!((world.data(2).as_str(), world.tpm().as_str()), ("first", "second"));
}

#[tokio::test]
async fn whatever_fails_and_wherever_the_service_ends_nothing_is_left_half_done() {
    for step in ["keep TPM", "take snapshot", "examine snapshot", "revert TPM", "revert volume"] {
        let world = sealed(VmState::Stopped).await;
        world.host.model().failing = vec![step];
        let key = LocalRef { kind: Kind::Snapshot, id: Uuid::from_u128(5) };
        let spec = SnapshotSpec {
            vm: Some(name("guest")),
            volumes: vec![name("data")],
            ..SnapshotSpec::default()
        };
        let mut tx = Transaction::new();
        tx.create(NewResource::<Snapshot>::new(id(5), name("one"), spec));
        world.store.commit(tx).await.unwrap();
        let _ = world.controller.reconcile(key).await;
        // The service ends, and comes back.
        let world = World::again(world.store, world.host);
        world.settle().await;
        assert_eq!(world.taken(5).status.tpm, Some(id(9)), "{step}");
        world.use_both("second");
        let mut spec = world.taken(5).spec;
        spec.reverts = 1;
        let mut tx = Transaction::new();
        tx.put_spec(id::<Snapshot>(5), None, spec);
        world.store.commit(tx).await.unwrap();
        let done = world.controller.reconcile(key).await;
        let undone = step.starts_with("revert") || step == "examine snapshot";
        assert_eq!(done.is_err(), undone, "{step}");
        assert_eq!(world.taken(5).sets_back_tpm(id(9)), undone, "the machine may start: {step}");
        let world = World::again(world.store, world.host);
        world.settle().await;
        assert!(!world.taken(5).sets_back_tpm(id(9)), "{step}");
        assert_eq!((world.data(2).as_str(), world.tpm().as_str()), ("first", "first"), "{step}");
    }
}

#[tokio::test]
async fn a_deletion_while_it_is_taken_removes_what_was_kept() {
    let world = sealed(VmState::Stopped).await;
    world.host.model().failing = vec!["take snapshot"; 100];
    world.snapshot_of_vm(5, "one").await;
    assert_eq!(world.host.model().kept_tpms.len(), 1);
    world.host.model().failing.clear();
    let mut tx = Transaction::new();
    tx.begin_removal(id::<Snapshot>(5), None);
    world.store.commit(tx).await.unwrap();
    world.settle().await;
    assert!(world.host.model().kept_tpms.is_empty());
    assert!(world.store.get::<Snapshot>(id(5)).unwrap().is_none());
}

#[tokio::test]
async fn what_was_kept_and_is_gone_stops_a_revert_before_anything_is_changed() {
    let world = sealed(VmState::Stopped).await;
    world.snapshot_of_vm(5, "one").await;
    world.use_both("second");
    world.host.model().kept_tpms.clear();
    revert(&world, 5).await;
    assert_eq!((world.data(2).as_str(), world.tpm().as_str()), ("second", "second"));
    assert!(!world.taken(5).sets_back(&name("data")), "it is not tried for ever");
}

#[tokio::test]
async fn a_machine_that_runs_with_other_volumes_keeps_its_tpm_and_one_that_is_gone_needs_none() {
    let world = sealed(VmState::Stopped).await;
    world.snapshot_of_vm(5, "one").await;
    world.use_both("second");
    let mut spec = world.machine().spec;
    spec.disks.clear();
    world.put_machine(spec).await;
    world.power(VmState::Running).await;
    revert(&world, 5).await;
    assert_eq!((world.data(2).as_str(), world.tpm().as_str()), ("second", "second"));
    world.power(VmState::Stopped).await;
    let mut tx = Transaction::new();
    tx.begin_removal(id::<Vm>(9), None);
    world.store.commit(tx).await.unwrap();
    revert(&world, 5).await;
    assert_eq!((world.data(2).as_str(), world.tpm().as_str()), ("first", "second"));
}
