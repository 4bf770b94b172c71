//! Disk images on the booted node: an upload that breaks off and goes on, QEMU's tool in its cage, hostile files.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually, iso};
use xtask::paths::Paths;

/// Work on some MiB under emulation.
const WORK: Duration = Duration::from_secs(240);

fn qemu_img(words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("/usr/bin/qemu-img").args(words).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "qemu-img {words:?}: {text}");
    Ok(())
}

/// A disk with 6 MiB of content that does not compress.
fn disk(folder: &Path, name: &str, format: &str) -> anyhow::Result<PathBuf> {
    let (plain, made) = (folder.join("plain"), folder.join(name));
    let mut bytes = vec![0_u8; 32 << 20];
    let mut seed = 1_u32;
    for byte in bytes.iter_mut().take(6 << 20) {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = seed.to_be_bytes()[0];
    }
    std::fs::write(&plain, bytes)?;
    let (from, to) = (plain.display().to_string(), made.display().to_string());
    qemu_img(&["convert", "-f", "raw", "-O", format, &from, &to])?;
    Ok(made)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_in_and_hostile_files_do_not() -> anyhow::Result<()> {
    let (mut node, _) = NodeUnderTest::claimed("images", &[]).await?;
    // Beside the files of the machine itself.
    let folder = node.machine.folder.join("files");
    std::fs::create_dir_all(&folder)?;

    // A connection that breaks, a service that restarts, and the rest of the file.
    let bytes = std::fs::read(disk(&folder, "disk.qcow2", "qcow2")?)?;
    let announced = json!({"name": "disk.qcow2", "size": bytes.len()});
    let upload = node.post("/api/v1/uploads", announced).await?;
    let id = upload["id"].as_str().context("an upload has an id")?.to_owned();
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let broken = node.send_part(&id, 0, vec![Ok(first.to_vec()), Err("unplugged")]).await;
    ensure!(broken.is_err(), "a broken upload was answered: {broken:?}");
    node.shell("systemctl restart skerry-northd.service")?;
    node.wait_api().await?;
    let found = node.get(&format!("/api/v1/uploads/{id}")).await?;
    let offset = found["offset"].as_u64().context("an upload has an offset")?;
    ensure!(offset <= first.len() as u64 && found["complete"] == false, "{found}");
    let left = bytes[usize::try_from(offset)?..].to_vec();
    ensure!(left.ends_with(rest));
    let (status, done) = node.send_part(&id, offset, vec![Ok(left)]).await?;
    ensure!(status == StatusCode::OK && done["complete"] == true, "{status} {done}");
    let image = json!({"metadata": {"name": "disk"}, "spec": {
        "format": "qcow2", "source": {"upload": id}, "architecture": "x86_64"}});
    node.post("/api/v1/images", image).await?;
    let there = node.wait_state("/api/v1/images/disk", "available", WORK).await?;
    ensure!(there["spec"]["files"][0]["virtual_size"] == 32 << 20, "{there}");

    // The command line brings one in that has to be converted, by a caged tool.
    let foreign = disk(&folder, "foreign.vmdk", "vmdk")?;
    let foreign = foreign.display().to_string();
    node.skerry(&["image", "import", &foreign, "--name", "foreign", "--wait"])?;
    let there = node.wait_state("/api/v1/images/foreign", "available", SOON).await?;
    ensure!(there["spec"]["format"] == "qcow2", "{there}");

    hostile(&node, &folder).await?;
    no_containers(&node, &folder).await?;

    // What is left: the library's files, one for each content, sealed, and nothing else.
    let library =
        node.shell("find /var/lib/skerry/data/images -type f -printf '%m %u\\n' | sort -u")?;
    ensure!(library == "444 root", "{library}");
    let mut contents = Vec::new();
    for name in ["disk", "foreign"] {
        let image = node.get(&format!("/api/v1/images/{name}")).await?;
        contents.push(image["spec"]["files"][0]["sha256"].as_str().context("a digest")?.to_owned());
    }
    contents.sort();
    contents.dedup();
    let count =
        node.shell("find /var/lib/skerry/data/images /var/lib/skerry/data/spool -type f | wc -l")?;
    ensure!(count.trim() == contents.len().to_string(), "{count} files, {contents:?}");
    let (status, _) = node.request(Method::DELETE, "/api/v1/images/disk", None).await?;
    ensure!(status.is_success(), "{status}");
    Ok(())
}

/// A disk that builds on the node's own secrets, and one that is another thing than it says.
async fn hostile(node: &NodeUnderTest, folder: &Path) -> anyhow::Result<()> {
    let linked = folder.join("linked.qcow2").display().to_string();
    qemu_img(&[
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-b",
        "/etc/shadow",
        "-F",
        "raw",
        &linked,
        "1M",
    ])?;
    let text = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
                createType=\"monolithicFlat\"\n\nRW 8 FLAT \"/etc/passwd\" 0\n";
    let descriptor = folder.join("passwd.vmdk").display().to_string();
    std::fs::write(&descriptor, text)?;
    for (file, name, reason) in
        [(linked, "linked", "BackingFile"), (descriptor, "descriptor", "OtherFile")]
    {
        let refused = node.skerry(&["image", "import", &file, "--name", name, "--wait"]);
        ensure!(refused.is_err(), "{name} was taken");
        let failed = node.wait_state(&format!("/api/v1/images/{name}"), "failed", SOON).await?;
        let said: &Value = &failed["status"]["conditions"][0]["reason"];
        ensure!(said == reason, "{failed}");
    }
    Ok(())
}

/// Archives that no container could be made of.
async fn no_containers(node: &NodeUnderTest, folder: &Path) -> anyhow::Result<()> {
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = br#"{"schemaVersion":2,"manifests":[{"mediaType":
        "application/vnd.oci.image.manifest.v1+json","size":2,"digest":
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}"#;
    let files: [&[(&str, &[u8])]; 2] =
        [&[("readme", b"no image")], &[("oci-layout", layout), ("index.json", index)]];
    for (number, files) in files.into_iter().enumerate() {
        let (name, file) = (format!("odd-{number}"), folder.join(format!("odd-{number}.tar")));
        tar_of(&file, files)?;
        let file = file.display().to_string();
        let words =
            ["image", "import", &file, "--name", &name, "--format", "oci_archive", "--wait"];
        ensure!(node.skerry(&words).is_err(), "{name} was taken");
        let failed = node.wait_state(&format!("/api/v1/images/{name}"), "failed", SOON).await?;
        let said: &Value = &failed["status"]["conditions"][0];
        ensure!(said["reason"] == "UnusableArchive", "{failed}");
    }
    Ok(())
}

