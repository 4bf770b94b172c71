//! What the store would hold, and bringing a node to it.

use std::net::Ipv4Addr;

use skerry_linux_net::LinuxNet;
use skerry_model::{
    Kind, LocalRef, Meta, Name, Network, NetworkMode, NetworkSpec, Owner, Phase, Port, Protocol,
    Publish, Resource, Subnet, Timestamp,
};
use skerry_network::{
    NetnsOwner, NetnsOwners, NetworkHost, NetworkStep, PortRequest, UplinkPolicy, allocate_port,
    desired, plan,
};
use uuid::Uuid;

/// What the store would hold.
#[derive(Clone, Default)]
pub struct Wanted {
    pub networks: Vec<Resource<Network>>,
    pub ports: Vec<Resource<Port>>,
    pub owners: NetnsOwners,
}

fn meta(name: String, id: u128) -> Meta {
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

impl Wanted {
    pub fn network(&mut self, name: &str, third: u8, mode: NetworkMode) {
        let subnet = Subnet { network: Ipv4Addr::new(10, 88, third, 0), prefix: 24 };
        self.networks.push(Resource {
            meta: meta(name.to_owned(), u128::from(third) << 96),
            spec: NetworkSpec { mode, subnet },
            status: Default::default(),
        });
    }

    pub fn workload(&mut self, network: usize, kind: Kind, seed: u128, publish: &[(u16, u16)]) {
        let name = format!("w{seed}");
        let publish: Vec<_> = publish
            .iter()
            .map(|(host_port, workload_port)| Publish {
                protocol: Protocol::Tcp,
                host_port: *host_port,
                workload_port: *workload_port,
            })
            .collect();
        let request = PortRequest {
            workload: LocalRef { kind, id: Uuid::from_u128(seed << 96) },
            further: None,
            hostname: &name,
            publish: &publish,
        };
        let random = u64::try_from(seed).unwrap();
        let spec = allocate_port(&self.networks[network], &self.ports, request, random).unwrap();
        self.ports.push(Resource {
            meta: meta(name.clone(), (seed << 96) | 1),
            spec,
            status: Default::default(),
        });
    }

    /// A pod has users of its own from now on, or other ones.
    pub fn give_users(&mut self, seed: u128, first: u32) {
        self.owners.insert(Uuid::from_u128(seed << 96), NetnsOwner::Pod(first));
    }

    pub fn port(&self, seed: u128) -> &Resource<Port> {
        let id = Uuid::from_u128(seed << 96);
        self.ports.iter().find(|p| p.spec.workload.id == id).unwrap()
    }

    pub fn address(&self, seed: u128) -> Ipv4Addr {
        self.port(seed).spec.address
    }
}

/// One pass; returns the steps it took.
async fn converge(host: &LinuxNet, wanted: &Wanted) -> Vec<NetworkStep> {
    let observed = host.observe().await.unwrap();
    let policy = UplinkPolicy::default();
    let goal = desired(&wanted.networks, &wanted.ports, &wanted.owners, &observed.nics, &policy);
    assert!(goal.problems.is_empty(), "{:?}", goal.problems);
    let steps = plan(&goal, &observed);
    for step in &steps {
        if let Err(error) = host.apply(step).await {
            panic!("{}: {error}: {:?}", step.summary(), error.source);
        }
    }
    steps
}

pub async fn settle(host: &LinuxNet, wanted: &Wanted) -> Vec<NetworkStep> {
    let steps = converge(host, wanted).await;
    let rest = converge(host, wanted).await;
    assert_eq!(rest, [], "a plan carried out leaves nothing to do");
    steps
}

/// A pod that publishes a port.
pub fn one_pod() -> Wanted {
    let mut wanted = Wanted::default();
    wanted.network("default", 1, NetworkMode::Nat);
    wanted.workload(0, Kind::Pod, 5, &[(8080, 80)]);
    wanted
}
