//! Real packets through a node built of namespaces: what a user of the network relies on.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use skerry_linux_net::LinuxNet;
use skerry_model::{Kind, NetworkMode};
use skerry_network::{NetworkHost, NetworkStep, Origin, tap_name};

use crate::ground::{
    Call, DirectUnits, answer_at, call, dhcp_server_outside, eventually, ip, isolated, node,
    plug_in_guest, plug_in_outside, run, within,
};
use crate::wanted::{Wanted, one_pod, settle};

pub const POD: &str = "skerry-pod-00000005";
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 1, 1);

/// The uplink's address by DHCP, once it has one.
pub async fn leased(host: &LinuxNet) -> Ipv4Addr {
    let found = Arc::new(std::sync::Mutex::new(None));
    eventually("a DHCP lease on up0", || async {
        let observed = host.observe().await.unwrap();
        let lease =
            observed.nics["up0"].addresses.iter().find(|a| a.origin == Origin::Dhcp).copied();
        let v4 = lease.and_then(|a| match a.address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        *found.lock().unwrap() = v4;
        v4.is_some()
    })
    .await;
    let address = *found.lock().unwrap();
    address.unwrap()
}

pub async fn reaches(namespace: Option<&str>, address: Ipv4Addr, port: u16) -> bool {
    call(namespace, address, port).await.is_some()
}

pub async fn connect(namespace: Option<&str>, address: Ipv4Addr, port: u16) -> Call {
    let from = namespace.unwrap_or("the node").to_owned();
    match call(namespace, address, port).await {
        Some(call) => call,
        None => {
            panic!("{from} does not reach {address}:{port}\n{}", run("nft", &["list", "ruleset"]))
        }
    }
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_nothing_else_is() {
    isolated(|| async {
        plug_in_outside();
        let _server = dhcp_server_outside();
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let mut wanted = one_pod();
        wanted.network("other", 2, NetworkMode::Nat);
        wanted.network("closed", 3, NetworkMode::Isolated);
        wanted.workload(0, Kind::Pod, 6, &[]);
        wanted.workload(1, Kind::Pod, 7, &[]);
        wanted.workload(2, Kind::Pod, 8, &[]);
        settle(&host, &wanted).await;
        let own = leased(&host).await;
        answer_at(Some(POD), 80).await;
        answer_at(Some("skerry-pod-00000007"), 80).await;
        answer_at(Some("outside"), 9000).await;
        answer_at(None, 443).await;
        answer_at(None, 80).await;
        let (pod, neighbour, other, closed) = (
            Some(POD),
            Some("skerry-pod-00000006"),
            Some("skerry-pod-00000007"),
            Some("skerry-pod-00000008"),
        );
        let pod_address = wanted.address(5);

        let from_outside = connect(Some("outside"), own, 8080).await;
        assert_eq!(from_outside.seen_as, OUTSIDE.to_string(), "the pod sees its true caller");
        connect(None, own, 8080).await;
        connect(neighbour, pod_address, 80).await;
        connect(neighbour, own, 8080).await;
        connect(pod, own, 8080).await;
        connect(other, own, 8080).await;
        let out = connect(pod, OUTSIDE, 9000).await;
        assert_eq!(out.seen_as, own.to_string(), "outgoing traffic takes the node's address");

        connect(Some("outside"), own, 443).await;
        assert!(!reaches(Some("outside"), own, 80).await, "the node is closed but for its page");
        for (name, from) in [("pod", pod), ("other", other), ("closed", closed)] {
            assert!(!reaches(from, own, 443).await, "{name} must not reach the node's management");
            let gateway = Ipv4Addr::new(10, 88, if name == "closed" { 3 } else { 1 }, 1);
            assert!(
                !reaches(from, gateway, 443).await,
                "{name} must not reach it by the gateway either"
            );
        }
        assert!(!reaches(other, pod_address, 80).await, "networks do not reach each other");
        assert!(!reaches(closed, OUTSIDE, 9000).await, "an isolated network has no way out");
        assert!(!reaches(closed, own, 8080).await, "not even to a published port");
        assert!(!reaches(Some("outside"), wanted.address(7), 80).await);
    });
}

#[test]
fn a_virtual_machine_gets_its_address_and_names_by_dhcp() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let mut wanted = one_pod();
        settle(&host, &wanted).await;
        wanted.workload(0, Kind::Vm, 6, &[]);
        settle(&host, &wanted).await;
        let asked = units.take_asked();
        let of_service: Vec<_> = asked.iter().filter(|a| a.contains("skb")).collect();
        assert_eq!(of_service, ["restart skb00000001", "reload skb00000001"]);

        // The hypervisor's part: a device with the port's address on the bridge.
        let port = &wanted.ports[1];
        plug_in_guest("vm", &tap_name(port.id()), &port.spec.mac, "skb00000001");
        plug_in_guest("stranger", "skt-stranger", "02:aa:aa:aa:aa:aa", "skb00000001");
        let ask = |name: &'static str| {
            within(Some(name), || {
                let arguments = [
                    "udhcpc",
                    "-i",
                    "eth0",
                    "-f",
                    "-q",
                    "-n",
                    "-t",
                    "5",
                    "-T",
                    "1",
                    "-s",
                    "/bin/true",
                ];
                let output =
                    std::process::Command::new("busybox").args(arguments).output().unwrap();
                String::from_utf8_lossy(&output.stderr).into_owned()
            })
        };
        let said = ask("vm").await;
        let address = wanted.address(6);
        assert!(said.contains(&format!("lease of {address} obtained")), "{said}");
        let refused = ask("stranger").await;
        assert!(refused.contains("no lease"), "only known machines get an address: {refused}");

        ip(&format!("-n vm address add {address}/24 dev eth0"));
        let name = within(Some("vm"), || {
            run("busybox", &["nslookup", "-type=a", "w5.default.internal", &GATEWAY.to_string()])
        });
        assert!(name.await.contains(&wanted.address(5).to_string()));
        let resolv = std::fs::read_to_string(format!("/run/skerry/resolv/{POD}.conf")).unwrap();
        assert_eq!(resolv, "nameserver 10.88.1.1\nsearch default.internal\n");

        // The machine is deleted, and the next one has its address.
        wanted.ports.remove(1);
        settle(&host, &wanted).await;
        wanted.workload(0, Kind::Vm, 7, &[]);
        settle(&host, &wanted).await;
        let port = &wanted.ports[1];
        assert_eq!(port.spec.address, address);
        plug_in_guest("heir", &tap_name(port.id()), &port.spec.mac, "skb00000001");
        let said = ask("heir").await;
        assert!(said.contains(&format!("lease of {address} obtained")), "{said}");
    });
}

