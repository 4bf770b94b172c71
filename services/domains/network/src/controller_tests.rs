use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use skerry_model::{
    Binding, Id, Name, NetworkMode, NetworkSpec, NewResource, Owner, Pod, PodSpec, PortSpec,
    Publish, Subnet, Vm, VmSpec,
};

use super::*;
use crate::test_machine::Machine;
use crate::{NetworkObserved, NicObserved, PortRequest, allocate_port};

fn epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

struct World {
    store: Store,
    machine: Machine,
    controller: NetworkController,
}

impl World {
    fn new() -> Self {
        let store = Store::in_memory();
        let machine = Machine::new();
        machine.observed.lock().unwrap().nics.insert("ens3".into(), NicObserved::default());
        let host: Arc<dyn NetworkHost> = Arc::new(machine.clone());
        let controller =
            NetworkController::new(store.clone(), host, UplinkPolicy::default(), epoch);
        Self { store, machine, controller }
    }

    async fn pass(&self) -> Result<Outcome, Failure> {
        self.controller.reconcile(PASS).await
    }

    async fn network(&self, name: &str, third: u8) -> Id<Network> {
        let id = Id::new(Uuid::from_u128(u128::from(third) << 96));
        let subnet = Subnet { network: Ipv4Addr::new(10, 88, third, 0), prefix: 24 };
        let spec = NetworkSpec { mode: NetworkMode::Nat, subnet };
        let mut new = NewResource::<Network>::new(id, Name::new(name).unwrap(), spec);
        new.finalizers = vec![FINALIZER.to_owned()];
        let mut tx = Transaction::new();
        tx.create(new);
        self.store.commit(tx).await.unwrap();
        id
    }

    /// Makes a workload with its port, as the node's API does.
    async fn workload(&self, network: Id<Network>, name: &str, seed: u128, pod: bool) -> Id<Port> {
        let id = Uuid::from_u128(seed << 96);
        let kind = if pod { Kind::Pod } else { Kind::Vm };
        let request = PortRequest {
            workload: LocalRef { kind, id },
            further: None,
            hostname: name,
            publish: &[] as &[Publish],
        };
        let network = self.store.get(network).unwrap().unwrap();
        let spec = allocate_port(&network, &self.store.list().unwrap(), request, 7).unwrap();
        let mut tx = Transaction::new();
        let port = self.port(&mut tx, name, seed, spec);
        let text = |kind: &str| match kind {
            "pod" => r#"{"containers":[{"name":"main","image":"tiny"}],"user_namespace":"host"}"#,
            _ => r#"{"image":"tiny"}"#,
        };
        let name = Name::new(name).unwrap();
        if pod {
            let spec: PodSpec = serde_json::from_str(text("pod")).unwrap();
            tx.create(NewResource::<Pod>::new(Id::new(id), name, spec));
        } else {
            let spec: VmSpec = serde_json::from_str(text("vm")).unwrap();
            tx.create(NewResource::<Vm>::new(Id::new(id), name, spec));
        }
        self.store.commit(tx).await.unwrap();
        port
    }

    fn port(&self, tx: &mut Transaction, name: &str, seed: u128, spec: PortSpec) -> Id<Port> {
        let id = Id::new(Uuid::from_u128((seed << 96) | 1));
        let mut new =
            NewResource::<Port>::new(id, Name::new(format!("{name}-port")).unwrap(), spec);
        new.owner = Owner::System;
        tx.create(new);
        id
    }

    async fn forget(&self, pod: u128) {
        let mut tx = Transaction::new();
        tx.remove::<Pod>(Id::new(Uuid::from_u128(pod << 96)));
        self.store.commit(tx).await.unwrap();
    }

    fn port_ready(&self, id: Id<Port>) -> bool {
        self.store.get(id).unwrap().unwrap().status.conditions.holds("Ready")
    }
}

