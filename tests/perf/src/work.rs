//! Workloads from creation to their first answer, and how long the API takes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{BOOT, GUEST, NodeUnderTest, PASSWORD, USER, eventually};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::figures::{Figure, Figures};

/// Requests for one figure.
const READS: u32 = 500;
const WRITES: u32 = 100;
/// Tries that are open at the same time: a lost one must not delay the answer, many would burden the node.
const TRIES: usize = 3;
/// Time between two tries, at least and at most: a fiftieth of the time that has passed, since each takes something
/// from the node that is timed.
const PACE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Ports of this machine that lead to the workloads.
#[derive(Clone, Copy)]
pub struct Ports {
    pub pod: u16,
    pub vm: u16,
}

/// Creates a container and a VM and times their first answers.
pub async fn create(node: &mut NodeUnderTest, ports: Ports, figures: &mut Figures) -> Result<()> {
    let client = hasty_client()?;
    let pod = |name: &str, port: u16| {
        json!({"metadata": {"name": name}, "spec": {
            "containers": [{"name": "web", "image": "tiny"}],
            "publish": [{"host_port": port, "workload_port": 8080}]}})
    };
    // The first one of an image unpacks it; it goes again, so that the node's memory is as with one.
    let unpacked = running(node, "first", pod("first", 8089)).await?;
    figures.add(taken("container: create → running, image unpacked for it", unpacked));
    let (status, answer) = node.request(Method::DELETE, "/api/v1/pods/first", None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    eventually(BOOT, || async {
        let (status, answer) = node.request(Method::GET, "/api/v1/pods/first", None).await?;
        if status == StatusCode::NOT_FOUND { Ok(()) } else { bail!("{answer}") }
    })
    .await?;
    let started = Instant::now();
    let running = running(node, "web", pod("web", 8080)).await?;
    let at = answers(&client, ports.pod, "skerry tiny container", BOOT).await?;
    figures.add(taken("container: create → running", running));
    figures.add(taken("container: create → first answer", at - started));

    let vm = json!({"metadata": {"name": "guest"}, "spec": {"image": "tiny-vm", "memory_mib": 128,
        "publish": [{"host_port": 8081, "workload_port": 8080}]}});
    let started = Instant::now();
    node.post("/api/v1/vms", vm).await?;
    node.wait_state("/api/v1/vms/guest", "running", GUEST).await?;
    figures.add(taken("VM: create → running", started.elapsed()));
    let at = answers(&client, ports.vm, "skerry tiny vm", GUEST).await?;
    figures.add(taken("VM: create → first answer", at - started).remark("with the guest's boot"));
    Ok(())
}

/// How long a pod takes from its creation until it runs.
async fn running(node: &NodeUnderTest, name: &str, pod: Value) -> Result<Duration> {
    let started = Instant::now();
    node.post("/api/v1/pods", pod).await?;
    node.wait_state(&format!("/api/v1/pods/{name}"), "running", BOOT).await?;
    Ok(started.elapsed())
}

fn taken(what: &str, time: Duration) -> Figure {
    Figure::new(what, format!("{:.1} s", time.as_secs_f64()))
}

/// Times reads and durable writes over one connection.
pub async fn latencies(node: &NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let client = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(60))
        .build()?;
    let login = json!({"username": USER, "password": PASSWORD, "purpose": "cli"});
    let session = node.post("/api/v1/login", login).await?;
    let token = session.get("token").and_then(Value::as_str).context("no token")?.to_owned();
    let api = Api { client, url: format!("{}/api/v1/pods/web", node.url()), token };
    // Opens the connection.
    api.time(Method::GET, None).await?;

    let mut reads = Vec::new();
    for _ in 0..READS {
        reads.push(api.time(Method::GET, None).await?);
    }
    add(figures, "read", reads, 5.0, &format!("{READS} × GET of a pod"));
    let mut writes = Vec::new();
    for number in 0..WRITES {
        // Another value each time, so that each is written.
        let body = json!({"spec": {"stop_timeout_s": 10 + number % 50}});
        writes.push(api.time(Method::PATCH, Some(body)).await?);
    }
    add(figures, "durable write", writes, 50.0, &format!("{WRITES} × PATCH of a pod"));
    figures.note(
        "The API is asked from outside through QEMU's forwarded port, one request after another over one TLS \
         connection that stays open, while a container and a VM run. Flushes of the node's disk end in the memory \
         of the machine below, so a write's time holds the node's own work and not a disk's.",
    );
    Ok(())
}

struct Api {
    client: Client,
    url: String,
    token: String,
}

impl Api {
    /// Milliseconds of one request.
    async fn time(&self, method: Method, body: Option<Value>) -> Result<f64> {
        let mut request = self.client.request(method, &self.url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let started = Instant::now();
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status} {text}");
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }
}

fn add(figures: &mut Figures, what: &str, mut times: Vec<f64>, aim: f64, remark: &str) {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(index).copied().unwrap_or_default()
    };
    figures.add(Figure::new(&format!("API {what}, p50"), format!("{:.1} ms", at(50))));
    figures.add(Figure::at_most(&format!("API {what}, p99"), at(99), aim, "ms").remark(remark));
}

/// A client that gives a request up soon: what is sent while the node boots may never be answered.
pub fn hasty_client() -> Result<Client> {
    Ok(Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(6))
        .pool_max_idle_per_host(0)
        .build()?)
}

/// When a workload first answers at a forwarded port with this text.
pub async fn answers(
    client: &Client,
    port: u16,
    expected: &str,
    limit: Duration,
) -> Result<Instant> {
    first_answer(client, &format!("http://127.0.0.1:{port}/"), expected, limit).await
}

/// When an address first answers with success and this text.
pub async fn first_answer(
    client: &Client,
    url: &str,
    expected: &str,
    limit: Duration,
) -> Result<Instant> {
    let start = Instant::now();
    let mut tries = JoinSet::new();
    let mut next = start;
    loop {
        tokio::select! {
            // A finished try counts first; the tick then comes again.
            Some(Ok(Ok(at))) = tries.join_next() => return Ok(at),
            // May be cancelled by a try that ended: nothing is lost, the time of the next stays.
            () = sleep_until(next.into()) => {
                next = Instant::now() + (start.elapsed() / 50).clamp(PACE.0, PACE.1);
                ensure!(start.elapsed() < limit, "{url} did not answer within {limit:?}");
                if tries.len() < TRIES {
                    tries.spawn(ask(client.clone(), url.to_owned(), expected.to_owned()));
                }
            }
        }
    }
}

async fn ask(client: Client, url: String, expected: String) -> Result<Instant> {
    let answer = client.get(url).send().await?.error_for_status()?;
    let text = answer.text().await?;
    if text.contains(&expected) { Ok(Instant::now()) } else { bail!("it says `{text}`") }
}
