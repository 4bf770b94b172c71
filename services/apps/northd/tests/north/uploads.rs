//! Uploads over real TLS: pieces, resumption, limits, and who may.

use std::time::Duration;

use futures::stream;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use skerry_northd::server::Limits;

use crate::fake::VIEWER;
use crate::start::{North, refused};

async fn open(north: &North, size: u64) -> String {
    let body = json!({"name": "disk.qcow2", "size": size});
    let made = north.admin(Method::POST, "api/v1/uploads").json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let place = made.headers()["location"].to_str().unwrap().to_owned();
    let upload: Value = made.json().await.unwrap();
    assert_eq!(place, format!("/api/v1/uploads/{}", upload["id"].as_str().unwrap()));
    place[1..].to_owned()
}

async fn send(north: &North, path: &str, offset: u64, body: impl Into<reqwest::Body>) -> Response {
    let request = north.admin(Method::PATCH, path).header("upload-offset", offset);
    let request = request.header("content-type", "application/partial-upload");
    request.body(body).send().await.unwrap()
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_survives_a_broken_connection() {
    let north = North::start().await;
    let path = open(&north, 3_000_000).await;
    // More than what JSON bodies may have.
    let first = send(&north, &path, 0, vec![1; 2_000_000]).await;
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()["upload-offset"], "2000000");
    assert_eq!(first.headers()["upload-complete"], "?0");
    let wrong = send(&north, &path, 5, "x").await;
    assert_eq!(wrong.headers()["upload-offset"], "2000000");
    refused(wrong, 409).await;
    // The client goes away in the middle of a piece.
    let chunks = stream::iter([Ok(vec![2_u8; 500_000]), Err(std::io::Error::other("unplugged"))]);
    let request = north.admin(Method::PATCH, &path).header("upload-offset", 2_000_000_u64);
    let request = request.header("content-type", "application/octet-stream");
    let broken = request.body(reqwest::Body::wrap_stream(chunks)).send().await;
    assert!(broken.is_err());
    let offset = north.settled(&path).await;
    assert!((2_000_000..=2_500_000).contains(&offset), "{offset}");
    let left = usize::try_from(3_000_000 - offset).unwrap();
    let last = send(&north, &path, offset, vec![3; left]).await;
    assert_eq!(last.headers()["upload-complete"], "?1");
    let head = north.admin(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["upload-length"]),
        (200, &"3000000".parse().unwrap())
    );
    let list: Value = north.get("api/v1/uploads").await.json().await.unwrap();
    assert_eq!(list["items"][0]["complete"], true);
    let gone = north.admin(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    refused(north.get(&path).await, 404).await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let north = North::start().await;
    let path = open(&north, 10).await;
    refused(send(&north, &path, 0, "more than ten bytes").await, 413).await;
    let plain = |name: &'static str, value: &'static str| {
        north.admin(Method::PATCH, &path).header(name, value).body("x").send()
    };
    refused(plain("content-type", "application/partial-upload").await.unwrap(), 400).await;
    refused(plain("upload-offset", "0").await.unwrap(), 415).await;
    for path in ["api/v1/uploads/nonsense", "api/v1/uploads/00000000-0000-0000-0000-000000000000"] {
        refused(send(&north, path, 0, "x").await, 404).await;
    }
    let large = json!({"name": "x", "size": 1_u64 << 43});
    let post = |body: Value| north.admin(Method::POST, "api/v1/uploads").json(&body).send();
    let problem = refused(post(large).await.unwrap(), 409).await;
    assert!(problem["detail"].as_str().unwrap().contains("are free"), "{problem}");
    refused(post(json!({"name": "", "size": 1})).await.unwrap(), 422).await;
    refused(post(json!({"name": "x"})).await.unwrap(), 422).await;
    for request in [
        north.ask(Method::POST, "api/v1/uploads").json(&json!({"name": "x", "size": 1})),
        north.ask(Method::PATCH, &path).header("upload-offset", 0).body("x"),
    ] {
        refused(request.try_clone().unwrap().send().await.unwrap(), 401).await;
        refused(request.bearer_auth(VIEWER).send().await.unwrap(), 403).await;
    }
}

#[tokio::test]
async fn bytes_that_come_keep_a_connection_open_and_four_may_send_at_once() {
    let limits = Limits { idle: Duration::from_millis(600), ..Limits::default() };
    let north = North::start_with(limits).await;
    let path = open(&north, 8).await;
    let slow = stream::unfold(0_u8, |n| async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        (n < 8).then(|| (Ok::<_, std::io::Error>(vec![n]), n + 1))
    });
    let answer = send(&north, &path, 0, reqwest::Body::wrap_stream(slow)).await;
    assert_eq!(answer.headers()["upload-complete"], "?1", "it was cut off though bytes came");

    let mut senders = Vec::new();
    for _ in 0..4 {
        let path = open(&north, 8).await;
        let request = north.admin(Method::PATCH, &path).header("upload-offset", 0);
        let request = request.header("content-type", "application/octet-stream");
        let body = stream::iter([Ok::<_, std::io::Error>(vec![1_u8])]);
        let hung = futures::StreamExt::chain(body, stream::pending());
        senders.push(tokio::spawn(request.body(reqwest::Body::wrap_stream(hung)).send()));
    }
    let fifth = open(&north, 8).await;
    let busy = async {
        loop {
            let answer = send(&north, &fifth, 0, "").await;
            if answer.status() == 503 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), busy).await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    for sender in senders {
        sender.abort();
    }
}
