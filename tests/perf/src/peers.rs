//! The node's work beside the same by others' tools, in the same boot: `podman` and `crun`, `virsh`, `skopeo` and `umoci`.
//!
//! The tools are no part of the image. They come on a disk of their own, a small Debian, and run in it as in the node.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use skerry_system_tests::{BOOT, NodeUnderTest, SOON, eventually};
use xtask::builder::{self, Builder};
use xtask::command;
use xtask::paths::Paths;
use xtask::qemu::Machine;

use crate::clock::{lowest, printed, run, seconds};
use crate::figures::{Figure, Figures};
use crate::registry::{PASSWORD, Registry, USER};
use crate::{image, scale};

/// What the disk holds.
const PACKAGES: &[&str] =
    &["podman", "crun", "nftables", "iproute2", "skopeo", "umoci", "libvirt-clients", "jq"];
const LIMIT: Duration = Duration::from_secs(300);
/// Enters the disk's Debian, with mounts of its own: a container's root cannot be changed where they are shared.
const WITHIN: &str = "unshare -m chroot /run/perf/tools";
/// What a container does first: it tells the time since boot.
const FIRST: &str = "read at rest < /proc/uptime; echo $at";
/// Bytes of the image that is pulled.
const PULLED: usize = 32 << 20;

/// Gives the machine the disk with the tools.
pub fn attach(paths: &Paths, machine: &mut Machine) -> Result<()> {
    let file = tools(paths)?;
    let backend = format!(
        "driver=raw,node-name=tools,read-only=on,file.driver=file,file.filename={}",
        file.display()
    );
    let words = ["-blockdev", &backend, "-device", "virtio-blk-pci,drive=tools,serial=tools"];
    machine.qemu_words.extend(words.map(str::to_owned));
    machine.restrict = false;
    Ok(())
}

/// Builds the disk, unless it is there.
fn tools(paths: &Paths) -> Result<PathBuf> {
    let folder = paths.target.join("perf");
    let file = folder.join("tools.erofs");
    if file.exists() {
        return Ok(file);
    }
    std::fs::create_dir_all(&folder)?;
    let (root, part) = (folder.join("tools"), folder.join("tools.part"));
    let remove = || command::run(command::as_root("rm").args(["-rf"]).arg(&root));
    remove()?;
    builder::debian(&root, PACKAGES, &folder.join("tools.log"))?;
    let builder = Builder::existing(paths)?;
    command::run(builder.root_command("mkfs.erofs").arg("-zlz4").arg(&part).arg(&root))?;
    remove()?;
    std::fs::rename(&part, &file).context("cannot rename the disk of tools")?;
    Ok(file)
}

/// Adds the figures; each one stands for itself.
pub async fn add(node: &mut NodeUnderTest, figures: &mut Figures) {
    if let Err(error) = enter(node) {
        figures.add(Figure::missing("the node beside others' tools", "", &error));
        return;
    }
    let started = containers(node, figures).await;
    or_missing(started, "container: create → first instruction", figures);
    let started = machines(node, figures).await;
    or_missing(started, "VM: create → running ÷ `virsh create`", figures);
    let pulled = pulls(node, figures).await;
    or_missing(pulled, "pull and unpack ÷ `skopeo copy` and `umoci unpack`", figures);
}

fn or_missing(taken: Result<()>, what: &str, figures: &mut Figures) {
    if let Err(error) = taken {
        figures.add(Figure::missing(what, "", &error));
    }
}

/// Mounts the disk where the tools can write; what podman keeps lies on the data partition, as the node's own does.
fn enter(node: &mut NodeUnderTest) -> Result<()> {
    let lines = [
        "mkdir -p /run/perf/low /run/perf/tools /run/perf/up /run/perf/work",
        "mount -t erofs -o ro /dev/disk/by-id/virtio-tools /run/perf/low",
        "mount -t tmpfs tmpfs /run/perf/up && mkdir /run/perf/up/up /run/perf/up/work",
        "mount -t overlay overlay -o lowerdir=/run/perf/low,upperdir=/run/perf/up/up,workdir=/run/perf/up/work \
         /run/perf/tools",
        "for d in proc sys dev run; do mount --rbind /$d /run/perf/tools/$d; done",
        "mkdir -p /var/lib/skerry/data/perf/podman /run/perf/tools/var/lib/containers",
        "mount --bind /var/lib/skerry/data/perf/podman /run/perf/tools/var/lib/containers",
        "mkdir /var/lib/skerry/data/perf/tmp",
        "mount --bind /var/lib/skerry/data/perf/tmp /run/perf/tools/tmp",
    ];
    lines.iter().try_for_each(|line| run(node, line, LIMIT).map(drop))
}

