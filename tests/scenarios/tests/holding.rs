//! What pods may take and do: limits, and who may loosen them, through the whole node.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};
use skerry_model::{IoLimits, Kind, LogRate};
use skerry_scenarios_tests::RunningNode;
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