#[tokio::test]
async fn after_a_boot_no_port_is_ready_before_its_device_is_there() {
    let world = World::new();
    let net = world.network("default", 1).await;
    let pod = world.workload(net, "web", 5, true).await;
    let vm = world.workload(net, "db", 6, false).await;
    world.pass().await.unwrap();
    // The service alone is started again: everything is there.
    world.controller.prepare().await.unwrap();
    assert!(world.port_ready(pod) && world.port_ready(vm));
    // The machine is: its memory is empty.
    *world.machine.observed.lock().unwrap() = NetworkObserved::default();
    world.controller.prepare().await.unwrap();
    assert!(!world.port_ready(pod) && !world.port_ready(vm));
    world.pass().await.unwrap();
    assert!(world.port_ready(pod) && world.port_ready(vm));
}

#[tokio::test]
async fn networks_and_ports_become_ready_with_their_devices() {
    let world = World::new();
    let net = world.network("default", 1).await;
    let pod = world.workload(net, "web", 5, true).await;
    let vm = world.workload(net, "db", 6, false).await;
    assert!(matches!(world.pass().await, Ok(Outcome::Done)));
    let network = world.store.get(net).unwrap().unwrap();
    assert!(network.status.conditions.holds("Ready"));
    assert_eq!(network.status.bridge.as_deref(), Some("skb00000001"));
    assert!(world.port_ready(pod) && world.port_ready(vm));
    let binding = |id| world.store.get::<Port>(id).unwrap().unwrap().status.binding.unwrap();
    assert_eq!(
        binding(pod),
        Binding::Veth {
            namespace: "skerry-pod-00000005".into(),
            device: "skv00000005".into(),
            bridge: "skb00000001".into(),
            users: None,
        }
    );
    assert_eq!(
        binding(vm),
        Binding::Tap { device: "skt00000006".into(), bridge: "skb00000001".into() }
    );
}

#[tokio::test]
async fn a_second_pass_changes_neither_machine_nor_store() {
    let world = World::new();
    let net = world.network("default", 1).await;
    world.workload(net, "web", 5, true).await;
    world.pass().await.unwrap();
    world.machine.take_applied();
    let revision = world.store.revision();
    // As after a restart: a new controller meets what an earlier one made.
    let host: Arc<dyn NetworkHost> = Arc::new(world.machine.clone());
    let later =
        NetworkController::new(world.store.clone(), host, UplinkPolicy::default(), Timestamp::now);
    later.reconcile(PASS).await.unwrap();
    assert_eq!(world.machine.take_applied(), Vec::<String>::new());
    assert_eq!(world.store.revision(), revision);
}

#[tokio::test]
async fn a_port_goes_with_its_workload_after_its_parts() {
    let world = World::new();
    let net = world.network("default", 1).await;
    let port = world.workload(net, "web", 5, true).await;
    world.pass().await.unwrap();
    world.forget(5).await;
    *world.machine.broken.lock().unwrap() =
        Some(|step| matches!(step, NetworkStep::RemoveAttachment { .. }));
    assert!(world.pass().await.is_err());
    assert!(world.store.get(port).unwrap().is_some(), "its namespace is still there");
    *world.machine.broken.lock().unwrap() = None;
    world.pass().await.unwrap();
    assert!(world.store.get(port).unwrap().is_none());
    assert!(world.machine.observed.lock().unwrap().attachments.is_empty());
}

#[tokio::test]
async fn a_network_in_removal_goes_when_its_last_port_has_gone() {
    let world = World::new();
    let net = world.network("default", 1).await;
    world.workload(net, "web", 5, true).await;
    world.pass().await.unwrap();
    let mut tx = Transaction::new();
    tx.begin_removal::<Network>(net, None);
    world.store.commit(tx).await.unwrap();
    world.pass().await.unwrap();
    assert!(world.store.get(net).unwrap().is_some(), "a port still uses it");
    assert_eq!(world.machine.observed.lock().unwrap().bridges.len(), 1);
    world.forget(5).await;
    world.pass().await.unwrap();
    world.pass().await.unwrap();
    assert!(world.store.get(net).unwrap().is_none());
    assert!(world.machine.observed.lock().unwrap().bridges.is_empty());
}

