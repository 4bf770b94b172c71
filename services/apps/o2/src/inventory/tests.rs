use super::*;
use proptest::prelude::*;
use skerry_upkeep::{Disk, Inventory as Machine, Nic, Summary};

const BASE: &str = "/o2ims-infrastructureInventory/v2";

fn facts() -> Facts {
    let nic = |n: u32| Nic {
        name: format!("eth{n}"),
        mac: format!("52:54:00:00:00:{n:02x}"),
        vendor: Some("Intel".into()),
        model: Some("I350".into()),
        ..Nic::default()
    };
    let disk = Disk { name: "vda".into(), size_bytes: 8 << 30, ..Disk::default() };
    Facts {
        summary: Summary {
            node_id: "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".into(),
            hostname: "north".into(),
            ..Summary::default()
        },
        inventory: Machine {
            nics: (0..12).map(nic).collect(),
            disks: vec![disk],
            ..Machine::default()
        },
    }
}

fn question<'a>(path: &'a str, query: &'a str) -> Question<'a> {
    Question {
        method: "GET",
        path,
        query,
        version: None,
        accept: None,
        api_root: "https://node.example:8443",
    }
}

fn get(uri: &str) -> Answer {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    Inventory::default().answer(&question(path, query), &facts())
}

fn list(uri: &str) -> Vec<Value> {
    let answer = get(uri);
    assert_eq!(answer.status, 200, "{uri}: {}", answer.body);
    answer.body.as_array().unwrap().clone()
}

fn resources() -> String {
    let pool = list(&format!("{BASE}/resourcePools"))[0]["resourcePoolId"].clone();
    format!("{BASE}/resourcePools/{}/resources", pool.as_str().unwrap())
}

#[test]
fn both_spellings_and_slashes_answer() {
    for path in [
        BASE.to_owned(),
        format!("{BASE}/"),
        "/O2ims_infrastructureInventory/v2".to_owned(),
        "/O2ims_infrastructureInventory/v2/?all_fields".to_owned(),
    ] {
        let answer = get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body["oCloudId"], facts().summary.node_id);
        assert_eq!(answer.body["serviceUri"], "https://node.example:8443");
        assert_eq!(answer.body.get("extensions").is_some(), path.contains("all_fields"));
    }
}

#[test]
fn versions_are_told_with_and_without_major() {
    for path in ["/o2ims-infrastructureInventory/api_versions", &format!("{BASE}/api_versions")] {
        let answer = get(path);
        assert_eq!(answer.body["apiVersions"][0]["version"], "2.0.0");
        assert!(
            answer.body["uriPrefix"]
                .as_str()
                .unwrap()
                .starts_with("https://node.example:8443/o2ims-")
        );
    }
}

#[test]
fn unknown_paths_and_other_methods_are_refused_with_a_body() {
    for path in [
        "/o2ims-infrastructureInventory",
        "/o2ims-infrastructureInventory/v1/deploymentManagers",
        "/o2ims-infrastructureInventory/v3",
        "/o2ims-infrastructureMonitoring/v2/alarms",
        &format!("{BASE}/locations"),
        &format!("{BASE}/subscriptions"),
        &format!("{BASE}/deploymentManagers/nope"),
        &format!("{BASE}/resourcePools/nope/resources"),
        &format!("{BASE}//resourceTypes"),
        &format!("{BASE}/resourceTypes//"),
    ] {
        let answer = get(path);
        assert_eq!((answer.status, &answer.body["status"]), (404, &json!(404)), "{path}");
        assert!(answer.body["detail"].is_string());
        assert!(answer.body.get("instance").is_none());
    }
    for path in [BASE.to_owned(), format!("{BASE}/resourceTypes"), resources()] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let asked = Question { method, ..question(&path, "") };
            let answer = Inventory::default().answer(&asked, &facts());
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.headers.contains(&("allow", "GET, HEAD".to_owned())));
            assert!(answer.body["detail"].is_string());
        }
    }
}

#[test]
fn filters_and_selectors_work_on_lists() {
    let nics = list(&format!("{}?filter=(cont,description,NIC)", resources()));
    assert_eq!(nics.len(), 12);
    let kind = nics[0]["resourceTypeId"].as_str().unwrap();
    let one = list(&format!(
        "{}?filter=(eq,resourceTypeId,{});(eq,extensions/device,eth3)&fields=extensions/device",
        resources(),
        kind.to_uppercase()
    ));
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["extensions"], json!({"device": "eth3"}));
    assert!(one[0]["description"].is_string() && one[0].get("tags").is_none());
    let server = list(&format!("{}?filter=(eq,elements/extensions/device,vda)", resources()));
    assert_eq!(server.len(), 1);
    assert!(server[0]["elements"][0].get("extensions").is_none());
    assert_eq!(list(&format!("{BASE}/resourceTypes?filter=(eq,name,server)")).len(), 1);
    assert!(
        list(&format!("{BASE}/deploymentManagers?filter=(neq,name,'north-workloads')")).is_empty()
    );
}

