//! Pods on the real system: what comes before the others and beside them, probes, limits that bite, revisions,
//! and a killed daemon that nobody notices.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "pods/disk.rs"]
mod disk;
#[path = "pods/early.rs"]
mod early;
#[path = "pods/follow.rs"]
mod follow;
#[path = "pods/order.rs"]
mod order;
#[path = "pods/pages.rs"]
mod pages;
#[path = "pods/volumes.rs"]
mod volumes;

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_held_watched_and_brought_back() -> anyhow::Result<()> {
    let (mut node, ports) = NodeUnderTest::claimed("pods", &[8080]).await?;
    println!("== two containers share a network and a folder, after one that prepares it");
    node.post("/api/v1/pods", pair()).await?;
    wait_condition(&node, "/api/v1/pods/pair", "Ready", "true").await?;
    node.wait_answer(ports[0], "skerry tiny container", SOON).await?;
    wait_log(&node, "pair", "side", "prepared").await?;
    wait_log(&node, "pair", "side", "skerry tiny container").await?;

    println!("== all but the start is done while the network is being wired");
    early::is_ready_before_its_network(&mut node).await?;

    println!("== a container that does not live is started again, alone");
    liveness(&node).await?;
    println!("== limits bite");
    memory_bites(&node).await?;
    processes_bite(&node).await?;
    takes(&node).await?;
    processor_bites(&mut node).await?;
    disk::ends_before_the_node_does(&mut node).await?;

    println!("== a log is followed, and a flood of lines is cut");
    follow::as_it_is_written(&mut node).await?;
    follow::is_cut_when_it_floods(&node).await?;

    println!("== the node's own network, and a container that nearly nothing holds");
    near_the_node(&mut node).await?;

    println!("== users of a pod's own");
    own_users(&mut node).await?;

    println!("== huge pages are handed out, held and given back");
    pages::are_handed_out(&mut node).await?;

    println!("== a bad revision gives way to the good one, and a person can go back further");
    revisions(&node).await?;

    println!("== a killed daemon changes nothing");
    killed_daemon(&mut node).await?;

    println!("== a volume outlives its pods and holds no more than it may");
    volumes::outlive(&node).await?;

    println!("== one file, and pods that wait for each other");
    order::holds(&node).await
}

fn pair() -> Value {
    let shared = json!([{"volume": "shared", "path": "/shared"}]);
    json!({"metadata": {"name": "pair"}, "spec": {
        "volumes": [{"name": "shared", "source": {"empty": {"medium": "disk"}}}],
        "init": [{"name": "prepare", "image": "tiny", "mounts": shared,
            "command": ["/bin/sh", "-c", "echo prepared > /shared/mark"]}],
        "containers": [
            {"name": "web", "image": "tiny",
                "startup": {"check": {"tcp": {"port": 8080}}, "period_s": 1, "failure_threshold": 60},
                "readiness": {"check": {"http": {"port": 8080, "path": "/"}}, "period_s": 2, "timeout_s": 5}},
            {"name": "side", "image": "tiny", "mounts": shared,
                "command": ["/bin/sh", "-c",
                    "cat /shared/mark; while true; do wget -q -O - http://127.0.0.1:8080/; sleep 2; done"],
                "liveness": {"check": {"exec": {"command": ["/bin/cat", "/shared/mark"]}}, "timeout_s": 20}}],
        "update": {"min_ready_s": 1}, "stop_timeout_s": 2,
        "publish": [{"host_port": 8080, "workload_port": 8080}]}})
}

