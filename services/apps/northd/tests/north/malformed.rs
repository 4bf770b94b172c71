//! Bad input of every sort is refused, and never a fault of the service.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reqwest::Method;
use serde_json::json;

use crate::start::North;

/// Cuts, changes and doubles bytes of a good document.
fn mutated(good: String) -> impl Strategy<Value = Vec<u8>> {
    let length = good.len();
    let one = (0..length, any::<u8>(), 0..4_u8);
    prop::collection::vec(one, 1..6).prop_map(move |changes| {
        let mut bytes = good.clone().into_bytes();
        for (at, byte, how) in changes {
            let at = at.min(bytes.len().saturating_sub(1));
            match how {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                2 if !bytes.is_empty() => bytes[at] = byte,
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_broken_documents_are_refused_or_taken() {
    let north = North::start().await;
    let good = json!({"metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {"image": "tiny", "vcpus": 2, "publish": [{"host_port": 80, "workload_port": 8080}]}});
    let login = json!({"username": "ada", "password": "right", "purpose": "cli"});
    let deep = "[".repeat(5_000);
    let strategy = prop_oneof![
        4 => mutated(good.to_string()).prop_map(|b| ("api/v1/vms", b)),
        4 => mutated(login.to_string()).prop_map(|b| ("api/v1/login", b)),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(|b| ("api/v1/pods", b)),
        1 => Just(("api/v1/claim", deep.into_bytes())),
    ];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..3_000 {
        let (path, body) = strategy.new_tree(&mut runner).unwrap().current();
        let request = north.admin(Method::POST, path).body(body.clone());
        let response = request.header("content-type", "application/json").send().await.unwrap();
        let status = response.status().as_u16();
        assert!(
            matches!(status, 200 | 201 | 400 | 401 | 403 | 409 | 422),
            "{status} for {path} {}",
            String::from_utf8_lossy(&body)
        );
        if status >= 400 {
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        *statuses.entry(status).or_default() += 1;
    }
    assert!(statuses.get(&400).is_some_and(|count| *count > 500), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_paths_and_queries_are_refused_or_answered() {
    let north = North::start().await;
    let strategy = "(api/v1/(vms|node|watch|pods/x/logs|vms/[a-z%0-9.]{1,8}(/explain)?)|o2ims-infrastructureInventory/v2(/resource(Types|Pools))?|[a-z/.%0-9]{0,12})(\\?[a-z=&%;(),'0-9+]{0,30})?";
    let strategy = prop::string::string_regex(strategy).unwrap();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..1_000 {
        let path = strategy.new_tree(&mut runner).unwrap().current();
        let mut url = north.url.clone();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        url.set_path(path);
        url.set_query(Some(query));
        let response = north.client.get(url.clone()).bearer_auth(crate::fake::ADMIN).send();
        let response = response.await.unwrap();
        let status = response.status().as_u16();
        let page_missing = status == 503 && !skerry_northd::is_built();
        assert!(status < 500 || page_missing, "{status} for {url}");
    }
}
