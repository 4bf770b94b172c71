//! The ground: a node with a bridge, its packet rules and guests, in namespaces of the test's own. Needs root.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;
use skerry_ipc::{
    Answer, Auth, BUILD, Handler, Json, PeerRole, Refusal, RefusalClass, Reply, Request,
};
use skerry_metad::{Limits, Node, Server, Tokens, bind};
use skerry_model::{GuestMetadata, Hidden, METADATA_ADDRESS, MetadataEntry, NetworkMode, Subnet};
use skerry_network::{PortGuard, RuleInput, ruleset};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where the node's card is, and where its guests are.
const OUTSIDE: &str = "192.0.2";
const INSIDE: &str = "10.88.0";
const GATEWAY: u8 = 1;

/// Runs a test in namespaces of its own.
pub fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    assert!(
        geteuid().is_root(),
        "this test makes network namespaces and needs root: run it as root, as `make test` does"
    );
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program and fails the test if it fails.
pub async fn run(line: &str) {
    let mut words = line.split(' ');
    let output =
        Command::new(words.next().unwrap()).args(words).output().await.unwrap_or_else(|error| {
            panic!("`{line}` ({error}): install iproute2, nftables, curl and busybox-static")
        });
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Who is on the bridge, by name: the last byte of the address, and whether it is a virtual machine.
const WORKLOADS: [(&str, u8, bool); 3] = [("ada", 2, true), ("bob", 3, true), ("pod", 4, false)];

pub fn address(name: &str) -> Ipv4Addr {
    let found = WORKLOADS.iter().find(|(of, ..)| *of == name);
    format!("{INSIDE}.{}", found.unwrap().1).parse().unwrap()
}

fn mac(last: u8) -> String {
    format!("02:00:00:00:00:{last:02x}")
}

/// A node with everything but what answers guests.
pub async fn node() {
    run("ip link set lo up").await;
    let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
    run(&format!("ip address add {METADATA_ADDRESS}/32 dev lo")).await;
    run("ip link add skb0 type bridge").await;
    run(&format!("ip address add {INSIDE}.{GATEWAY}/24 dev skb0")).await;
    run("ip link set skb0 up").await;
    let rules = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(rules.path(), rule_text()).unwrap();
    run(&format!("nft -f {}", rules.path().display())).await;
    for (name, last, _) in WORKLOADS {
        run(&format!("ip netns add {name}")).await;
        let mac = mac(last);
        run(&format!("ip link add skt{last} type veth peer name eth0 netns {name} address {mac}"))
            .await;
        run(&format!("ip link set skt{last} master skb0 up")).await;
        run(&format!("ip -n {name} link set lo up")).await;
        dress(name, last).await;
    }
    run("ip netns add outside").await;
    run("ip link add up0 type veth peer name eth0 netns outside").await;
    run(&format!("ip address add {OUTSIDE}.2/24 dev up0")).await;
    run("ip link set up0 up").await;
    run(&format!("ip -n outside address add {OUTSIDE}.1/24 dev eth0")).await;
    run("ip -n outside link set eth0 up").await;
    run(&format!("ip -n outside route add default via {OUTSIDE}.2")).await;
}

/// Lets somebody on the bridge have the addresses that end with `last`.
pub async fn dress(name: &str, last: u8) {
    run(&format!("ip -n {name} link set eth0 down")).await;
    run(&format!("ip -n {name} address flush dev eth0")).await;
    run(&format!("ip -n {name} link set eth0 address {} up", mac(last))).await;
    run(&format!("ip -n {name} address add {INSIDE}.{last}/24 dev eth0")).await;
    run(&format!("ip -n {name} route add default via {INSIDE}.{GATEWAY}")).await;
}

fn rule_text() -> String {
    let subnet = Subnet { network: format!("{INSIDE}.0").parse().unwrap(), prefix: 24 };
    let guard = |(name, last, guest): (&str, u8, bool)| {
        let guard =
            PortGuard { bridge: "skb0".to_owned(), mac: mac(last), address: address(name), guest };
        (format!("skt{last}"), guard)
    };
    let input = RuleInput {
        uplinks: ["up0".to_owned()].into(),
        bridges: [("skb0".to_owned(), (NetworkMode::Nat, subnet))].into(),
        published: BTreeMap::new(),
        ports: WORKLOADS.into_iter().map(guard).collect(),
    };
    ruleset(&input).text
}

/// What the node daemon says of guests.
pub struct Daemon;

#[async_trait]
impl Handler for Daemon {
    async fn handle(&self, peer: PeerRole, _: Auth, request: Request) -> Result<Reply, Refusal> {
        let Request::GuestMetadata { address: asked } = request else {
            return Err(Refusal::new(RefusalClass::Forbidden, "not for you"));
        };
        assert_eq!(peer, PeerRole::Guests);
        // Also the pod: that it learns nothing must not be the daemon's doing.
        let Some((name, last, _)) = WORKLOADS.into_iter().find(|(n, ..)| address(n) == asked)
        else {
            return Err(Refusal::new(RefusalClass::NotFound, "no such guest"));
        };
        let entry = |path: &str, text: &str| MetadataEntry {
            path: path.to_owned(),
            text: Hidden::new(text),
        };
        let entries = vec![
            entry("latest/meta-data/hostname", name),
            entry("latest/user-data", &format!("#!/bin/sh\necho secret of {name}\n")),
        ];
        let told = GuestMetadata { vm: Uuid::from_u128(last.into()), entries };
        Ok(Reply::Answer(Answer::Document(Json(serde_json::to_string(&told).unwrap()))))
    }
}

/// Starts a node daemon that ends with the token.
pub fn daemon(socket: &Path, stop: CancellationToken) {
    let roles = |_: u32, _: u32| Some(PeerRole::Guests);
    let server = skerry_ipc::Server::bind(socket, BUILD, roles, Arc::new(Daemon)).unwrap();
    tokio::spawn(server.run(stop));
}

/// Starts what answers guests.
pub fn answer_guests(socket: &Path, limits: Limits) {
    let listener = bind(SocketAddrV4::new(METADATA_ADDRESS, 80)).unwrap();
    let server = Server::new(Node::new(socket), Tokens::new([7; 32]), limits);
    tokio::spawn(server.run(listener, CancellationToken::new()));
}

/// Asks with curl, and returns the status (0 if there was no answer) and the text.
pub async fn ask(name: &str, arguments: &[&str]) -> (u16, String) {
    let base = ["netns", "exec", name, "curl", "--silent", "--max-time", "3", "--path-as-is"];
    let form = ["--noproxy", "*", "--write-out", "\n%{http_code}"];
    let mut command = Command::new("ip");
    let Output { stdout, .. } =
        command.args(base).args(form).args(arguments).output().await.unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
    (status.parse().unwrap_or_else(|_| panic!("{name}: {text}")), body.to_owned())
}

pub fn url(path: &str) -> String {
    format!("http://{METADATA_ADDRESS}{path}")
}

/// Open connections from a namespace on which nothing is said.
pub async fn hold(name: &str, count: usize) -> Vec<TcpStream> {
    let entry = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
    let open = std::thread::spawn(move || {
        setns(entry, CloneFlags::CLONE_NEWNET).unwrap();
        let to = (METADATA_ADDRESS, 80).into();
        let wait = Duration::from_secs(3);
        (0..count).map(|_| TcpStream::connect_timeout(&to, wait).unwrap()).collect()
    });
    // The kernel takes connections by itself.
    open.join().unwrap()
}

/// Waits until something holds; the only waiting in these tests.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("did not happen within 10 s: {what}");
}
