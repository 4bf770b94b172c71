//! Workloads from creation to deletion, over restarts of the daemon and power cuts.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use serde_json::json;
use skerry_ipc::{Action, Answer, LogQuery, PeerRole, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

fn vm(name: &str, port: u16) -> serde_json::Value {
    json!({"metadata": {"name": name}, "spec": {"image": "tiny-vm", "memory_mib": 128,
        "publish": [{"host_port": port, "workload_port": 8080}]}})
}

fn pod(name: &str, port: u16) -> serde_json::Value {
    json!({"metadata": {"name": name}, "spec": {
        "containers": [{"name": "web", "image": "tiny"}],
        "publish": [{"host_port": port, "workload_port": 8080}]}})
}

async fn both(node: &RunningNode) {
    node.create(Kind::Vm, vm("guest", 8081)).await.unwrap();
    node.create(Kind::Pod, pod("web", 8080)).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_run_stop_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    both(&node).await;
    assert_eq!(host.running(), (1, 1));
    for (kind, key) in [(Kind::Vm, "guest"), (Kind::Pod, "web")] {
        let act = |action| Request::Act { kind, key: key.to_owned(), action };
        node.ask(act(Action::Stop)).await.unwrap();
        node.wait_state(kind, key, "stopped").await.unwrap();
        node.ask(act(Action::Start)).await.unwrap();
        node.wait_state(kind, key, "running").await.unwrap();
        node.ask(act(Action::ForceStop)).await.unwrap();
        node.wait_state(kind, key, "stopped").await.unwrap();
        let delete =
            Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes: false };
        node.ask(delete).await.unwrap();
    }
    eventually(LIMIT, || async {
        let left = [Kind::Vm, Kind::Pod, Kind::Port];
        for kind in left {
            let items = node.list(kind).await.map_err(|e| e.to_string())?;
            if !items.is_empty() {
                return Err(format!("{items:?}"));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(host.running(), (0, 0));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_touches_no_workload_and_finds_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    both(&node).await;
    let pids = |node: &RunningNode| {
        let client = node.client.clone();
        async move {
            let ask = |kind, key: &str| Request::Get { kind, key: key.to_owned() };
            let mut found = Vec::new();
            for (kind, key, path) in
                [(Kind::Vm, "guest", "/status/pid"), (Kind::Pod, "web", "/status/containers/0/pid")]
            {
                let answer = client.call(skerry_ipc::Auth::Peer, ask(kind, key)).await.unwrap();
                let document = skerry_scenarios_tests::document(answer).unwrap();
                found.push(document.pointer(path).cloned().unwrap());
            }
            found
        }
    };
    let before = pids(&node).await;
    node.kill().await.unwrap();
    assert_eq!(host.running(), (1, 1));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    assert_eq!(pids(&node).await, before);
    assert_eq!(host.running(), (1, 1));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_what_ran_runs_and_what_was_stopped_stays_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    both(&node).await;
    node.create(Kind::Vm, vm("off", 8082)).await.unwrap();
    node.wait_state(Kind::Vm, "off", "running").await.unwrap();
    let stop = Request::Act { kind: Kind::Vm, key: "off".to_owned(), action: Action::Stop };
    node.ask(stop).await.unwrap();
    node.wait_state(Kind::Vm, "off", "stopped").await.unwrap();
    node.kill().await.unwrap();
    host.power_cut();
    assert_eq!(host.running(), (0, 0));
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    eventually(LIMIT, || async {
        match host.running() {
            (1, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    node.wait_state(Kind::Vm, "off", "stopped").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn power_may_go_at_any_step_of_creation() {
    for step in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        let host = SimHost::new();
        let node = RunningNode::start(folder.path(), &host).await.unwrap();
        node.wait_network().await.unwrap();
        host.order_faults(|faults| faults.cut_power_after(step));
        node.create(Kind::Vm, vm("guest", 8081)).await.unwrap();
        node.create(Kind::Pod, pod("web", 8080)).await.unwrap();
        // Either the cut comes, or creation needed fewer steps than that.
        eventually(LIMIT, || async {
            let all_up = host.running() == (1, 1);
            if host.is_dark() || all_up { Ok(()) } else { Err("still at it".to_owned()) }
        })
        .await
        .unwrap();
        node.kill().await.unwrap();
        host.power_cut();
        let node = RunningNode::start(folder.path(), &host).await.unwrap();
        node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
        node.wait_state(Kind::Pod, "web", "running").await.unwrap();
        // The states told first may be those of before the cut, until the first pass has looked.
        let both_up = eventually(LIMIT, || async {
            let running = host.running();
            if running == (1, 1) { Ok(()) } else { Err(format!("{running:?}")) }
        });
        both_up.await.unwrap_or_else(|error| panic!("cut after {step} steps: {error}"));
        assert!(node.list(Kind::Alarm).await.unwrap().iter().all(|alarm| {
            alarm.pointer("/spec/definition").is_none_or(|d| d != "STORE_RECOVERED")
        }));
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_fail_and_is_tried_again() {
    for step in ["define", "start", "EnsureAttachment", "LoadRules", "mount_root", "write_bundle"] {
        let folder = tempfile::tempdir().unwrap();
        let host = SimHost::new();
        host.order_faults(|faults| faults.fail(step, 2));
        let node = RunningNode::start(folder.path(), &host).await.unwrap();
        both(&node).await;
        assert_eq!(host.running(), (1, 1), "{step}");
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_turns_itself_off_stays_off() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    both(&node).await;
    let id = node.get(Kind::Vm, "guest").await.unwrap();
    let id = id.pointer("/metadata/id").unwrap().as_str().unwrap().parse().unwrap();
    host.guest_powers_off(id);
    let found = node.wait_state(Kind::Vm, "guest", "stopped").await.unwrap();
    assert_eq!(found.pointer("/spec/power").unwrap(), "stopped");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_explanations_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Root).await.unwrap();
    both(&node).await;
    for (kind, key, expected) in
        [(Kind::Vm, "guest", "simulated guest: up"), (Kind::Pod, "web", "simulated container: up")]
    {
        let query = LogQuery {
            kind,
            key: key.to_owned(),
            container: None,
            tail: 10,
            since: None,
            timestamps: false,
            follow: false,
        };
        let lines = node.lines(query).await.unwrap();
        assert!(lines.iter().any(|line| line == expected), "{lines:?}");
        let explain = Request::Explain { kind, key: key.to_owned() };
        let Answer::Document(text) = node.ask(explain).await.unwrap() else { panic!() };
        assert!(text.0.contains("\"passes\""), "{}", text.0);
    }
    let query = |kind, key: &str, since: &str| LogQuery {
        kind,
        key: key.to_owned(),
        container: Some("web".to_owned()).filter(|_| kind == Kind::Pod),
        tail: 10,
        since: Some(since.parse().unwrap()),
        timestamps: kind == Kind::Pod,
        follow: false,
    };
    let lines = node.lines(query(Kind::Pod, "web", "1h")).await.unwrap();
    let (moment, text) = lines[0].split_once(' ').unwrap();
    assert_eq!(text, "simulated container: up");
    moment.parse::<skerry_model::Timestamp>().unwrap();
    let later = node.lines(query(Kind::Pod, "web", "2099-01-01T00:00:00Z")).await.unwrap();
    assert_eq!(later, Vec::<String>::new());
    let refused = node.lines(query(Kind::Vm, "guest", "1h")).await.unwrap_err();
    assert!(refused.to_string().contains("has no times"), "{refused}");
    let Answer::Text(graph) = node.ask(Request::Graph).await.unwrap() else { panic!() };
    assert!(graph.starts_with("digraph"), "{graph}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_for_cloud_init_reaches_the_guest_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let mut body = vm("guest", 8081);
    body["spec"]["init"] = json!({"user_data": "#cloud-config\npackages: [swordfish]\n",
        "password": "trout", "hostname": "db-1"});
    let made = node.create(Kind::Vm, body).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let file = |name: &str| host.seed_file(id, name).unwrap_or_default();
    assert!(file("user-data").contains("swordfish"));
    assert!(file("meta-data").contains("db-1"));
    assert!(file("vendor-data").contains("$6$"), "{}", file("vendor-data"));
    let shown = made.to_string() + &node.get(Kind::Vm, "guest").await.unwrap().to_string();
    for secret in ["swordfish", "trout", "$6$"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    // A change of something else keeps what cannot be repeated, and is there at the next start.
    let before = file("meta-data");
    let change = |spec: serde_json::Value| {
        let patch = skerry_ipc::Json(json!({ "spec": spec }).to_string());
        Request::Patch { kind: Kind::Vm, key: "guest".to_owned(), patch, if_revision: None }
    };
    node.ask(change(json!({"init": {"hostname": "db-2"}}))).await.unwrap();
    eventually(LIMIT, || async {
        let meta = file("meta-data");
        if meta.contains("db-2") && meta != before { Ok(()) } else { Err(meta) }
    })
    .await
    .unwrap();
    assert!(file("user-data").contains("swordfish") && file("vendor-data").contains("$6$"));
    eventually(LIMIT, || async {
        let seen = node.get(Kind::Vm, "guest").await.map_err(|e| e.to_string())?;
        let conditions = seen["status"]["conditions"].to_string();
        if conditions.contains("Pending") { Ok(()) } else { Err(conditions) }
    })
    .await
    .unwrap();
    // What cloud-init would not understand is refused, and nothing of it is quoted.
    let bad = json!({"init": {"user_data": "#cloud-config\npassword: [herring\n"}});
    let refused = node.ask(change(bad)).await.unwrap_err().to_string();
    assert!(refused.contains("YAML") && !refused.contains("herring"), "{refused}");
    node.ask(change(json!({"init": null}))).await.unwrap();
    eventually(LIMIT, || async {
        if host.seed_file(id, "user-data").is_none() { Ok(()) } else { Err("still there") }
    })
    .await
    .unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_is_said_before_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    for (image, words) in [("tiny", "is a container image"), ("tiny-vm", "does not fit")] {
        let spec = json!({"image": image, "memory_mib": 900_000});
        let document = json!({"metadata": {"name": "x"}, "spec": spec});
        let error = node.create(Kind::Vm, document).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(host.running(), (0, 0));
}
