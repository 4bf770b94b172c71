//! Property tests: whatever the networks and ports, a plan carried out leaves nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proptest::prelude::*;
use skerry_model::{
    Kind, LocalRef, Meta, Name, Network, NetworkMode, NetworkSpec, Owner, Phase, Port, PortSpec,
    Protocol, Publish, Resource, Subnet, Timestamp,
};
use uuid::Uuid;

use super::*;
use crate::test_machine::carry_out;
use crate::{NetnsOwner, NetnsOwners, NicObserved, UplinkPolicy, desired};

fn meta(name: String, id: u128) -> Meta {
    Meta {
        id: Uuid::from_u128(id),
        name: Name::new(name).unwrap(),
        labels: BTreeMap::new(),
        generation: 1,
        revision: 1,
        owner: Owner::Local,
        phase: Phase::Present,
        finalizers: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
    }
}

/// Ids that differ in their first digits, as random ones do; the low bits of `seed` decide.
fn id(seed: u8, salt: u128) -> u128 {
    (u128::from(seed) << 96) | salt
}

fn network(seed: u8, third: u8, isolated: bool, removing: bool) -> Resource<Network> {
    let mode = if isolated { NetworkMode::Isolated } else { NetworkMode::Nat };
    let subnet = Subnet { network: Ipv4Addr::new(10, 88, third, 0), prefix: 24 };
    let mut meta = meta(format!("net-{seed}"), id(seed, 1));
    meta.phase = if removing { Phase::Removing } else { Phase::Present };
    Resource { meta, spec: NetworkSpec { mode, subnet }, status: Default::default() }
}

fn port(seed: u8, net: u8, third: u8, host: u8, published: u16, pod: bool) -> Resource<Port> {
    let kind = if pod { Kind::Pod } else { Kind::Vm };
    Resource {
        meta: meta(format!("port-{seed}"), id(seed, 2)),
        spec: PortSpec {
            network: skerry_model::Id::new(Uuid::from_u128(id(net, 1))),
            workload: LocalRef { kind, id: Uuid::from_u128(id(seed, 3)) },
            further: None,
            hostname: format!("w{}", seed % 24),
            mac: format!("02:00:00:00:00:{:02x}", seed % 30),
            address: Ipv4Addr::new(10, 88, third, host),
            publish: vec![Publish {
                protocol: Protocol::Tcp,
                host_port: published,
                workload_port: 80,
            }],
        },
        status: Default::default(),
    }
}

type World = (Vec<Resource<Network>>, Vec<Resource<Port>>, BTreeMap<String, NicObserved>);

prop_compose! {
    fn world()(
        nets in prop::collection::btree_map(0_u8..6, (0_u8..6, any::<bool>(), prop::bool::weighted(0.2)), 0..5),
        ports in prop::collection::btree_map(0_u8..32, (0_u8..6, 0_u8..6, any::<u8>(), 8000_u16..8020, any::<bool>()), 0..12),
        nics in prop::collection::btree_set(0_u8..4, 0..3),
    ) -> World {
        let nets = nets.into_iter().map(|(s, (t, i, r))| network(s, t, i, r)).collect();
        let ports = ports.into_iter().map(|(s, (n, t, h, p, pod))| port(s, n, t, h, p, pod)).collect();
        let nics = nics.into_iter().map(|n| (format!("ens{n}"), NicObserved::default())).collect();
        (nets, ports, nics)
    }
}

fn run(world: &World, observed: &mut NetworkObserved) -> Vec<NetworkStep> {
    let kept = std::mem::take(&mut observed.nics);
    for (device, nic) in &world.2 {
        let nic = kept.get(device).cloned().unwrap_or_else(|| nic.clone());
        observed.nics.insert(device.clone(), nic);
    }
    let wanted =
        desired(&world.0, &world.1, &NetnsOwners::new(), &observed.nics, &UplinkPolicy::default());
    let steps = plan(&wanted, observed);
    for step in &steps {
        carry_out(observed, step);
    }
    assert_eq!(plan(&wanted, observed), [], "a plan carried out leaves nothing to do");
    steps
}

