use skerry_model::{
    Kind, Meta, Name, NetworkSpec, NetworkStatus, Owner, Phase, PortStatus, Timestamp,
};
use uuid::Uuid;

use super::*;

fn meta(name: &str, id: u128) -> Meta {
    Meta {
        id: Uuid::from_u128(id),
        name: Name::new(name).unwrap(),
        labels: Default::default(),
        generation: 1,
        revision: 1,
        owner: Owner::Local,
        phase: Phase::Present,
        finalizers: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
        updated: Timestamp::UNIX_EPOCH,
    }
}

fn network(mode: NetworkMode, prefix: u8) -> Resource<Network> {
    let subnet = Subnet { network: Ipv4Addr::new(10, 88, 0, 0), prefix };
    Resource {
        meta: meta("default", 7),
        spec: NetworkSpec { mode, subnet },
        status: NetworkStatus::default(),
    }
}

fn ask<'a>(hostname: &'a str, publish: &'a [Publish]) -> PortRequest<'a> {
    let workload = LocalRef { kind: Kind::Pod, id: Uuid::from_u128(99) };
    PortRequest { workload, further: None, hostname, publish }
}

fn publish(host_port: u16) -> Publish {
    Publish { protocol: Protocol::Tcp, host_port, workload_port: 80 }
}

fn stored(name: &str, id: u128, spec: PortSpec) -> Resource<Port> {
    Resource { meta: meta(name, id), spec, status: PortStatus::default() }
}

#[test]
fn the_first_port_gets_the_first_address_and_a_local_mac() {
    let spec = allocate_port(
        &network(NetworkMode::Nat, 24),
        &[],
        ask("web", &[publish(8080)]),
        0x1_02_03_04_05,
    )
    .unwrap();
    assert_eq!(spec.address, Ipv4Addr::new(10, 88, 0, 2));
    assert_eq!(spec.mac, "02:01:02:03:04:05");
    assert_eq!(spec.hostname, "web");
    assert_eq!(spec.publish, [publish(8080)]);
}

#[test]
fn a_full_network_says_so_with_numbers() {
    let net = network(NetworkMode::Nat, 29);
    let mut ports = Vec::new();
    for index in 0..5_u128 {
        let name = format!("p{index}");
        let spec = allocate_port(&net, &ports, ask(&name, &[]), 5).unwrap();
        ports.push(stored(&name, index, spec));
    }
    let macs: BTreeSet<_> = ports.iter().map(|p| p.spec.mac.clone()).collect();
    let addresses: BTreeSet<_> = ports.iter().map(|p| p.spec.address).collect();
    assert_eq!(
        (macs.len(), addresses.len()),
        (5, 5),
        "the same random number must not repeat a MAC"
    );
    let refused = allocate_port(&net, &ports, ask("more", &[]), 5).unwrap_err();
    assert_eq!(refused, AllocateError::Full { network: "default".into(), size: 5 });
    assert_eq!(refused.field(), "spec.network");
}

#[test]
fn published_ports_are_the_nodes_and_each_is_given_once() {
    let net = network(NetworkMode::Nat, 24);
    let first = allocate_port(&net, &[], ask("a", &[publish(8080)]), 1).unwrap();
    let ports = [stored("a-pod", 1, first)];
    let taken = allocate_port(&net, &ports, ask("b", &[publish(8080)]), 2).unwrap_err();
    assert!(taken.to_string().contains("a-pod"), "{taken}");
    let udp = Publish { protocol: Protocol::Udp, ..publish(8080) };
    assert!(allocate_port(&net, &ports, ask("b", &[udp]), 2).is_ok());
    let own = allocate_port(&net, &ports, ask("b", &[publish(443)]), 2).unwrap_err();
    assert!(matches!(own, AllocateError::Reserved { host_port: 443, .. }));
    let isolated = network(NetworkMode::Isolated, 24);
    let way_in = allocate_port(&isolated, &[], ask("b", &[publish(81)]), 2).unwrap_err();
    assert!(matches!(way_in, AllocateError::Isolated { .. }));
}

#[test]
fn a_second_workload_of_one_name_gets_its_kind_added_and_a_third_is_refused() {
    let net = network(NetworkMode::Nat, 24);
    let first = allocate_port(&net, &[], ask("web", &[]), 1).unwrap();
    let mut ports = vec![stored("web-vm", 1, first)];
    let second = allocate_port(&net, &ports, ask("web", &[]), 2).unwrap();
    assert_eq!(second.hostname, "web-pod");
    ports.push(stored("web-pod", 2, second));
    let third = allocate_port(&net, &ports, ask("web", &[]), 3).unwrap_err();
    assert!(matches!(third, AllocateError::HostnameTaken { .. }));
    let long = "x".repeat(63);
    let spec = allocate_port(&net, &ports, ask(&long, &[]), 4).unwrap();
    let ports = [stored("x", 4, spec)];
    let cut = allocate_port(&net, &ports, ask(&long, &[]), 5).unwrap().hostname;
    assert!(Name::new(cut.clone()).is_ok(), "{cut}");
}

#[test]
fn ids_that_would_share_device_names_are_seen() {
    let id = |text: &str| text.parse::<Id<Port>>().unwrap();
    let one = id("0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c");
    assert!(collides(id("0b6d1a52-0000-4c1e-9b42-7f1f0c1a2b3c"), [one]));
    assert!(!collides(id("1b6d1a52-0000-4c1e-9b42-7f1f0c1a2b3c"), [one]));
}

#[test]
fn a_subnet_is_given_once() {
    let existing = [network(NetworkMode::Nat, 24)];
    let subnet = |third, prefix| Subnet { network: Ipv4Addr::new(10, 88, third, 0), prefix };
    assert_eq!(check_subnet(subnet(1, 24), &existing), Ok(()));
    let refused = check_subnet(subnet(0, 16), &existing).unwrap_err();
    assert!(refused.to_string().contains("`default` (10.88.0.0/24)"), "{refused}");
    assert_eq!(refused.field(), "spec.subnet");
}
