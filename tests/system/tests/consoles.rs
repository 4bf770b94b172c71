//! People inside workloads: programs in containers, a container's own input, the serial line and screen of a virtual
//! machine.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use anyhow::{Context, bail, ensure};
use serde_json::json;
use skerry_system_tests::{GUEST, NodeUnderTest, SOON, eventually};

/// The key, as X calls it.
const RETURN: u32 = 0xff0d;
const EXEC: &str = "/api/v1/pods/web/exec";

#[tokio::test(flavor = "multi_thread")]
async fn people_get_into_workloads() -> anyhow::Result<()> {
    let (mut node, _) = NodeUnderTest::with_guest("consoles").await?;
    node.skerry(&["pod", "create", "web", "--image", "tiny"])?;
    node.wait_state("/api/v1/pods/web", "running", SOON).await?;

    println!("== a program without a terminal");
    let script = ["exec", "web", "--", "sh", "-c", "echo in $HOSTNAME; echo no >&2; exit 5"];
    let failed = node.skerry(&script).err().context("the code is passed on")?.to_string();
    for part in ["exit status: 5", "in web", "no"] {
        ensure!(failed.contains(part), "no `{part}` in {failed}");
    }

    println!("== files go in and come out");
    let folder = std::env::temp_dir().join(format!("skerry-consoles-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("site/sub"))?;
    let content = vec![b'7'; 300_000];
    std::fs::write(folder.join("site/sub/large"), &content)?;
    let (source, back) = (folder.join("site"), folder.join("back"));
    node.skerry(&["pod", "cp", &source.display().to_string(), "web:/tmp/"])?;
    let size = node.skerry(&["exec", "web", "--", "sh", "-c", "wc -c < /tmp/site/sub/large"])?;
    ensure!(size.trim() == "300000", "{size}");
    node.skerry(&["pod", "cp", "web:/tmp/site", &back.display().to_string()])?;
    ensure!(std::fs::read(back.join("sub/large"))? == content, "it came back otherwise");
    std::fs::remove_dir_all(&folder)?;

    println!("== a terminal");
    let size = "&tty=true&cols=77&rows=33&command=sh";
    let mut terminal = node.terminal(EXEC, size).await?;
    terminal.until("# ", SOON).await?;
    terminal.types("stty size\r").await?;
    terminal.until("33 77", SOON).await?;
    terminal.says(json!({"type": "resize", "cols": 100, "rows": 40})).await?;
    terminal.types("stty size\r").await?;
    terminal.until("40 100", SOON).await?;
    terminal.types("exit 3\r").await?;
    ensure!(terminal.exit(SOON).await? == json!({"type": "exit", "code": 3}));

    println!("== a ticket is good once");
    let ticket = node.ticket(EXEC).await?;
    let query = "&command=echo";
    ensure!(node.handshake(EXEC, query, &ticket).await?.status() == 101);
    ensure!(node.handshake(EXEC, query, &ticket).await?.status() == 401);

    println!("== the daemon dies in the middle, and the program with it");
    let mut left =
        node.terminal(EXEC, "&command=sh&command=-c&command=echo up; sleep 4711").await?;
    left.until("up", SOON).await?;
    ensure!(node.shell("pgrep -fc 'sleep 4711' || true")? != "0", "the program does not run");
    node.shell("systemctl kill --signal=KILL skerry-noded.service")?;
    node.wait_api().await?;
    let node = tokio::sync::Mutex::new(node);
    eventually(SOON, || async {
        let mut node = node.lock().await;
        let found = node.shell("pgrep -af '[s]leep 4711' || true")?;
        let units = node.shell("systemctl list-units --no-legend 'skerry-exec-*' || true")?;
        if found.is_empty() && units.is_empty() { Ok(()) } else { bail!("{found} {units}") }
    })
    .await?;
    let mut node = node.into_inner();

    println!("== a container's own input, within what it was granted");
    own_input(&mut node).await?;

    println!("== a container's own terminal, which outlives the daemon");
    own_terminal(&mut node).await?;

    println!("== the serial line of a virtual machine");
    node.wait_state("/api/v1/vms/guest", "running", SOON).await?;
    let console = "/api/v1/vms/guest/console";
    let mut first = node.terminal(console, "").await?;
    first.until("skerry tiny vm started", SOON).await?;
    first.types("echo $((20 + 3)) is it\r").await?;
    first.until("23 is it", GUEST).await?;
    let mut second = node.terminal(console, "").await?;
    second.until("only watch", SOON).await?;
    ensure!(second.shown.contains("23 is it"), "the past is not shown: {}", second.shown);
    let serial = node.get("/api/v1/vms/guest/serial").await?;
    ensure!(serial.as_str().is_some_and(|text| text.contains("23 is it")), "not in the log");

    println!("== its screen, and its keyboard");
    let path = "/api/v1/vms/guest/vnc";
    let mut screen = node.screen(path).await?;
    println!("`{}`, {} by {}", screen.name, screen.size.0, screen.size.1);
    // Red over the whole of it. Kept open, so that a key that comes before anybody reads is not lost.
    first
        .types("exec 3<>/dev/tty1; printf '\\033[41m\\033[2J' >&3; read x <&3; echo it got $x\r")
        .await?;
    screen.until([170, 0, 0], GUEST).await?;
    let mut other = node.screen(path).await?;
    other.until([170, 0, 0], GUEST).await?;
    for key in [u32::from(b'k'), RETURN] {
        screen.key(key).await?;
    }
    first.until("it got k", GUEST).await?;
    let listening = node.shell("ss -Hltn 'sport >= 5900 and sport <= 6000'")?;
    ensure!(listening.is_empty(), "a screen listens to the network: {listening}");
    Ok(())
}

/// Attached to a container, which has a device, memory that is kept for it, and a limit of what it writes.
async fn own_input(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    let script = "ls -l /dev/net/tun; while read line; do echo it heard $line; done";
    let container = json!({"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script],
        "stdin": true, "devices": ["/dev/net/tun"], "memory_reservation_mib": 16,
        "io": {"write_bytes_per_s": 20_000_000}});
    let pod = json!({"metadata": {"name": "open"}, "spec": {"containers": [container]}});
    node.post("/api/v1/pods", pod).await?;
    node.wait_state("/api/v1/pods/open", "running", SOON).await?;
    let attach = "/api/v1/pods/open/attach";
    let mut first = node.terminal(attach, "").await?;
    first.types("the first\n").await?;
    first.until("it heard the first", SOON).await?;
    // Whoever leaves ends nothing, and neither does a daemon that dies.
    drop(first);
    node.shell("systemctl kill --signal=KILL skerry-noded.service")?;
    node.wait_api().await?;
    let mut second = node.terminal(attach, "").await?;
    second.types("the second\n").await?;
    second.until("it heard the second", SOON).await?;
    let log = node.skerry(&["pod", "logs", "open", "--since", "1h", "--timestamps"])?;
    for part in ["crw-", "/dev/net/tun", "it heard the first", "it heard the second"] {
        ensure!(log.contains(part), "no `{part}` in {log}");
    }
    let pod = node.get("/api/v1/pods/open").await?;
    ensure!(pod["status"]["containers"][0]["restarts"] == 0, "{}", pod["status"]);
    for (file, value) in [("memory.low", "16777216"), ("io.max", "wbps=20000000")] {
        node.shell(&format!("grep -rq --include={file} {value} /sys/fs/cgroup"))
            .with_context(|| format!("{value} in no {file}"))?;
    }
    Ok(())
}

async fn own_terminal(node: &mut NodeUnderTest) -> anyhow::Result<()> {
    node.skerry(&[
        "pod", "create", "shell", "--image", "tiny", "--memory", "16", "--tty", "--", "/bin/sh",
    ])?;
    node.wait_state("/api/v1/pods/shell", "running", SOON).await?;
    let attach = "/api/v1/pods/shell/attach";
    let mut first = node.terminal(attach, "").await?;
    first.until("# ", SOON).await?;
    first.says(json!({"type": "resize", "cols": 101, "rows": 43})).await?;
    first.types("stty size; here=kept\r").await?;
    first.until("43 101", SOON).await?;
    drop(first);
    node.shell("systemctl kill --signal=KILL skerry-noded.service")?;
    node.wait_api().await?;
    let mut second = node.terminal(attach, "").await?;
    second.types("echo it is $here\r").await?;
    second.until("\r\nit is kept", SOON).await?;
    let pod = node.get("/api/v1/pods/shell").await?;
    ensure!(pod["status"]["containers"][0]["restarts"] == 0, "{}", pod["status"]);
    let unit = "systemctl show --property=ExecMainPID --value 'skerry-pod-*-main.service'";
    let held =
        format!("for pid in $({unit}); do cat /proc/$pid/comm; done | grep -c skerry-termin");
    ensure!(
        node.shell(&held)?.trim() == "1",
        "its terminal is not held by the unit's main process"
    );
    second.types("exit 3\r").await?;
    ensure!(second.exit(SOON).await? == json!({"type": "exit", "code": 3}));
    let log = node.skerry(&["pod", "logs", "shell"])?;
    ensure!(log.contains("it is kept"), "{log}");
    node.skerry(&["pod", "delete", "shell"])?;
    Ok(())
}