/// From the order to the first instruction of an image that is there: the node's pod, `podman run`, bare `crun run`.
async fn containers(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let mut ours = f64::INFINITY;
    for number in 0..3 {
        let pod = first_instruction(node, &format!("timed-{number}")).await?;
        ours = ours.min(pod);
    }
    run(
        node,
        &format!(
            "cp /usr/share/skerry/images/tiny-oci.tar /run/perf/tools/tmp && \
        {WITHIN} podman pull -q oci-archive:/tmp/tiny-oci.tar"
        ),
        LIMIT,
    )?;
    let podman = format!(
        "read from rest < /proc/uptime; at=$({WITHIN} podman run --rm localhost/tiny /bin/sh -c '{FIRST}') && \
         echo \"$from $at\""
    );
    let podman = lowest(|| printed(node, &podman, LIMIT))?;
    let crun = bare(node)?;
    let what = "container: create → first instruction";
    let remark = "image unpacked before; with its network; lowest of three, by the node's clock";
    figures.add(Figure::new(what, format!("{ours:.2} s")).remark(remark));
    let remark = format!("`podman run` with its network took {podman:.2} s");
    figures.add(Figure::at_most("the same ÷ `podman run`", ours / podman, 1.0, "×").remark(remark));
    let remark = format!("`crun run` of a bundle that is ready took {crun:.2} s");
    figures
        .add(Figure::at_most("the same ÷ bare `crun run`", ours / crun, 2.0, "×").remark(remark));
    Ok(())
}

/// Makes a pod that tells the time at its first instruction, and takes it away.
async fn first_instruction(node: &mut NodeUnderTest, name: &str) -> Result<f64> {
    let command = json!(["/bin/sh", "-c", format!("{FIRST}; exec sleep 1000")]);
    let body = json!({"metadata": {"name": name}, "spec": {
        "containers": [{"name": "main", "image": "tiny", "command": command}]}});
    let pod = node.post("/api/v1/pods", body).await?;
    let created = pod.pointer("/metadata/created").and_then(Value::as_str).context("created")?;
    // Looked for once a second in the node itself: whoever asks over HTTPS all the time takes the processor that the start
    // needs.
    let id = pod.pointer("/metadata/id").and_then(Value::as_str).context("id")?;
    run(node, &format!("until test -s /run/skerry/pods/{id}/main/pid; do sleep 1; done"), LIMIT)?;
    let at = eventually(SOON, || async {
        let logs = node.get(&format!("/api/v1/pods/{name}/logs")).await?;
        let text = logs.as_str().unwrap_or_default().to_owned();
        text.lines().find_map(|line| line.trim().parse::<f64>().ok()).context(text)
    })
    .await?;
    // When it was made, in seconds since boot: now, less how long ago that was.
    let line = format!(
        "now=$(date +%s.%N) && read up rest < /proc/uptime && echo \"$up $now $(date -d {created} +%s.%N)\""
    );
    let text = run(node, &line, LIMIT)?;
    let words: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[up, now, made] = words.as_slice() else { anyhow::bail!("no times in `{text}`") };
    scale::drop_all(node, "pods", name, &[String::new()]).await?;
    Ok(at - (up - (now - made)))
}

/// The bundle of the container that runs, with another command, by `crun run` alone.
fn bare(node: &mut NodeUnderTest) -> Result<f64> {
    let bundle = format!(
        "mkdir -p /run/perf/bare && cd /run/skerry/pods/*/web && {WITHIN} jq --arg root $PWD/rootfs \
         --arg first '{FIRST}' '.process.args = [\"/bin/sh\", \"-c\", $first] | .root.path = $root' \
         $PWD/config.json > /run/perf/bare/config.json"
    );
    run(node, &bundle, LIMIT)?;
    let line = "read from rest < /proc/uptime; at=$(crun --root /run/perf/crun --cgroup-manager=disabled \
                run -b /run/perf/bare bare) && echo \"$from $at\"";
    lowest(|| printed(node, line, LIMIT))
}