proptest! {
    #[test]
    fn any_state_converges_and_stays(first in world(), second in world(), broken in any::<u8>()) {
        let mut observed = NetworkObserved::default();
        run(&first, &mut observed);
        // Somebody else breaks things in between.
        if broken & 1 == 1 { observed.rules = None; }
        if broken & 2 == 2 { observed.bridges.values_mut().for_each(|b| *b = None); }
        if broken & 4 == 4 { observed.attachments.values_mut().for_each(|a| *a = None); }
        if broken & 8 == 8 { observed.services.values_mut().for_each(|s| s.running = false); }
        if broken & 16 == 16 { observed.veths.insert("skvstray".into()); }
        if broken & 32 == 32 { observed.forwarding = false; }
        if broken & 64 == 64 { observed.metadata = false; }
        run(&second, &mut observed);
        let wanted = desired(&second.0, &second.1, &NetnsOwners::new(), &observed.nics, &UplinkPolicy::default());
        prop_assert_eq!(observed.bridges.len(), wanted.bridges.len());
        let devices: BTreeSet<_> = wanted.attachments.values().map(|a| a.device.clone()).collect();
        prop_assert_eq!(&observed.veths, &devices);
    }

    #[test]
    fn names_are_unique_and_short_enough(world in world()) {
        let wanted = desired(&world.0, &world.1, &NetnsOwners::new(), &world.2, &UplinkPolicy::default());
        let mut seen = BTreeSet::new();
        let ports = world.1.iter().filter(|p| !wanted.problems.contains_key(&p.meta.id));
        let taps = ports.filter(|p| p.spec.workload.kind == Kind::Vm).map(|p| crate::tap_name(p.id()));
        let names = wanted.bridges.keys().cloned()
            .chain(wanted.attachments.values().map(|a| a.device.clone()))
            .chain(taps);
        for name in names {
            prop_assert!(name.len() <= 15, "{} is too long for the kernel", name);
            prop_assert!(seen.insert(name.clone()), "{} is there twice", name);
        }
    }

    #[test]
    fn nothing_is_given_twice(world in world()) {
        let wanted = desired(&world.0, &world.1, &NetnsOwners::new(), &world.2, &UplinkPolicy::default());
        for files in wanted.services.values() {
            let addresses: Vec<_> = files.hosts.lines().filter_map(|l| l.split(',').nth(2)).collect();
            let unique: BTreeSet<_> = addresses.iter().collect();
            prop_assert_eq!(unique.len(), addresses.len(), "dnsmasq refuses to start on this");
        }
        for (one, other) in wanted.bridges.values().zip(wanted.bridges.values().skip(1)) {
            prop_assert!(one.address != other.address);
        }
    }
}

#[test]
fn a_new_workload_reloads_and_never_restarts() {
    let mut observed = NetworkObserved::default();
    let net = network(1, 1, false, false);
    run(&(vec![net.clone()], vec![], BTreeMap::new()), &mut observed);
    let steps =
        run(&(vec![net], vec![port(5, 1, 1, 9, 8001, false)], BTreeMap::new()), &mut observed);
    let kinds: Vec<_> = steps.iter().map(NetworkStep::summary).collect();
    assert_eq!(kinds, ["load packet rules", "reload DHCP and DNS on skb00000001"]);
}

#[test]
fn steps_go_down_before_they_go_up() {
    let mut observed = NetworkObserved::default();
    let nics = BTreeMap::from([("ens3".to_owned(), NicObserved::default())]);
    let old = (vec![network(1, 1, false, false)], vec![port(5, 1, 1, 9, 8001, true)], nics.clone());
    let up: Vec<_> = run(&old, &mut observed).iter().map(NetworkStep::summary).collect();
    assert_eq!(
        up,
        [
            "load packet rules",
            "enable forwarding",
            "take the address at which guests ask for their data",
            "look after uplink ens3",
            "set up bridge skb00000001",
            "wire skerry-pod-00000005 to skb00000001",
            "start DHCP and DNS on skb00000001",
        ]
    );
    let new = (vec![network(2, 2, false, false)], vec![], nics);
    let swap: Vec<_> = run(&new, &mut observed).iter().map(NetworkStep::summary).collect();
    assert_eq!(
        swap,
        [
            "stop DHCP and DNS on skb00000001",
            "remove namespace skerry-pod-00000005",
            "remove bridge skb00000001",
            "load packet rules",
            "set up bridge skb00000002",
            "start DHCP and DNS on skb00000002",
        ]
    );
}

