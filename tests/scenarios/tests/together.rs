//! Pods with what belongs to them, through the whole node: sets of documents that are applied together, volumes that
//! outlive pods, pods that depend on pods, requests that outlive the service.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use skerry_ipc::{Action, Json, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, document, eventually};
use skerry_sim_host::SimHost;

async fn node() -> (tempfile::TempDir, SimHost, RunningNode) {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_network().await.unwrap();
    // A volume is refused as long as nobody knows what its pool can hold.
    node.wait_state(Kind::Pool, "default", "ready").await.unwrap();
    (folder, host, node)
}

async fn apply(node: &RunningNode, documents: &[Value], dry_run: bool) -> anyhow::Result<Value> {
    let documents = documents.iter().map(|document| Json(document.to_string())).collect();
    document(node.ask(Request::Apply { documents, dry_run }).await?)
}

fn results(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|it| it["result"].as_str().unwrap()).collect()
}

fn delete(kind: Kind, key: &str, with_volumes: bool) -> Request {
    Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes }
}

fn pod(name: &str, more: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "main", "image": "tiny"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn data(read_only: bool) -> Value {
    json!({"volumes": [{"name": "data",
        "source": {"volume": {"name": "data", "read_only": read_only}}}],
        "containers": [{"name": "main", "image": "tiny",
            "mounts": [{"volume": "data", "path": "/data"}]}]})
}

fn volume(name: &str, size_mib: u64) -> Value {
    json!({"kind": "Volume", "metadata": {"name": name},
        "spec": {"form": "folder", "size_mib": size_mib}})
}

async fn gone(node: &RunningNode, kind: Kind, name: &str) {
    eventually(std::time::Duration::from_secs(20), || async {
        let left = node.list(kind).await.map_err(|error| error.to_string())?;
        match left.iter().any(|one| one["metadata"]["name"] == name) {
            true => Err(format!("{left:?}")),
            false => Ok(()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_documents_is_applied_whole_or_not_at_all() {
    let (_folder, _host, node) = node().await;
    let network = json!({"kind": "Network", "metadata": {"name": "inner"},
        "spec": {"mode": "nat", "subnet": {"network": "10.77.0.0", "prefix": 24}}});
    let config =
        json!({"kind": "Config", "metadata": {"name": "site"}, "spec": {"data": {"a": "b"}}});
    let mut web = pod("web", &data(false));
    web["spec"]["network"] = json!("inner");
    web["spec"]["depends_on"] = json!([{"pod": "db"}]);
    let mut db = pod("db", &json!({"network": "inner"}));
    // What is named comes after what names it: the node sees to the order.
    let set = [web.clone(), db.clone(), volume("data", 64), network.clone(), config.clone()];

    let mut bad = set.to_vec();
    bad[1]["spec"]["containers"][0]["image"] = json!("nothing");
    bad[2]["spec"]["size_mib"] = json!(0);
    let refused = apply(&node, &bad, false).await.unwrap_err().to_string();
    for part in ["nothing was applied", "pod db", "`nothing`", "volume data"] {
        assert!(refused.contains(part), "{refused}");
    }
    for kind in [Kind::Pod, Kind::Volume, Kind::Config] {
        assert_eq!(node.list(kind).await.unwrap().len(), 0, "{kind}");
    }
    let created = ["created"; 5];
    assert_eq!(results(&apply(&node, &set, true).await.unwrap()), created);
    assert_eq!(node.list(Kind::Pod).await.unwrap().len(), 0, "only told");

    assert_eq!(results(&apply(&node, &set, false).await.unwrap()), created);
    let web = node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    let other = node.get(Kind::Pod, "db").await.unwrap();
    assert_ne!(web["status"]["addresses"], other["status"]["addresses"]);
    let before = node.get(Kind::Pod, "db").await.unwrap()["metadata"]["revision"].clone();
    assert_eq!(results(&apply(&node, &set, false).await.unwrap()), ["unchanged"; 5]);
    let after = node.get(Kind::Pod, "db").await.unwrap()["metadata"]["revision"].clone();
    assert_eq!(before, after, "nothing was written");

    // One of two changes cannot be: neither is made.
    db["spec"]["containers"][0]["memory_mib"] = json!(65);
    let huge = volume("data", 1 << 26);
    let refused = apply(&node, &[db.clone(), huge], false).await.unwrap_err().to_string();
    assert!(refused.contains("volume data"), "{refused}");
    let kept = node.get(Kind::Pod, "db").await.unwrap();
    assert_eq!(kept["spec"]["containers"][0]["memory_mib"], 64);
    assert_eq!(
        results(&apply(&node, &[db, config], false).await.unwrap()),
        ["changed", "unchanged"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_outlives_its_pods_and_is_kept_while_one_has_it() {
    let (_folder, _host, node) = node().await;
    apply(&node, &[volume("data", 64), pod("one", &data(false))], false).await.unwrap();
    node.wait_state(Kind::Pod, "one", "running").await.unwrap();
    let used = node.wait_state(Kind::Volume, "data", "in_use").await.unwrap();
    assert_eq!(used["status"]["attached_to"], "one");
    assert_eq!(used["status"]["used_by"].as_array().unwrap().len(), 1);
    let second = node.create(Kind::Pod, pod("two", &data(true))).await.unwrap_err();
    assert!(format!("{second:?}").contains("one may write"), "{second:?}");
    let refused = node.ask(delete(Kind::Volume, "data", false)).await.unwrap_err().to_string();
    assert!(refused.contains("used by one"), "{refused}");
    for (what, body) in [
        ("Vm", json!({"image": "tiny-vm", "disks": [{"volume": "data"}]})),
        ("Snapshot", json!({"volumes": ["data"]})),
    ] {
        let kind = what.parse().unwrap();
        let body = json!({"metadata": {"name": "x"}, "spec": body});
        let refused = node.create(kind, body).await.unwrap_err();
        assert!(format!("{refused:?}").contains("is a folder"), "{refused:?}");
    }
    node.ask(delete(Kind::Pod, "one", false)).await.unwrap();
    gone(&node, Kind::Pod, "one").await;
    node.wait_state(Kind::Volume, "data", "available").await.unwrap();
    // Readers may be many.
    for name in ["two", "three"] {
        node.create(Kind::Pod, pod(name, &data(true))).await.unwrap();
        node.wait_state(Kind::Pod, name, "running").await.unwrap();
    }
    let refused = node.ask(delete(Kind::Pod, "two", true)).await.unwrap_err().to_string();
    assert!(refused.contains("another pod has it"), "{refused}");
    node.ask(delete(Kind::Pod, "two", false)).await.unwrap();
    gone(&node, Kind::Pod, "two").await;
    node.ask(delete(Kind::Pod, "three", true)).await.unwrap();
    gone(&node, Kind::Pod, "three").await;
    gone(&node, Kind::Volume, "data").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_wait_for_pods_and_never_in_a_circle() {
    let (folder, host, node) = node().await;
    let off = json!({"power": "stopped"});
    node.create(Kind::Pod, pod("db", &off)).await.unwrap();
    let on = |name: &str| json!({"depends_on": [{"pod": name, "condition": "running"}]});
    node.create(Kind::Pod, pod("web", &on("db"))).await.unwrap();
    let waits = node.wait_state(Kind::Pod, "web", "pending").await.unwrap();
    eventually(std::time::Duration::from_secs(20), || async {
        let web = node.get(Kind::Pod, "web").await.map_err(|error| error.to_string())?;
        let reason = web["status"]["reason"].as_str().unwrap_or_default().to_owned();
        if reason.contains("waits for pod `db` to be running") { Ok(()) } else { Err(reason) }
    })
    .await
    .unwrap_or_else(|error| panic!("{error} {waits}"));
    for (what, name, more) in [("there is no pod", "x", on("nobody")), ("in turn", "x", on("x"))] {
        let refused = node.create(Kind::Pod, pod(name, &more)).await.unwrap_err();
        assert!(format!("{refused:?}").contains(what), "{refused:?}");
    }
    let patch = Json(json!({"spec": on("web")}).to_string());
    let key = "db".to_owned();
    let circle = Request::Patch { kind: Kind::Pod, key: key.clone(), patch, if_revision: None };
    assert!(node.ask(circle).await.unwrap_err().to_string().contains("spec.depends_on"));
    let refused = node.ask(delete(Kind::Pod, "db", false)).await.unwrap_err().to_string();
    assert!(refused.contains("web depends on"), "{refused}");

    // A request stands in the record: the service may end at once.
    let start = Request::Act { kind: Kind::Pod, key, action: Action::Start };
    node.ask(start).await.unwrap();
    node.kill().await.unwrap();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    eventually(std::time::Duration::from_secs(20), || async {
        let db = node.get(Kind::Pod, "db").await.map_err(|error| error.to_string())?;
        let (asked, done) = (&db["spec"]["request"]["number"], &db["status"]["request_done"]);
        if asked == 1 && done == 1 { Ok(()) } else { Err(format!("{asked} {done}")) }
    })
    .await
    .unwrap();
}
