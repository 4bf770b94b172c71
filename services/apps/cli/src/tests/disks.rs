//! Disks and interfaces of machines that are there already, as the command line asks for them.

use super::*;

/// What one line changes of the spec of a machine that has this spec.
async fn changed(spec: Value, line: &str) -> skerry_model::VmSpec {
    let mut whole = json!({ "image": "tiny-vm" });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let there = json!({ "metadata": { "name": "m", "revision": 7 }, "spec": whole });
    let node = Scripted::answers([there.clone(), there.clone(), there].map(document));
    assert_eq!(at(&node, line, &[]).await.0, exit::DONE, "{line}");
    let requests = node.requests.lock().unwrap();
    let Some(Request::Patch { patch, if_revision: Some(7), .. }) = requests.last() else {
        panic!("{line}: no change of what was seen")
    };
    let patch: Value = serde_json::from_str(&patch.0).unwrap();
    whole.as_object_mut().unwrap().extend(patch["spec"].as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

#[tokio::test]
async fn a_volume_is_attached_as_was_said() {
    let spec = changed(json!({}), "volume attach data m").await;
    let data = skerry_model::Name::new("data").unwrap();
    assert_eq!(spec.disks, [skerry_model::VmDisk::of(data.clone())]);
    let line = "volume attach data m --read-only --bus scsi --boot-index 2 --iops 500 \
        --bytes-per-second 1048576 --delete-with-vm";
    let spec = changed(json!({ "disks": [{ "volume": "first" }] }), line).await;
    let limits = skerry_model::DiskLimits { iops: Some(500), bytes_per_s: Some(1_048_576) };
    let wanted = skerry_model::VmDisk {
        bus: skerry_model::DiskBus::Scsi,
        boot_index: Some(2),
        read_only: true,
        limits,
        keep_on_delete: false,
        ..skerry_model::VmDisk::of(data)
    };
    assert_eq!(spec.disks[1..], [wanted]);
}

#[tokio::test]
async fn interfaces_come_and_go() {
    let spec = changed(json!({ "nics": [{ "network": "lab" }] }), "network attach core m").await;
    let names: Vec<_> = spec.nics.iter().map(|nic| nic.network.as_str()).collect();
    assert_eq!(names, ["lab", "core"]);
    let both = json!({ "nics": [{ "network": "lab" }, { "network": "core" }] });
    let spec = changed(both, "network detach lab m").await;
    assert_eq!(spec.nics.len(), 1);
    let without = json!({ "metadata": { "name": "m" }, "spec": { "image": "tiny-vm" } });
    let node = Scripted::answers([document(without)]);
    let (code, _, err) = at(&node, "network detach lab m", &[]).await;
    assert!(code != exit::DONE && err.contains("no further interface on lab"), "{err}");
}

#[tokio::test]
async fn what_a_guest_does_by_itself_can_be_given_a_meaning() {
    let node = Scripted::answers([document(json!({}))]);
    let line =
        "vm create m --image tiny-vm --on-guest-off restart --on-guest-reboot restart --nic lab";
    assert_eq!(at(&node, line, &[]).await.0, exit::DONE);
    let Request::Create { document, .. } = node.request() else { panic!("no creation") };
    let sent: Value = serde_json::from_str(&document.0).unwrap();
    let spec: skerry_model::VmSpec = serde_json::from_value(sent["spec"].clone()).unwrap();
    assert_eq!(spec.on_guest_off, skerry_model::GuestOff::Restart);
    assert_eq!(spec.on_guest_reboot, skerry_model::GuestReboot::Restart);
    assert_eq!(spec.nics.len(), 1);
}

#[tokio::test]
async fn a_machine_may_start_from_a_volume_that_is_there() {
    let nothing = Scripted::answers([]);
    let (code, _, err) = at(&nothing, "vm create back", &[]).await;
    assert!(code != exit::DONE && err.contains("--image"), "{err}");
    let node = Scripted::answers([document(json!({}))]);
    assert_eq!(at(&node, "vm create back --disk web-root", &[]).await.0, exit::DONE);
    let requests = node.requests.lock().unwrap();
    let Some(Request::Create { document, .. }) = requests.last() else { panic!("nothing made") };
    let made: Value = serde_json::from_str(&document.0).unwrap();
    assert_eq!(made["spec"]["disks"], json!([{ "volume": "web-root" }]));
    assert_eq!(made["spec"].get("image"), None);
}
