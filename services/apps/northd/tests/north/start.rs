//! Starts a node and the north side in front of it, and asks it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;
use skerry_ipc::{PeerRole, Server as NodeServer};
use skerry_northd::intake::Spool;
use skerry_northd::server::{Limits, Listeners, Server, TlsIdentity};
use skerry_northd::{App, IpcNode, router};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{ADMIN, Fake};

/// Builds of both ends in these tests.
const BUILD: &str = "test";

pub struct North {
    pub url: Url,
    pub client: Client,
    pub fake: Arc<Fake>,
    pub folder: TempDir,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    noded: Option<(CancellationToken, JoinHandle<()>)>,
}

pub fn identity() -> (String, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A client that trusts this certificate and nothing else.
pub fn client(certificate: &str) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap()])
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

/// A node daemon at `path`, until the token is cancelled.
pub fn noded(path: &Path, build: &str, fake: &Arc<Fake>) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let server =
        NodeServer::bind(path, build, |_, _| Some(PeerRole::North), Arc::clone(fake) as _).unwrap();
    let running = tokio::spawn(server.run(stop.clone()));
    (stop, running)
}

impl North {
    pub async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    pub async fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::new(identity()));
        let socket = folder.path().join("noded.sock");
        let noded = noded(&socket, BUILD, &fake);
        let stop = CancellationToken::new();
        let listeners = Listeners::open(&["[::]:0".parse().unwrap()]).unwrap();
        let port = listeners.addresses()[0].port();
        let (certificate, key) = &fake.identity;
        let (_sender, identity) = watch::channel(TlsIdentity::from_pem(certificate, key).unwrap());
        let node = Arc::new(IpcNode::with_build(&socket, BUILD));
        let spool = Spool::new(&folder.path().join("spool"));
        let app = App::new(node, spool, stop.clone());
        let server = Server { router: router(app), identity, limits };
        let serving = tokio::spawn(server.run(listeners, stop.clone(), || {}));
        Self {
            url: Url::parse(&format!("https://localhost:{port}/")).unwrap(),
            client: client(certificate),
            fake,
            folder,
            stop,
            serving: Some(serving),
            noded: Some(noded),
        }
    }

    /// A request without any session.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url.join(path).unwrap())
    }

    /// A request of the admin.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path).bearer_auth(ADMIN)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.admin(Method::GET, path).send().await.unwrap()
    }

    /// The offset of an upload whose sender is gone, once all that came is written.
    pub async fn settled(&self, path: &str) -> u64 {
        // An empty piece has its turn after whoever sent before.
        let request = self.admin(Method::PATCH, path).header("upload-offset", u64::MAX);
        let request = request.header("content-type", "application/octet-stream");
        let answer = request.body("").send().await.unwrap();
        answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    /// Ends the node daemon, as a restart would.
    pub async fn end_noded(&mut self) {
        let (stop, running) = self.noded.take().unwrap();
        stop.cancel();
        running.await.unwrap();
    }

    pub fn start_noded(&mut self) {
        self.noded = Some(noded(&self.folder.path().join("noded.sock"), BUILD, &self.fake));
    }

    /// Tells the north side to end and waits until it has.
    pub async fn end(&mut self) {
        self.stop.cancel();
        self.serving.take().unwrap().await.unwrap();
    }

    pub fn begin_end(&self) {
        self.stop.cancel();
    }
}

impl Drop for North {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some((stop, _)) = &self.noded {
            stop.cancel();
        }
    }
}

/// Checks a refusal: status, media type, and a body that says the same.
pub async fn refused(response: Response, status: u16) -> Value {
    let got = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["status"], status);
    assert!(body["detail"].as_str().unwrap().len() > 3);
    body
}
