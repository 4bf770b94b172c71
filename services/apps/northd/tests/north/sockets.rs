//! WebSockets: who may open one, what is said on it, how it ends.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::{Method, Upgraded};
use serde_json::{Value, json};
use skerry_ipc::{ExecQuery, Request, TerminalSize};
use skerry_model::Kind;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::fake::ADMIN;
use crate::start::{North, refused};

type Socket = WebSocketStream<Upgraded>;

/// Which proof a handshake shows.
enum Shows<'a> {
    Bearer,
    Cookie,
    Nothing,
    Page { origin: &'a str },
}

async fn handshake(north: &North, path: &str, shows: Shows<'_>) -> reqwest::Response {
    handshake_for(north, path, shows, "skerry.terminal").await
}

async fn handshake_for(
    north: &North,
    path: &str,
    shows: Shows<'_>,
    protocol: &str,
) -> reqwest::Response {
    let request = north.ask(Method::GET, path);
    let request = match shows {
        Shows::Bearer => request.bearer_auth(ADMIN),
        Shows::Cookie => request.header("cookie", format!("skerry_session={ADMIN}")),
        Shows::Nothing => request,
        Shows::Page { origin } => {
            request.header("cookie", format!("skerry_session={ADMIN}")).header("origin", origin)
        }
    };
    let request = request
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", protocol)
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.send().await.unwrap()
}

async fn open(north: &North, path: &str) -> Socket {
    connected(handshake(north, path, Shows::Bearer).await).await
}

async fn connected(response: reqwest::Response) -> Socket {
    connected_for(response, "skerry.terminal").await
}

async fn connected_for(response: reqwest::Response, protocol: &str) -> Socket {
    assert_eq!(response.status(), 101, "{:?}", response.text().await);
    let headers = response.headers();
    // The example of RFC 6455 1.3.
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers["sec-websocket-protocol"], protocol);
    let upgraded = response.upgrade().await.unwrap();
    WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await
}

/// The next message that is no ping.
async fn next(socket: &mut Socket) -> Option<Message> {
    loop {
        let message = timeout(Duration::from_secs(10), socket.next()).await.expect("no message");
        match message?.ok()? {
            Message::Ping(_) => {}
            message => return Some(message),
        }
    }
}

