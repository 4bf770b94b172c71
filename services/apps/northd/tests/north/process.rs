//! The program itself: what it tells the service manager, and how it ends.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram as Notifications;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fake::{ADMIN, Fake};
use crate::start::{client, identity, noded};

async fn told(notifications: &Notifications, wanted: &str) {
    let mut buffer = [0; 512];
    let wait = async {
        loop {
            let length = notifications.recv(&mut buffer).await.unwrap();
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never told {wanted}"));
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_waits_for_the_node_daemon_serves_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("noded.sock");
    let notify = folder.path().join("notify.sock");
    let receiver = UnixDatagram::bind(&notify).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let receiver = Notifications::from_std(receiver).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_northd"))
        .args(["--listen", "127.0.0.1:0", "--socket"])
        .arg(&socket)
        .arg("--spool")
        .arg(folder.path().join("spool"))
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "60000000")
        .env("NO_COLOR", "1")
        .env_remove("JOURNAL_STREAM")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    told(&receiver, "STATUS=waiting for the node daemon").await;
    let fake = Arc::new(Fake::new(identity()));
    let (stop, _running) = noded(&socket, skerry_northd::BUILD, &fake);
    told(&receiver, "READY=1").await;
    told(&receiver, "WATCHDOG=1").await;

    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("the log ended");
        if let Some((_, rest)) = line.split_once("addresses=\"") {
            break rest.split('"').next().unwrap().to_owned();
        }
    };
    let client = client(&fake.identity.0);
    let response = client.get(format!("https://{address}/api/v1/health")).send().await.unwrap();
    assert_eq!(response.status(), 200);

    for _ in 0..200 {
        let url = format!("https://{address}/api/v1/vms");
        assert_eq!(client.get(url).bearer_auth(ADMIN).send().await.unwrap().status(), 200);
    }
    let kib = resident_kib(program.id().unwrap());
    println!("northd after 200 requests: {kib} KiB resident");
    // Three services have 60 MiB together; a debug build is no measure.
    assert!(cfg!(debug_assertions) || kib < 20 * 1024, "{kib} KiB");

    let pid = Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    told(&receiver, "STOPPING=1").await;
    let ended = timeout(Duration::from_secs(10), program.wait()).await;
    assert!(ended.expect("it did not end").unwrap().success());
    stop.cancel();
}
