//! Calls against a TLS server with a certificate of its own.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Answers every connection with one prepared response; gives back what was asked.
struct Node {
    url: String,
    fingerprint: Fingerprint,
    asked: tokio::sync::mpsc::UnboundedReceiver<String>,
}

async fn node(response: &'static str) -> Node {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap().der().clone();
    let fingerprint = Fingerprint::of(&certificate);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 16 * 1024];
            let count = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let _ = sender.send(text);
            let _ = stream.write_all(response.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Node { url, fingerprint, asked }
}

const NO_CONTENT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

#[tokio::test]
async fn only_the_known_certificate_is_talked_to() {
    let mut node = node(NO_CONTENT).await;
    let good = Https::new(&node.url, Some(node.fingerprint), Some("t".to_owned()), None).unwrap();
    assert!(good.call(Request::Summary).await.is_ok());
    let asked = node.asked.recv().await.unwrap();
    assert!(asked.starts_with("GET /api/v1/summary HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Bearer t"), "{asked}");

    let other = Fingerprint::of(b"another certificate");
    let wrong = Https::new(&node.url, Some(other), Some("t".to_owned()), None).unwrap();
    let error = wrong.call(Request::Summary).await.unwrap_err();
    assert!(matches!(error, CallError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains(&node.fingerprint.to_string()), "{error}");
    assert!(node.asked.try_recv().is_err(), "nothing was sent");
}

#[tokio::test]
async fn an_unknown_node_tells_its_certificate_and_gets_nothing() {
    let mut node = node(NO_CONTENT).await;
    assert_eq!(Https::shown(&node.url).await.unwrap(), node.fingerprint);
    let unknown = Https::new(&node.url, None, Some("t".to_owned()), None).unwrap();
    assert!(matches!(unknown.call(Request::Summary).await, Err(CallError::Untrusted { .. })));
    assert!(node.asked.try_recv().is_err());
}

#[tokio::test]
async fn nobody_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Https::shown(&url).await.unwrap_err();
    assert_eq!(error.exit_code(), crate::exit::UNREACHABLE, "{error}");
}

#[tokio::test]
async fn a_session_is_kept_in_the_file_with_the_fingerprint() {
    let body = r#"{"token":"secret","username":"admin","role":"admin"}"#;
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let node = node(response.leak()).await;
    let folder = tempfile::tempdir().unwrap();
    let nodes = Nodes::at(folder.path().join("nodes.toml"));
    let https = Https::new(&node.url, Some(node.fingerprint), None, Some(nodes.clone())).unwrap();
    let words: Vec<String> =
        ["login", "--username", "admin", "--password-stdin"].map(str::to_owned).into();
    struct Input;
    impl crate::Asker for Input {
        fn keyboard(&self, _raw: bool) -> std::io::Result<Option<crate::Keyboard>> {
            Ok(None)
        }
        fn line(&self, _: &str) -> std::io::Result<Option<String>> {
            Ok(None)
        }
        fn secret(&self, _: &str) -> std::io::Result<Option<String>> {
            Ok(None)
        }
        fn input(&self) -> std::io::Result<Option<String>> {
            Ok(Some("a password".to_owned()))
        }
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = crate::Io { out: &mut out, err: &mut err, asker: &Input, files: false };
    assert_eq!(crate::run(&words, &https, &mut io).await, 0, "{}", String::from_utf8_lossy(&err));
    let known = nodes.find(&node.url).unwrap();
    assert_eq!(known.token.as_deref(), Some("secret"));
    assert_eq!(known.fingerprint, Some(node.fingerprint.to_string()));
}

#[tokio::test]
async fn a_watch_is_read_event_by_event() {
    let node = node(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n: hello\n\n\
         event: change\ndata: {\"revision\":4,\"kind\":\"Vm\",\"removed\":false,\"document\":{\"a\":1}}\n\n\
         event: gone\ndata: {}\n\n",
    )
    .await;
    let https = Https::new(&node.url, Some(node.fingerprint), None, None).unwrap();
    let watch = Request::Watch { kinds: vec![Kind::Vm, Kind::Pod], after: Some(3) };
    let items: Vec<_> = https.open(watch).await.unwrap().collect().await;
    assert_eq!(items.len(), 2);
    assert!(matches!(&items[0], Ok(StreamItem::Change { revision: 4, kind: Kind::Vm, .. })));
    let Err(CallError::Refused(refusal)) = &items[1] else { panic!("{:?}", items[1]) };
    assert_eq!(refusal.class, RefusalClass::Gone);
}

#[test]
fn every_request_has_its_call() {
    let path = |request| {
        let call = call(request).unwrap();
        let query: Vec<_> = call.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{} {} {}", call.method, call.path.join("/"), query.join("&")).trim_end().to_owned()
    };
    let key = || "web".to_owned();
    let list = ListQuery {
        limit: Some(5),
        labels: vec![("a".into(), "b".into())],
        ..ListQuery::default()
    };
    assert_eq!(path(Request::List { kind: Kind::Pod, query: list }), "GET pods limit=5&label=a=b");
    assert_eq!(path(Request::Get { kind: Kind::Node, key: key() }), "GET node");
    assert_eq!(
        path(Request::Act { kind: Kind::Vm, key: key(), action: Action::ForceStop }),
        "POST vms/web/actions/force_stop"
    );
    assert_eq!(path(Request::Power(PowerAction::PowerOff)), "POST node/actions/power_off");
    assert_eq!(
        path(Request::Create { kind: Kind::Pod, document: Json("{}".into()), dry_run: true }),
        "POST pods dry_run=true"
    );
    assert_eq!(
        path(Request::Delete {
            kind: Kind::Vm,
            key: key(),
            if_revision: None,
            with_volumes: false
        }),
        "DELETE vms/web"
    );
}

#[test]
fn a_key_cannot_leave_its_place_in_the_path() {
    let https = Https::new("https://node", None, None, None).unwrap();
    let call = call(Request::Get { kind: Kind::Vm, key: "../../x?y#z".to_owned() }).unwrap();
    let url = https.url(&call).unwrap();
    assert_eq!(url.as_str(), "https://node/api/v1/vms/..%2F..%2Fx%3Fy%23z");
}

#[tokio::test]
async fn an_archive_comes_in_pieces_and_one_that_breaks_off_is_an_error() {
    let asks = |node: &Node| {
        Https::new(&node.url, Some(node.fingerprint), Some("t".to_owned()), None).unwrap()
    };
    let request = || Request::ExportImage { key: "web".into(), form: ImageArchiveForm::Docker };
    let mut whole =
        node("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nbytes").await;
    let items: Vec<_> = asks(&whole).open(request()).await.unwrap().collect().await;
    let asked = whole.asked.recv().await.unwrap();
    assert!(asked.starts_with("GET /api/v1/images/web/export?format=docker "), "{asked}");
    let bytes = items.iter().skip(1).flat_map(|item| match item {
        Ok(StreamItem::Piece(bytes)) => bytes.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(bytes.collect::<Vec<u8>>(), b"bytes");
    assert!(matches!(items[0], Ok(StreamItem::File { size: 5, .. })));

    let short =
        node("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nbytes").await;
    let items: Vec<_> = asks(&short).open(request()).await.unwrap().collect().await;
    let error = items.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(error.contains("broke the archive off"), "{error}");
}
