//! The plug is pulled at random points while volumes and machines are copied, snapshots taken of machines that are off and of
//! one that runs, images brought in, and others of them deleted. After each boot nothing that was acknowledged is lost, nothing that was deleted is back, no file lies about
//! that belongs to nothing, and what is there holds what it held.
//!
//! Each cut takes a boot: twenty of them take a quarter of an hour under emulation, so a short run (`SKERRY_SHORT=1`) has five.
//! `SKERRY_CUTS` asks for another number. The seed is printed; `SKERRY_SEED` gives one again.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "power_cuts/contents.rs"]
mod contents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use futures::future::{BoxFuture, join_all};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{NodeUnderTest, SOON, eventually, short};

/// Cuts of a run that does not ask for another number.
const CUTS: u64 = 20;
/// And of a short one.
const FEW_CUTS: u64 = 5;
/// Work on some MiB under emulation, right after a boot too.
const WORK: Duration = Duration::from_secs(180);
const KINDS: [&str; 4] = ["volumes", "snapshots", "images", "vms"];
/// The image that the machine which does not run began with, and all that is made from it.
const OTHER: &str = "other";
/// Name of the machine that runs.
const RUNNING: &str = "busy";
const POOL: &str = "/var/lib/skerry/data/pools/default";
const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_nothing() -> anyhow::Result<()> {
    let cuts = given("SKERRY_CUTS")?.unwrap_or(if short() { FEW_CUTS } else { CUTS });
    ensure!(cuts > 0, "SKERRY_CUTS is 0: nothing would be tried");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seed = given("SKERRY_SEED")?.unwrap_or(now);
    println!("SKERRY_SEED={seed}, {cuts} cuts");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut node, _) = NodeUnderTest::claimed("power-cuts", &[]).await?;
    let mut book = Book::of(&node).await?;
    prepare(&node, &book, &mut random).await?;

    // Two rounds without a cut: all of it succeeds, and the second, which also deletes, says how long the work takes.
    round(&node, &book, 0, &mut random).await?;
    let started = Instant::now();
    round(&node, &book, 1, &mut random).await?;
    let whole = started.elapsed();
    nothing_failed(&node).await?;
    book.holds(&mut node).await.context("before the first cut")?;

    for number in 2..cuts + 2 {
        let after = whole.mul_f64(random.random());
        println!("== round {number} is cut {after:?} of {whole:?} after its beginning");
        let done = tokio::time::timeout(after, round(&node, &book, number, &mut random)).await;
        node = node.power_cycle()?;
        // Asked only now: whatever it was, the next boot must be good.
        done.unwrap_or(Ok(())).with_context(|| format!("round {number}, before its cut"))?;
        node.wait_api().await?;
        node.login().await?;
        book.holds(&mut node).await.with_context(|| format!("after the cut of round {number}"))?;
    }
    Ok(())
}

/// A number from the environment.
fn given(variable: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable} is {text:?}, not a number"))
}

/// Two images, a volume, and two machines with volumes of their own, all with content. One machine runs: its firmware
/// finds nothing to boot.
async fn prepare(node: &NodeUnderTest, book: &Book, random: &mut StdRng) -> anyhow::Result<()> {
    for image in ["base", OTHER] {
        import(node, book, image, noise(random, 8)).await?;
        node.wait_state(&format!("/api/v1/images/{image}"), "available", WORK).await?;
    }
    book.create(node, "volumes", "kept", json!({"source": {"image": "base"}})).await?;
    book.machine(node, "guest", json!({"image": OTHER, "power": "stopped"})).await?;
    book.machine(node, RUNNING, json!({"image": "base"})).await?;
    node.wait_state(&format!("/api/v1/vms/{RUNNING}"), "running", WORK).await?;
    settled(node).await
}

/// Everything at once, in any order, until all of it is done.
async fn round(
    node: &NodeUnderTest,
    book: &Book,
    number: u64,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let [snapshot, running, copy, clone, image] =
        ["snapshot", "running", "copy", "clone", "image"].map(|what| format!("{what}-{number}"));
    let content = noise(random, 3);
    let mut work: Vec<BoxFuture<'_, anyhow::Result<()>>> = vec![
        Box::pin(
            async move { book.create(node, "snapshots", &snapshot, json!({"vm": "guest"})).await },
        ),
        Box::pin(
            async move { book.create(node, "snapshots", &running, json!({"vm": RUNNING})).await },
        ),
        Box::pin(async move {
            let of = json!({"clone_of": "guest", "power": "stopped"});
            book.machine(node, &clone, of).await
        }),
        Box::pin(async move {
            book.create(node, "volumes", &copy, json!({"source": {"volume": "kept"}})).await
        }),
        Box::pin(async move { import(node, book, &image, content).await }),
    ];
    for (kind, name) in book.of_rounds() {
        work.push(Box::pin(async move { book.delete(node, kind, &name).await }));
    }
    work.shuffle(random);
    join_all(work).await.into_iter().collect::<anyhow::Result<()>>()?;
    settled(node).await
}

