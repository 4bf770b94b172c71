//! One node through its life: first boot, claim, a container and a virtual machine, killed services, a reset in
//! the middle of work, and a boot without a network.
//!
//! One boot serves many checks, since each takes a minute under emulation; the checks are told apart by what they
//! print and by the step that an error names.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::{Duration, Instant};

#[path = "node/bad_input.rs"]
mod bad_input;

use anyhow::{Context, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{BOOT, GUEST, NodeUnderTest, PASSWORD, SOON, USER, eventually, machine};
use xtask::builder::Builder;
use xtask::paths::Paths;
use xtask::web::node_command;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lives() -> anyhow::Result<()> {
    let mut machine = machine("life")?;
    machine.debug_shell = true;
    let web = machine.forward(8080)?;
    let guest = machine.forward(8081)?;
    let later = machine.forward(8082)?;
    let (mut node, code) = NodeUnderTest::first_boot(machine)?;
    node.wait_api().await?;

    step("the page says whose node it is");
    refuse_before_claim(&node).await.context("before the claim")?;

    step("the page claims the node, signs out and in");
    page(&node, &[("SKERRY_CLAIM_CODE", code.as_str())])?;
    node.login().await.context("the account that the page made")?;
    refuse_second_claim(&node, &code).await?;

    step("a container and a virtual machine, by two commands");
    node.skerry(&["pod", "create", "web", "--image", "tiny", "--publish", "8080:8080"])?;
    let memory = ["--memory", "128"];
    node.skerry(
        &[&["vm", "create", "guest", "--image", "tiny-vm", "--publish", "8081:8080"], &memory[..]]
            .concat(),
    )?;
    node.wait_state("/api/v1/pods/web", "running", SOON).await?;
    node.wait_answer(web, "skerry tiny container", SOON).await?;
    node.wait_state("/api/v1/vms/guest", "running", GUEST).await?;
    node.wait_answer(guest, "skerry tiny vm", GUEST).await?;
    logs_can_be_read(&node).await?;

    step("inventory for an SMO");
    inventory(&node).await?;

    step("services are confined, and the idle node is small");
    confined(&mut node)?;

    step("killed services come back and touch nothing");
    killed_services(&mut node, web, guest).await?;

    step("the page stops and starts, goes back a revision, keeps volumes, brings in an image");
    let image = node.machine.folder.join("brought.raw");
    std::fs::write(&image, vec![b's'; 1 << 20])?;
    let image = image.display().to_string();
    let walk = [("SKERRY_VM", "guest"), ("SKERRY_POD", "web"), ("SKERRY_VOLUME", "walk")];
    page(&node, &[&walk[..], &[("SKERRY_UPLOAD", image.as_str())]].concat())?;
    // The guest that the page started boots while the next steps run, and answers after the power cut.

    step("bad input is refused");
    bad_input::is_refused(&node).await?;

    step("a full data partition does not harm the state");
    full_data_partition(&mut node).await?;

    step("the plug is pulled in the middle of a creation");
    let body = json!({"metadata": {"name": "late"}, "spec": {
        "containers": [{"name": "web", "image": "tiny"}],
        "publish": [{"host_port": 8082, "workload_port": 8080}]}});
    node.post("/api/v1/pods", body).await?;
    let mut node = node.power_cycle()?;

    step("with the cable out and no room on the data partition, what ran comes back all the same");
    node.vm.link(false)?;
    back_without_a_cable(&mut node).await?;
    let before = runs(&mut node)?;
    node.vm.link(true)?;
    node.wait_api().await?;
    node.login().await.context("the account outlived the power cut")?;
    node.wait_answer(web, "skerry tiny container", SOON).await?;
    node.wait_answer(later, "skerry tiny container", SOON).await?;
    node.wait_answer(guest, "skerry tiny vm", GUEST).await?;
    let after = runs(&mut node)?;
    ensure!(before == after, "the cable alone changed workloads: {before:?}, then {after:?}");
    store_is_intact(&node).await?;

    step("what is stopped stays stopped, what is deleted is gone");
    stop_and_delete(&mut node).await?;

    step("guessing passwords is limited");
    guessing_is_limited(&node).await?;

    step("power off by the power button");
    node.vm.power_button()?;
    node.vm.wait_off(Duration::from_secs(240))?;
    Ok(())
}

fn step(text: &str) {
    println!("== {text}");
}

async fn refuse_before_claim(node: &NodeUnderTest) -> anyhow::Result<()> {
    let health = node.get("/api/v1/health").await?;
    ensure!(health["claimed"] == false, "{health}");
    ensure!(!health.to_string().contains("claim_code"), "the network must not learn the code");
    let (status, _) = node.request(Method::GET, "/api/v1/vms", None).await?;
    ensure!(status == StatusCode::UNAUTHORIZED, "{status}");
    let wrong = json!({"code": "AAAA-AAAA-AAAA", "username": USER, "password": PASSWORD});
    let (status, problem) = node.request(Method::POST, "/api/v1/claim", Some(wrong)).await?;
    ensure!(status == StatusCode::FORBIDDEN, "{status} {problem}");
    Ok(())
}

/// Last of all, since whoever guesses has to wait afterwards.
async fn guessing_is_limited(node: &NodeUnderTest) -> anyhow::Result<()> {
    let wrong = json!({"username": USER, "password": "a wrong password", "purpose": "cli"});
    let mut last = StatusCode::OK;
    // Five tries are free; then the limit holds.
    for _ in 0..9 {
        last = node.request(Method::POST, "/api/v1/login", Some(wrong.clone())).await?.0;
    }
    ensure!(last == StatusCode::TOO_MANY_REQUESTS, "guessing is not limited: {last}");
    Ok(())
}

async fn refuse_second_claim(node: &NodeUnderTest, code: &str) -> anyhow::Result<()> {
    let body = json!({"code": code, "username": "eve", "password": "another password"});
    let (status, problem) = node.request(Method::POST, "/api/v1/claim", Some(body)).await?;
    ensure!(status == StatusCode::CONFLICT, "a second claim: {status} {problem}");
    Ok(())
}

async fn logs_can_be_read(node: &NodeUnderTest) -> anyhow::Result<()> {
    for (path, expected) in [
        ("/api/v1/vms/guest/serial?tail=200", "skerry"),
        ("/api/v1/pods/web/logs?tail=200", "skerry"),
    ] {
        eventually(SOON, || async {
            let text = node.get(path).await?.to_string();
            if text.contains(expected) { Ok(()) } else { bail!("{path}: {text}") }
        })
        .await?;
    }
    Ok(())
}

async fn inventory(node: &NodeUnderTest) -> anyhow::Result<()> {
    let base = "/o2ims-infrastructureInventory";
    let cloud = node.get(&format!("{base}/v2")).await?;
    ensure!(cloud["oCloudId"].is_string(), "{cloud}");
    let versions = node.get(&format!("{base}/api_versions")).await?;
    ensure!(versions.to_string().contains("2.0.0"), "{versions}");
    let pools = node.get(&format!("{base}/v2/resourcePools")).await?;
    let pool = pools[0]["resourcePoolId"].as_str().context("a pool")?.to_owned();
    let resources = node.get(&format!("{base}/v2/resourcePools/{pool}/resources")).await?;
    ensure!(resources.as_array().is_some_and(|r| !r.is_empty()), "{resources}");
    let managers = node.get(&format!("{base}/v2/deploymentManagers")).await?;
    ensure!(managers[0]["capacity"].is_object(), "{managers}");
    let (status, _) = node.request(Method::GET, &format!("{base}/v3/resourcePools"), None).await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status}");
    let (status, _) =
        node.request(Method::DELETE, &format!("{base}/v2/resourcePools"), None).await?;
    ensure!(status == StatusCode::METHOD_NOT_ALLOWED, "{status}");
    Ok(())
}

