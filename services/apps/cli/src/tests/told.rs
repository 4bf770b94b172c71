//! What guests are told, as the command line shows it.

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
