//! A booted node as the system tests see it: its serial line, its HTTPS side, its debug shell, its plug.
//!
//! Everything here drives the real image. Nothing may depend on how fast the machine is: every wait is for a
//! condition, with a limit that only says when to give up.

mod claimed;
mod iso;
mod screen;
mod socket;
mod stream;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
pub use claimed::{SSH_KEY, USER_DATA};
pub use iso::iso;
use reqwest::{Client, Method, StatusCode};
pub use screen::Screen;
use serde_json::{Value, json};
pub use skerry_scenarios_tests::eventually;
pub use socket::Socket;
pub use stream::Stream;
use xtask::paths::Paths;
use xtask::qemu::{Machine, Vm};

/// A boot under emulation on a busy machine.
pub const BOOT: Duration = Duration::from_secs(420);
/// A virtual machine inside the virtual machine.
pub const GUEST: Duration = Duration::from_secs(600);
/// Anything that the node does by itself within moments.
pub const SOON: Duration = Duration::from_secs(90);

/// Account that the tests make.
pub const USER: &str = "ada";
/// Its password.
pub const PASSWORD: &str = "analytical engine";

/// Whether three tests are to leave out what they repeat: `SKERRY_SHORT=1`, which `.ci/run` sets and `make test`
/// does not. Each says what it leaves out.
#[must_use]
pub fn short() -> bool {
    std::env::var("SKERRY_SHORT").is_ok_and(|value| value == "1")
}

/// A machine with a node on it, and the ways to reach it.
pub struct NodeUnderTest {
    /// The hardware.
    pub machine: Machine,
    /// The running machine.
    pub vm: Vm,
    page: u16,
    http: Client,
    token: Option<String>,
    /// Of the node's certificate, as the command line wants it to trust the node.
    fingerprint: String,
}

/// A fresh machine of the smallest size in a folder of its own, cut off from all but forwarded ports.
pub fn machine(name: &str) -> anyhow::Result<Machine> {
    let paths = Paths::find();
    let folder = paths.target.join("system-tests").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("the last run's folder")?;
    }
    std::fs::create_dir_all(&folder)?;
    let mut machine = Machine::new(&paths, &folder)?;
    machine.restrict = true;
    machine.virtualization = true;
    Ok(machine)
}

impl NodeUnderTest {
    /// Boots the machine for the first time. The claim code is read off the serial console, as a person would.
    pub fn first_boot(mut machine: Machine) -> anyhow::Result<(Self, String)> {
        let page = machine.forward(443)?;
        let mut node = Self::over(machine.start()?, machine, page)?;
        let code = node.read_claim_code()?;
        Ok((node, code))
    }

    fn over(vm: Vm, machine: Machine, page: u16) -> anyhow::Result<Self> {
        let http = client()?;
        Ok(Self { vm, machine, page, http, token: None, fingerprint: String::new() })
    }

    /// Waits for the console's first screen and returns the claim code on it.
    pub fn read_claim_code(&mut self) -> anyhow::Result<String> {
        let seen = self.vm.wait_for("Claim code", BOOT)?;
        ensure!(seen.contains("Skerry"), "the console does not say what it is: {seen}");
        let line = self.vm.wait_for("\n", SOON)?;
        let code: String =
            line.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        ensure!(code.len() == 14, "no claim code in `{line}`");
        Ok(code)
    }

