//! What guests are told and what containers take, as the command line shows it.

use super::*;

#[tokio::test]
async fn what_a_guest_is_told_is_shown_without_its_secrets() {
    let told = json!({ "on": true, "entries": [
        { "path": "latest/meta-data/hostname", "bytes": 3, "text": "web" },
        { "path": "latest/user-data", "bytes": 9, "text": null }] });
    let node = Scripted::answers([document(told)]);
    let (code, out, _) = at(&node, "vm metadata web", &[]).await;
    assert!(code == 0 && out.contains("hostname") && out.contains(" web\n"), "{out}");
    assert!(out.contains("(9 bytes, not shown)"), "{out}");
    assert_eq!(node.request(), Request::VmMetadata { key: "web".into() });
    let node = Scripted::answers([document(json!({ "on": false, "entries": [] }))]);
    let (code, out, _) = at(&node, "vm metadata web", &[]).await;
    assert!(code == 0 && out.contains("told nothing"), "{out}");

    let node = Scripted::answers([document(json!({ "metadata": { "name": "web" } }))]);
    assert_eq!(at(&node, "vm create web --image debian --metadata", &[]).await.0, 0);
    let Request::Create { document, .. } = node.request() else { panic!("no machine") };
    assert!(document.0.contains(r#""init":{"metadata":true}"#), "{}", document.0);
}

#[tokio::test]
async fn what_containers_take_is_a_table() {
    let told = json!({ "at": "2026-01-02T03:04:05Z", "containers": [{ "name": "main", "cpu_us": 61_000_000,
        "throttled_us": null, "memory_bytes": 4_194_304, "memory_peak_bytes": 5_000_000,
        "memory_limit_bytes": 67_108_864, "oom_kills": 0, "tasks": 3, "read_bytes": 4096, "written_bytes": null }] });
    let node = Scripted::answers([document(told)]);
    let (code, out, _) = at(&node, "pod stats web", &[]).await;
    let words: Vec<&str> = out.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!((code, words.join(" ").as_str()), (0, "main 1m 1s 4096 KiB 64 MiB 3 4096 B -"));
    assert_eq!(node.request(), Request::PodStats { key: "web".into() });
    let node = Scripted::answers([document(json!({ "at": "", "containers": [] }))]);
    assert!(at(&node, "pod stats web", &[]).await.1.contains("None of its containers runs"));
}
