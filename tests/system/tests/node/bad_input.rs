//! What no node can do: each is refused with a reason, and nothing is left of it.

use anyhow::{bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::NodeUnderTest;

/// Asks for it over HTTPS and by the command line.
pub async fn is_refused(node: &NodeUnderTest) -> anyhow::Result<()> {
    machines(node).await?;
    pods(node).await?;
    manifests(node).await
}

async fn machines(node: &NodeUnderTest) -> anyhow::Result<()> {
    let cases = [
        (json!({"metadata": {"name": "x"}, "spec": {"image": "tiny-vm", "vcpus": 0}}), 422),
        (json!({"metadata": {"name": "../x"}, "spec": {"image": "tiny-vm"}}), 422),
        (json!({"metadata": {"name": "x"}, "spec": {"image": "tiny-vm", "colour": 1}}), 422),
        (json!({"metadata": {"name": "x"}, "spec": {"image": "tiny"}}), 422),
        (
            json!({"metadata": {"name": "x"}, "spec": {"image": "tiny-vm", "memory_mib": 900_000}}),
            409,
        ),
        (
            json!({"metadata": {"name": "guest"}, "spec": {"image": "tiny-vm", "power": "stopped"}}),
            409,
        ),
        (
            json!({"metadata": {"name": "x"}, "spec": {"image": "tiny-vm", "power": "stopped",
            "publish": [{"host_port": 8080, "workload_port": 1}]}}),
            422,
        ),
    ];
    for (body, expected) in cases {
        let (status, problem) =
            node.request(Method::POST, "/api/v1/vms", Some(body.clone())).await?;
        ensure!(status.as_u16() == expected, "{body}: {status} {problem}");
        ensure!(problem["detail"].is_string(), "{body}: {problem}");
    }
    let huge = json!({"metadata": {"name": "x"}, "spec": {"image": "x".repeat(2 << 20)}});
    let (status, _) = node.request(Method::POST, "/api/v1/vms", Some(huge)).await?;
    ensure!(status == StatusCode::PAYLOAD_TOO_LARGE, "{status}");
    let vms = node.get("/api/v1/vms").await?;
    ensure!(vms["items"].as_array().map(Vec::len) == Some(1), "something was made: {vms}");
    Ok(())
}

async fn pods(node: &NodeUnderTest) -> anyhow::Result<()> {
    let of =
        |container: Value| json!({"metadata": {"name": "x"}, "spec": {"containers": [container]}});
    let cases = [
        (of(json!({"name": "a", "image": "tiny", "memory_mib": 900_000})), 409),
        (of(json!({"name": "a", "image": "nowhere"})), 422),
        (of(json!({"name": "a", "image": "../tiny"})), 422),
        (of(json!({"name": "a", "image": "tiny-vm"})), 422),
        (of(json!({"name": "a b", "image": "tiny"})), 422),
        (of(json!({"name": "a", "image": "tiny", "mounts": [{"volume": "v", "path": "/v"}]})), 422),
        (of(json!({"name": "a", "image": "tiny", "devices": ["/dev/vda"]})), 422),
        (json!({"metadata": {"name": "x"}, "spec": {"containers": []}}), 422),
    ];
    for (body, expected) in cases {
        let (status, problem) =
            node.request(Method::POST, "/api/v1/pods", Some(body.clone())).await?;
        ensure!(status.as_u16() == expected, "{body}: {status} {problem}");
        ensure!(problem["detail"].is_string(), "{body}: {problem}");
    }
    let pods = node.get("/api/v1/pods").await?;
    ensure!(pods["items"].as_array().map(Vec::len) == Some(1), "something was made: {pods}");
    Ok(())
}

/// Of a file with one bad document none is taken.
async fn manifests(node: &NodeUnderTest) -> anyhow::Result<()> {
    let good = "kind: Config\nmetadata:\n  name: fine\nspec:\n  data:\n    a: b\n---\n";
    let kubernetes = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: k\nspec:\n  hostPID: true\n  \
        containers:\n  - name: a\n    image: tiny\n";
    let file = node.machine.folder.join("bad.yaml");
    for (bad, said) in [
        ("kind: Pod\n  name: [", "line"),
        ("kind: Cheese\nmetadata:\n  name: x\n", "Cheese"),
        (kubernetes, "hostPID"),
    ] {
        std::fs::write(&file, format!("{good}{bad}"))?;
        let path = file.display().to_string();
        match node.skerry(&["apply", "-f", &path]) {
            Ok(done) => bail!("{bad}: {done}"),
            Err(refused) => ensure!(format!("{refused:?}").contains(said), "{bad}: {refused:?}"),
        }
    }
    let configs = node.get("/api/v1/configs").await?;
    ensure!(configs["items"].as_array().map(Vec::len) == Some(0), "something was made: {configs}");
    Ok(())
}
