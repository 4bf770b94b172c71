//! What holds a container, and what does not when an admin wanted it so.

use super::*;

const TRY: &str = r#"
    b=/bin/busybox
    try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: allowed"; else echo "$name: refused"; fi; }
    $b cat /proc/self/status
    echo "hostname: $($b hostname)"
    echo "links: $($b ls /sys/class/net | $b tr '\n' ' ')"
    try mount $b mount -t tmpfs x /tmp
    try unshare $b unshare -m true
    try sysctl $b sh -c 'x=$($b cat /proc/sys/vm/swappiness) && echo $x > /proc/sys/vm/swappiness'
    try masked $b sh -c '[ -s /proc/keys ]'
    exit 1
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_privileged_container_may_do_everything_in_its_own_namespaces() {
    let stage = Stage::of_machine().await;
    let mut desired = stage.shell(TRY);
    desired.privileged = true;
    assert_eq!(stage.run_to_end(desired).await, Exit::Code(1), "{}", stage.log());
    let log = stage.log();
    for (name, value) in [
        ("Seccomp", "0"),
        ("NoNewPrivs", "0"),
        ("hostname", "stage"),
        ("links", "lo"),
        ("mount", "allowed"),
        ("unshare", "allowed"),
        ("sysctl", "allowed"),
    ] {
        assert_eq!(field(&log, &format!("{name}:")), value, "{name}\n{log}");
    }
    let all = u64::from_str_radix(field(&log, "CapEff:"), 16).unwrap();
    assert_eq!(all.count_ones() as usize, crate::powers::all().len(), "{all:x}");
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn with_the_nodes_network_a_container_sees_its_links_and_has_its_name() {
    let mut stage = Stage::of_machine().await;
    let own = std::mem::replace(&mut stage.network, PodNetwork::of_node());
    let desired = stage.shell(TRY);
    assert_eq!(stage.run_to_end(desired).await, Exit::Code(1), "{}", stage.log());
    let log = stage.log();
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!(field(&log, "hostname:"), name);
    let links = folders::names(Path::new("/sys/class/net"));
    let seen: Vec<&str> = field(&log, "links:").split(' ').collect();
    assert!(links.iter().all(|link| seen.contains(&link.as_str())), "{links:?}\n{log}");
    for refused in ["mount", "unshare", "sysctl"] {
        assert_eq!(field(&log, &format!("{refused}:")), "refused", "{log}");
    }
    stage.network = own;
    stage.clear().await;
}
