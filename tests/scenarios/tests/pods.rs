//! What pods are given and how they are asked, through the whole node.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use serde_json::{Value, json};
use skerry_containers::{Answer as Probed, Exit};
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

/// Waits until an alarm of this sort stands, or none.
async fn alarm(node: &RunningNode, definition: &str, wanted: bool) {
    eventually(LIMIT, || async {
        let alarms = node.list(Kind::Alarm).await.map_err(|error| format!("{error:?}"))?;
        let mut of_sort = alarms.iter().filter(|it| it["spec"]["definition"] == definition);
        let stands = of_sort.any(|it| it["status"]["cleared"].is_null());
        if stands == wanted { Ok(()) } else { Err(format!("{definition}: {alarms:?}")) }
    })
    .await
    .unwrap();
}

async fn act(node: &RunningNode, action: skerry_ipc::Action) {
    let request = Request::Act { kind: Kind::Pod, key: "web".to_owned(), action };
    node.ask(request).await.unwrap();
}

/// A pod that runs; gives its id.
async fn running(node: &RunningNode, more: Value) -> skerry_model::Id<skerry_model::Pod> {
    let mut spec = json!({"containers": [{"name": "main", "image": "tiny"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    node.create(Kind::Pod, json!({"metadata": {"name": "web"}, "spec": spec})).await.unwrap();
    let made = node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    made["metadata"]["id"].as_str().unwrap().parse().unwrap()
}

/// Killed at its memory limit, told until a person takes the pod down or it has had a good run.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_for_want_of_memory_raises_an_alarm_that_a_new_start_ends() {
    let (_folder, host, node) = node().await;
    let id = running(&node, json!({})).await;
    alarm(&node, "POD_OOM", false).await;
    host.end_container(id, &"main".parse().unwrap(), Exit::OutOfMemory);
    alarm(&node, "POD_OOM", true).await;
    alarm(&node, "POD_CRASH_LOOP", false).await;
    act(&node, skerry_ipc::Action::Stop).await;
    node.wait_state(Kind::Pod, "web", "stopped").await.unwrap();
    act(&node, skerry_ipc::Action::Start).await;
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    alarm(&node, "POD_OOM", false).await;
    node.stop().await.unwrap();
}

/// Ended again and again, told until a person takes the pod down or it has had a good run.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_raises_an_alarm_that_a_new_start_ends() {
    let (_folder, host, node) = node().await;
    let id = running(&node, json!({})).await;
    let name = "main".parse().unwrap();
    for _ in 0..6 {
        alarm(&node, "POD_CRASH_LOOP", false).await;
        let before = pid(&node).await;
        // After what the machine calls a long run it is started again at once; otherwise this would take minutes.
        host.end_container_after(id, &name, Exit::Code(1), Duration::from_secs(600));
        eventually(LIMIT, || async {
            let now = pid(&node).await;
            if now != before { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await
        .unwrap();
    }
    alarm(&node, "POD_CRASH_LOOP", true).await;
    act(&node, skerry_ipc::Action::Stop).await;
    node.wait_state(Kind::Pod, "web", "stopped").await.unwrap();
    act(&node, skerry_ipc::Action::Start).await;
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
    alarm(&node, "POD_CRASH_LOOP", false).await;
    node.stop().await.unwrap();
}

async fn pid(node: &RunningNode) -> Option<u64> {
    let pod = node.get(Kind::Pod, "web").await.unwrap();
    pod["status"]["containers"][0]["pid"].as_u64()
}

/// A new revision that fails gives way to the good one, which is told until there is another new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_raises_an_alarm_that_the_next_good_revision_ends() {
    let (_folder, host, node) = node().await;
    let id = running(&node, json!({"update": {"min_ready_s": 0}})).await;
    let history = async |state: &'static str, revision: u64| {
        eventually(LIMIT, || async {
            let pod = node.get(Kind::Pod, "web").await.map_err(|error| format!("{error:?}"))?;
            let last = pod["status"]["history"].as_array().and_then(|all| all.last()).cloned();
            let last = last.unwrap_or_default();
            let up = pod["status"]["state"] == "running";
            let is = last["state"] == state && last["number"] == revision && up;
            if is { Ok(()) } else { Err(format!("{state} {revision}: {}", pod["status"])) }
        })
        .await
        .unwrap();
    };
    history("good", 1).await;
    let change = async |memory: u64, update: Value| {
        let containers = json!([{"name": "main", "image": "tiny", "memory_mib": memory}]);
        let spec = json!({"containers": containers, "update": update});
        let patch = Json(json!({"spec": spec}).to_string());
        let key = "web".to_owned();
        let request = Request::Patch { kind: Kind::Pod, key, patch, if_revision: None };
        node.ask(request).await.unwrap();
    };
    change(65, json!({"min_ready_s": 600, "deadline_s": 900})).await;
    history("rolling", 2).await;
    host.end_container(id, &"main".parse().unwrap(), Exit::Code(3));
    alarm(&node, "POD_ROLLED_BACK", true).await;
    history("failed", 2).await;
    change(66, json!({"min_ready_s": 0, "deadline_s": 900})).await;
    history("good", 3).await;
    alarm(&node, "POD_ROLLED_BACK", false).await;
    node.stop().await.unwrap();
}
