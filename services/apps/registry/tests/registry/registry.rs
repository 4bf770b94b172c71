//! Debian's docker-registry on the loopback, under TLS and with a password.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, Issuer, KeyPair};
use skerry_model::ImageReference;
use skerry_registry::{Credentials, Endpoint, Limits, Order};
use tempfile::TempDir;

pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland";
/// bcrypt of the above.
const HTPASSWD: &str = "alice:$2b$04$4gcmydGd7u61eWlfCLDDL.1ldT2U.tppXTfFJmq8UCHaVhFHqYthu\n";

pub struct Registry {
    child: Child,
    pub folder: TempDir,
    pub port: u16,
    pub ca_pem: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificates(folder: &Path) -> String {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(["localhost", "127.0.0.1", "10.0.2.2"].map(str::to_owned).to_vec())
            .unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    fs::write(folder.join("cert.pem"), leaf.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    ca_pem
}

fn serve(folder: &Path) -> Child {
    let log = fs::File::create(folder.join("log")).unwrap();
    Command::new("/usr/bin/docker-registry")
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("docker-registry is installed (cargo xtask setup)")
}

#[allow(dead_code, reason = "not every test that includes this file stops it")]
impl Registry {
    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub async fn resume(&mut self) {
        self.child = serve(self.folder.path());
        self.wait().await;
    }

    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_pem = certificates(folder.path());
        fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
        // Given back at once: the registry takes no socket from outside.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = folder.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {place}/data}}\n\
             http:\n  addr: 127.0.0.1:{port}\n  tls: {{certificate: {place}/cert.pem, key: {place}/key.pem}}\n\
             auth:\n  htpasswd: {{realm: tests, path: {place}/htpasswd}}\n"
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let child = serve(folder.path());
        let registry = Self { child, folder, port, ca_pem };
        registry.wait().await;
        registry
    }

    async fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "the registry does not listen: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Pushes an OCI layout, with all its architectures unless another format is asked for.
    pub fn push(&self, layout: &Path, name: &str, format: &str) {
        let output = Command::new("/usr/bin/skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .args(["--override-os", "linux", "--override-arch", "amd64"])
            .arg(format!("--dest-creds={USER}:{PASSWORD}"))
            .arg(match format {
                "all" => "--all".to_owned(),
                other => format!("--format={other}"),
            })
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://localhost:{}/{name}", self.port))
            .output()
            .expect("skopeo is installed (cargo xtask setup)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn endpoint(&self, port: u16) -> Endpoint {
        Endpoint {
            host: format!("localhost:{port}").parse().unwrap(),
            plain_http: false,
            ca_pem: Some(self.ca_pem.clone()),
            credentials: Some(Credentials {
                username: USER.to_owned(),
                password: PASSWORD.to_owned(),
            }),
        }
    }

    /// Where the registry keeps a blob.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let below = format!("data/docker/registry/v2/blobs/sha256/{}/{digest}/data", &digest[..2]);
        self.folder.path().join(below)
    }
}

/// Limits that make failures quick.
pub fn quick() -> Limits {
    Limits {
        connect: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        document: Duration::from_secs(5),
        pause: Duration::from_millis(1),
        attempts: 3,
        ..Limits::default()
    }
}

pub fn order(endpoint: Endpoint, name: &str, folder: &Path) -> Order {
    let reference: ImageReference = format!("{}/{name}", endpoint.host).parse().unwrap();
    Order {
        reference,
        endpoints: vec![endpoint],
        folder: folder.to_owned(),
        have: Default::default(),
        limits: quick(),
        signatures: Default::default(),
    }
}
