//! What a client cannot do: stay without asking, speak old TLS, take all connections, make the service fall.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request as HttpRequest;
use skerry_ipc::{Answer, Auth, Request};
use skerry_northd::intake::Spool;
use skerry_northd::server::Limits;
use skerry_northd::{App, Items, Node, NodeError, router};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::start::North;

async fn connect(north: &North) -> TcpStream {
    TcpStream::connect(("127.0.0.1", north.url.port().unwrap())).await.unwrap()
}

/// Waits until the other side has closed the connection.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    // A reset is a close as well.
    let _ = timeout(Duration::from_secs(15), stream.read_to_end(&mut rest))
        .await
        .expect("the connection stayed open");
}

async fn handshake(
    north: &North,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let certificate = north.fake.identity.0.as_bytes();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), connect(north).await).await
}

#[tokio::test]
async fn clients_without_a_handshake_are_cut_off() {
    let handshake = Duration::from_millis(200);
    let north = North::start_with(Limits { handshake, ..Limits::default() }).await;
    let mut silent = connect(&north).await;
    closed(&mut silent).await;
    let mut nonsense = connect(&north).await;
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut nonsense).await;
}

#[tokio::test]
async fn clients_that_do_not_go_on_are_cut_off() {
    let (header, idle) = (Duration::from_millis(200), Duration::from_millis(200));
    let north = North::start_with(Limits { header, idle, ..Limits::default() }).await;
    // On a busy machine a connection may be closed even before something is written to it.
    for head in
        ["", "GET /api/v1/health HTTP/1.1\r\nHost: x\r\nX-", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
    {
        let mut stream = handshake(&north, rustls::ALL_VERSIONS).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        closed(&mut stream).await;
    }
    // Nobody else was hurt.
    assert_eq!(north.get("api/v1/health").await.status(), 200);
}

#[tokio::test]
async fn both_tls_versions_and_both_address_families_are_served() {
    let north = North::start().await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        assert!(handshake(&north, &[version]).await.is_ok());
    }
    let port = north.url.port().unwrap();
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("https://{host}:{port}/api/v1/health");
        assert_eq!(north.client.get(url).send().await.unwrap().status(), 200, "{host}");
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let north = North::start_with(Limits { per_address: 3, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(handshake(&north, rustls::ALL_VERSIONS).await.unwrap());
    }
    assert!(handshake(&north, rustls::ALL_VERSIONS).await.is_err());
    drop(held.pop());
    // The place is free again as soon as the service has seen the close.
    let again = async {
        while handshake(&north, rustls::ALL_VERSIONS).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), again).await.expect("the place was not given back");
}

/// A node that is itself at fault.
struct Broken;

#[async_trait]
impl Node for Broken {
    async fn call(&self, _: Auth, request: Request) -> Result<Answer, NodeError> {
        match request {
            Request::Summary => panic!("as asked for"),
            Request::Inventory => Ok(Answer::Document(skerry_ipc::Json("no JSON".into()))),
            _ => Ok(Answer::Done),
        }
    }
    async fn open(&self, _: Auth, _: Request) -> Result<Items, NodeError> {
        Err(NodeError::Lost)
    }
    async fn open_two_way(
        &self,
        _: Auth,
        _: Request,
    ) -> Result<(skerry_ipc::TwoWayInput, Items), NodeError> {
        Err(NodeError::Lost)
    }
}

#[tokio::test]
async fn faults_become_answers() {
    let service = router(App::new(
        Arc::new(Broken),
        Spool::new(Path::new("/nonexistent")),
        CancellationToken::new(),
    ));
    for (path, status) in [
        ("/api/v1/health", 500),
        ("/api/v1/inventory", 500),
        ("/api/v1/vms/x", 500),
        ("/api/v1/vms", 500),
        ("/api/v1/session", 500),
        ("/api/v1/watch", 503),
    ] {
        let request = HttpRequest::builder().uri(path).header("authorization", "Bearer x");
        let response = service.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("as asked for"));
    }
}