async fn text(socket: &mut Socket) -> Value {
    match next(socket).await {
        Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn close_code(socket: &mut Socket) -> u16 {
    match next(socket).await {
        Some(Message::Close(Some(frame))) => frame.code.into(),
        other => panic!("{other:?}"),
    }
}

async fn ticket(north: &North, path: &str) -> String {
    let request = north.admin(Method::POST, "api/v1/tickets").json(&json!({"path": path}));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["expires_in_s"], 30);
    body["ticket"].as_str().unwrap().to_owned()
}

const EXEC: &str = "api/v1/pods/web/exec";

async fn north() -> North {
    let north = North::start().await;
    north.fake.put(Kind::Pod, "web", json!({}));
    north
}

#[tokio::test]
async fn a_containers_own_program_is_spoken_to() {
    let north = north().await;
    let mut socket = open(&north, "api/v1/pods/web/attach?container=main").await;
    socket.send(Message::Binary(b"hi".to_vec().into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Binary(b"\x01hi".to_vec().into())));
    let request = Request::Attach { key: "web".into(), container: Some("main".into()) };
    assert!(north.fake.asked().contains(&request));
}

#[tokio::test]
async fn a_terminal_talks_and_ends() {
    let north = north().await;
    let path = format!("{EXEC}?command=echo&command=a%20b&env=A=b=c&tty=true&cols=100&rows=30");
    let mut socket = open(&north, &path).await;
    let query = ExecQuery {
        key: "web".into(),
        container: None,
        argv: vec!["echo".into(), "a b".into()],
        env: vec![("A".into(), "b=c".into())],
        terminal: Some(TerminalSize { cols: 100, rows: 30 }),
    };
    socket.send(Message::Binary(b"hi\xff".to_vec().into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Binary(b"\x01hi\xff".to_vec().into())));
    assert!(north.fake.asked().contains(&Request::Exec(query)));
    let resize = json!({"type": "resize", "cols": 90, "rows": 20}).to_string();
    socket.send(Message::Text(resize.into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Binary(b"\x0290x20".to_vec().into())));
    socket.send(Message::Text(r#"{"type":"end"}"#.into())).await.unwrap();
    assert_eq!(text(&mut socket).await, json!({"type": "exit", "code": 7}));
    assert_eq!(close_code(&mut socket).await, 1000);
}

#[tokio::test]
async fn a_long_paste_comes_back_whole() {
    let north = north().await;
    let mut socket = open(&north, &format!("{EXEC}?command=echo")).await;
    let paste: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    socket.send(Message::Binary(paste.clone().into())).await.unwrap();
    let mut back = Vec::new();
    while back.len() < paste.len() {
        match next(&mut socket).await {
            Some(Message::Binary(bytes)) => back.extend_from_slice(&bytes[1..]),
            other => panic!("{other:?}"),
        }
    }
    assert!(back == paste);
}

#[tokio::test]
async fn a_refusal_of_the_node_is_a_message_and_a_code() {
    let north = north().await;
    let mut socket = open(&north, "api/v1/pods/none/exec?command=echo").await;
    let said = text(&mut socket).await;
    assert_eq!((&said["type"], &said["status"]), (&json!("refused"), &json!(404)));
    assert!(said["detail"].as_str().unwrap().len() > 3);
    assert_eq!(close_code(&mut socket).await, 4404);
}

#[tokio::test]
async fn a_screen_is_bytes_both_ways_and_its_refusal_a_code() {
    let north = north().await;
    north.fake.put(Kind::Vm, "guest", json!({}));
    let path = "/api/v1/vms/guest/vnc";
    let ticket = ticket(&north, path).await;
    let with = format!("{}?ticket={ticket}", &path[1..]);
    let response = handshake_for(&north, &with, Shows::Nothing, "binary").await;
    let mut socket = connected_for(response, "binary").await;
    let hello = Message::Binary(b"RFB 003.008\n".to_vec().into());
    socket.send(hello.clone()).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(hello));
    assert!(north.fake.asked().contains(&Request::Screen { key: "guest".into() }));
    socket.send(Message::Text("{}".into())).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1002);
    let none = "api/v1/vms/none/vnc";
    let response = handshake_for(&north, none, Shows::Bearer, "binary").await;
    assert_eq!(close_code(&mut connected_for(response, "binary").await).await, 4404);
}

#[tokio::test]
async fn what_is_no_message_of_the_protocol_ends_it() {
    let north = north().await;
    for bad in ["x", r#"{"type":"exec"}"#, r#"{"type":"resize","cols":99999,"rows":1}"#] {
        let mut socket = open(&north, &format!("{EXEC}?command=echo")).await;
        socket.send(Message::Text(bad.into())).await.unwrap();
        assert_eq!(close_code(&mut socket).await, 1002, "{bad}");
    }
    let mut socket = open(&north, &format!("{EXEC}?command=echo")).await;
    // The service may hang up before it has read everything.
    let _ = socket.send(Message::Binary(vec![0; 1 << 20].into())).await;
    assert!(!matches!(next(&mut socket).await, Some(Message::Binary(_))), "larger than allowed");
}

#[tokio::test]
async fn only_a_token_or_a_ticket_opens_one() {
    let north = north().await;
    let path = format!("{EXEC}?command=echo");
    refused(handshake(&north, &path, Shows::Nothing).await, 401).await;
    refused(handshake(&north, &path, Shows::Cookie).await, 401).await;
    let own = north.url.as_str().trim_end_matches('/').to_owned();
    refused(handshake(&north, &path, Shows::Page { origin: &own }).await, 401).await;

    let used = ticket(&north, "/api/v1/pods/web/exec").await;
    let with = |ticket: &str| format!("{path}&ticket={ticket}");
    let response = handshake(&north, &with(&used), Shows::Page { origin: &own }).await;
    let mut socket = connected(response).await;
    socket.send(Message::Binary(b"x".to_vec().into())).await.unwrap();
    assert!(next(&mut socket).await.is_some());
    refused(handshake(&north, &with(&used), Shows::Page { origin: &own }).await, 401).await;

    let elsewhere = ticket(&north, "/api/v1/pods/other/exec").await;
    refused(handshake(&north, &with(&elsewhere), Shows::Nothing).await, 401).await;
    let foreign = ticket(&north, "/api/v1/pods/web/exec").await;
    let evil = Shows::Page { origin: "https://evil.example" };
    refused(handshake(&north, &with(&foreign), evil).await, 403).await;
    refused(handshake(&north, &with("guess"), Shows::Nothing).await, 401).await;
}

#[tokio::test]
async fn tickets_are_for_those_who_are_logged_in() {
    let north = north().await;
    let body = json!({"path": "/api/v1/pods/web/exec"});
    let ask = || north.ask(Method::POST, "api/v1/tickets").json(&body);
    refused(ask().send().await.unwrap(), 401).await;
    refused(ask().bearer_auth("nobody").send().await.unwrap(), 401).await;
    let cookie = format!("skerry_session={ADMIN}");
    refused(ask().header("cookie", &cookie).send().await.unwrap(), 403).await;
    let good = ask().header("cookie", &cookie).header("x-skerry-request", "1");
    assert_eq!(good.send().await.unwrap().status(), 201);
    let odd = north.admin(Method::POST, "api/v1/tickets").json(&json!({"path": "/x"}));
    refused(odd.send().await.unwrap(), 400).await;
}

#[tokio::test]
async fn a_plain_get_is_told_what_the_path_is() {
    let north = north().await;
    refused(north.get(&format!("{EXEC}?command=echo")).await, 426).await;
    refused(north.get(&format!("{EXEC}?command=echo&x=y")).await, 400).await;
}

#[tokio::test]
async fn places_are_counted_and_freed() {
    let north = north().await;
    let path = format!("{EXEC}?command=echo");
    let mut open_ones = Vec::new();
    for _ in 0..12 {
        open_ones.push(open(&north, &path).await);
    }
    refused(handshake(&north, &path, Shows::Bearer).await, 503).await;
    drop(open_ones);
    let again = async {
        while handshake(&north, &path, Shows::Bearer).await.status() != 101 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), again).await.expect("no place becomes free");
}

#[tokio::test]
async fn whoever_leaves_ends_the_program_and_the_end_of_the_service_is_told() {
    let mut north = north().await;
    let path = format!("{EXEC}?command=echo");
    let socket = open(&north, &path).await;
    let fake = Arc::clone(&north.fake);
    let running = || fake.programs.load(std::sync::atomic::Ordering::SeqCst);
    let until = |count: usize| {
        let running = &running;
        async move {
            let reached = async {
                while running() != count {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(10), reached).await.expect("another count of programs");
        }
    };
    until(1).await;
    drop(socket);
    until(0).await;
    let mut socket = open(&north, &path).await;
    north.begin_end();
    assert_eq!(close_code(&mut socket).await, 1001);
    timeout(Duration::from_secs(5), north.end()).await.expect("the service did not end");
}
