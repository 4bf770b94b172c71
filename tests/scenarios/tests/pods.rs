//! What pods are given and how they are asked, through the whole node.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_containers::Answer as Probed;
use skerry_ipc::{Json, Request};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, document, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

async fn node() -> (tempfile::TempDir, SimHost, RunningNode) {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    (folder, host, node)
}

/// No face gives a secret's values back, whatever is asked; the pod that names it runs with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_in_and_never_comes_out() {
    let (_folder, _host, node) = node().await;
    let secret = json!({"metadata": {"name": "keys"}, "spec": {"data": {"token": "swordfish"}}});
    let mut answers = vec![node.create(Kind::Secret, secret.clone()).await.unwrap()];
    assert_eq!(answers[0]["spec"], json!({"keys": ["token"]}));
    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "volumes": [{"name": "keys", "source": {"secret": {"name": "keys", "mode": "0400"}}}],
        "containers": [{"name": "web", "image": "tiny",
            "env": [{"name": "TOKEN", "secret": {"name": "keys", "key": "token"}}],
            "mounts": [{"volume": "keys", "path": "/keys"}]}]}});
    answers.push(node.create(Kind::Pod, pod).await.unwrap());
    answers.push(node.wait_state(Kind::Pod, "web", "running").await.unwrap());
    let key = || "keys".to_owned();
    let patch = Json(json!({"spec": {"data": {"other": "mackerel"}}}).to_string());
    let request = Request::Patch { kind: Kind::Secret, key: key(), patch, if_revision: None };
    let patched = document(node.ask(request).await.unwrap()).unwrap();
    assert_eq!(patched["spec"], json!({"keys": ["other", "token"]}), "the old value stays");
    answers.push(patched);
    answers.push(node.get(Kind::Secret, "keys").await.unwrap());
    answers.extend(node.list(Kind::Secret).await.unwrap());
    for (kind, name) in [(Kind::Secret, "keys"), (Kind::Pod, "web")] {
        let request = Request::Explain { kind, key: name.to_owned() };
        answers.push(document(node.ask(request).await.unwrap()).unwrap());
    }
    let dry = Request::Create {
        kind: Kind::Secret,
        document: Json(
            json!({"metadata": {"name": "more"}, "spec": {"data": {"a": "swordfish"}}}).to_string(),
        ),
        dry_run: true,
    };
    answers.push(document(node.ask(dry).await.unwrap()).unwrap());
    for answer in answers {
        let text = answer.to_string();
        assert!(!text.contains("swordfish") && !text.contains("mackerel"), "{text}");
    }
    let delete =
        Request::Delete { kind: Kind::Secret, key: key(), if_revision: None, with_volumes: false };
    let refused = node.ask(delete.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("used by web"), "{refused}");
    let gone = Request::Delete {
        kind: Kind::Pod,
        key: "web".to_owned(),
        if_revision: None,
        with_volumes: false,
    };
    node.ask(gone).await.unwrap();
    eventually(LIMIT, || async { node.ask(delete.clone()).await.map_err(|e| e.to_string()) })
        .await
        .unwrap();
    node.stop().await.unwrap();
}

fn ready(pod: &Value) -> Option<&Value> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

/// Readiness is seen in the pod's record at once, and touches nothing.
#[tokio::test(flavor = "multi_thread")]
async fn probes_are_asked_and_their_answers_are_seen() {
    let (_folder, host, node) = node().await;
    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "web", "image": "tiny",
            "readiness": {"check": {"tcp": {"port": 80}}, "period_s": 1, "failure_threshold": 1}}]}});
    node.create(Kind::Pod, pod).await.unwrap();
    let made = node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    for (answer, state) in
        [(Probed::Good, "true"), (Probed::Bad("closed".into()), "false"), (Probed::Good, "true")]
    {
        host.answer_probes(id, &"web".parse().unwrap(), answer);
        eventually(LIMIT, || async {
            let pod = node.get(Kind::Pod, "web").await.map_err(|e| e.to_string())?;
            match ready(&pod) {
                Some(ready) if ready["state"] == state => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
    let now = node.get(Kind::Pod, "web").await.unwrap();
    let pid = |pod: &Value| pod["status"]["containers"][0]["pid"].clone();
    assert_eq!(pid(&now), pid(&made));
    assert_eq!(now["status"]["containers"][0]["restarts"], 0);
    let wrong = json!({"metadata": {"name": "no"}, "spec": {"containers": [
        {"name": "a", "image": "tiny", "liveness": {"check": {"tcp": {"port": 0}}}}]}});
    let refused = node.create(Kind::Pod, wrong).await.unwrap_err().to_string();
    assert!(refused.contains("liveness.check.tcp.port"), "{refused}");
    node.stop().await.unwrap();
}

/// What a pod takes is told while it runs, and there is nothing to tell of one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_takes_is_told_while_it_runs() {
    let (_folder, _host, node) = node().await;
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "tiny"}]}});
    node.create(Kind::Pod, pod).await.unwrap();
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    let stats = async || {
        document(node.ask(Request::PodStats { key: "web".to_owned() }).await.unwrap()).unwrap()
    };
    let told = stats().await;
    assert_eq!(told["containers"][0]["name"], "main");
    assert_eq!(told["containers"][0]["memory_bytes"], 1 << 20);
    assert_eq!(told["containers"][0]["written_bytes"], Value::Null, "not counted is not nothing");
    assert!(told["at"].is_string(), "{told}");
    let stop = skerry_ipc::Action::Stop;
    let stop = Request::Act { kind: Kind::Pod, key: "web".to_owned(), action: stop };
    node.ask(stop).await.unwrap();
    node.wait_state(Kind::Pod, "web", "stopped").await.unwrap();
    assert_eq!(stats().await["containers"], json!([]));
    assert!(node.ask(Request::PodStats { key: "none".to_owned() }).await.is_err());
}
