//! Watches and logs.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use skerry_ipc::{LogQuery, Request};
use skerry_model::{Kind, Since};
use tokio::time::timeout;

use crate::start::{North, refused};

/// Server-sent events as they come.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    /// Lines of the next event; `None` at the end.
    async fn next(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let lines = event.lines().map(str::to_owned).collect();
                self.text = rest.to_owned();
                return Some(lines);
            }
            let next = timeout(Duration::from_secs(10), self.response.chunk()).await;
            let chunk = next.expect("no event came").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

async fn watch(north: &North, query: &str) -> Events {
    let response = north.get(&format!("api/v1/watch{query}")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Events { response, text: String::new() }
}

#[tokio::test]
async fn changes_come_as_events() {
    let north = North::start().await;
    let mut events = watch(&north, "?kinds=vms").await;
    north.fake.put(Kind::Pod, "other", json!({}));
    let document = north.fake.put(Kind::Vm, "web", json!({"note": "two\nlines\r"}));
    let event = events.next().await.unwrap();
    let part = |name: &str| {
        let prefix = format!("{name}: ");
        event.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    };
    assert_eq!((part("event").as_str(), part("id").as_str()), ("change", "3"));
    let data: Value = serde_json::from_str(&part("data")).unwrap();
    assert_eq!(data, json!({"revision": 3, "kind": "Vm", "removed": false, "document": document}));
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was() {
    let north = North::start().await;
    let asked_after = |north: &North| match north.fake.asked().pop() {
        Some(Request::Watch { after, .. }) => after,
        other => panic!("{other:?}"),
    };
    drop(watch(&north, "?after=7").await);
    assert_eq!(asked_after(&north), Some(7));
    let again = north.admin(Method::GET, "api/v1/watch?after=7").header("last-event-id", "9");
    drop(again.send().await.unwrap());
    assert_eq!(asked_after(&north), Some(9));
    refused(north.get(&format!("api/v1/watch?after={}", u64::MAX)).await, 410).await;
    refused(north.get("api/v1/watch?kinds=cats").await, 400).await;
    refused(north.get("api/v1/watch?after=now").await, 400).await;
}

#[tokio::test]
async fn a_watch_ends_with_the_service() {
    let mut north = North::start().await;
    let mut events = watch(&north, "").await;
    north.begin_end();
    assert_eq!(events.next().await, None);
    drop(events);
    timeout(Duration::from_secs(5), north.end()).await.expect("the service did not end");
}

#[tokio::test]
async fn logs_are_plain_text() {
    let north = North::start().await;
    north.fake.put(Kind::Pod, "web", json!({}));
    north.fake.put(Kind::Vm, "web", json!({}));
    let response = north.get("api/v1/pods/web/logs?tail=2&container=main").await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), "line 1\nline 2\n");
    let wanted = LogQuery {
        kind: Kind::Pod,
        key: "web".into(),
        container: Some("main".into()),
        tail: 2,
        since: None,
        timestamps: false,
        follow: false,
    };
    assert_eq!(north.fake.asked().pop(), Some(Request::Log(wanted)));
    let query = "since=10m&timestamps=true&follow=true&tail=3";
    north.get(&format!("api/v1/pods/web/logs?{query}")).await;
    let Some(Request::Log(query)) = north.fake.asked().pop() else { panic!() };
    assert_eq!((query.since, query.tail), (Some(Since::Ago(600)), 3));
    assert!(query.timestamps && query.follow);
    north.get("api/v1/node/log?since=2026-01-31T08:00:00Z").await;
    let Some(Request::Log(query)) = north.fake.asked().pop() else { panic!() };
    assert_eq!(
        (query.since.unwrap().to_string().as_str(), query.tail),
        ("2026-01-31T08:00:00Z", 10_000)
    );
    refused(north.get("api/v1/pods/web/logs?since=soon").await, 400).await;
    refused(north.get("api/v1/vms/web/serial?since=10m").await, 400).await;
    let serial = north.get("api/v1/vms/web/serial?tail=1").await;
    assert_eq!(serial.text().await.unwrap(), "line 1\n");
    let node = north.get("api/v1/node/log?unit=skerry-noded.service&tail=10000").await;
    assert_eq!(node.text().await.unwrap().lines().count(), 10_000);
    refused(north.get("api/v1/pods/none/logs").await, 404).await;
    for query in ["tail=0", "tail=10001", "follow=maybe", "unit=x"] {
        refused(north.get(&format!("api/v1/vms/web/serial?{query}")).await, 400).await;
    }
}

#[tokio::test]
async fn a_followed_log_stays_open() {
    let north = North::start().await;
    north.fake.put(Kind::Vm, "web", json!({}));
    let response = north.get("api/v1/vms/web/serial?tail=1&follow=true").await;
    let mut chunks = response.bytes_stream();
    let first = timeout(Duration::from_secs(10), chunks.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, "line 1\n");
    assert!(timeout(Duration::from_millis(50), chunks.next()).await.is_err());
    // The end of the service ends it in good order.
    north.begin_end();
    let end = timeout(Duration::from_secs(5), chunks.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn an_archive_of_an_image_is_passed_through_whole_or_broken_off() {
    let north = North::start().await;
    for name in ["web", "damaged", "short"] {
        north.fake.put(Kind::Image, name, json!({}));
    }
    let response = north.get("api/v1/images/web/export?format=docker").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-tar");
    assert_eq!(response.headers()["content-length"], "160000");
    let disposition = &response.headers()["content-disposition"];
    assert_eq!(disposition, "attachment; filename=\"web.docker.tar\"");
    let bytes = response.bytes().await.unwrap();
    let mut parts = (0_u8..).zip(bytes.chunks(40_000));
    assert!(parts.all(|(n, part)| part.iter().all(|byte| *byte == n)));
    let form = skerry_model::ImageArchiveForm::Docker;
    let asked = Request::ExportImage { key: "web".into(), form };
    assert_eq!(north.fake.asked().pop(), Some(asked));

    for name in ["damaged", "short"] {
        let response = north.get(&format!("api/v1/images/{name}/export")).await;
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err(), "{name}");
    }
    refused(north.get("api/v1/images/none/export").await, 404).await;
    refused(north.get("api/v1/images/web/export?format=zip").await, 400).await;
    refused(north.get("api/v1/images/web/export?forma=oci").await, 400).await;
}
