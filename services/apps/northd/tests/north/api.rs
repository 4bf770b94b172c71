//! `/api/v1`: sessions, resources, refusals.

use reqwest::Method;
use serde_json::{Value, json};
use skerry_ipc::{Action, PowerAction, Request};
use skerry_model::Kind;

use crate::fake::{ADMIN, VIEWER};
use crate::start::{North, refused};

#[tokio::test]
async fn health_is_open_and_holds_no_secret() {
    let north = North::start().await;
    let response = north.ask(Method::GET, "api/v1/health").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
    assert!(!headers.contains_key("strict-transport-security"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        body,
        json!({"claimed": false, "version": "0.1.0", "ready": true, "hostname": "north",
            "node_id": "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c"})
    );
    let summary = north.get("api/v1/summary").await.text().await.unwrap();
    assert!(summary.contains("north") && !summary.contains("SECRET"), "{summary}");
}

#[tokio::test]
async fn claiming_opens_a_session() {
    let north = North::start().await;
    let claim = |code: &str| {
        let body = json!({"code": code, "username": "ada", "password": "long enough"});
        north.ask(Method::POST, "api/v1/claim").json(&body).send()
    };
    refused(claim("WRONG").await.unwrap(), 403).await;
    let response = claim("TOO-MANY").await.unwrap();
    assert_eq!(response.headers()["retry-after"], "17");
    refused(response, 429).await;
    let response = claim("RIGHT").await.unwrap();
    assert_eq!(response.status(), 201);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    for rule in
        ["skerry_session=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=3600"]
    {
        assert!(cookie.contains(rule), "{cookie}");
    }
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (&body["username"], &body["role"], &body["token"]),
        (&json!("ada"), &json!("admin"), &json!(ADMIN))
    );
    let Some(Request::Claim { origin, .. }) = north.fake.asked().pop() else { panic!() };
    assert!(origin == "127.0.0.1" || origin == "::1", "{origin}");
}

#[tokio::test]
async fn a_login_lives_in_a_cookie_until_logout() {
    let north = North::start().await;
    let login = |password: &str| {
        let body = json!({"username": "ada", "password": password});
        north.ask(Method::POST, "api/v1/login").json(&body).send()
    };
    let response = login("wrong").await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
    refused(response, 401).await;
    let response = login("right").await.unwrap();
    assert_eq!(response.status(), 200);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with_cookie = |method, path: &str| north.ask(method, path).header("cookie", cookie.clone());

    let who: Value =
        with_cookie(Method::GET, "api/v1/session").send().await.unwrap().json().await.unwrap();
    assert_eq!(who, json!({"username": "ada", "role": "admin"}));
    // A page elsewhere could make the browser send the cookie, but not the header.
    let forged = with_cookie(Method::POST, "api/v1/node/actions/power_off");
    refused(forged.send().await.unwrap(), 403).await;
    assert!(!north.fake.asked().iter().any(|r| matches!(r, Request::Power(_))));
    let meant =
        with_cookie(Method::POST, "api/v1/node/actions/restart").header("x-skerry-request", "1");
    assert_eq!(meant.send().await.unwrap().status(), 202);
    assert_eq!(north.fake.asked().pop(), Some(Request::Power(PowerAction::Restart)));

    let out = with_cookie(Method::POST, "api/v1/logout").header("x-skerry-request", "1");
    let response = out.send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let after = with_cookie(Method::GET, "api/v1/session").send().await.unwrap();
    refused(after, 401).await;
}

