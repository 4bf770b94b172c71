//! A node whose runtime is changed, and one whose runtime is not there.

use skerry_containers::RuntimeFamily;

use super::*;

/// The one that the tests are not run with.
fn other() -> OciRuntime {
    let program = match tested().family {
        RuntimeFamily::Crun => "/usr/sbin/runc",
        RuntimeFamily::Runc => "/usr/bin/crun",
    };
    OciRuntime::new(program, None).unwrap()
}

/// The node's containers as another noded sees them that has this runtime.
fn with_runtime(stage: &Stage, direct: &Arc<Direct>, runtime: OciRuntime) -> LinuxContainers {
    let mut places = stage.containers.inner.places.clone();
    places.runtime = runtime;
    let blobs = BlobStore::new(places.blobs());
    LinuxContainers::with_supervisor(places, blobs, Arc::clone(direct), LogRate::default())
}

async fn on_stage() -> (Stage, Arc<Direct>) {
    let folder = tempfile::Builder::new().prefix("skerry-live-").tempdir_in("/var/tmp").unwrap();
    let places = below(&folder.path().join("data"), &folder.path().join("run"));
    let direct = Arc::new(Direct::default());
    let blobs = BlobStore::new(places.blobs());
    let containers =
        LinuxContainers::with_supervisor(places, blobs, Arc::clone(&direct), LogRate::default());
    (Stage::over(folder, containers, "", Some(FIRST)).await, direct)
}