#[test]
fn a_restart_adopts_everything_and_cuts_no_connection() {
    isolated(|| async {
        plug_in_outside();
        let _server = dhcp_server_outside();
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let wanted = one_pod();
        settle(&host, &wanted).await;
        let own = leased(&host).await;
        answer_at(Some(POD), 80).await;
        let mut open = connect(Some("outside"), own, 8080).await;
        assert!(open.is_alive());
        drop(host);
        units.take_asked();

        let host = node(&units);
        assert!(
            ip("address show dev up0").contains(&own.to_string()),
            "the address stays meanwhile"
        );
        let steps = settle(&host, &wanted).await;
        assert_eq!(steps, [NetworkStep::ManageUplink { device: "up0".into() }]);
        assert_eq!(units.take_asked(), Vec::<String>::new());
        assert_eq!(leased(&host).await, own);
        assert!(open.is_alive());
    });
}

#[test]
fn what_others_break_is_repaired_and_what_others_own_is_left() {
    isolated(|| async {
        ip("link add br0 type bridge");
        ip("netns add foreign");
        run("nft", &["add", "table", "inet", "foreign"]);
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let mut wanted = one_pod();
        settle(&host, &wanted).await;
        answer_at(Some(POD), 80).await;
        connect(None, wanted.address(5), 80).await;

        run("nft", &["flush", "chain", "inet", "skerry", "forward"]);
        let steps = settle(&host, &wanted).await;
        assert!(matches!(steps[..], [NetworkStep::LoadRules(_)]), "{steps:?}");
        ip("link del skb00000001");
        settle(&host, &wanted).await;
        connect(None, wanted.address(5), 80).await;
        ip(&format!("-n {POD} link del eth0"));
        settle(&host, &wanted).await;
        connect(None, wanted.address(5), 80).await;
        ip(&format!("-n {POD} address add 10.88.1.99/24 dev eth0"));
        ip(&format!("-n {POD} route del default"));
        let steps = settle(&host, &wanted).await;
        assert!(matches!(steps[..], [NetworkStep::EnsureAttachment(_)]), "{steps:?}");

        wanted = Wanted::default();
        settle(&host, &wanted).await;
        let left = ip("link show");
        assert!(!left.contains("skb") && !left.contains("skv"), "{left}");
        assert_eq!(ip("netns list").trim(), "foreign");
        assert!(left.contains("br0"));
        assert!(run("nft", &["list", "tables"]).contains("foreign"));
        assert!(std::fs::read_dir("/run/skerry/dnsmasq").unwrap().next().is_none());
    });
}