fn alone(name: &str, script: &str, more: &Value) -> Value {
    let mut container =
        json!({"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script]});
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    // A shell as the first process does not end when it is asked to.
    json!({"metadata": {"name": name},
        "spec": {"restart": "never", "stop_timeout_s": 2, "containers": [container]}})
}

async fn liveness(node: &NodeUnderTest) -> anyhow::Result<()> {
    let check = json!({"liveness": {"check": {"exec": {"command": ["/bin/cat", "/nothing"]}},
        "period_s": 1, "timeout_s": 20, "failure_threshold": 1}});
    let mut sick = alone("sick", "while true; do sleep 1; done", &check);
    sick["spec"]["restart"] = json!("always");
    node.post("/api/v1/pods", sick).await?;
    wait_container(node, "sick", |main| main["restarts"].as_u64() >= Some(1)).await?;
    delete(node, "sick").await
}

async fn memory_bites(node: &NodeUnderTest) -> anyhow::Result<()> {
    let script = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done";
    node.post("/api/v1/pods", alone("glutton", script, &json!({"memory_mib": 16}))).await?;
    let main = wait_container(node, "glutton", |main| main["state"] == "exited").await?;
    ensure!(main["exit_reason"] == "oom", "{main}");
    delete(node, "glutton").await
}

/// What a container takes is told as the kernel counts it.
async fn takes(node: &NodeUnderTest) -> anyhow::Result<()> {
    let script =
        "busybox dd if=/dev/zero of=/file bs=1M count=4 conv=fsync; echo written; sleep 1000";
    node.post("/api/v1/pods", alone("taker", script, &json!({"memory_mib": 32}))).await?;
    wait_log(node, "taker", "main", "written").await?;
    wait_container(node, "taker", |main| main["pid"].is_u64()).await?;
    let told = node.get("/api/v1/pods/taker/stats").await?;
    let main = &told["containers"][0];
    ensure!(
        main["name"] == "main" && main["memory_limit_bytes"].as_u64() > Some(32 << 20),
        "{told}"
    );
    ensure!(main["written_bytes"].as_u64() >= Some(4 << 20), "{told}");
    for (field, least) in [("cpu_us", 1000), ("memory_bytes", 1), ("memory_peak_bytes", 4 << 20)] {
        ensure!(main[field].as_u64() >= Some(least), "{field}: {told}");
    }
    let table = node.skerry(&["pod", "stats", "taker"])?;
    ensure!(table.contains("CPU TIME") && table.contains("main"), "{table}");
    delete(node, "taker").await
}

async fn processes_bite(node: &NodeUnderTest) -> anyhow::Result<()> {
    let script = "for n in 1 2 3 4 5 6 7 8; do sleep 300 & done; echo all started";
    node.post("/api/v1/pods", alone("forker", script, &json!({"pids": 4}))).await?;
    wait_log(node, "forker", "main", "can't fork").await?;
    delete(node, "forker").await
}

async fn near_the_node(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script = "ls /sys/class/net; hostname; cat /etc/resolv.conf; grep -E 'CapEff|Seccomp:' /proc/self/status; \
        mount -t tmpfs x /tmp && echo it mounts; echo ready; sleep 1000";
    let mut pod = alone(
        "near",
        script,
        &json!({"privileged": true,
        "readiness": {"check": {"exec": {"command": ["/bin/ls", "/"]}}, "timeout_s": 20}}),
    );
    pod["spec"]["host_network"] = json!(true);
    node.post("/api/v1/pods", pod).await?;
    for part in ["lo", "it mounts", "ready"] {
        wait_log(node, "near", "main", part).await?;
    }
    wait_condition(node, "/api/v1/pods/near", "Ready", "true").await?;
    let log = node.skerry(&["pod", "logs", "near"])?;
    let name = node.shell("cat /proc/sys/kernel/hostname")?;
    for line in node.shell("ls -1 /sys/class/net")?.lines().chain([name.trim(), "Seccomp: 0"]) {
        ensure!(log.contains(line.trim()), "no `{line}` in {log}");
    }
    let near = node.get("/api/v1/pods/near").await?;
    ensure!(near["status"]["risks"].as_array().is_some_and(|list| list.len() == 2), "{near}");
    ensure!(near["status"]["addresses"] == json!([]), "{near}");
    ensure!(near["status"]["user_namespace"] == "host", "{near}");
    let list = node.skerry(&["pod", "list"])?;
    ensure!(list.contains("privileged") && list.contains("node"), "{list}");
    delete(node, "near").await
}

/// Nothing is asked for here: this is how pods are.
async fn own_users(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script = "cat /proc/1/uid_map; echo links $(ls /sys/class/net) and $(ls /sys/devices/virtual/net); \
        echo kept >> /shared/file && echo kept >> /layer && chown 7:8 /shared/file /layer; \
        echo owners $(stat -c %u:%g /shared/file /layer) lines $(wc -l < /layer); sleep 1000";
    let mut pod =
        alone("own", script, &json!({"mounts": [{"volume": "shared", "path": "/shared"}]}));
    pod["spec"]["volumes"] = json!([{"name": "shared", "source": {"empty": {"medium": "disk"}}}]);
    node.post("/api/v1/pods", pod).await?;
    wait_log(node, "own", "main", "owners 7:8 7:8 lines 1").await?;
    wait_log(node, "own", "main", "links eth0 lo and eth0 lo").await?;
    // Its log may be here before its status is.
    let main = wait_container(node, "own", |main| main["pid"].is_u64()).await?;
    let pid = main["pid"].as_u64().context("it does not run")?;
    let own = node.get("/api/v1/pods/own").await?;
    ensure!(own["status"]["user_namespace"] == "pod", "{own}");
    let first = own["status"]["users"].as_u64().context("it has no users")?;
    let owner = node.shell(&format!("stat -c %u /proc/{pid}"))?;
    ensure!(owner.trim() == first.to_string(), "root in it is user {owner}, not {first}");
    let disk =
        "find /var/lib/skerry/data/pods /var/lib/skerry/data/pod-volumes -user 7 -group 8 -type f";
    ensure!(node.shell(disk)?.lines().count() == 2, "owners on disk are not those in the pod");
    let said =
        node.skerry(&["exec", "own", "--", "/bin/sh", "-c", "id -u; cat /proc/self/uid_map"])?;
    let words: Vec<&str> = said.split_whitespace().collect();
    ensure!(words == ["0", "0", &first.to_string(), "65536"], "{said}");
    // What it sees of the data is root's alone to the node, and stays for its next start.
    let seen = format!("/run/skerry/seen/{}", first / 65_536);
    node.shell(&format!("test -d {seen}/layers && stat -c %a /run/skerry/seen | grep -qx 700"))?;

    // With the node's users again everything is there, and still belongs to the same; so do its links.
    let body = json!({"spec": {"user_namespace": "host"}});
    let (status, answer) = node.request(Method::PATCH, "/api/v1/pods/own", Some(body)).await?;
    ensure!(status.is_success(), "{status} {answer}");
    wait_log(node, "own", "main", "owners 7:8 7:8 lines 2").await?;
    let log = node.skerry(&["pod", "logs", "own"])?;
    let links = |line: &&str| line.trim() == "links eth0 lo and eth0 lo";
    ensure!(log.lines().filter(links).count() == 2, "{log}");
    delete(node, "own").await?;
    order::wait_gone(node, "/api/v1/pods/own").await?;
    let namespace = format!("/run/skerry/users/skerry-pod-{}", short(&own)?);
    let mut left = String::new();
    // Its network goes after its record.
    for _ in 0..200 {
        left = node.shell(&format!("ls -d {seen} {namespace} 2>/dev/null; true"))?;
        if left.trim().is_empty() {
            break;
        }
    }
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

/// The short id that names what the machine has of a pod.
fn short(pod: &Value) -> anyhow::Result<String> {
    let id = pod["metadata"]["id"].as_str().context("it has no id")?;
    Ok(id.chars().take(8).collect())
}

async fn processor_bites(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let busy = alone("busy", "while true; do :; done", &json!({"cpu_limit_m": 50}));
    node.post("/api/v1/pods", busy).await?;
    let main = wait_container(node, "busy", |main| main["pid"].is_u64()).await?;
    let pid = main["pid"].as_u64().unwrap();
    let line = format!(
        "while read name count; do if [ $name = nr_throttled ]; then echo $count; fi; done \
         < /sys/fs/cgroup$(cut -d: -f3 /proc/{pid}/cgroup)/cpu.stat"
    );
    let mut throttled = 0;
    for _ in 0..200 {
        throttled = node.shell(&line)?.trim().parse::<u64>()?;
        if throttled > 0 {
            break;
        }
    }
    ensure!(throttled > 0, "a busy loop was never held back");
    delete(node, "busy").await
}

async fn revisions(node: &NodeUnderTest) -> anyhow::Result<()> {
    let path = "/api/v1/pods/pair";
    let pod = node.get(path).await?;
    ensure!(pod["status"]["revision"] == 1, "{}", pod["status"]);
    wait_revision(node, |status| status["history"][0]["state"] == "good").await?;
    let mut bad = pod["spec"]["containers"].clone();
    bad[0]["command"] = json!(["/bin/cat", "/nothing"]);
    patch(node, json!({"spec": {"containers": bad}})).await?;
    let back = |status: &Value| {
        let history = status["history"].as_array().cloned().unwrap_or_default();
        let number = status["revision"].as_u64();
        let running = history.iter().find(|revision| revision["number"].as_u64() == number);
        status["state"] == "running"
            && history.iter().any(|revision| revision["state"] == "failed")
            && running.is_some_and(|revision| revision["state"] == "good")
    };
    wait_revision(node, back).await?;
    wait_condition(node, path, "RolledBack", "true").await?;

    let mut other = pod["spec"]["containers"].clone();
    other[1]["env"] = json!([{"name": "SEASON", "value": "winter"}]);
    patch(node, json!({"spec": {"containers": other}})).await?;
    at_rest(node).await?;
    node.skerry(&["pod", "rollback", "pair", "--to", "1"])?;
    at_rest(node).await?;
    let containers = node.get(path).await?["spec"]["containers"].clone();
    ensure!(!containers.to_string().contains("winter"), "{containers}");
    Ok(())
}

/// Waits until what is wanted of the pod last has been done: what it says of itself may be of the time before.
async fn at_rest(node: &NodeUnderTest) -> anyhow::Result<()> {
    eventually(SOON * 2, || async {
        let pod = node.get("/api/v1/pods/pair").await?;
        let (status, number) = (&pod["status"], &pod["status"]["revision"]);
        let ready = |c: &Value| c["type"] == "Ready" && c["state"] == "true";
        let good = |r: &Value| r["number"] == *number && r["state"] == "good";
        let any = |list: &Value, fits: &dyn Fn(&Value) -> bool| {
            list.as_array().is_some_and(|list| list.iter().any(fits))
        };
        let rests = status["observed_generation"] == pod["metadata"]["generation"]
            && status["state"] == "running"
            && any(&status["conditions"], &ready)
            && any(&status["history"], &good);
        if rests { Ok(()) } else { bail!("{status}") }
    })
    .await
}

async fn killed_daemon(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let path = "/api/v1/pods/pair";
    at_rest(node).await?;
    let pids = |pod: &Value| {
        let containers = pod["status"]["containers"].as_array().cloned().unwrap_or_default();
        containers.iter().map(|one| one["pid"].clone()).collect::<Vec<_>>()
    };
    let before = pids(&node.get(path).await?);
    ensure!(before.len() == 2 && before.iter().all(Value::is_u64), "{before:?}");
    node.shell("kill -9 $(systemctl show -p MainPID --value skerry-noded)")?;
    node.wait_api().await?;
    wait_condition(node, path, "Ready", "true").await?;
    let after = pids(&node.get(path).await?);
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

async fn patch(node: &NodeUnderTest, body: Value) -> anyhow::Result<()> {
    let (status, answer) = node.request(Method::PATCH, "/api/v1/pods/pair", Some(body)).await?;
    ensure!(status.is_success(), "{status} {answer}");
    Ok(())
}

async fn delete(node: &NodeUnderTest, name: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/pods/{name}");
    let (status, answer) = node.request(Method::DELETE, &path, None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    Ok(())
}

async fn wait_container(
    node: &NodeUnderTest,
    name: &str,
    fits: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let path = format!("/api/v1/pods/{name}");
    eventually(SOON, || async {
        let pod = node.get(&path).await?;
        let main = &pod["status"]["containers"][0];
        if fits(main) { Ok(main.clone()) } else { bail!("{}", pod["status"]) }
    })
    .await
}

async fn wait_revision(node: &NodeUnderTest, fits: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    eventually(SOON * 2, || async {
        let pod = node.get("/api/v1/pods/pair").await?;
        if fits(&pod["status"]) { Ok(()) } else { bail!("{}", pod["status"]) }
    })
    .await
}

async fn wait_condition(
    node: &NodeUnderTest,
    path: &str,
    kind: &str,
    state: &str,
) -> anyhow::Result<()> {
    eventually(SOON * 2, || async {
        let found = node.get(path).await?;
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let holds = |c: &Value| c["type"] == kind && c["state"] == state;
        if conditions.iter().any(holds) { Ok(()) } else { bail!("{}", found["status"]) }
    })
    .await
}

async fn wait_log(
    node: &NodeUnderTest,
    pod: &str,
    container: &str,
    expected: &str,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/pods/{pod}/logs?container={container}&tail=200");
    eventually(SOON, || async {
        let text = node.get(&path).await?.to_string();
        if text.contains(expected) { Ok(()) } else { bail!("{path}: {text}") }
    })
    .await
}
