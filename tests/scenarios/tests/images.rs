//! Images from what came in to the library, over aborts, a full disk, restarts and power cuts.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_ipc::{Action, Answer, Auth, FetchReport, PeerRole, PullReport, Request, StreamItem};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);

/// The head of a qcow2 disk of 1 MiB, which is all that the simulated machine looks at.
fn qcow2() -> Vec<u8> {
    let mut bytes = vec![0_u8; 600];
    for (at, part) in [
        (0, &b"QFI\xfb"[..]),
        (4, &3_u32.to_be_bytes()),
        (24, &(1_u64 << 20).to_be_bytes()),
        (100, &104_u32.to_be_bytes()),
    ] {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

fn image(name: &str, format: &str, source: Value) -> Value {
    json!({"metadata": {"name": name},
           "spec": {"format": format, "source": source, "architecture": "x86_64"}})
}

async fn start(folder: &tempfile::TempDir, host: &SimHost) -> RunningNode {
    RunningNode::start(folder.path(), host).await.unwrap()
}

async fn refused(node: &RunningNode, request: Request, part: &str) {
    let error = node.ask(request).await.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

fn delete(kind: Kind, key: &str) -> Request {
    Request::Delete { kind, key: key.to_owned(), if_revision: None, with_volumes: false }
}

fn act(job: &str, action: Action) -> Request {
    Request::Act { kind: Kind::Job, key: job.to_owned(), action }
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits until spool, work and library hold so many files.
async fn files(host: &SimHost, expected: (usize, usize, usize)) {
    let found = eventually(LIMIT, || async {
        let found = host.image_files();
        if found == expected { Ok(()) } else { bail!("{found:?}") }
    });
    found.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_becomes_an_image_and_goes_with_it() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    let upload = Uuid::from_u128(1);
    let body = image("debian", "qcow2", json!({"upload": upload}));
    let create = Request::Create {
        kind: Kind::Image,
        document: skerry_ipc::Json(body.to_string()),
        dry_run: false,
    };
    refused(&node, create, "spec.source.upload: is not there").await;
    host.spool(upload, &qcow2());
    let made = node.create(Kind::Image, body).await.unwrap();
    assert_eq!(text(&made, "/status/state"), "receiving");
    let there = node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    assert_eq!(there["spec"]["files"][0]["role"], "disk");
    assert_eq!(there["spec"]["files"][0]["virtual_size"], 1 << 20);
    let job = node.get(Kind::Job, text(&made, "/status/job")).await.unwrap();
    assert_eq!(text(&job, "/status/state"), "completed");
    files(&host, (0, 0, 1)).await;

    let pin = |pinned: bool| Request::Patch {
        kind: Kind::Image,
        key: "debian".to_owned(),
        patch: skerry_ipc::Json(json!({"spec": {"pinned": pinned}}).to_string()),
        if_revision: None,
    };
    node.ask(pin(true)).await.unwrap();
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    refused(&node, delete(Kind::Image, "debian"), "pinned").await;
    node.ask(pin(false)).await.unwrap();
    refused(&node, delete(Kind::Image, "tiny"), "belongs to the system").await;
    node.ask(delete(Kind::Image, "debian")).await.unwrap();
    files(&host, (0, 0, 0)).await;
    node.ask(delete(Kind::Job, text(&made, "/status/job"))).await.unwrap();
    assert!(node.list(Kind::Job).await.unwrap().is_empty());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_file_is_refused_with_its_reason_and_removed() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    let mut linked = qcow2();
    linked[8..16].copy_from_slice(&512_u64.to_be_bytes());
    linked[16..20].copy_from_slice(&11_u32.to_be_bytes());
    linked[512..523].copy_from_slice(b"/etc/shadow");
    let mut bomb = qcow2();
    bomb[24..32].copy_from_slice(&(1_u64 << 50).to_be_bytes());
    for (n, bytes, reason) in
        [(1, linked, "BackingFile"), (2, bomb, "TooLarge"), (3, vec![0; 600], "WrongFormat")]
    {
        host.spool(Uuid::from_u128(n), &bytes);
        let name = format!("bad-{n}");
        let body = image(&name, "qcow2", json!({"upload": Uuid::from_u128(n)}));
        node.create(Kind::Image, body).await.unwrap();
        let failed = node.wait_state(Kind::Image, &name, "failed").await.unwrap();
        assert_eq!(text(&failed, "/status/conditions/0/reason"), reason, "{failed}");
        node.ask(delete(Kind::Image, &name)).await.unwrap();
    }
    let mut other = image("other", "qcow2", json!({"upload": Uuid::from_u128(4)}));
    other["spec"]["sha256"] = json!("0".repeat(64));
    host.spool(Uuid::from_u128(4), &qcow2());
    node.create(Kind::Image, other).await.unwrap();
    let failed = node.wait_state(Kind::Image, "other", "failed").await.unwrap();
    assert_eq!(text(&failed, "/status/conditions/0/reason"), "DigestMismatch");
    files(&host, (0, 0, 0)).await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_a_retry_goes_on_when_there_is_room() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    let upload = Uuid::from_u128(1);
    host.spool(upload, &qcow2());
    host.set_free(100);
    let body = image("debian", "qcow2", json!({"upload": upload}));
    let error = node.create(Kind::Image, body.clone()).await.unwrap_err().to_string();
    assert!(error.contains("600 bytes are needed and 100 are free"), "{error}");
    host.set_free(1000);
    // It fills up between the request and the job: the first look into the file is late.
    host.order_faults(|faults| faults.delay = Duration::from_millis(300));
    let made = node.create(Kind::Image, body).await.unwrap();
    host.set_free(100);
    host.order_faults(|faults| faults.delay = Duration::ZERO);
    let failed = node.wait_state(Kind::Image, "debian", "failed").await.unwrap();
    assert_eq!(text(&failed, "/status/conditions/0/reason"), "NoSpace");
    files(&host, (1, 0, 0)).await;
    host.set_free(1000);
    node.ask(act(text(&made, "/status/job"), Action::Retry)).await.unwrap();
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_import_leaves_the_upload_and_nothing_else() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    let upload = Uuid::from_u128(1);
    host.spool(upload, &qcow2());
    host.order_faults(|faults| faults.delay = Duration::from_millis(400));
    let made = node
        .create(Kind::Image, image("debian", "qcow2", json!({"upload": upload})))
        .await
        .unwrap();
    let job = text(&made, "/status/job").to_owned();
    node.wait_state(Kind::Job, &job, "running").await.unwrap();
    refused(&node, delete(Kind::Image, "debian"), "abort it first").await;
    refused(&node, delete(Kind::Job, &job), "abort it first").await;
    let second = image("second", "qcow2", json!({"upload": upload}));
    let error = node.create(Kind::Image, second).await.unwrap_err().to_string();
    assert!(error.contains("being used for the image `debian`"), "{error}");
    node.ask(act(&job, Action::Abort)).await.unwrap();
    host.order_faults(|faults| faults.delay = Duration::ZERO);
    node.wait_state(Kind::Job, &job, "aborted").await.unwrap();
    node.wait_state(Kind::Image, "debian", "failed").await.unwrap();
    files(&host, (1, 0, 0)).await;
    refused(&node, act(&job, Action::Start), "abort and retry").await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn power_may_fail_at_every_step_of_an_import() {
    let body = image("debian", "vmdk", json!({"folder": "a.vmdk"}));
    let mut vmdk = vec![0_u8; 600];
    vmdk[..4].copy_from_slice(b"KDMV");
    vmdk[12..20].copy_from_slice(&2048_u64.to_le_bytes());
    let mut cuts = 0;
    loop {
        let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
        host.put_medium("a.vmdk", &vmdk);
        let node = start(&folder, &host).await;
        node.wait_network().await.unwrap();
        host.order_faults(|faults| faults.cut_power_after(cuts));
        node.create(Kind::Image, body.clone()).await.unwrap();
        let ended = eventually(LIMIT, || async {
            let image = node.get(Kind::Image, "debian").await?;
            let there = text(&image, "/status/state") == "available";
            if there || host.is_dark() { Ok(there) } else { bail!("{image}") }
        });
        let there = ended.await.unwrap();
        node.kill().await.unwrap();
        host.power_cut();
        let node = start(&folder, &host).await;
        let image = node.wait_state(Kind::Image, "debian", "available").await.unwrap();
        assert_eq!(text(&image, "/spec/format"), "qcow2");
        files(&host, (0, 0, 1)).await;
        node.wait_state(Kind::Job, text(&image, "/status/job"), "completed").await.unwrap();
        node.stop().await.unwrap();
        if there {
            break;
        }
        cuts += 1;
        assert!(cuts < 60, "the import takes more steps than it should");
    }
    assert!(cuts >= 6, "only {cuts} steps were cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_on_the_disk_are_found_and_mended_by_the_same_file() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    host.spool(Uuid::from_u128(1), &qcow2());
    let body = |name: &str, n| image(name, "qcow2", json!({"upload": Uuid::from_u128(n)}));
    node.create(Kind::Image, body("debian", 1)).await.unwrap();
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    node.stop().await.unwrap();
    host.spoil_images();
    let node = start(&folder, &host).await;
    let bad = node.wait_state(Kind::Image, "debian", "quarantined").await.unwrap();
    assert!(bad.to_string().contains("has other bytes than recorded"), "{bad}");
    host.spool(Uuid::from_u128(2), &qcow2());
    node.create(Kind::Image, body("again", 2)).await.unwrap();
    node.wait_state(Kind::Image, "again", "available").await.unwrap();
    node.stop().await.unwrap();
    let node = start(&folder, &host).await;
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_to_be_fetched_is_ordered_and_reported() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Root).await.unwrap();
    let mut orders = Box::pin(node.client.open(Auth::Peer, Request::Fetches).await.unwrap());
    let mut next = async || match orders.next().await.unwrap().unwrap() {
        StreamItem::Line(line) => serde_json::from_str::<Value>(&line).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(next().await, json!([]));
    let mut body = image("debian", "qcow2", json!({"url": "https://example.org/d.qcow2"}));
    let error = node.create(Kind::Image, body.clone()).await.unwrap_err().to_string();
    assert!(error.contains("spec.sha256"), "{error}");
    let sha256 = "0dd8bb7b6b1c5d1f3d0d3ae9a1b4ce2e4f6a6a1c9d5f6ab3c8b7a6958473625f";
    body["spec"]["sha256"] = json!(sha256);
    let made = node.create(Kind::Image, body).await.unwrap();
    let job = text(&made, "/status/job").to_owned();
    let standing = next().await;
    assert_eq!(standing[0]["url"], "https://example.org/d.qcow2");
    assert_eq!(standing[0]["id"], job);
    let id = Uuid::parse_str(&job).unwrap();
    let report = |report| Request::FetchReport { id, report };
    node.ask(report(FetchReport::Progress { done: 300, total: Some(600) })).await.unwrap();
    eventually(LIMIT, || async {
        let job = node.get(Kind::Job, &job).await?;
        let seen = (text(&job, "/status/stage"), &job["status"]["percent"]);
        if seen == ("receive", &json!(50)) { Ok(()) } else { bail!("{job}") }
    })
    .await
    .unwrap();
    host.spool(id, &qcow2());
    node.ask(report(FetchReport::Done)).await.unwrap();
    // The bytes are not those that were named.
    let failed = node.wait_state(Kind::Image, "debian", "failed").await.unwrap();
    assert_eq!(text(&failed, "/status/conditions/0/reason"), "DigestMismatch");
    assert_eq!(next().await, json!([]));
    files(&host, (0, 0, 0)).await;
    refused(&node, report(FetchReport::Done), "no longer stands").await;
    let answer = node.ask(Request::MayBringIn).await.unwrap();
    assert_eq!(answer, Answer::Done);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_stays_until_there_is_room_and_counts_as_there() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Root).await.unwrap();
    let mut orders = Box::pin(node.client.open(Auth::Peer, Request::Fetches).await.unwrap());
    let mut next = async || match orders.next().await.unwrap().unwrap() {
        StreamItem::Line(line) => serde_json::from_str::<Value>(&line).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(next().await, json!([]));
    host.set_free(1000);
    let bytes = qcow2();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let mut body = image("debian", "qcow2", json!({"url": "https://example.org/d.qcow2"}));
    body["spec"]["sha256"] = json!(sha256);
    let made = node.create(Kind::Image, body).await.unwrap();
    let job = text(&made, "/status/job").to_owned();
    let id = Uuid::parse_str(&job).unwrap();
    assert_eq!(next().await[0]["limit"], 1000);
    let report = |report| Request::FetchReport { id, report };
    // The line breaks when 500 bytes are there; the next order counts them to the room.
    host.spool_part(id, 500);
    host.set_free(500);
    let broken = FetchReport::Failed { detail: "the server fell silent".to_owned(), retry: true };
    node.ask(report(broken)).await.unwrap();
    let order = loop {
        let orders = next().await;
        if orders != json!([]) {
            break orders;
        }
    };
    assert_eq!(order[0]["limit"], 1000);
    // All has come, and a copy has no room: the file stays, and nobody has to fetch it again.
    host.spool(id, &bytes);
    host.spool_part(id, 0);
    host.set_free(100);
    node.ask(report(FetchReport::Done)).await.unwrap();
    let waiting = node.wait_state(Kind::Job, &job, "waiting").await.unwrap();
    assert_eq!(text(&waiting, "/status/reason"), "NoSpace", "{waiting}");
    assert!(text(&waiting, "/status/message").contains("600 bytes are needed and 100 are free"));
    files(&host, (1, 0, 0)).await;
    // Where both share their blocks a copy takes none.
    host.set_sharing(true);
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    files(&host, (0, 0, 1)).await;
    let upload = Uuid::from_u128(9);
    host.spool(upload, &[&bytes[..], b"more"].concat());
    node.create(Kind::Image, image("other", "qcow2", json!({"upload": upload}))).await.unwrap();
    node.wait_state(Kind::Image, "other", "available").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_waits_for_the_network_and_for_room_and_keeps_what_came() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Root).await.unwrap();
    let mut orders = Box::pin(node.client.open(Auth::Peer, Request::Pulls).await.unwrap());
    let mut next = async || loop {
        match orders.next().await.unwrap().unwrap() {
            StreamItem::Pulls(orders) if orders.is_empty() => {}
            StreamItem::Pulls(orders) => return orders[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    host.set_free(1000);
    let source = json!({"registry": {"reference": "registry.lab:5000/app:1"}});
    let made = node.create(Kind::Image, image("app", "oci_archive", source)).await.unwrap();
    let job = text(&made, "/status/job").to_owned();
    let order = next().await;
    assert_eq!((order.job.to_string(), order.limit), (job.clone(), 1000));
    let came = std::path::Path::new(&order.folder).join("aa.part");
    std::fs::write(&came, "what has come").unwrap();
    let told = |report| Request::Pulled { job: order.job, report };
    let (retry, unsigned) = (true, false);
    let away = |wait| PullReport::Failed { detail: "it is away".to_owned(), retry, wait, unsigned };
    // The line breaks: what is missing is asked for anew.
    node.ask(told(away(true))).await.unwrap();
    let waiting = node.wait_state(Kind::Job, &job, "waiting").await.unwrap();
    assert!(text(&waiting, "/status/message").contains("it is away; tried again in"), "{waiting}");
    assert_eq!(next().await.folder, order.folder);
    host.set_free(700);
    let missing = Some(800);
    node.ask(told(PullReport::Progress { done: 300, total: 1100, missing })).await.unwrap();
    let waiting = node.wait_state(Kind::Job, &job, "waiting").await.unwrap();
    assert_eq!(text(&waiting, "/status/reason"), "NoSpace", "{waiting}");
    assert!(came.exists());
    node.ask(act(&job, Action::Abort)).await.unwrap();
    node.wait_state(Kind::Job, &job, "aborted").await.unwrap();
    assert!(!came.exists(), "an abort removes what came");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_downloads_are_not_given_the_same_room() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Root).await.unwrap();
    host.set_free(1000);
    let mut jobs = Vec::new();
    for name in ["one", "two"] {
        let mut body = image(name, "qcow2", json!({"url": format!("https://example.org/{name}")}));
        body["spec"]["sha256"] = json!("0".repeat(64));
        let made = node.create(Kind::Image, body).await.unwrap();
        let job = text(&made, "/status/job").to_owned();
        node.wait_state(Kind::Job, &job, "running").await.unwrap();
        jobs.push(job);
    }
    let told = |job: &str, done| Request::FetchReport {
        id: Uuid::parse_str(job).unwrap(),
        report: FetchReport::Progress { done, total: Some(800) },
    };
    eventually(LIMIT, || node.ask(told(&jobs[0], 1))).await.unwrap();
    eventually(LIMIT, || async {
        let job = node.get(Kind::Job, &jobs[0]).await?;
        if job["status"]["bytes_done"] == 1 { Ok(()) } else { bail!("{job}") }
    })
    .await
    .unwrap();
    eventually(LIMIT, || node.ask(told(&jobs[1], 1))).await.unwrap();
    let waiting = node.wait_state(Kind::Job, &jobs[1], "waiting").await.unwrap();
    let message = text(&waiting, "/status/message");
    assert!(message.contains("799 bytes are needed and 201 are free"), "{message}");
    let first = node.get(Kind::Job, &jobs[0]).await.unwrap();
    assert_eq!(text(&first, "/status/state"), "running");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_north_side_gets_orders_and_only_operators_bring_in() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Console).await.unwrap();
    assert!(node.client.open(Auth::Peer, Request::Fetches).await.is_err());
    refused(&node, Request::MayBringIn, "log in").await;
    let id = Uuid::from_u128(1);
    let report = Request::FetchReport { id, report: FetchReport::Done };
    refused(&node, report, "only the north side").await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_from_a_stick_and_not_from_one_that_was_pulled_out() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    host.put_medium("STICK/images/debian.qcow2", &qcow2());
    let node = start(&folder, &host).await;
    node.wait_network().await.unwrap();
    let Answer::Document(listed) = node.ask(Request::Media).await.unwrap() else {
        panic!("no list");
    };
    let listed: Value = serde_json::from_str(&listed.0).unwrap();
    assert_eq!(listed["items"][0]["name"], "STICK");
    assert_eq!(listed["items"][0]["files"][0]["path"], "images/debian.qcow2");
    let from = json!({"folder": "STICK/images/debian.qcow2"});
    node.create(Kind::Image, image("debian", "qcow2", from.clone())).await.unwrap();
    node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    // The first try to take a copy breaks off, and then the stick is gone.
    host.order_faults(|faults| faults.fail("TakeImage", 1));
    let again = node.create(Kind::Image, image("again", "qcow2", from.clone())).await.unwrap();
    host.pull_medium("STICK");
    node.wait_state(Kind::Job, text(&again, "/status/job"), "failed").await.unwrap();
    node.wait_state(Kind::Image, "again", "failed").await.unwrap();
    files(&host, (0, 0, 1)).await;
    let error = node.create(Kind::Image, image("more", "qcow2", from)).await.unwrap_err();
    assert!(error.to_string().contains("is not there"), "{error}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_a_stick_that_is_not_the_one_that_was_named_is_refused() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    host.put_medium("STICK/debian.qcow2", &qcow2());
    let node = start(&folder, &host).await;
    node.wait_network().await.unwrap();
    let from = json!({"folder": "STICK/debian.qcow2"});
    let mut body = image("debian", "qcow2", from);
    body["spec"]["sha256"] = json!(hex::encode(Sha256::digest(qcow2())));
    // Another stick of the same name is plugged in before it is read.
    host.order_faults(|faults| faults.fail("TakeImage", 1));
    node.create(Kind::Image, body.clone()).await.unwrap();
    let mut other = qcow2();
    other.extend([0; 512]);
    host.put_medium("STICK/debian.qcow2", &other);
    let failed = node.wait_state(Kind::Image, "debian", "failed").await.unwrap();
    assert_eq!(text(&failed, "/status/conditions/0/reason"), "DigestMismatch");
    files(&host, (0, 0, 0)).await;
    // No path leads out of the stick.
    for path in ["../debian.qcow2", "/STICK/debian.qcow2", "STICK/../../etc/passwd", "STICK//x"] {
        body["metadata"]["name"] = json!("out");
        body["spec"]["source"] = json!({ "folder": path });
        let error = node.create(Kind::Image, body.clone()).await.unwrap_err().to_string();
        assert!(error.contains("must be a path below the medium's folder"), "{path}: {error}");
    }
    node.stop().await.unwrap();
}

/// A kernel of 1056 bytes, as far as its header goes.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0_u8; 1056];
    for (at, part) in [
        (0x1f1, &[1_u8][..]),
        (0x1f4, &2_u32.to_le_bytes()),
        (0x1fe, &[0x55, 0xaa]),
        (0x202, b"HdrS"),
        (0x206, &0x020f_u16.to_le_bytes()),
        (0x236, &1_u16.to_le_bytes()),
    ] {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

fn boot_archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_and_its_initrd_come_in_together_and_start_a_machine() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    let whole: [(&str, &[u8]); 3] =
        [("kernel", &kernel()), ("initrd", b"070701 and so on"), ("cmdline", b"quiet\n")];
    host.spool(Uuid::from_u128(1), &boot_archive(&whole));
    let body = image("own", "kernel_initrd", json!({"upload": Uuid::from_u128(1)}));
    node.create(Kind::Image, body).await.unwrap();
    let there = node.wait_state(Kind::Image, "own", "available").await.unwrap();
    assert_eq!(there["spec"]["kernel_arguments"], "quiet");
    let roles: Vec<_> = there["spec"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["role"].as_str().unwrap(), file["size"].as_u64().unwrap()))
        .collect();
    assert_eq!(roles, [("kernel", 1056), ("initrd", 16)]);
    assert_eq!(there["spec"]["files"][0]["sha256"], hex::encode(Sha256::digest(kernel())));
    files(&host, (0, 0, 2)).await;
    let vm = json!({"metadata": {"name": "m"}, "spec": {"image": "own", "memory_mib": 64}});
    node.create(Kind::Vm, vm).await.unwrap();
    node.wait_state(Kind::Vm, "m", "running").await.unwrap();
    refused(&node, delete(Kind::Image, "own"), "used by vm m").await;

    // What is said of it goes before what came along.
    host.spool(Uuid::from_u128(2), &boot_archive(&whole));
    let mut body = image("told", "kernel_initrd", json!({"upload": Uuid::from_u128(2)}));
    body["spec"]["kernel_arguments"] = json!("debug");
    node.create(Kind::Image, body).await.unwrap();
    let there = node.wait_state(Kind::Image, "told", "available").await.unwrap();
    assert_eq!(there["spec"]["kernel_arguments"], "debug");

    host.spool(Uuid::from_u128(3), &boot_archive(&whole[..1]));
    let body = image("half", "kernel_initrd", json!({"upload": Uuid::from_u128(3)}));
    node.create(Kind::Image, body).await.unwrap();
    let failed = node.wait_state(Kind::Image, "half", "failed").await.unwrap();
    assert_eq!(text(&failed, "/status/conditions/0/reason"), "UnusableKernel");
    files(&host, (0, 0, 2)).await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_say_how_large_machines_have_to_be() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    host.spool(Uuid::from_u128(1), &qcow2());
    let mut body = image("debian", "qcow2", json!({"upload": Uuid::from_u128(1)}));
    (body["spec"]["min_vcpus"], body["spec"]["os"]) = (json!(2), json!("Debian 13"));
    node.create(Kind::Image, body).await.unwrap();
    let there = node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    assert_eq!(there["spec"]["os"], "Debian 13");
    let vm = |vcpus: u32| json!({"metadata": {"name": "m"}, "spec": {"image": "debian", "vcpus": vcpus}});
    let error = node.create(Kind::Vm, vm(1)).await.unwrap_err().to_string();
    assert!(error.contains("`debian` needs 2 virtual processors or more"), "{error}");
    node.create(Kind::Vm, vm(2)).await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_a_moment_ago_is_not_pruned() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    host.spool(Uuid::from_u128(1), &qcow2());
    let body = image("debian", "qcow2", json!({"upload": Uuid::from_u128(1)}));
    node.create(Kind::Image, body).await.unwrap();
    let there = node.wait_state(Kind::Image, "debian", "available").await.unwrap();
    assert!(there["status"]["last_used"].is_string(), "{there}");
    for dry_run in [true, false] {
        let Answer::Document(report) = node.ask(Request::PruneImages { dry_run }).await.unwrap()
        else {
            panic!("no report");
        };
        let report: Value = serde_json::from_str(&report.0).unwrap();
        assert_eq!(report, json!({"dry_run": dry_run, "items": [], "bytes": 0}));
    }
    node.get(Kind::Image, "debian").await.unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_means_its_newest_version_when_something_is_made() {
    let (folder, host) = (tempfile::tempdir().unwrap(), SimHost::new());
    let node = start(&folder, &host).await;
    let add = async |n: u128, name: &str, version: &str| {
        host.spool(Uuid::from_u128(n), &qcow2());
        let mut body = image(name, "qcow2", json!({"upload": Uuid::from_u128(n)}));
        (body["spec"]["family"], body["spec"]["version"]) = (json!("debian"), json!(version));
        node.create(Kind::Image, body).await.unwrap();
        node.wait_state(Kind::Image, name, "available").await.unwrap();
    };
    let vm = |name: &str| json!({"metadata": {"name": name}, "spec": {"image": "debian", "power": "stopped"}});
    let error = node.create(Kind::Vm, vm("none")).await.unwrap_err().to_string();
    assert!(error.contains("there is no image `debian`"), "{error}");
    add(1, "debian-old", "13.9").await;
    add(2, "debian-new", "13.10").await;
    let made = node.create(Kind::Vm, vm("first")).await.unwrap();
    assert_eq!(made["spec"]["image"], "debian-new");
    let volume = json!({"metadata": {"name": "v"}, "spec": {"source": {"image": "debian"}}});
    let volume = node.create(Kind::Volume, volume).await.unwrap();
    assert_eq!(volume["spec"]["source"]["image"], "debian-new");

    // A newer one is for what comes later; the same wish again changes nothing.
    add(3, "debian-next", "14").await;
    let again = Request::Patch {
        kind: Kind::Vm,
        key: "first".to_owned(),
        patch: skerry_ipc::Json(json!({"spec": {"image": "debian"}}).to_string()),
        if_revision: None,
    };
    node.ask(again).await.unwrap();
    let first = node.get(Kind::Vm, "first").await.unwrap();
    assert_eq!(first["spec"]["image"], "debian-new");
    let second = node.create(Kind::Vm, vm("second")).await.unwrap();
    assert_eq!(second["spec"]["image"], "debian-next");

    // A name means one thing.
    host.spool(Uuid::from_u128(4), &qcow2());
    let body = image("debian", "qcow2", json!({"upload": Uuid::from_u128(4)}));
    let error = node.create(Kind::Image, body.clone()).await.unwrap_err().to_string();
    assert!(error.contains("`debian` is the name of a family"), "{error}");
    let mut body = image("other", "qcow2", json!({"upload": Uuid::from_u128(4)}));
    body["spec"]["family"] = json!("debian-old");
    let error = node.create(Kind::Image, body).await.unwrap_err().to_string();
    assert!(error.contains("`debian-old` is the name of an image"), "{error}");
    // No container can be made of these.
    let pod = json!({"metadata": {"name": "p"},
        "spec": {"containers": [{"name": "main", "image": "debian"}]}});
    let error = node.create(Kind::Pod, pod).await.unwrap_err().to_string();
    assert!(error.contains("no image of the family `debian` can be used for this"), "{error}");
    node.stop().await.unwrap();
}