/// A machine made by the node, and the same domain by `virsh create`.
async fn machines(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let mut ours = f64::INFINITY;
    for number in 0..3 {
        let path = format!("/api/v1/vms/timed-{number}");
        let spec = json!({"image": "tiny-vm", "memory_mib": 64, "graphics": "none"});
        let body = json!({"metadata": {"name": format!("timed-{number}")}, "spec": spec});
        node.post("/api/v1/vms", body).await?;
        let vm = node.wait_state(&path, "running", BOOT).await?;
        ours = ours.min(until_ready(node, &vm)?);
        if number < 2 {
            scale::drop_all(node, "vms", &format!("timed-{number}"), &[String::new()]).await?;
        }
    }
    let virsh = format!("{WITHIN} virsh -q -c qemu:///system");
    let id = node.get("/api/v1/vms/timed-2").await?;
    let id = id.pointer("/metadata/id").and_then(Value::as_str).context("id")?.to_owned();
    // Under another name, so that it is not taken for the node's.
    let copy = format!(
        "{virsh} dumpxml --inactive {id} | sed -e 's/<name>.*/<name>bare<\\/name>/' -e '/<uuid>/d' \
         -e '/<target dev=/d' -e '/<metadata>/,/<\\/metadata>/d' > /run/perf/tools/tmp/bare.xml"
    );
    run(node, &copy, LIMIT)?;
    node.post("/api/v1/vms/timed-2/actions/force_stop", json!({})).await?;
    node.wait_state("/api/v1/vms/timed-2", "stopped", SOON).await?;
    let peer = lowest(|| {
        let time = seconds(node, &format!("{virsh} create /tmp/bare.xml"), LIMIT)?;
        run(node, &format!("{virsh} destroy bare"), LIMIT)?;
        Ok(time)
    })?;
    scale::drop_all(node, "vms", "timed-2", &[String::new()]).await?;
    let remark = format!("{ours:.2} s and {peer:.2} s, lowest of three");
    let what = "VM: create → running ÷ `virsh create`";
    figures.add(Figure::at_most(what, ours / peer, 1.2, "×").remark(remark));
    Ok(())
}

/// Seconds from a resource's making to its being ready.
fn until_ready(node: &mut NodeUnderTest, document: &Value) -> Result<f64> {
    let created = document.pointer("/metadata/created").and_then(Value::as_str);
    let mut conditions =
        document.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let ready = conditions.find(|one| one.get("type") == Some(&json!("Ready")));
    let since = ready.and_then(|one| one.get("since")).and_then(Value::as_str);
    let (created, since) = created.zip(since).context("it does not say since when it is ready")?;
    let line = format!("echo \"$(date -d {created} +%s.%N) $(date -d {since} +%s.%N)\"");
    printed(node, &line, LIMIT)
}

/// An image from a registry on this machine until a container of it runs, and the same by skopeo and umoci.
async fn pulls(node: &mut NodeUnderTest, figures: &mut Figures) -> Result<()> {
    let registry = Registry::start().await;
    let place = tempfile::tempdir()?;
    image::layout(place.path(), vec![layer()?]);
    registry.push(place.path(), "lab/big:1", "all");
    let host = format!("10.0.2.2:{}", registry.port);
    let known = json!({"metadata": {"name": "perf"}, "spec": {"host": host,
        "ca_pem": registry.ca_pem, "username": USER, "password": PASSWORD}});
    node.post("/api/v1/registries", known).await?;
    let started = Instant::now();
    node.skerry(&["image", "pull", &format!("{host}/lab/big:1"), "--name", "big", "--wait"])?;
    let pod = json!({"metadata": {"name": "big"}, "spec": {"containers": [{"name": "main", "image": "big",
        "command": ["/bin/busybox", "sleep", "1000"]}]}});
    node.post("/api/v1/pods", pod).await?;
    node.wait_state("/api/v1/pods/big", "running", BOOT).await?;
    let ours = started.elapsed().as_secs_f64();
    let line = format!(
        "{WITHIN} skopeo copy -q --insecure-policy --src-tls-verify=false --src-creds={USER}:{PASSWORD} \
         docker://{host}/lab/big:1 oci:/tmp/big:1 && {WITHIN} umoci unpack --image /tmp/big:1 /tmp/unpacked && sync"
    );
    let peer = seconds(node, &line, LIMIT)?;
    scale::drop_all(node, "pods", "big", &[String::new()]).await?;
    let (status, answer) = node.request(Method::DELETE, "/api/v1/registries/perf", None).await?;
    ensure!(status.is_success(), "{status} {answer}");
    let remark = format!(
        "{} MiB that do not compress; {ours:.1} s, with a container's start, and {peer:.1} s",
        PULLED >> 20
    );
    let what = "pull and unpack ÷ `skopeo copy` and `umoci unpack`";
    figures.add(Figure::new(what, format!("{:.2} ×", ours / peer)).remark(remark));
    Ok(())
}

/// A layer with a program and many files.
fn layer() -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let busybox = std::fs::read(Path::new("/usr/bin/busybox")).context("busybox-static")?;
    let noise = image::noise(PULLED, 5);
    let mut files = vec![("bin/busybox".to_owned(), 0o755, busybox.as_slice())];
    let pieces = noise.chunks(256 << 10).enumerate();
    files.extend(pieces.map(|(number, piece)| (format!("data/{number}"), 0o644, piece)));
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len())?);
        header.set_mode(mode);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, bytes)?;
    }
    Ok(tar.into_inner()?)
}