#[test]
fn without_dhcp_an_uplink_takes_a_link_local_address_and_goes_on_asking() {
    isolated(|| async {
        plug_in_outside();
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        settle(&host, &Wanted::default()).await;
        let origins = || async {
            let observed = host.observe().await.unwrap();
            let nic = &observed.nics["up0"];
            assert!(nic.up && nic.managed);
            nic.addresses
                .iter()
                .filter(|a| a.address.is_ipv4())
                .map(|a| a.origin)
                .collect::<Vec<_>>()
        };
        assert_eq!(origins().await, []);
        eventually("a link-local address", || async { origins().await == [Origin::LinkLocal] })
            .await;
        let resolv = std::fs::read_to_string("/run/skerry/resolv.conf").unwrap();
        assert!(!resolv.contains("nameserver"));

        let _server = dhcp_server_outside();
        // Pulling and plugging the cable asks again at once.
        ip("-n outside link set out0 down");
        eventually("no carrier", || async { !host.observe().await.unwrap().nics["up0"].carrier })
            .await;
        ip("-n outside link set out0 up");
        eventually("a lease in its place", || async { origins().await == [Origin::Dhcp] }).await;
        let observed = host.observe().await.unwrap();
        assert_eq!(observed.nics["up0"].gateway, Some(OUTSIDE));
        assert_eq!(observed.nics["up0"].dns, [OUTSIDE]);
        assert!(ip("route show default").contains("via 192.0.2.1 dev up0 proto dhcp"));
        let resolv = std::fs::read_to_string("/run/skerry/resolv.conf").unwrap();
        assert!(resolv.ends_with("nameserver 192.0.2.1\n"), "{resolv}");
    });
}

#[test]
fn many_pods_are_wired_and_seen_again() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let mut wanted = Wanted::default();
        wanted.network("default", 1, NetworkMode::Nat);
        for seed in 1..=60 {
            let published = u16::try_from(seed).unwrap() + 8000;
            wanted.workload(0, Kind::Pod, seed, &[(published, 80)]);
        }
        let steps = settle(&host, &wanted).await;
        assert_eq!(
            steps.iter().filter(|s| matches!(s, NetworkStep::EnsureAttachment(_))).count(),
            60
        );
        answer_at(Some("skerry-pod-0000003c"), 80).await;
        connect(Some("skerry-pod-00000001"), wanted.address(60), 80).await;
        connect(None, GATEWAY, 8060).await;
        wanted.ports.truncate(30);
        settle(&host, &wanted).await;
        assert_eq!(ip("netns list").lines().count(), 30);
    });
}

#[test]
fn a_namespace_of_a_pods_own_users_is_wired_like_any_other() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let mut wanted = one_pod();
        settle(&host, &wanted).await;
        for first in [655_360, 720_896] {
            wanted.give_users(5, first);
            let steps = settle(&host, &wanted).await;
            assert!(matches!(steps[..], [NetworkStep::EnsureAttachment(_)]), "{steps:?}");
            assert_eq!(units.take_asked().last().unwrap(), &format!("add {POD}"));
            answer_at(Some(POD), 80).await;
            connect(None, wanted.address(5), 80).await;
            connect(None, GATEWAY, 8080).await;

            // Who joins both sees the links of this namespace, and no others, in a new `/sys`.
            let net = format!("--net=/run/netns/{POD}");
            let user = format!("--user=/run/skerry/users/{POD}");
            let look = "cat /proc/self/uid_map; mount -t sysfs x /mnt && ls /mnt/class/net";
            let join = [&net, &user, "--setuid=0", "--setgid=0", "unshare", "-m", "sh", "-c", look];
            let seen = run("nsenter", &join);
            let words: Vec<&str> = seen.split_whitespace().collect();
            assert_eq!(words, ["0", &first.to_string(), "65536", "eth0", "lo"], "{seen}");
        }
        // Half of it is as good as none.
        run("umount", &[&format!("/run/skerry/users/{POD}")]);
        let steps = settle(&host, &wanted).await;
        assert!(matches!(steps[..], [NetworkStep::EnsureAttachment(_)]), "{steps:?}");

        settle(&host, &Wanted::default()).await;
        assert!(!std::path::Path::new(&format!("/run/skerry/users/{POD}")).exists());
        assert_eq!(ip("netns list").trim(), "");
    });
}

#[test]
fn events_tell_of_changes() {
    isolated(|| async {
        let units = Arc::new(DirectUnits::default());
        let host = node(&units);
        let mut events = host.events();
        settle(&host, &Wanted::default()).await;
        events.mark_unchanged();
        ip("link add dummy0 type bridge");
        tokio::time::timeout(std::time::Duration::from_secs(5), events.changed())
            .await
            .expect("a new device is an event")
            .unwrap();
    });
}
