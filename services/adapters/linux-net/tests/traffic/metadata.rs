//! Who reaches the address at which guests ask for their data, and whom a guest can pass for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use skerry_linux_net::LinuxNet;
use skerry_model::{Kind, METADATA_ADDRESS, NetworkMode};
use skerry_network::{NetworkStep, tap_name};

use crate::ground::{
    DirectUnits, answer_at, dhcp_server_outside, ip, isolated, node, plug_in_guest, plug_in_outside,
};
use crate::packets::{connect, leased, reaches};
use crate::wanted::{Wanted, settle};

/// Guests `ada` and `bob` on one network with a pod that publishes port 80, `eve` on another network, and `ivy` on
/// an isolated one. The node tells whoever asks who he is.
async fn node_with_guests(units: &Arc<DirectUnits>) -> (LinuxNet, Wanted) {
    plug_in_outside();
    let host = node(units);
    let mut wanted = Wanted::default();
    wanted.network("default", 1, NetworkMode::Nat);
    wanted.network("other", 2, NetworkMode::Nat);
    wanted.network("closed", 3, NetworkMode::Isolated);
    wanted.workload(0, Kind::Pod, 5, &[(80, 80)]);
    for (seed, (network, name)) in (6..).zip([(0, "ada"), (0, "bob"), (1, "eve"), (2, "ivy")]) {
        wanted.workload(network, Kind::Vm, seed, &[]);
        settle(&host, &wanted).await;
        let port = wanted.port(seed);
        let bridge = format!("skb0000000{}", network + 1);
        plug_in_guest(name, &tap_name(port.id()), &port.spec.mac, &bridge);
        settle_in(name, port.spec.address);
    }
    answer_at(None, 80).await;
    answer_at(Some("skerry-pod-00000005"), 80).await;
    (host, wanted)
}

/// A guest's own doing: this address and no other, and the gateway of its network.
fn settle_in(name: &str, address: Ipv4Addr) {
    let [a, b, c, _] = address.octets();
    ip(&format!("-n {name} address flush dev eth0"));
    ip(&format!("-n {name} address add {address}/24 dev eth0"));
    ip(&format!("-n {name} route replace default via {a}.{b}.{c}.1"));
    ip(&format!("-n {name} neigh flush all"));
}

fn dress_as(name: &str, mac: &str) {
    ip(&format!("-n {name} link set eth0 down"));
    ip(&format!("-n {name} link set eth0 address {mac} up"));
}

async fn asks(name: &str) -> String {
    connect(Some(name), METADATA_ADDRESS, 80).await.seen_as
}

async fn may_ask(name: &str) -> bool {
    reaches(Some(name), METADATA_ADDRESS, 80).await
}

#[test]
fn each_guest_asks_as_itself_and_nobody_else_may_ask() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let (host, wanted) = node_with_guests(&units).await;
        let _server = dhcp_server_outside();
        let own = leased(&host).await;
        for (seed, name) in (6..).zip(["ada", "bob", "eve", "ivy"]) {
            assert_eq!(asks(name).await, wanted.address(seed).to_string(), "{name}");
        }
        // With a route to 169.254/16 of its own a guest asks the link, not its gateway.
        ip("-n bob route add 169.254.0.0/16 dev eth0");
        assert_eq!(asks("bob").await, wanted.address(7).to_string());

        assert!(!may_ask("skerry-pod-00000005").await, "containers have no data here");
        connect(Some("outside"), own, 80).await;
        ip(&format!("-n outside route add {METADATA_ADDRESS} via {own}"));
        assert!(!may_ask("outside").await, "nor has anybody outside");
        assert!(!reaches(Some("ada"), METADATA_ADDRESS, 443).await);
        plug_in_guest("stranger", "skt-stranger", "02:aa:aa:aa:aa:aa", "skb00000001");
        settle_in("stranger", Ipv4Addr::new(10, 88, 1, 200));
        assert!(!may_ask("stranger").await, "nor a device that the node did not make");
    });
}

#[test]
fn a_guest_cannot_pass_for_another_one() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let (_host, wanted) = node_with_guests(&units).await;
        let (ada, bob) = (wanted.port(6).clone(), wanted.port(7).clone());
        assert_eq!(asks("ada").await, ada.spec.address.to_string());
        // With its address only, then with the Ethernet address only, then with both.
        settle_in("bob", ada.spec.address);
        ip("neigh flush all");
        assert!(!may_ask("bob").await);
        let known = ip("neigh show");
        assert!(!known.contains(&bob.spec.mac), "the node must not learn a wrong address: {known}");
        dress_as("bob", &ada.spec.mac);
        settle_in("bob", bob.spec.address);
        assert!(!may_ask("bob").await);
        settle_in("bob", ada.spec.address);
        assert!(!may_ask("bob").await);
        // From another network neither, nor from an address that nobody was given.
        settle_in("eve", ada.spec.address);
        assert!(!may_ask("eve").await);
        dress_as("bob", &bob.spec.mac);
        settle_in("bob", Ipv4Addr::new(10, 88, 1, 99));
        assert!(!may_ask("bob").await);
        connect(Some("bob"), Ipv4Addr::new(10, 88, 1, 1), 80).await;
        // Nor can it answer in the node's place.
        ip(&format!("-n bob address add {METADATA_ADDRESS}/32 dev eth0"));
        answer_at(Some("bob"), 80).await;
        ip("-n ada neigh flush all");
        ip("-n ada route add 169.254.0.0/16 dev eth0");
        assert_eq!(
            asks("ada").await,
            ada.spec.address.to_string(),
            "and all the while ada is heard"
        );
        let known = ip("-n ada neigh show");
        assert!(!known.contains(&bob.spec.mac), "{known}");
    });
}

#[test]
fn what_somebody_takes_away_comes_back() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let (host, wanted) = node_with_guests(&units).await;
        ip(&format!("address del {METADATA_ADDRESS}/32 dev lo"));
        assert!(!may_ask("ada").await);
        assert_eq!(settle(&host, &wanted).await, [NetworkStep::AnswerGuests]);
        assert_eq!(asks("ada").await, wanted.address(6).to_string());
        crate::ground::run("nft", &["flush", "chain", "bridge", "skerry", "prerouting"]);
        let steps = settle(&host, &wanted).await;
        assert!(matches!(steps[..], [NetworkStep::LoadRules(_)]), "{steps:?}");
    });
}