/// Bytes that do not compress.
fn noise(random: &mut StdRng, mib: usize) -> Vec<u8> {
    let mut bytes = vec![0; mib * MIB];
    random.fill(&mut bytes[..]);
    bytes
}

async fn import(
    node: &NodeUnderTest,
    book: &Book,
    name: &str,
    bytes: Vec<u8>,
) -> anyhow::Result<()> {
    let announced = json!({"name": format!("{name}.raw"), "size": bytes.len()});
    let upload = node.post("/api/v1/uploads", announced).await?;
    let id = upload["id"].as_str().context("an upload has an id")?.to_owned();
    let (status, answer) = node.send_part(&id, 0, vec![Ok(bytes)]).await?;
    ensure!(status == StatusCode::OK, "{status} {answer}");
    let spec = json!({"format": "raw", "source": {"upload": id}, "architecture": "x86_64"});
    book.create(node, "images", name, spec).await
}

/// Waits until nothing is on its way.
async fn settled(node: &NodeUnderTest) -> anyhow::Result<()> {
    eventually(WORK, || async {
        for (kind, calm) in [
            ("volumes", &["available", "in_use"][..]),
            ("snapshots", &["ready", "failed"]),
            ("images", &["available", "failed"]),
            ("vms", &["stopped", "running"]),
            ("jobs", &["completed", "failed", "aborted"]),
        ] {
            for found in list(node, kind).await? {
                let state = found["status"]["state"].as_str().unwrap_or_default();
                let leaving = found["metadata"]["phase"] != "present";
                // A machine is as was asked.
                let wanted = found["spec"]["power"].as_str().filter(|_| kind == "vms");
                let wrong = wanted.is_some_and(|wanted| wanted != state);
                if leaving || wrong || !calm.contains(&state) {
                    bail!("{kind} {}: {}", found["metadata"], found["status"]);
                }
            }
        }
        Ok(())
    })
    .await
    .context("everything is to come to rest")
}

/// A cut may leave something that has cleanly failed; without one nothing may.
async fn nothing_failed(node: &NodeUnderTest) -> anyhow::Result<()> {
    for kind in ["snapshots", "images", "jobs"] {
        for found in list(node, kind).await? {
            ensure!(found["status"]["state"] != "failed", "{kind} {}: {found}", name(&found));
        }
    }
    Ok(())
}

async fn list(node: &NodeUnderTest, kind: &str) -> anyhow::Result<Vec<Value>> {
    let all = node.get(&format!("/api/v1/{kind}")).await?;
    Ok(all["items"].as_array().context("a list")?.clone())
}

fn name(resource: &Value) -> String {
    resource["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn id(resource: &Value) -> &str {
    resource["metadata"]["id"].as_str().unwrap_or_default()
}

/// What was told about a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Asked for; no answer yet.
    Asked,
    /// Acknowledged.
    There,
    /// To be deleted; no answer yet.
    Leaving,
    /// The deletion was acknowledged.
    Gone,
}

/// What the node has acknowledged.
struct Book {
    fates: Mutex<BTreeMap<(&'static str, String), Fate>>,
    /// Images that are a part of the node.
    own_images: BTreeSet<String>,
}

impl Book {
    async fn of(node: &NodeUnderTest) -> anyhow::Result<Self> {
        let own_images = list(node, "images").await?.iter().map(name).collect();
        Ok(Self { fates: Mutex::default(), own_images })
    }

    fn set(&self, kind: &'static str, name: &str, fate: Fate) {
        self.fates.lock().unwrap().insert((kind, name.to_owned()), fate);
    }

    fn expect(&self, kind: &'static str, name: &str) {
        self.set(kind, name, Fate::There);
    }

    /// What rounds have made and nobody has deleted.
    fn of_rounds(&self) -> Vec<(&'static str, String)> {
        let fates = self.fates.lock().unwrap();
        fates
            .keys()
            .filter(|(_, name)| name.contains('-') && !name.ends_with("-root"))
            .cloned()
            .collect()
    }

    async fn create(
        &self,
        node: &NodeUnderTest,
        kind: &'static str,
        name: &str,
        spec: Value,
    ) -> anyhow::Result<()> {
        self.set(kind, name, Fate::Asked);
        let body = json!({"metadata": {"name": name}, "spec": spec});
        node.post(&format!("/api/v1/{kind}"), body).await?;
        self.expect(kind, name);
        Ok(())
    }

    /// A machine with a volume of its own, which comes and goes with it.
    async fn machine(&self, node: &NodeUnderTest, name: &str, spec: Value) -> anyhow::Result<()> {
        let mut whole = json!({"memory_mib": 64, "graphics": "none"});
        let parts = spec.as_object().context("a spec is an object")?.clone();
        whole.as_object_mut().context("a spec is an object")?.extend(parts);
        self.set("volumes", &format!("{name}-root"), Fate::Asked);
        self.create(node, "vms", name, whole).await?;
        self.expect("volumes", &format!("{name}-root"));
        Ok(())
    }

