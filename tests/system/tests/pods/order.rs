//! Pods that wait for each other, from one file with documents of this node's own and of Kubernetes.

use anyhow::{bail, ensure};
use reqwest::Method;
use serde_json::Value;
use skerry_system_tests::{NodeUnderTest, SOON, eventually};

/// `late` is before `base`, which it waits for: the node sees to the order.
const SITE: &str = r#"
kind: Pod
metadata: {name: late}
spec:
  depends_on: [{pod: base}]
  stop_timeout_s: 2
  containers:
  - {name: main, image: tiny, memory_mib: 16, command: [/bin/sh, -c, "while true; do sleep 1; done"]}
---
kind: Pod
metadata: {name: base}
spec:
  stop_timeout_s: 2
  containers:
  - name: main
    image: tiny
    memory_mib: 16
    command: [/bin/sh, -c, "while true; do sleep 1; done"]
    readiness:
      check: {exec: {command: [/bin/cat, /ready]}}
      period_s: 1
      timeout_s: 20
---
kind: Config
metadata: {name: words}
spec:
  data: {motd: hello from a deployment}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: front
  labels: {app: front}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: front}}
  template:
    metadata:
      labels: {app: front}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: tiny
        command: [/bin/sh, -c, 'echo "$MOTD"; while true; do sleep 1; done']
        resources: {limits: {memory: 16Mi}}
        env:
        - name: MOTD
          valueFrom: {configMapKeyRef: {name: words, key: motd}}
"#;

/// One file, applied twice; a pod that waits until another is ready, and keeps that one from being deleted.
pub async fn holds(node: &NodeUnderTest) -> anyhow::Result<()> {
    let file = node.machine.folder.join("site.yaml");
    std::fs::write(&file, SITE)?;
    let file = file.display().to_string();
    let told = node.skerry(&["apply", "-f", &file, "--dry-run"])?;
    ensure!(told.matches("created").count() == 4, "{told}");
    ensure!(node.request(Method::GET, "/api/v1/pods/base", None).await?.0 == 404, "a dry run");
    let told = node.skerry(&["apply", "-f", &file])?;
    ensure!(told.matches("created").count() == 4, "{told}");

    node.wait_state("/api/v1/pods/front", "running", SOON).await?;
    super::wait_log(node, "front", "main", "hello from a deployment").await?;
    node.wait_state("/api/v1/pods/base", "running", SOON).await?;
    let late = waiting(node).await?;
    ensure!(late["status"]["containers"][0]["pid"].is_null(), "{}", late["status"]);

    node.skerry(&["exec", "base", "--", "/bin/sh", "-c", "echo now > /ready"])?;
    node.wait_state("/api/v1/pods/late", "running", SOON).await?;
    let told = node.skerry(&["apply", "-f", &file])?;
    ensure!(told.matches("unchanged").count() == 4, "{told}");

    let (status, answer) = node.request(Method::DELETE, "/api/v1/pods/base", None).await?;
    ensure!(status == 409, "{status} {answer}");
    ensure!(answer.to_string().contains("late depends on `base`"), "{answer}");
    for name in ["late", "base", "front"] {
        gone(node, &format!("/api/v1/pods/{name}")).await?;
    }
    gone(node, "/api/v1/configs/words").await
}

/// The pod that waits, once it says for what.
async fn waiting(node: &NodeUnderTest) -> anyhow::Result<Value> {
    eventually(SOON, || async {
        let late = node.get("/api/v1/pods/late").await?;
        let says = late["status"].to_string().contains("waits for pod `base` to be ready");
        if says { Ok(late) } else { bail!("{}", late["status"]) }
    })
    .await
}

async fn gone(node: &NodeUnderTest, path: &str) -> anyhow::Result<()> {
    let (status, answer) = node.request(Method::DELETE, path, None).await?;
    ensure!(status.is_success(), "{path}: {status} {answer}");
    wait_gone(node, path).await
}

/// Waits until there is no record of it.
pub async fn wait_gone(node: &NodeUnderTest, path: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let (status, answer) = node.request(Method::GET, path, None).await?;
        if status == 404 { Ok(()) } else { bail!("{status} {answer}") }
    })
    .await
}