#[test]
fn wrong_questions_are_refused() {
    for query in [
        "filter=(eq,WrongAttrName,anyvalue)",
        "fields=(resourceTypeId,WrongAttrName)",
        "all_fields&fields=name",
        "filter=(eq,name",
        "filter=(eq,name,x);",
        "nextpage_opaque_marker=2",
        "filer=(eq,name,x)",
    ] {
        for path in ["resourceTypes", "resourcePools", "deploymentManagers"] {
            let answer = get(&format!("{BASE}/{path}?{query}"));
            assert_eq!(answer.status, 400, "{path}?{query}");
            assert_eq!(answer.body["status"], 400);
        }
        assert_eq!(get(&format!("{BASE}?{query}")).status, 400, "root?{query}");
        assert_eq!(get(&format!("{}?{query}", resources())).status, 400, "resources?{query}");
    }
}

#[test]
fn versions_and_types_that_are_not_served_are_refused() {
    for (version, status) in [
        ("2.0.0", 200),
        ("2.0.7-impl:example.org:smo:3", 200),
        ("", 200),
        ("1.0.0", 406),
        ("2.1.0", 406),
        ("two", 400),
        ("2.0", 400),
    ] {
        let asked = Question { version: Some(version), ..question(BASE, "") };
        let answer = Inventory::default().answer(&asked, &facts());
        assert_eq!(answer.status, status, "{version}");
        assert!(answer.headers.contains(&("version", "2.0.0".to_owned())));
    }
    for (accept, status) in [
        ("application/json", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/problem+json, application/json", 200),
        ("text/xml", 406),
    ] {
        let asked = Question { accept: Some(accept), ..question(BASE, "") };
        assert_eq!(Inventory::default().answer(&asked, &facts()).status, status, "{accept}");
    }
}

#[test]
fn pages_follow_each_other() {
    let inventory = Inventory::with_page_size(5);
    let path = resources();
    let mut query = "filter=(cont,description,NIC)".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = inventory.answer(&question(&path, &query), &facts());
        assert_eq!(answer.status, 200);
        let page = answer.body.as_array().unwrap();
        assert!((1..=5).contains(&page.len()));
        seen.extend(page.iter().map(|r| r["resourceId"].as_str().unwrap().to_owned()));
        let Some((_, link)) = answer.headers.iter().find(|(name, _)| *name == "link") else {
            break;
        };
        let uri = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(uri.starts_with(&format!("https://node.example:8443{path}?filter=(cont")));
        query = uri.split_once('?').unwrap().1.to_owned();
    }
    assert_eq!(seen.len(), 12);
    seen.dedup();
    assert_eq!(seen.len(), 12);
    // A marker of one question is none for another.
    let other = query.replace("NIC", "Disk");
    assert_eq!(inventory.answer(&question(&path, &other), &facts()).status, 400);
}

#[test]
fn every_listed_object_can_be_had_by_itself() {
    for (path, id) in [
        (format!("{BASE}/resourceTypes"), "resourceTypeId"),
        (format!("{BASE}/resourcePools"), "resourcePoolId"),
        (format!("{BASE}/deploymentManagers"), "deploymentManagerId"),
        (resources(), "resourceId"),
    ] {
        let all = list(&format!("{path}?all_fields"));
        assert!(!all.is_empty());
        for item in all {
            let one = get(&format!("{path}/{}?all_fields", item[id].as_str().unwrap()));
            assert_eq!((one.status, one.body), (200, item));
        }
    }
}

proptest! {
    /// No path or query panics, and whatever is refused has a body that says why.
    #[test]
    fn nothing_panics(
        path in "(/o2ims-infrastructureInventory|/O2ims_infrastructureInventory)(/v2)?(/[a-zA-Z%/.0-9]{0,20}){0,3}",
        query in "((filter|fields|exclude_fields|all_fields|exclude_default|nextpage_opaque_marker|x)(=[-(),;'%~@/a-z0-9]{0,24})?&?){0,3}",
    ) {
        let answer = Inventory::default().answer(&question(&path, &query), &facts());
        if answer.status >= 400 {
            prop_assert_eq!(&answer.body["status"], &json!(answer.status));
            prop_assert!(answer.body["detail"].as_str().unwrap().len() > 10);
        }
    }
}