async fn exit_of(stage: &Stage, script: &str) -> Option<i32> {
    let request = ExecRequest {
        pod: stage.pod,
        container: "main".parse().unwrap(),
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![],
        terminal: None,
        memory_mib: 64,
        tasks: 32,
    };
    let mut session = stage.containers.exec(request).await.unwrap();
    while let Some(Ok(said)) = session.output.next().await {
        if let skerry_containers::ExecOutput::Exit(code) = said {
            return Some(code);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, runc, a static busybox, ip and mount of util-linux 2.39"]
async fn what_runs_stays_with_its_runtime_and_what_starts_has_the_new_one() {
    let (mut stage, direct) = on_stage().await;
    let desired = stage.shell("trap 'exit 5' TERM; while :; do /bin/busybox sleep 0.1; done");
    let up = |run: &Run| matches!(run, Run::Running { pid: Some(_), .. });
    let record = |stage: &Stage, runtime: &OciRuntime| {
        let places = &stage.containers.inner.places;
        let name = places::runtime_name(stage.pod, &"main".parse().unwrap());
        places.runtime_state(runtime.family).join(name).exists()
    };
    stage.push(Want::Run(Box::new(desired.clone())), false).await;
    let first = stage.until("start", up).await;
    assert!(record(&stage, &tested()) && !record(&stage, &other()));

    stage.containers = with_runtime(&stage, &direct, other());
    assert_eq!(stage.push(Want::Run(Box::new(desired.clone())), false).await, 0, "it goes on");
    assert_eq!(stage.observed().await.run, first);
    assert_eq!(exit_of(&stage, "[ -e /www/index.html ] && exit 4").await, Some(4));
    let question = Question {
        pod: stage.pod,
        container: "main".parse().unwrap(),
        probe: "liveness",
        check: serde_json::from_value(json!({"exec": {"command": ["/bin/sh", "-c", "exit 0"]}}))
            .unwrap(),
        network: stage.network.clone(),
        timeout: Duration::from_secs(5),
    };
    assert_eq!(stage.containers.ask(&question).await, Answer::Good);
    stage.containers.inner.supervisor.stop(&unit_name(stage.pod, &desired.name)).await.unwrap();
    let ended = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(ended, Run::Ended { exit: Exit::Code(5), .. }), "{ended:?}");

    // Its bundle is made anew for the other one, over the layer that it had.
    stage.push(Want::Run(Box::new(desired.clone())), false).await;
    stage.until("start", up).await;
    assert!(!record(&stage, &tested()) && record(&stage, &other()), "{}", stage.log());
    assert_eq!(exit_of(&stage, "exit 6").await, Some(6));
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("kill", |run| !run.is_live()).await;
    stage.push(Want::Down { kill: true }, false).await;
    assert!(!record(&stage, &tested()) && !record(&stage, &other()));
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn without_its_runtime_nothing_is_half_started_and_with_it_all_goes_on() {
    let (mut stage, direct) = on_stage().await;
    let gone = OciRuntime::new("/nowhere/runtime", Some("crun")).unwrap();
    stage.containers = with_runtime(&stage, &direct, gone);
    let desired = stage.shell("exit 3");
    let main: Name = "main".parse().unwrap();
    let wanted = PodWanted {
        pod: stage.pod,
        containers: vec![(main.clone(), Want::Run(Box::new(desired.clone())))],
        volumes: Some(vec![]),
        gone: false,
        kill_strays: false,
    };
    let mut refusals = 0;
    for step in plan(&wanted, &stage.containers.observe(stage.pod).await.unwrap()) {
        if let Err(error) = stage.containers.apply(&step).await {
            assert!(error.message.contains("/nowhere/runtime is not there"), "{error}");
            refusals += 1;
            break;
        }
    }
    let found = stage.observed().await;
    assert!(refusals == 1 && !found.mounted && !found.bundle.is_there(), "{found:?}");
    assert_eq!(found.run, Run::Absent);
    stage.containers = with_runtime(&stage, &direct, tested());
    assert_eq!(stage.run_to_end(desired).await, Exit::Code(3));
    stage.clear().await;
}

/// What `skerry-shim` ends with when its runtime is this script, whose `$1` is the pid file and `$2` a file of its own. A
/// stop signal is sent once that is there.
async fn shim(script: &str, signalled: bool) -> i32 {
    let folder = tempfile::tempdir().unwrap();
    let (pid, ready) = (folder.path().join("pid"), folder.path().join("ready"));
    fs::write(&pid, "1").unwrap();
    let mut child = Command::new(crate::testing::terminal().with_file_name("skerry-shim"))
        .arg(format!("--pid-file={}", pid.display()))
        .args(["--", "/bin/sh", "-c", script, "sh"])
        .args([&pid, &ready])
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while signalled && !ready.exists() {
        assert!(Instant::now() < deadline, "{script} does not get ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if signalled {
        succeed(&["kill", "-TERM", &child.id().unwrap().to_string()]).await;
    }
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    status.unwrap_or_else(|_| panic!("{script} does not end")).unwrap().code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root and control groups of version 2"]
async fn the_shim_ends_as_what_was_started_and_passes_signals_on_whenever_they_come() {
    for (script, code) in [
        ("sh -c 'sleep 0.2; exit 6' & echo $! >$1", 6),
        ("sh -c 'sleep 0.2; kill -9 $$' & echo $! >$1", 137),
        ("sleep 0.1 & exit 3", 3),
        ("exit 0", 1),
        // None is blocked: it would be in the container.
        ("sleep 5 & p=$!; echo $p >$1; kill -TERM $p", 143),
        ("[ -e $1 ] && exit 0; exit 5", 5),
        ("mkdir /sys/fs/cgroup/skerry-shim-test && exit 0; exit 4", 4),
    ] {
        assert_eq!(shim(script, false).await, code, "{script}");
    }
    let child = "sh -c 'trap \"exit 9\" TERM; >$0; while :; do sleep 0.05; done'";
    // The runtime may be there still, and would then end by it.
    let late = format!("trap : TERM; {child} $2 & echo $! >$1");
    assert_eq!(shim(&late, true).await, 9);
    // The runtime hears it too late to mind.
    let early = format!(
        "trap : TERM; >$2; sleep 0.5; {child} $1.up & p=$!; while ! [ -e $1.up ]; do sleep 0.05; done; echo $p >$1"
    );
    assert_eq!(shim(&early, true).await, 9);
    assert_eq!(
        shim(">$2; exec sleep 20", true).await,
        143,
        "a runtime that is stopped has started nothing"
    );
}

/// How many processes of the machine have these words.
fn running(words: &[&str]) -> usize {
    let wanted = words.join("\0") + "\0";
    let all =
        folders::names(Path::new("/proc")).into_iter().filter(|name| name.parse::<u32>().is_ok());
    let lines =
        all.map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    lines.filter(|line| *line == wanted).count()
}

/// Reads until this text has come.
async fn until<T>(
    mut next: impl AsyncFnMut() -> Option<T>,
    text: impl Fn(T) -> Vec<u8>,
    wanted: &str,
) -> String {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let piece = tokio::time::timeout(Duration::from_secs(20), next()).await;
        let piece = piece.ok().flatten().unwrap_or_else(|| panic!("no `{wanted}` in `{seen}`"));
        seen.push_str(&String::from_utf8_lossy(&text(piece)));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, systemd, crun, a static busybox and ip"]
async fn under_systemd_container_and_programs_stay_in_their_own_units() {
    let folder =
        tempfile::Builder::new().prefix("skerry-live-").tempdir_in("/var/lib/skerry").unwrap();
    let places = below(&folder.path().join("data"), Path::new("/run/skerry-oci"));
    let blobs = BlobStore::new(places.blobs());
    let containers = LinuxContainers::start(places, blobs, Systemd::system(), LogRate::default());
    let other_folder = tempfile::tempdir_in("/var/lib/skerry").unwrap();
    let stage = Stage::over(other_folder, containers, "", Some(FIRST)).await;
    let mut desired = stage.shell("echo up; read x; exit 7");
    (desired.stdin, desired.tty) = (true, true);
    stage.push(Want::Run(Box::new(desired.clone())), false).await;
    let up = |run: &Run| matches!(run, Run::Running { pid: Some(_), .. });
    let Run::Running { pid: Some(pid), .. } = stage.until("start", up).await else {
        unreachable!()
    };
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(group.trim().ends_with(&unit_name(stage.pod, &desired.name)), "{group}");
    let mut look = stage.containers.terminal(stage.pod, &desired.name).await.unwrap();
    until(async || look.output.next().await, |piece| piece.to_vec(), "up").await;

    // One that does not mind being asked to end, and what it has started, end with who listens.
    let script = "b=/bin/busybox; $b cat /proc/self/cgroup; trap '' HUP TERM; $b sleep 4711 & echo rea\"\"dy; $b sleep 4712";
    for terminal in [None, Some(skerry_containers::Size { cols: 80, rows: 24 })] {
        let request = ExecRequest {
            pod: stage.pod,
            container: desired.name.clone(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![],
            terminal,
            memory_mib: 64,
            tasks: 32,
        };
        let mut session = stage.containers.exec(request).await.unwrap();
        let text = |said: Result<_, RuntimeError>| match said.unwrap() {
            skerry_containers::ExecOutput::Out(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        let seen = until(async || session.output.next().await, text, "ready").await;
        assert!(seen.contains("/skerry-exec-"), "{seen}");
        let sleeps = || {
            running(&["/bin/busybox", "sleep", "4711"])
                + running(&["/bin/busybox", "sleep", "4712"])
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while sleeps() < 2 {
            assert!(Instant::now() < deadline, "they do not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(session);
        while sleeps() > 0 {
            assert!(Instant::now() < deadline, "{} live on", sleeps());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    look.input.send(skerry_containers::ExecInput::Bytes(b"x\r".to_vec())).await.unwrap();
    let ended = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(ended, Run::Ended { exit: Exit::Code(7), .. }), "{ended:?}");
    stage.clear().await;
}
