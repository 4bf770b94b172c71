//! What pods may take and do: limits, and who may loosen them, through the whole node.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_ipc::{Answer, Auth, Json, Request};
use skerry_model::{IoLimits, Kind, LogRate};
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

fn pod(name: &str, fields: Value) -> Value {
    let mut container = json!({"name": "main", "image": "tiny"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_a_container_and_what_it_may_take_reach_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let fields = json!({"memory_mib": 64, "memory_reservation_mib": 16,
        "io": {"write_bytes_per_s": 1_048_576, "read_iops": 100},
        "log_rate": {"lines": 50, "interval_s": 10}});
    let made = node.create(Kind::Pod, pod("db", fields)).await.unwrap();
    node.wait_state(Kind::Pod, "db", "running").await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let started = host.started(id, &"main".parse().unwrap()).unwrap();
    assert_eq!(started.memory_reservation_mib, Some(16));
    let io = IoLimits {
        write_bytes_per_s: Some(1_048_576),
        read_iops: Some(100),
        ..IoLimits::default()
    };
    assert_eq!(started.io, Some(io));
    assert_eq!(started.log_rate, Some(LogRate { lines: 50, interval_s: 10 }));

    for (fields, field) in [
        (json!({"memory_mib": 64, "memory_reservation_mib": 65}), "memory_reservation_mib"),
        (json!({"io": {"read_iops": 1}}), "io.read_iops"),
        (json!({"io": {"iops": 100}}), "iops"),
        (json!({"log_rate": {"lines": 0}}), "log_rate.lines"),
    ] {
        let refused = node.create(Kind::Pod, pod("bad", fields)).await.unwrap_err();
        assert!(format!("{refused:?}").contains(field), "{field}: {refused:?}");
    }
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_by_class_and_what_loosens_the_hold_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let refused = node.create(Kind::Pod, pod("bad", json!({"devices": ["/dev/sda"]}))).await;
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("/dev/net/tun, /dev/fuse, /dev/kvm"), "{refused}");
    let fields = json!({"devices": ["/dev/net/tun", "/dev/ttyS1"]});
    let made = node.create(Kind::Pod, pod("modem", fields)).await.unwrap();
    let found = node.wait_state(Kind::Pod, "modem", "running").await.unwrap();
    let risks = found["status"]["risks"].as_array().unwrap();
    assert_eq!(risks.len(), 1);
    assert!(risks[0].as_str().unwrap().contains("/dev/ttyS1"), "{risks:?}");
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let started = host.started(id, &"main".parse().unwrap()).unwrap();
    assert_eq!(started.devices, ["/dev/net/tun", "/dev/ttyS1"]);
    node.stop().await.unwrap();
}

/// Who asks as one of these accounts.
struct Account<'n> {
    node: &'n RunningNode,
    auth: Auth,
}

impl Account<'_> {
    async fn ask(&self, request: Request) -> Result<Answer, String> {
        let answer = self.node.client.call(self.auth.clone(), request).await;
        answer.map_err(|error| format!("{error:?}"))
    }

    async fn create(&self, body: &Value) -> Result<Answer, String> {
        let document = Json(body.to_string());
        self.ask(Request::Create { kind: Kind::Pod, document, dry_run: false }).await
    }

    async fn patch(&self, key: &str, patch: Value) -> Result<Answer, String> {
        let (key, patch) = (key.to_owned(), Json(patch.to_string()));
        self.ask(Request::Patch { kind: Kind::Pod, key, patch, if_revision: None }).await
    }
}