fn tar_of(path: &Path, files: &[(&str, &[u8])]) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(std::fs::File::create(path)?);
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *content)?;
    }
    Ok(archive.into_inner()?.sync_all()?)
}

/// The tiny machine's own kernel, brought in as anybody would theirs, with a CD that is changed while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_that_came_in_boots_and_reads_a_cd() -> anyhow::Result<()> {
    let (node, ports) = NodeUnderTest::claimed("discs", &[8081]).await?;
    let port = *ports.first().context("a port was forwarded")?;
    let folder = node.machine.folder.join("files");
    std::fs::create_dir_all(&folder)?;

    let built = Paths::find().work().join("images/tiny-vm");
    let read = |name: &str| std::fs::read(built.join(name)).context("the image was built");
    let boot = folder.join("boot.tar");
    let line = b"console=ttyS0 quiet panic=10 mitigations=off cryptomgr.notests\n";
    tar_of(
        &boot,
        &[("kernel", &read("kernel")?), ("initrd", &read("initrd")?), ("cmdline", line)],
    )?;
    let boot = boot.display().to_string();
    let words = ["image", "import", &boot, "--name", "own", "--format", "kernel_initrd", "--wait"];
    node.skerry(&words)?;
    let image = node.wait_state("/api/v1/images/own", "available", SOON).await?;
    ensure!(image["spec"]["kernel_arguments"].as_str().is_some_and(|l| l.starts_with("console=")));
    ensure!(image["spec"]["files"].as_array().is_some_and(|files| files.len() == 2), "{image}");

    for (name, text) in [("first", "of the first disc"), ("second", "of the second disc")] {
        let file = folder.join(format!("{name}.iso"));
        std::fs::write(&file, iso("hello", text))?;
        node.skerry(&["image", "import", &file.display().to_string(), "--name", name, "--wait"])?;
    }
    let vm = json!({"metadata": {"name": "guest"}, "spec": {"image": "own", "memory_mib": 128,
        "graphics": "none", "media": [{"image": "first"}],
        "publish": [{"protocol": "tcp", "host_port": 8081, "workload_port": 8080}]}});
    node.post("/api/v1/vms", vm).await?;
    node.wait_state("/api/v1/vms/guest", "running", GUEST).await?;
    node.wait_answer(port, "skerry tiny vm", GUEST).await?;
    let told = node.fetch(port, "/cgi-bin/disk?cd").await?;
    ensure!(told.contains("cd hello of the first disc"), "{told}");
    eventually(SOON, || async {
        let serial = node.skerry(&["vm", "serial", "guest"])?;
        ensure!(serial.contains("cd hello of the first disc"), "{serial}");
        Ok(())
    })
    .await?;

    let (status, refused) = node.request(Method::DELETE, "/api/v1/images/first", None).await?;
    ensure!(status == StatusCode::CONFLICT, "{status} {refused}");
    node.skerry(&["vm", "insert", "guest", "second"])?;
    reads(&node, port, "cd hello of the second disc").await?;
    node.skerry(&["vm", "eject", "guest"])?;
    reads(&node, port, "no disc").await?;
    for name in ["first", "second"] {
        eventually(SOON, || async { node.skerry(&["image", "delete", name]) }).await?;
    }
    Ok(())
}

async fn reads(node: &NodeUnderTest, port: u16, text: &str) -> anyhow::Result<()> {
    eventually(SOON, || async {
        let told = node.fetch(port, "/cgi-bin/disk?cd").await?;
        ensure!(told.contains(text), "{told}");
        Ok(())
    })
    .await
}