#[tokio::test]
async fn every_path_but_the_open_ones_wants_a_session() {
    let north = North::start().await;
    let description: Value = serde_json::from_str(skerry_northd::openapi::COMMITTED).unwrap();
    let mut seen = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = path.replace("{key}", "web").replace("{action}", "start");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = north.ask(method.clone(), path.trim_start_matches('/'));
            let response = request.json(&json!({})).send().await.unwrap();
            let status = response.status().as_u16();
            seen += 1;
            if operation["security"] == json!([]) {
                assert!(!matches!(status, 401 | 404 | 405), "{method} {path}: {status}");
            } else {
                assert_eq!(status, 401, "{method} {path}");
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

#[tokio::test]
async fn a_resource_is_made_read_changed_and_taken_down() {
    let north = North::start().await;
    let body = json!({"metadata": {"name": "web"}, "spec": {"image": "tiny"}});
    let dry =
        north.admin(Method::POST, "api/v1/vms?dry_run=true").json(&body).send().await.unwrap();
    assert_eq!(dry.status(), 200);
    refused(north.get("api/v1/vms/web").await, 404).await;

    let made = north.admin(Method::POST, "api/v1/vms").json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let tag = made.headers()["etag"].to_str().unwrap().to_owned();
    let by_id = north.get(location.trim_start_matches('/')).await;
    assert_eq!(by_id.headers()["etag"].to_str().unwrap(), tag);
    let document: Value = by_id.json().await.unwrap();
    assert_eq!(document["metadata"]["name"], "web");
    refused(north.admin(Method::POST, "api/v1/vms").json(&body).send().await.unwrap(), 409).await;

    let known = north.admin(Method::GET, "api/v1/vms/web").header("if-none-match", &tag);
    assert_eq!(known.send().await.unwrap().status(), 304);
    let patch = |tag: &str| {
        let request = north.admin(Method::PATCH, "api/v1/vms/web").header("if-match", tag);
        request
            .header("content-type", "application/merge-patch+json")
            .body(r#"{"spec":{"vcpus":2}}"#)
    };
    let changed = patch(&tag).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"].to_str().unwrap(), tag);
    refused(patch(&tag).send().await.unwrap(), 412).await;
    refused(patch("nonsense").send().await.unwrap(), 400).await;
    let put = north.admin(Method::PUT, "api/v1/vms/web").json(&body).send().await.unwrap();
    assert_eq!(put.status(), 200);

    for (action, asked) in [
        ("start", Action::Start),
        ("stop", Action::Stop),
        ("force_stop", Action::ForceStop),
        ("restart", Action::Restart),
        ("pause", Action::Pause),
        ("resume", Action::Resume),
        ("reset", Action::Reset),
        ("reboot", Action::Reboot),
        ("suspend", Action::Suspend),
    ] {
        let path = format!("api/v1/vms/web/actions/{action}");
        assert_eq!(north.admin(Method::POST, &path).send().await.unwrap().status(), 202);
        let wanted = Request::Act { kind: Kind::Vm, key: "web".into(), action: asked };
        assert_eq!(north.fake.asked().pop(), Some(wanted));
    }
    refused(north.admin(Method::POST, "api/v1/vms/web/actions/fly").send().await.unwrap(), 404)
        .await;
    north.fake.put(Kind::Job, "import", json!({}));
    for (action, asked) in [("abort", Action::Abort), ("retry", Action::Retry)] {
        let path = format!("api/v1/jobs/import/actions/{action}");
        assert_eq!(north.admin(Method::POST, &path).send().await.unwrap().status(), 202);
        let wanted = Request::Act { kind: Kind::Job, key: "import".into(), action: asked };
        assert_eq!(north.fake.asked().pop(), Some(wanted));
    }
    for path in ["api/v1/jobs/import/actions/start", "api/v1/vms/web/actions/abort"] {
        refused(north.admin(Method::POST, path).send().await.unwrap(), 404).await;
    }
    let explained: Value = north.get("api/v1/vms/web/explain").await.json().await.unwrap();
    assert_eq!(explained["of"]["kind"], "Vm");
    // The finalizer says that parts of it are still there.
    let gone = north.admin(Method::DELETE, "api/v1/vms/web").send().await.unwrap();
    assert_eq!(gone.status(), 202);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let north = North::start().await;
    for name in ["a", "b", "c"] {
        north.fake.put(Kind::Pod, name, json!({}));
    }
    let path = "api/v1/pods?limit=2&name=x&label=tier%3Dedge&label=a=b";
    let list: Value = north.get(path).await.json().await.unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["next"], "the \"next\" one");
    assert_eq!(list["revision"], 4);
    let Some(Request::List { query, .. }) = north.fake.asked().pop() else { panic!() };
    assert_eq!(query.name_contains.as_deref(), Some("x"));
    assert_eq!(query.labels, [("tier".into(), "edge".into()), ("a".into(), "b".into())]);
    let rest: Value = north.get("api/v1/pods?continue=b").await.json().await.unwrap();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert!(rest.get("next").is_none());
    for query in ["limit=0", "limit=1001", "limit=x", "label=a", "limit=1&limit=2", "nmae=x"] {
        refused(north.get(&format!("api/v1/pods?{query}")).await, 400).await;
    }
}

#[tokio::test]
async fn the_node_has_paths_of_its_own() {
    let north = North::start().await;
    let shown = north.get("api/v1/node").await;
    assert!(shown.headers().contains_key("etag"));
    assert_eq!(shown.json::<Value>().await.unwrap()["kind"], "Node");
    let body = json!({"spec": {"hostname": "south"}});
    let patched = north.admin(Method::PATCH, "api/v1/node").json(&body).send().await.unwrap();
    assert_eq!(patched.json::<Value>().await.unwrap()["spec"]["hostname"], "south");
    let inventory: Value = north.get("api/v1/inventory").await.json().await.unwrap();
    assert_eq!(inventory["disks"][0]["name"], "vda");
    refused(north.admin(Method::POST, "api/v1/node/actions/explode").send().await.unwrap(), 404)
        .await;
}

#[tokio::test]
async fn refusals_have_the_right_status() {
    let north = North::start().await;
    let post = |path: &str| north.admin(Method::POST, path);
    let vms = "api/v1/vms";
    let invalid = refused(post(vms).json(&json!({"spec": {}})).send().await.unwrap(), 422).await;
    assert_eq!(invalid["violations"][0]["field"], "metadata.name");
    let viewer = north.ask(Method::POST, vms).bearer_auth(VIEWER).json(&json!({}));
    refused(viewer.send().await.unwrap(), 403).await;
    refused(north.ask(Method::GET, vms).bearer_auth("nobody").send().await.unwrap(), 401).await;
    refused(north.get("api/v1/vms/none").await, 404).await;
    refused(north.get("api/v1/nothing").await, 404).await;
    refused(north.get("api/v2/vms").await, 404).await;
    refused(north.get("api").await, 404).await;
    refused(north.get(&format!("api/v1/vms/{}", "x".repeat(500))).await, 404).await;
    refused(north.get("api/v1/vms/%ff").await, 400).await;
    for (method, path) in
        [(Method::DELETE, vms), (Method::PUT, "api/v1/node"), (Method::GET, "api/v1/claim")]
    {
        let response = north.admin(method, path).send().await.unwrap();
        assert!(response.headers().contains_key("allow"));
        refused(response, 405).await;
    }
    refused(post("some/page").send().await.unwrap(), 405).await;
    for kind in ["text/plain", "application/xml", "application/merge-patch+json"] {
        let request = post(vms).header("content-type", kind).body("{}");
        refused(request.send().await.unwrap(), 415).await;
    }
    refused(post(vms).send().await.unwrap(), 415).await;
    for body in ["", "{", "[]", "\"text\"", "{\"a\":1}x", "\u{0}", "{\"a\":\"\u{fffd}"] {
        let request = post(vms).header("content-type", "application/json").body(body);
        refused(request.send().await.unwrap(), 400).await;
    }
    let not_utf8 =
        post(vms).header("content-type", "application/json").body(&b"{\"a\":\"\xff\"}"[..]);
    refused(not_utf8.send().await.unwrap(), 400).await;
    let wrong_shape = json!({"username": 1, "password": "x"});
    let login = north.ask(Method::POST, "api/v1/login").json(&wrong_shape).send().await.unwrap();
    refused(login, 422).await;
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let north = North::start().await;
    let fits = json!({"metadata": {"name": "big"}, "spec": "x".repeat(1024 * 1024 - 100)});
    let response = north.admin(Method::POST, "api/v1/vms").json(&fits).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let text = format!("{{\"spec\":\"{}\"}}", "x".repeat(1024 * 1024));
    let post = |body: reqwest::Body| {
        let request = north.admin(Method::POST, "api/v1/vms").body(body);
        request.header("content-type", "application/json").send()
    };
    refused(post(text.clone().into()).await.unwrap(), 413).await;
    // The same without saying the length before.
    let pieces: Vec<_> =
        text.as_bytes().chunks(64 * 1024).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    refused(post(stream).await.unwrap(), 413).await;
}

#[tokio::test]
async fn the_page_is_served_or_said_to_be_missing() {
    let north = North::start().await;
    for path in ["", "vms/web", "index.html"] {
        let response = north.ask(Method::GET, path).send().await.unwrap();
        let wanted = if skerry_northd::is_built() { 200 } else { 503 };
        assert_eq!(response.status(), wanted, "{path}");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(response.headers().contains_key("content-security-policy"));
        let text = response.text().await.unwrap();
        assert_eq!(text.contains("make web"), !skerry_northd::is_built());
    }
}

#[tokio::test]
async fn without_the_node_daemon_answers_are_honest() {
    let mut north = North::start().await;
    assert_eq!(north.get("api/v1/summary").await.status(), 200);
    north.end_noded().await;
    for path in
        ["api/v1/summary", "api/v1/health", "api/v1/vms", "o2ims-infrastructureInventory/v2"]
    {
        let response = north.get(path).await;
        assert!(response.headers().contains_key("retry-after"));
        refused(response, 503).await;
    }
    let page = north.ask(Method::GET, "").send().await.unwrap();
    assert_eq!(page.status().is_success(), skerry_northd::is_built());
    north.start_noded();
    assert_eq!(north.get("api/v1/summary").await.status(), 200);
}

/// Only in a binary that was built after the page: then its files are cached as their names allow.
#[tokio::test]
async fn files_of_the_page_are_cached_and_compressed() {
    let north = North::start().await;
    if !skerry_northd::is_built() {
        return;
    }
    let index = north.ask(Method::GET, "").send().await.unwrap();
    assert_eq!(index.headers()["cache-control"], "no-cache");
    let tag = index.headers()["etag"].clone();
    let known = north.ask(Method::GET, "some/view").header("if-none-match", tag);
    assert_eq!(known.send().await.unwrap().status(), 304);
    let text = index.text().await.unwrap();
    let script = text.split('"').find(|part| part.contains("assets/") && part.ends_with(".js"));
    let script = script.unwrap().trim_start_matches('/').to_owned();
    let plain = north.ask(Method::GET, &script).send().await.unwrap();
    assert_eq!(plain.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert!(plain.headers()["content-type"].to_str().unwrap().starts_with("text/javascript"));
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap();
    let packed = north.ask(Method::GET, &script).header("accept-encoding", "br, gzip");
    let packed = packed.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert!(packed.bytes().await.unwrap().len() < plain.len() / 2);
}