    /// Where the page is from here.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.page)
    }

    /// Pulls the plug and switches on again.
    pub fn power_cycle(self) -> anyhow::Result<Self> {
        self.off_and_on(|vm| Ok(vm.power_cut()?))
    }

    /// Presses the power button, waits until the machine is off, and switches it on again.
    pub fn power_button(self, limit: Duration) -> anyhow::Result<Self> {
        self.off_and_on(|mut vm| {
            vm.power_button()?;
            Ok(vm.wait_off(limit)?)
        })
    }

    fn off_and_on(self, off: impl FnOnce(Vm) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let Self { machine, vm, page, http, token, fingerprint } = self;
        off(vm)?;
        Ok(Self { vm: machine.start()?, machine, page, http, token, fingerprint })
    }

    /// One request; the answer's status and JSON (or text as a JSON string).
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url()));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((status, value))
    }

    /// A GET that must succeed.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, value) = self.request(Method::GET, path, None).await?;
        ensure!(status.is_success(), "GET {path}: {status} {value}");
        Ok(value)
    }

    /// A POST that must succeed.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let (status, value) = self.request(Method::POST, path, Some(body)).await?;
        ensure!(status.is_success(), "POST {path}: {status} {value}");
        Ok(value)
    }

    /// Bytes of an upload from this offset on, in pieces; a piece that is an error breaks the connection off. The
    /// answer's status and JSON, or an error if no answer came.
    pub async fn send_part(
        &self,
        id: &str,
        offset: u64,
        pieces: Vec<Result<Vec<u8>, &'static str>>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let url = format!("{}/api/v1/uploads/{id}", self.url());
        let mut request = self.http.request(Method::PATCH, url).header("upload-offset", offset);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request.header("content-type", "application/partial-upload");
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
        let answer = request.body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Waits until the API answers.
    pub async fn wait_api(&self) -> anyhow::Result<Value> {
        eventually(BOOT, || async {
            let health = self.get("/api/v1/health").await?;
            if health.get("ready") == Some(&Value::Bool(true)) {
                Ok(health)
            } else {
                bail!("{health}")
            }
        })
        .await
        .context("the API is to answer")
    }

    /// Logs in and keeps the session.
    pub async fn login(&mut self) -> anyhow::Result<()> {
        let body = json!({"username": USER, "password": PASSWORD, "purpose": "cli"});
        let session = self.post("/api/v1/login", body).await?;
        self.keep(&session)?;
        let summary = self.get("/api/v1/summary").await?;
        let fingerprint = summary.get("fingerprint").and_then(Value::as_str);
        self.fingerprint = fingerprint.context("a node shows its fingerprint")?.to_owned();
        Ok(())
    }

    fn keep(&mut self, session: &Value) -> anyhow::Result<()> {
        let token =
            session.get("token").and_then(Value::as_str).context("a session has a token")?;
        self.token = Some(token.to_owned());
        Ok(())
    }

    /// Waits until a workload is in this state.
    pub async fn wait_state(
        &self,
        path: &str,
        state: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        eventually(limit, || async {
            let found = self.get(path).await?;
            match found.pointer("/status/state") {
                Some(now) if now == state => Ok(found),
                _ => bail!("{}", found.get("status").unwrap_or(&Value::Null)),
            }
        })
        .await
        .with_context(|| format!("{path} is to be {state}"))
    }

    /// Waits until a workload answers over HTTP at a forwarded port with this text.
    pub async fn wait_answer(
        &self,
        port: u16,
        expected: &str,
        limit: Duration,
    ) -> anyhow::Result<()> {
        eventually(limit, || async {
            let answer = self.http.get(format!("http://127.0.0.1:{port}/")).send().await?;
            let text = answer.text().await?;
            if text.contains(expected) { Ok(()) } else { bail!("it says `{text}`") }
        })
        .await
        .with_context(|| format!("port {port} is to answer `{expected}`"))
    }

    /// What a workload says over HTTP at a forwarded port.
    pub async fn fetch(&self, port: u16, path: &str) -> anyhow::Result<String> {
        let answer = self.http.get(format!("http://127.0.0.1:{port}{path}")).send().await?;
        Ok(answer.text().await?)
    }

    /// A command line in the debug shell that must succeed.
    pub fn shell(&mut self, line: &str) -> anyhow::Result<String> {
        let (output, code) = self.vm.shell(line, SOON)?;
        ensure!(code == 0, "`{line}` ended with {code}: {output}");
        Ok(output)
    }

    /// Runs the `skerry` program of this build against the node, as an operator at a desk would.
    pub fn skerry(&self, words: &[&str]) -> anyhow::Result<String> {
        let paths = Paths::find();
        let output = Command::new(program(&paths))
            .args(words)
            .env("SKERRY_URL", self.url())
            .env("SKERRY_FINGERPRINT", &self.fingerprint)
            .env("SKERRY_TOKEN", self.token.as_deref().unwrap_or_default())
            .env("HOME", &self.machine.folder)
            .env_remove("XDG_CONFIG_HOME")
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "skerry {words:?}: {} {text} {errors}", output.status);
        Ok(text)
    }
}

/// The `skerry` program that is also in the image.
fn program(paths: &Paths) -> PathBuf {
    paths.target.join("release/skerry")
}

fn client() -> anyhow::Result<Client> {
    // A second test in the same process finds it installed, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ok(Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(0)
        .build()?)
}