#[tokio::test]
async fn one_broken_bridge_leaves_the_other_network_working() {
    let world = World::new();
    let good = world.network("good", 1).await;
    let bad = world.network("bad", 2).await;
    let fine = world.workload(good, "web", 5, true).await;
    let stuck = world.workload(bad, "db", 6, true).await;
    *world.machine.broken.lock().unwrap() = Some(
        |step| matches!(step, NetworkStep::EnsureBridge(bridge) if bridge.name == "skb00000002"),
    );
    let failure = world.pass().await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Retry);
    assert!(world.port_ready(fine));
    assert!(!world.port_ready(stuck));
    let status = world.store.get(bad).unwrap().unwrap().status;
    let ready = status.conditions.get("Ready").unwrap();
    assert!(ready.message.contains("set up bridge skb00000002"), "{}", ready.message);
}

#[tokio::test]
async fn uplinks_are_looked_after_even_without_packet_rules() {
    let world = World::new();
    let net = world.network("default", 1).await;
    let port = world.workload(net, "web", 5, true).await;
    *world.machine.broken.lock().unwrap() = Some(|step| matches!(step, NetworkStep::LoadRules(_)));
    assert!(world.pass().await.is_err());
    let applied: BTreeSet<_> = world.machine.take_applied().into_iter().collect();
    assert!(applied.contains("look after uplink ens3"));
    assert!(!applied.iter().any(|step| step.starts_with("wire")), "{applied:?}");
    assert!(!world.port_ready(port), "nothing starts without its rules");
}

#[tokio::test]
async fn own_status_and_the_life_of_workloads_do_not_wake_the_pass() {
    let world = World::new();
    let mut watch = world.store.watch(None).unwrap();
    let net = world.network("default", 1).await;
    world.workload(net, "web", 5, true).await;
    let mut woken = 0;
    while let Ok(Some(change)) = watch.ready() {
        woken += world.controller.keys(&change).len();
    }
    assert_eq!(woken, 2, "the network and the port, not the pod");
    world.pass().await.unwrap();
    while let Ok(Some(change)) = watch.ready() {
        assert_eq!(world.controller.keys(&change), [], "{:?}", change.subject);
    }
    world.forget(5).await;
    let change = watch.ready().unwrap().unwrap();
    assert_eq!(world.controller.keys(&change), [PASS]);
}

#[tokio::test]
async fn a_pods_namespace_is_made_for_its_users_once_they_are_known() {
    let world = World::new();
    let net = world.network("default", 1).await;
    let port = world.workload(net, "web", 5, true).await;
    let pod: Id<Pod> = Id::new(Uuid::from_u128(5 << 96));
    let mut changes = world.store.watch(None).unwrap();
    let mut tx = Transaction::new();
    let mut spec = world.store.get(pod).unwrap().unwrap().spec;
    spec.user_namespace = None;
    tx.put_spec(pod, None, spec);
    world.store.commit(tx).await.unwrap();
    let wiring = || {
        let observed = world.machine.observed.lock().unwrap();
        observed.attachments.values().flatten().map(|wired| wired.users).collect::<Vec<_>>()
    };
    world.pass().await.unwrap();
    assert!(!world.port_ready(port) && wiring().is_empty());
    let mut wakes = Vec::new();
    for status in [
        skerry_model::PodStatus { users: Some(655_360), ..Default::default() },
        skerry_model::PodStatus {
            users: Some(655_360),
            reason: "runs".to_owned(),
            ..Default::default()
        },
    ] {
        let mut tx = Transaction::new();
        tx.put_status(pod, status);
        world.store.commit(tx).await.unwrap();
    }
    while wakes.len() < 3 {
        let change = changes.next().await.unwrap();
        if change.subject.kind == Kind::Pod {
            wakes.push(!world.controller.keys(&change).is_empty());
        }
    }
    assert_eq!(wakes, [true, true, false], "only what is about users wakes the pass");
    world.pass().await.unwrap();
    assert!(world.port_ready(port));
    assert_eq!(wiring(), [Some(655_360)]);
    let binding = world.store.get(port).unwrap().unwrap().status.binding;
    assert!(matches!(binding, Some(Binding::Veth { users: Some(655_360), .. })), "{binding:?}");
}