#[test]
fn what_cannot_be_is_named_and_the_rest_works() {
    let nets =
        [network(1, 1, false, false), network(2, 1, false, false), network(3, 3, true, false)];
    let mut bad = port(9, 1, 1, 4, 8005, false);
    bad.spec.hostname = "x\ndhcp-script=/bin/sh".into();
    let ports = [
        port(4, 1, 1, 1, 8000, false),
        port(5, 1, 1, 2, 8001, false),
        port(6, 1, 1, 2, 8002, false),
        port(7, 9, 1, 3, 8003, false),
        port(8, 3, 3, 3, 8004, false),
        bad,
    ];
    let wanted =
        desired(&nets, &ports, &NetnsOwners::new(), &BTreeMap::new(), &UplinkPolicy::default());
    let reason = |id_: u128| wanted.problems.get(&Uuid::from_u128(id_)).map(|p| p.reason);
    assert_eq!(reason(id(2, 1)), Some("Overlap"));
    assert_eq!(reason(id(4, 2)), Some("AddressForeign"), "the gateway's address");
    assert_eq!(reason(id(5, 2)), None);
    assert_eq!(reason(id(6, 2)), Some("Conflict"));
    assert_eq!(reason(id(7, 2)), Some("NetworkMissing"));
    assert_eq!(reason(id(8, 2)), None);
    assert_eq!(reason(id(9, 2)), Some("Malformed"));
    assert!(wanted.rules.text.contains("8001 : 10.88.1.2 . 80"));
    assert!(!wanted.rules.text.contains("8004"), "an isolated network has no way in");
    assert!(wanted.services.values().all(|f| !f.hosts.contains("dhcp-script")));
}

#[test]
fn a_removed_network_stays_while_it_is_used() {
    let leaving = network(1, 1, false, true);
    let used = desired(
        std::slice::from_ref(&leaving),
        &[port(5, 1, 1, 9, 8001, true)],
        &NetnsOwners::new(),
        &BTreeMap::new(),
        &UplinkPolicy::default(),
    );
    assert_eq!(used.bridges.len(), 1);
    let unused =
        desired(&[leaving], &[], &NetnsOwners::new(), &BTreeMap::new(), &UplinkPolicy::default());
    assert_eq!((unused.bridges.len(), unused.problems.len()), (0, 0));
}

#[test]
fn a_pods_namespace_is_its_users_and_made_when_they_are_known() {
    let nets = [network(1, 1, false, false)];
    let ports = [port(5, 1, 1, 9, 8001, true)];
    let pod = ports[0].spec.workload.id;
    let mut observed = NetworkObserved::default();
    let mut steps = |owner: NetnsOwner| {
        let owners = NetnsOwners::from([(pod, owner)]);
        let wanted = desired(&nets, &ports, &owners, &BTreeMap::new(), &UplinkPolicy::default());
        let steps = plan(&wanted, &observed);
        steps.iter().for_each(|step| carry_out(&mut observed, step));
        assert_eq!(plan(&wanted, &observed), []);
        let problem = wanted.problems.get(&ports[0].meta.id).map(|problem| problem.reason);
        let users: Vec<_> = wanted.attachments.values().map(|wired| wired.users).collect();
        let all = steps.iter().map(NetworkStep::summary);
        let about = all.filter(|step| step.contains("skerry-pod-")).collect::<Vec<_>>();
        (about, users, problem)
    };
    let wire = "wire skerry-pod-00000005 to skb00000001".to_owned();
    assert_eq!(steps(NetnsOwner::Awaited), (vec![], vec![], Some("NoDevice")));
    assert_eq!(steps(NetnsOwner::Pod(655_360)), (vec![wire.clone()], vec![Some(655_360)], None));
    assert_eq!(steps(NetnsOwner::Pod(655_360)).0, Vec::<String>::new());
    // Others, and the machine's own again: wired anew.
    assert_eq!(steps(NetnsOwner::Pod(720_896)).0, std::slice::from_ref(&wire));
    assert_eq!(steps(NetnsOwner::Node), (vec![wire], vec![None], None));
    let gone = "remove namespace skerry-pod-00000005".to_owned();
    assert_eq!(steps(NetnsOwner::Awaited).0, [gone]);
}