fn page(node: &NodeUnderTest, more: &[(&str, &str)]) -> anyhow::Result<()> {
    let paths = Paths::find();
    let builder = Builder::ensure(&paths)?;
    builder.add("chromium", "usr/bin/chromium")?;
    let shots = node.machine.folder.join("screenshots");
    std::fs::create_dir_all(&shots)?;
    let mut walk = node_command(&builder, &paths, "env");
    walk.arg(format!("SKERRY_URL={}", node.url()))
        .arg(format!("SKERRY_USER={USER}"))
        .arg(format!("SKERRY_PASSWORD={PASSWORD}"))
        .arg(format!("SKERRY_SHOTS={}", shots.display()))
        .arg(format!("SKERRY_PATIENCE_S={}", GUEST.as_secs()));
    for (name, value) in more {
        walk.arg(format!("{name}={value}"));
    }
    let output = walk.args(["npm", "run", "--silent", "e2e"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the browser walk failed:\n{text}\n{errors}");
    println!("{text}");
    let taken = std::fs::read_dir(&shots)?.count();
    ensure!(taken >= 2, "only {taken} screenshots in {}", shots.display());
    Ok(())
}

fn confined(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    for unit in ["skerry-northd.service", "skerry-console@ttyS0.service"] {
        let line = format!("systemd-analyze security --no-pager {unit} | tail -1");
        let verdict = node.shell(&line)?;
        let score = verdict
            .split_whitespace()
            .find_map(|word| word.parse::<f64>().ok())
            .with_context(|| format!("no score in `{verdict}`"))?;
        ensure!(score <= 2.0, "{unit}: {verdict}");
    }
    let failed = node.shell("systemctl --failed --no-legend --plain | wc -l")?;
    ensure!(failed.trim() == "0", "failed units: {}", node.shell("systemctl --failed")?);
    Ok(())
}

async fn pids(node: &NodeUnderTest) -> anyhow::Result<(Value, Value)> {
    let vm = node.get("/api/v1/vms/guest").await?;
    let pod = node.get("/api/v1/pods/web").await?;
    let found = (vm["status"]["pid"].clone(), pod["status"]["containers"][0]["pid"].clone());
    ensure!(found.0.is_u64() && found.1.is_u64(), "{found:?}");
    Ok(found)
}

async fn killed_services(node: &mut NodeUnderTest, web: u16, guest: u16) -> anyhow::Result<()> {
    let before = pids(node).await?;
    for unit in ["skerry-noded", "skerry-northd"] {
        let show = format!("systemctl show -p MainPID --value {unit}");
        let old = node.shell(&show)?;
        node.shell(&format!("kill -9 {old}"))?;
        node.wait_api().await.with_context(|| format!("after kill -9 of {unit}"))?;
        let new = node.shell(&show)?;
        ensure!(new != old && new != "0", "{unit} was {old}, is {new}");
        eventually(SOON, || async {
            let after = pids(node).await?;
            if after == before { Ok(()) } else { bail!("{unit}: {before:?} became {after:?}") }
        })
        .await?;
        node.wait_answer(web, "skerry tiny container", SOON).await?;
        node.wait_answer(guest, "skerry tiny vm", SOON).await?;
    }
    let vm = node.get("/api/v1/vms/guest").await?;
    let pod = node.get("/api/v1/pods/web").await?;
    ensure!(vm["status"]["starts"] == 1, "{}", vm["status"]);
    ensure!(pod["status"]["containers"][0]["restarts"] == 0, "{}", pod["status"]);
    Ok(())
}

async fn full_data_partition(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let file = "/var/lib/skerry/data/fill";
    // All of it at once, then what is left in small pieces until there is no more.
    let room = "$(df --output=avail -B1 /var/lib/skerry/data | tail -1)";
    node.shell(&format!("fallocate -l $(({room} - 67108864)) {file}"))?;
    node.shell(&format!("dd if=/dev/zero of={file}.rest bs=1M 2>/dev/null; sync; true"))?;
    let free = node.shell("df --output=avail /var/lib/skerry/data | tail -1")?;
    ensure!(free.trim().parse::<u64>()? < 64 * 1024, "the partition is not full: {free}");
    let body = json!({"spec": {"stop_timeout_s": 31}});
    let (status, answer) = node.request(Method::PATCH, "/api/v1/pods/web", Some(body)).await?;
    ensure!(status.is_success(), "a change while data is full: {status} {answer}");
    // It stays full over the power cut that follows.
    node.shell("sync")?;
    let pod = node.get("/api/v1/pods/web").await?;
    ensure!(pod["spec"]["stop_timeout_s"] == 31, "{pod}");
    Ok(())
}

/// Asked through the local socket, as a technician at the serial line would: nothing else can be reached.
async fn back_without_a_cable(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let end = Instant::now() + BOOT + GUEST;
    for (kind, name) in [("pod", "web"), ("vm", "guest"), ("pod", "late")] {
        if name == "late" {
            // For a new container there was none.
            let free = node.shell("df --output=avail /var/lib/skerry/data | tail -1")?;
            ensure!(free.trim().parse::<u64>()? < 64 * 1024, "there was room: {free}");
            node.shell("rm /var/lib/skerry/data/fill*")?;
        }
        let ask = format!("skerry {kind} show {name} --json");
        loop {
            let (answer, code) = node.vm.shell(&ask, BOOT)?;
            let found: Value = serde_json::from_str(&answer).unwrap_or_default();
            if code == 0 && found["status"]["state"] == "running" {
                break;
            }
            ensure!(Instant::now() < end, "{kind} {name} is not back: {code} {answer}");
        }
    }
    let links = node.shell("cat /sys/class/net/*/carrier 2>/dev/null; true")?;
    ensure!(links.lines().any(|line| line == "0"), "the cable was not out: {links}");
    Ok(())
}

/// Which processes the workloads are, and how often they were started.
fn runs(node: &mut NodeUnderTest) -> anyhow::Result<Vec<Value>> {
    let asked = [
        ("pod", "web", ["/status/containers/0/pid", "/status/containers/0/restarts"]),
        ("pod", "late", ["/status/containers/0/pid", "/status/containers/0/restarts"]),
        ("vm", "guest", ["/status/pid", "/status/starts"]),
    ];
    let mut seen = Vec::new();
    for (kind, name, fields) in asked {
        let found = node.shell(&format!("skerry {kind} show {name} --json"))?;
        let found: Value = serde_json::from_str(&found).with_context(|| found.clone())?;
        for field in fields {
            let value = found.pointer(field).filter(|value| value.is_u64());
            seen.push(value.with_context(|| format!("{name} has no {field}: {found}"))?.clone());
        }
    }
    Ok(seen)
}

async fn store_is_intact(node: &NodeUnderTest) -> anyhow::Result<()> {
    let alarms = node.get("/api/v1/alarms").await?;
    let recovered = alarms["items"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|alarm| alarm["spec"]["definition"] == "STORE_RECOVERED");
    ensure!(!recovered, "{alarms}");
    for (path, name) in
        [("/api/v1/vms", "guest"), ("/api/v1/pods", "web"), ("/api/v1/pods", "late")]
    {
        node.get(&format!("{path}/{name}")).await?;
    }
    Ok(())
}

async fn stop_and_delete(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    node.post("/api/v1/pods/late/actions/stop", json!({})).await?;
    node.wait_state("/api/v1/pods/late", "stopped", SOON).await?;
    node.post("/api/v1/vms/guest/actions/stop", json!({})).await?;
    node.wait_state("/api/v1/vms/guest", "stopped", GUEST).await?;
    for path in ["/api/v1/vms/guest", "/api/v1/pods/late"] {
        let (status, answer) = node.request(Method::DELETE, path, None).await?;
        ensure!(status.is_success(), "{status} {answer}");
        eventually(SOON, || async {
            let (status, answer) = node.request(Method::GET, path, None).await?;
            if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{answer}") }
        })
        .await?;
    }
    let left = node.shell("ls /var/lib/skerry/data/vm; ip -o link show | grep -c skt || true")?;
    ensure!(left.trim() == "0", "left behind: {left}");
    Ok(())
}