    async fn delete(
        &self,
        node: &NodeUnderTest,
        kind: &'static str,
        name: &str,
    ) -> anyhow::Result<()> {
        let own = (kind == "vms").then(|| format!("{name}-root"));
        self.set(kind, name, Fate::Leaving);
        if let Some(own) = &own {
            self.set("volumes", own, Fate::Leaving);
        }
        let path = match &own {
            Some(_) => format!("/api/v1/{kind}/{name}?delete_volumes=true"),
            None => format!("/api/v1/{kind}/{name}"),
        };
        let (status, answer) = node.request(Method::DELETE, &path, None).await?;
        ensure!(status.is_success(), "DELETE {path}: {status} {answer}");
        self.set(kind, name, Fate::Gone);
        if let Some(own) = &own {
            self.set("volumes", own, Fate::Gone);
        }
        Ok(())
    }

    /// Checks that the node is as was acknowledged, and takes what was left open as it has come out.
    async fn holds(&mut self, node: &mut NodeUnderTest) -> anyhow::Result<()> {
        settled(node).await?;
        let alarms = list(node, "alarms").await?;
        let recovered = alarms.iter().any(|alarm| alarm["spec"]["definition"] == "STORE_RECOVERED");
        ensure!(!recovered, "{alarms:?}");
        let mut fates = std::mem::take(&mut self.fates).into_inner()?;
        for kind in KINDS {
            let mut there: BTreeSet<String> = list(node, kind).await?.iter().map(name).collect();
            if kind == "images" {
                there.retain(|image| !self.own_images.contains(image));
            }
            for ((_, name), fate) in fates.iter().filter(|((of, _), _)| *of == kind) {
                let found = there.remove(name);
                let right = match fate {
                    Fate::There => found,
                    Fate::Gone => !found,
                    Fate::Asked | Fate::Leaving => true,
                };
                ensure!(right, "{kind} {name} was {fate:?}, found: {found}");
            }
            ensure!(there.is_empty(), "{kind} that nobody made: {there:?}");
        }
        let mut left = BTreeMap::new();
        for kind in KINDS {
            for found in list(node, kind).await?.iter().map(name) {
                if let Some((key, _)) = fates.remove_entry(&(kind, found)) {
                    left.insert(key, Fate::There);
                }
            }
        }
        self.fates = Mutex::new(left);
        uploads_can_be_given_up(node).await?;
        files_belong_to_something(node).await?;
        contents::are_what_they_were(node).await
    }
}

/// What was sent and not used yet is there for its sender to go on with; here nobody does.
async fn uploads_can_be_given_up(node: &NodeUnderTest) -> anyhow::Result<()> {
    let uploads = node.get("/api/v1/uploads").await?;
    for upload in uploads["items"].as_array().context("a list")? {
        let path = format!("/api/v1/uploads/{}", upload["id"].as_str().context("an id")?);
        let (status, answer) = node.request(Method::DELETE, &path, None).await?;
        ensure!(status.is_success(), "{status} {answer}");
    }
    Ok(())
}

async fn files_belong_to_something(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let mut expected = BTreeSet::new();
    for volume in list(node, "volumes").await? {
        expected.insert(format!("volumes/{}.qcow2", id(&volume)));
        expected.insert(format!("volumes/{}.json", id(&volume)));
    }
    for snapshot in list(node, "snapshots").await? {
        if snapshot["status"]["state"] == "ready" {
            expected.insert(format!("snapshots/{}", id(&snapshot)));
        }
    }
    for image in ["base", OTHER] {
        let base = digest(&node.get(&format!("/api/v1/images/{image}")).await?);
        expected.insert(format!("bases/{base}.raw"));
    }
    let look = format!("cd {POOL} && find . -mindepth 2 -maxdepth 2 -printf '%P\\n'");
    let spool = "find /var/lib/skerry/data/spool -type f";
    let node = tokio::sync::Mutex::new(node);
    eventually(SOON, || async {
        let mut node = node.lock().await;
        let found: BTreeSet<String> = node.shell(&look)?.lines().map(ToOwned::to_owned).collect();
        if found != expected {
            let more: Vec<_> = found.difference(&expected).collect();
            let less: Vec<_> = expected.difference(&found).collect();
            bail!("files that belong to nothing: {more:?}; missing: {less:?}");
        }
        let sent = node.shell(spool)?;
        if sent.is_empty() { Ok(()) } else { bail!("left of uploads: {sent}") }
    })
    .await
}

/// The digest of an image with one file.
fn digest(image: &Value) -> String {
    image["spec"]["files"][0]["sha256"].as_str().unwrap_or_default().to_owned()
}
