//! O2ims inventory over the wire.

use reqwest::Method;
use serde_json::{Value, json};
use skerry_ipc::Request;

use crate::start::{North, refused};

const BASE: &str = "o2ims-infrastructureInventory/v2";

#[tokio::test]
async fn a_token_comes_before_everything() {
    let north = North::start().await;
    let paths = [
        BASE.to_owned(),
        format!("{BASE}/resourceTypes?filter=(eq,WrongAttrName,x)"),
        "O2ims_infrastructureInventory/v2/".to_owned(),
        "o2ims-infrastructureMonitoring/v1/alarms".to_owned(),
        "o2ims-infrastructureInventory/api_versions".to_owned(),
    ];
    for path in &paths {
        for method in [Method::GET, Method::POST] {
            let none = north.ask(method.clone(), path).send().await.unwrap();
            assert!(none.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
            refused(none, 401).await;
            let wrong = north.ask(method.clone(), path).bearer_auth("rotated-token-of-nobody");
            refused(wrong.send().await.unwrap(), 401).await;
            // The page's cookie is for the page.
            let cookie =
                north.ask(method, path).header("cookie", "skerry_session=token-of-the-admin");
            refused(cookie.send().await.unwrap(), 401).await;
        }
    }
    assert!(!north.fake.asked().contains(&Request::WhoAmI));
}

#[tokio::test]
async fn the_inventory_is_answered() {
    let north = North::start().await;
    for path in [BASE, "O2ims_infrastructureInventory/v2/", &format!("{BASE}?all_fields")] {
        let response = north.get(path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["version"], "2.0.0");
        let cloud: Value = response.json().await.unwrap();
        assert_eq!(cloud["name"], "north");
        let root = north.url.as_str().trim_end_matches('/');
        assert_eq!(cloud["serviceUri"], root);
    }
    let pools: Value = north.get(&format!("{BASE}/resourcePools")).await.json().await.unwrap();
    let pool = pools[0]["resourcePoolId"].as_str().unwrap().to_owned();
    let query =
        "filter=(cont,description,NIC);(in,extensions/device,eth0,eth2)&fields=extensions/device";
    let path = format!("{BASE}/resourcePools/{pool}/resources?{query}");
    let nics: Value = north.get(&path).await.json().await.unwrap();
    let devices: Vec<_> =
        nics.as_array().unwrap().iter().map(|n| &n["extensions"]["device"]).collect();
    assert_eq!(devices.len(), 2);
    assert!(devices.contains(&&json!("eth0")) && devices.contains(&&json!("eth2")));
    let managers: Value =
        north.get(&format!("{BASE}/deploymentManagers")).await.json().await.unwrap();
    assert!(managers[0]["capacity"].is_object());
}

#[tokio::test]
async fn wrong_questions_are_refused() {
    let north = North::start().await;
    for (path, status) in [
        ("resourceTypes?filter=(eq,WrongAttrName,anyvalue)", 400),
        ("resourceTypes?fields=(resourceTypeId,WrongAttrName)", 400),
        ("resourceTypes?filter=(eq,name", 400),
        ("resourceTypes?filter=%28eq%2Cname%2C%ff%29", 400),
        ("deploymentManagers/00000000-0000-0000-0000-000000000000", 404),
        ("subscriptions", 404),
        ("locations", 404),
    ] {
        refused(north.get(&format!("{BASE}/{path}")).await, status).await;
    }
    refused(north.get("o2ims-infrastructureInventory/v1/deploymentManagers").await, 404).await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = north.admin(method, &format!("{BASE}/resourceTypes")).body("<xml/>");
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["allow"], "GET, HEAD");
        refused(response, 405).await;
    }
    let old = north.admin(Method::GET, BASE).header("version", "1.0.0").send().await.unwrap();
    refused(old, 406).await;
}