async fn account<'n>(node: &'n RunningNode, name: &str, role: &str) -> Account<'n> {
    let password = "correct horse battery";
    let user = json!({"metadata": {"name": name}, "spec": {"role": role, "password": password}});
    node.create(Kind::User, user).await.unwrap();
    let login = Request::Login {
        username: name.to_owned(),
        password: password.to_owned(),
        purpose: "cli".to_owned(),
        origin: "192.0.2.1".to_owned(),
    };
    let Answer::Session { token, .. } = node.ask(login).await.unwrap() else {
        panic!("no session")
    };
    Account { node, auth: Auth::Token(token) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_the_node_is_for_an_admin_alone() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let admin = account(&node, "ada", "admin").await;
    let operator = account(&node, "otto", "operator").await;
    let refused = |answer: Result<Answer, String>| {
        let error = answer.unwrap_err();
        assert!(error.contains("Forbidden") && error.contains("only an admin"), "{error}");
    };

    let mut open = pod("agent", json!({"privileged": true}));
    open["spec"]["host_network"] = json!(true);
    refused(operator.create(&open).await);
    let manifest = json!({"kind": "Pod", "metadata": open["metadata"], "spec": open["spec"]});
    let documents = vec![Json(manifest.to_string())];
    refused(operator.ask(Request::Apply { documents, dry_run: false }).await);
    admin.create(&open).await.unwrap();
    let found = node.wait_state(Kind::Pod, "agent", "running").await.unwrap();
    assert_eq!(found["status"]["risks"].as_array().unwrap().len(), 2, "{found}");
    assert_eq!(found["status"]["addresses"], json!([]));
    let ports = node.list(Kind::Port).await.unwrap();
    assert!(ports.is_empty(), "it has no port: {ports:?}");
    let id = found["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let started = host.started(id, &"main".parse().unwrap()).unwrap();
    assert!(started.privileged && started.network.is_of_node());

    // Its image and command decide what happens to the node; whether it runs does not.
    let other = json!({"spec": {"containers":
        [{"name": "main", "image": "tiny", "privileged": true, "command": ["/bin/other"]}]}});
    refused(operator.patch("agent", other.clone()).await);
    refused(operator.patch("agent", json!({"spec": {"stop_timeout_s": 1}})).await);
    let enter = Request::Attach { key: "agent".to_owned(), container: None };
    let entered = node.client.open_two_way(operator.auth.clone(), enter).await;
    refused(entered.map(|_| Answer::Done).map_err(|error| format!("{error:?}")));
    operator.patch("agent", json!({"spec": {"power": "stopped"}})).await.unwrap();
    node.wait_state(Kind::Pod, "agent", "stopped").await.unwrap();
    operator.patch("agent", json!({"spec": {"power": "running"}})).await.unwrap();
    admin.patch("agent", other).await.unwrap();
    let fixed = admin.patch("agent", json!({"spec": {"host_network": false}})).await.unwrap_err();
    assert!(fixed.contains("cannot be changed"), "{fixed}");

    // An operator may take the privileges away, and not go back to them.
    let mut plain = pod("back", json!({}));
    admin.create(&pod("back", json!({"privileged": true}))).await.unwrap();
    node.wait_state(Kind::Pod, "back", "running").await.unwrap();
    let containers = plain["spec"]["containers"].take();
    operator.patch("back", json!({"spec": {"containers": containers}})).await.unwrap();
    let again = json!([{"name": "main", "image": "tiny", "privileged": true}]);
    refused(operator.patch("back", json!({"spec": {"containers": again}})).await);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_nodes_network_nothing_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let node = RunningNode::start(folder.path(), &SimHost::new()).await.unwrap();
    let mut bad = pod("bad", json!({}));
    bad["spec"]["host_network"] = json!(true);
    bad["spec"]["publish"] = json!([{"host_port": 8080, "workload_port": 80}]);
    let refused = format!("{:?}", node.create(Kind::Pod, bad).await.unwrap_err());
    assert!(refused.contains("spec.publish"), "{refused}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_with_users_of_their_own_share_none_and_keep_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let mut bad = pod("bad", json!({"devices": ["/dev/kvm"]}));
    bad["spec"]["user_namespace"] = json!("pod");
    let refused = node.create(Kind::Pod, bad).await;
    assert!(format!("{:?}", refused.unwrap_err()).contains("spec.user_namespace"));
    let main = "main".parse().unwrap();
    let mut found = Vec::new();
    for name in ["a", "b", "c"] {
        let made = node.create(Kind::Pod, pod(name, json!({}))).await.unwrap();
        let pod = node.wait_state(Kind::Pod, name, "running").await.unwrap();
        let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
        let users = host.started(id, &main).unwrap().users;
        assert_eq!(json!(users), pod["status"]["users"], "{pod}");
        assert_eq!(pod["status"]["user_namespace"], "pod", "{pod}");
        found.push(users.unwrap());
    }
    found.sort_unstable();
    found.dedup();
    assert!(found.len() == 3 && found.iter().all(|first| first % 65_536 == 0), "{found:?}");

    // One that is changed gets some too, and keeps them when it has the node's again. Its layer stays.
    let mut with_nodes = pod("d", json!({}));
    with_nodes["spec"]["user_namespace"] = json!("host");
    let made = node.create(Kind::Pod, with_nodes).await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    let running = node.wait_state(Kind::Pod, "d", "running").await.unwrap();
    assert_eq!(running["status"]["user_namespace"], "host", "{running}");
    let first = host.started(id, &main).unwrap();
    assert_eq!(first.users, None);
    let change = |word: Option<&str>| {
        let patch = Json(json!({"spec": {"user_namespace": word}}).to_string());
        Request::Patch { kind: Kind::Pod, key: "d".to_owned(), patch, if_revision: None }
    };
    for (word, wanted) in [(Some("pod"), true), (Some("host"), false), (None, true)] {
        node.ask(change(word)).await.unwrap();
        let started = || async {
            let now = host.started(id, &main).unwrap();
            if now.users.is_some() == wanted { Ok(now) } else { Err("it still has the old ones") }
        };
        let now = eventually(Duration::from_secs(30), started).await.unwrap();
        assert_eq!(now.layer, first.layer);
        assert!(now.users.is_none_or(|users| !found.contains(&users)));
    }
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_the_nodes_users_has_them_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let main = "main".parse().unwrap();
    for (name, fields, near) in [
        ("all", json!({"privileged": true}), false),
        ("tun", json!({"devices": ["/dev/net/tun"]}), false),
        ("raw", json!({"capabilities": {"add": ["NET_RAW"]}}), false),
        ("near", json!({}), true),
    ] {
        let mut wanted = pod(name, fields);
        wanted["spec"]["host_network"] = json!(near);
        let made = node.create(Kind::Pod, wanted).await.unwrap();
        let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
        let running = node.wait_state(Kind::Pod, name, "running").await.unwrap();
        assert_eq!(running["status"]["user_namespace"], "host", "{running}");
        assert_eq!(running["status"]["users"], json!(null), "{running}");
        assert_eq!(host.started(id, &main).unwrap().users, None);
    }
    // Once it needs them no more it has its own, in a network that is theirs.
    let patch =
        Json(json!({"spec": {"containers": [{"name": "main", "image": "tiny"}]}}).to_string());
    let request =
        Request::Patch { kind: Kind::Pod, key: "all".to_owned(), patch, if_revision: None };
    node.ask(request).await.unwrap();
    let own = || async {
        let all = node.get(Kind::Pod, "all").await.unwrap();
        let good = all["status"]["user_namespace"] == "pod" && all["status"]["state"] == "running";
        if good && all["status"]["users"].is_u64() { Ok(()) } else { Err(all) }
    };
    eventually(Duration::from_secs(30), own).await.unwrap();
    node.stop().await.unwrap();
}
