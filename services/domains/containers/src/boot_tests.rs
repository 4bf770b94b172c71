//! Many pods after a boot of the node, with passes that go on at the same time.

use skerry_store::StoreDirs;

use super::*;
use crate::testing::Machines;

/// Puts so many pods into a store that ran before a boot, each with its port.
async fn many(store: &Store, count: u128) {
    let from = |value: serde_json::Value| serde_json::from_value(value).unwrap();
    let network =
        serde_json::json!({"mode": "nat", "subnet": {"network": "10.1.0.0", "prefix": 24}});
    let image = serde_json::json!({"format": "oci_archive", "source": "built_in",
        "architecture": "x86_64",
        "files": [{"role": "archive", "path": "/x.tar", "sha256": "ab".repeat(32), "size": 1}]});
    put(store, |tx| {
        let network = serde_json::from_value(network).unwrap();
        tx.create(NewResource::<Network>::new(id(1000), name("default"), network));
        let image = serde_json::from_value(image).unwrap();
        tx.create(NewResource::<Image>::new(id(1001), name("tiny"), image));
        let status = ImageStatus { state: ImageState::Available, ..ImageStatus::default() };
        tx.put_status::<Image>(id(1001), status);
    })
    .await;
    for number in 1..=count {
        let pod: Id<Pod> = id(number);
        let port: Id<Port> = id(100 + number);
        let spec: PodSpec = from(serde_json::json!({"user_namespace": "host",
            "containers": [{"name": "a", "image": "tiny"}]}));
        let wired = serde_json::json!({"network": uuid::Uuid::from_u128(1000),
            "workload": {"kind": "Pod", "id": uuid::Uuid::from_u128(number)},
            "hostname": format!("p-{number}"), "mac": format!("02:00:00:00:00:{number:02x}"),
            "address": format!("10.1.0.{}", number + 1)});
        let binding = Binding::Veth {
            namespace: Binding::namespace_of(pod),
            device: "v".into(),
            bridge: "b".into(),
            users: None,
        };
        let mut ready = PortStatus { binding: Some(binding), ..PortStatus::default() };
        ready.conditions.set("Ready", ConditionState::True, "Test", "", clock());
        let boot = Some("before".to_owned());
        let status = PodStatus { boot, state: PodState::Running, ..PodStatus::default() };
        put(store, |tx| {
            let wired = serde_json::from_value(wired).unwrap();
            tx.create(NewResource::<Port>::new(port, name(&format!("port-{number}")), wired));
            tx.put_status::<Port>(port, ready);
            tx.create(NewResource::<Pod>::new(pod, name(&format!("p-{number}")), spec));
            tx.put_status::<Pod>(pod, status);
        })
        .await;
    }
}

/// The store is one on disk, since only there others have their turn while something is written.
#[tokio::test]
async fn passes_at_the_same_time_start_no_more_pods_than_one_after_the_other_would() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let dirs = StoreDirs { state: at("state"), second: None };
    let (store, _) = Store::open(&dirs, clock).unwrap();
    many(&store, 10).await;
    let runtime = Arc::new(Machines::default());
    let controller = PodController::new(store.clone(), runtime.clone(), clock, "now");
    let pass = || async {
        let passes = (1..=10).map(|number| controller.reconcile(key_of(id(number))));
        for done in futures::future::join_all(passes).await {
            done.unwrap();
        }
    };
    pass().await;
    let most = runtime.starting.lock().unwrap().1;
    assert!((1..=4).contains(&most), "{most} at once");
    for _ in 0..10 {
        pass().await;
    }
    let states: Vec<PodState> =
        store.list::<Pod>().unwrap().iter().map(|pod| pod.status.state).collect();
    assert_eq!(states, [PodState::Running; 10], "all come up in the end");
    let most = runtime.starting.lock().unwrap().1;
    assert!((1..=4).contains(&most), "{most} at once");
}
