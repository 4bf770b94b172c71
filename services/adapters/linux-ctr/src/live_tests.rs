//! Real containers: real archives, real overlay mounts, a real runtime. They need root, `/usr/bin/crun` (or the runtime that
//! `SKERRY_TESTED_RUNTIME` names by its whole path), a static `/bin/busybox` and `ip`, so they run only when asked for
//! (`cargo test -p skerry-linux-ctr -- --ignored`).
//!
//! The ones here start the runtime directly, in place of systemd: what they show is that images, mounts and
//! `config.json` are right. The last one goes through the service manager of the machine that it runs on.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use serde_json::json;
use skerry_containers::{
    ContainerDesired, Exit, OciRuntime, PodNetwork, PodWanted, Run, RuntimeFault, Want, plan,
};
use skerry_containers::{VolumeContent, VolumeDesired, VolumeFile};
use skerry_linux_host::systemd::{Active, MainExit, UnitStatus};
use skerry_model::{Hidden, Medium};
use tokio::process::{Child, Command};

use super::*;
use crate::testing::{Layer, OciArchive, sha256};

#[path = "exec_live_tests.rs"]
mod exec;

#[path = "terminal_live_tests.rs"]
mod terminal;

#[path = "users_live_tests.rs"]
mod users;

#[path = "oci_live_tests.rs"]
mod oci;

#[path = "holding_live_tests.rs"]
mod holding;

#[path = "early_live_tests.rs"]
mod early;

#[path = "pages_live_tests.rs"]
mod pages;

/// Starts crun as a child and mounts by system call.
#[derive(Default)]
struct Direct {
    children: Mutex<HashMap<String, Held>>,
    programs: Mutex<HashMap<String, Arc<Mutex<Child>>>>,
}

struct Held {
    child: Child,
    began: Instant,
    run: usize,
    ended: Option<UnitStatus>,
}

impl Held {
    fn status(&mut self, name: &str) -> UnitStatus {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        let exit = self.child.try_wait().unwrap();
        let main_exit = exit.map(|status| match status.code() {
            Some(code) => MainExit::Code(code),
            None => MainExit::Signal(9),
        });
        let status = UnitStatus {
            name: name.to_owned(),
            active: match exit {
                None => Active::Active,
                Some(status) if status.success() => Active::Active,
                Some(_) => Active::Failed,
            },
            sub: String::new(),
            invocation: self.run.to_string(),
            main_pid: self.child.id(),
            main_exit,
            result: "exit-code".to_owned(),
            started_usec: 1,
            ran_for: exit.map(|_| self.began.elapsed()),
        };
        self.ended = main_exit.map(|_| status.clone());
        status
    }
}

/// The usual places, with the program that reads layers as it was built.
fn below(data: &Path, run: &Path) -> Places {
    let mut places = Places::below(data, run);
    places.users = run.join("users");
    places.terminal = crate::testing::terminal();
    places.pages = places.terminal.with_file_name("skerry-pages");
    places.unpack = crate::testing::unpacking(crate::unpack::Limits::default()).program;
    places.shim = places.terminal.with_file_name("skerry-shim");
    places.runtime = tested();
    places
}

/// The runtime that is tested: crun, or the one at the path in the environment.
fn tested() -> OciRuntime {
    match std::env::var("SKERRY_TESTED_RUNTIME") {
        Ok(program) => OciRuntime::new(&program, None).unwrap(),
        Err(_) => OciRuntime::default(),
    }
}

async fn succeed(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {text}{errors}");
    text
}

/// Runs a program in the host's own namespaces, should this be a service with a sandbox.
async fn host(words: &[&str]) {
    if Path::new("/run/systemd/system").exists() {
        let command = skerry_linux_host::systemd::Command::new("live", words.to_vec());
        let output = Systemd::system().run(command).await.unwrap();
        assert!(output.success(), "{words:?}: {output:?}");
    } else {
        succeed(words).await;
    }
}

#[async_trait]
impl Supervisor for Direct {
    async fn mount(&self, mount: &HostMount) -> Result<(), RuntimeError> {
        if !self.is_mounted(&mount.target).await? {
            let target = mount.target.to_str().unwrap();
            let kind = mount.kind;
            let what = mount.what.to_str().unwrap();
            succeed(&["mount", "-t", kind, what, "-o", &mount.options, target]).await;
            if mount.options.contains("X-mount.idmap") {
                let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
                let turns = table.lines().any(|l| l.contains(target) && l.contains("idmapped"));
                assert!(
                    turns,
                    "this `mount` passes over X-mount.idmap: util-linux 2.39 or newer is needed"
                );
            }
        }
        Ok(())
    }

    async fn unmount(&self, target: &Path) -> Result<(), RuntimeError> {
        if self.is_mounted(target).await? {
            succeed(&["umount", target.to_str().unwrap()]).await;
        }
        Ok(())
    }

    async fn is_mounted(&self, target: &Path) -> Result<bool, RuntimeError> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let target = target.to_str().unwrap();
        Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(target)))
    }

    async fn start(&self, unit: &ContainerUnit) -> Result<(), RuntimeError> {
        let mut children = self.children.lock().await;
        let run = children.len() + 1;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(unit.root.parent().unwrap().join("log"))
            .unwrap();
        let child = Command::new(&unit.start[0])
            .args(&unit.start[1..])
            .stdin(match &unit.input {
                Some(path) => crate::input::end_of_container(path).unwrap().into(),
                None => Stdio::null(),
            })
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let held = Held { child, began: Instant::now(), run, ended: None };
        children.insert(unit.name.clone(), held);
        Ok(())
    }

    async fn stop(&self, unit: &str) -> Result<(), RuntimeError> {
        if let Some(pid) = self.children.lock().await.get(unit).and_then(|held| held.child.id()) {
            succeed(&["kill", "-TERM", &pid.to_string()]).await;
        }
        Ok(())
    }

    async fn kill(&self, unit: &str) -> Result<(), RuntimeError> {
        // SIGKILL to crun would leave the container alone; its first process takes all others with it.
        if let Some(held) = self.children.lock().await.get_mut(unit)
            && let Some(crun) = held.child.id()
        {
            let list = succeed(&["ps", "-o", "pid=", "--ppid", &crun.to_string()]).await;
            for pid in list.split_whitespace() {
                succeed(&["/bin/busybox", "kill", "-KILL", pid]).await;
            }
        }
        Ok(())
    }

    async fn forget(&self, unit: &str) -> Result<(), RuntimeError> {
        self.children.lock().await.remove(unit);
        Ok(())
    }

    async fn forget_pod(&self, _pod: Id<Pod>) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn run(
        &self,
        argv: Vec<String>,
        _slice: &str,
        deadline: Duration,
    ) -> Result<Option<crate::supervisor::Ended>, RuntimeError> {
        let child = Command::new(&argv[0]).args(&argv[1..]).kill_on_drop(true).output();
        let Ok(output) = tokio::time::timeout(deadline, child).await else { return Ok(None) };
        let output = output.unwrap();
        let ended =
            crate::supervisor::Ended::new(output.status.code(), &output.stderr, &output.stdout);
        Ok(Some(ended))
    }

    async fn services(&self, prefix: &str) -> Result<Vec<UnitStatus>, RuntimeError> {
        let mut children = self.children.lock().await;
        let ours = children.iter_mut().filter(|(name, _)| name.starts_with(prefix));
        Ok(ours.map(|(name, held)| held.status(name)).collect())
    }

    async fn watch(&self, _prefix: &str) -> Result<BoxStream<'static, String>, RuntimeError> {
        Ok(Box::pin(futures::stream::pending()))
    }
}

/// A pod of its own network namespace on this machine, and everything it needs.
struct Stage {
    folder: tempfile::TempDir,
    containers: LinuxContainers,
    pod: Id<Pod>,
    image: ImageArchive,
    network: PodNetwork,
    /// The first of the pod's own users, if it has some.
    users: Option<u32>,
    /// Where the user namespaces are.
    users_folder: PathBuf,
}

/// The first of the users that a pod has in these tests.
const FIRST: u32 = 655_360;

/// Makes a user namespace of the users from `$2` on with a network namespace in it, and names them `$3`: the users' in
/// the folder `$1`, the network by `ip`. That makes /run/netns a mount of its own first, one process at a time. Were the
/// name mounted there before, the first `ip netns add` of another test would mount the folder over itself together with it:
/// then it is mounted twice, and its file stays busy after the upper one has gone.
const OWN_NAMESPACES: &str = r#"
    mkdir -p "$1" && touch "$1/$3" || exit 1
    unshare --user --net sleep 100 & p=$!
    while [ "$(readlink /proc/$p/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
    echo "0 $2 65536" >/proc/$p/uid_map && echo "0 $2 65536" >/proc/$p/gid_map &&
        /usr/sbin/ip netns attach "$3" $p && mount --bind /proc/$p/ns/user "$1/$3"
    made=$?
    kill $p
    exit $made
"#;

/// A small system of two layers; the upper one deletes a file and hides a folder of the lower one.
fn archive(user: &str) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let base = Layer::default()
        .folder("./")
        .folder("bin")
        .program("bin/busybox", &busybox)
        .symlink("bin/sh", "busybox")
        .folder("etc")
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n")
        .file("etc/old", "of the lower layer")
        .folder("www")
        .file("www/index.html", "skerry\n")
        .folder("hidden")
        .file("hidden/lower", "x")
        .folder("tmp")
        .end();
    let top = Layer::default()
        .file("etc/.wh.old", "")
        .folder("hidden")
        .file("hidden/.wh..wh..opq", "")
        .file("hidden/upper", "y")
        .end();
    OciArchive::new()
        .layer(&base)
        .layer(&top)
        .cmd(&["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"])
        .config("Env", json!(["A=image"]))
        .config("User", json!(user))
        .tar()
}

impl Stage {
    /// Of a pod with users of its own, as pods have if they do not say otherwise.
    async fn new() -> Self {
        Self::for_user("", Some(FIRST)).await
    }

    /// Of one with the machine's users.
    async fn of_machine() -> Self {
        Self::for_user("", None).await
    }

    async fn for_user(user: &str, users: Option<u32>) -> Self {
        let folder =
            tempfile::Builder::new().prefix("skerry-live-").tempdir_in("/var/tmp").unwrap();
        let places = below(&folder.path().join("data"), &folder.path().join("run"));
        let containers = LinuxContainers::with_supervisor(
            places.clone(),
            BlobStore::new(places.blobs()),
            Arc::new(Direct::default()),
            LogRate::default(),
        );
        Self::over(folder, containers, user, users).await
    }

    async fn over(
        folder: tempfile::TempDir,
        containers: LinuxContainers,
        user: &str,
        users: Option<u32>,
    ) -> Self {
        let pod: Id<Pod> = Id::new(uuid::Uuid::new_v4());
        let namespace = format!("skerry-live-{}", pod.short());
        let bytes = archive(user);
        let path = folder.path().join("image.tar");
        fs::write(&path, &bytes).unwrap();
        let image = ImageArchive {
            name: "tiny".parse().unwrap(),
            path: path.display().to_string(),
            sha256: sha256(&bytes),
        };
        let network = PodNetwork {
            namespace,
            hostname: "stage".to_owned(),
            address: "10.0.0.5".parse().unwrap(),
            gateway: "10.0.0.1".parse().unwrap(),
        };
        let users_folder = containers.inner.places.users.clone();
        let stage = Self { folder, containers, pod, image, network, users, users_folder };
        stage.wire().await;
        stage
    }

    /// Makes the pod's namespaces.
    async fn wire(&self) {
        let name = &self.network.namespace;
        let Some(first) = self.users else {
            return host(&["/usr/sbin/ip", "netns", "add", name]).await;
        };
        let (first, folder) = (first.to_string(), self.users_folder.to_str().unwrap());
        host(&["/bin/sh", "-c", OWN_NAMESPACES, "sh", folder, &first, name]).await;
    }

    async fn unwire(&self) {
        let name = &self.network.namespace;
        host(&["/usr/sbin/ip", "netns", "delete", name]).await;
        let users = self.users_folder.join(name);
        if users.exists() {
            let (users, script) = (users.to_str().unwrap(), "umount \"$1\" && rm \"$1\"");
            host(&["/bin/sh", "-c", script, "sh", users]).await;
        }
    }

    fn desired(&self, command: &[&str]) -> ContainerDesired {
        let spec = json!({"name": "main", "image": "tiny", "command": command,
            "env": [{"name": "B", "value": "pod"}]});
        let spec = serde_json::from_value(spec).unwrap();
        let env = vec![("B".to_owned(), Hidden::new("pod"))];
        let (image, network) = (self.image.clone(), self.network.clone());
        ContainerDesired::new(&spec, image, network, 5, env).with_users(self.users)
    }

    fn shell(&self, script: &str) -> ContainerDesired {
        self.desired(&["/bin/sh", "-c", script])
    }

    async fn observed(&self) -> ContainerObserved {
        let observed = self.containers.observe(self.pod).await.unwrap();
        observed.container(&"main".parse().unwrap())
    }

    /// Plans once and does it.
    async fn push(&self, want: Want, gone: bool) -> usize {
        let containers = if gone { vec![] } else { vec![("main".parse().unwrap(), want)] };
        let wanted =
            PodWanted { pod: self.pod, containers, gone, volumes: Some(vec![]), kill_strays: true };
        let observed = self.containers.observe(self.pod).await.unwrap();
        let steps = plan(&wanted, &observed);
        for step in &steps {
            self.containers.apply(step).await.unwrap_or_else(|e| panic!("{step}: {}", e.chain()));
        }
        steps.len()
    }

    async fn until(&self, what: &str, done: impl Fn(&Run) -> bool) -> Run {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let run = self.observed().await.run;
            if done(&run) {
                return run;
            }
            assert!(Instant::now() < deadline, "{what}: {run:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a container and waits for its end.
    async fn run_to_end(&self, desired: ContainerDesired) -> Exit {
        self.push(Want::Run(Box::new(desired)), false).await;
        let run = self.until("end", |run| matches!(run, Run::Ended { .. })).await;
        let Run::Ended { exit, .. } = run else { unreachable!() };
        exit
    }

    fn log(&self) -> String {
        let bundle = self.folder.path().join("run/pods").join(self.pod.to_string()).join("main");
        fs::read_to_string(bundle.join("log")).unwrap_or_default()
    }

    async fn clear(self) {
        for _ in 0..50 {
            if self.push(Want::Hold, true).await == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let observed = self.containers.observe(self.pod).await.unwrap();
        assert!(observed.is_empty(), "{observed:?}");
        let places = &self.containers.inner.places;
        let seen = folders::names(&places.all_seen());
        assert_eq!(seen, Vec::<String>::new(), "the data is seen no more");
        assert!(!places.turned(self.pod, &"main".parse().unwrap()).exists());
        self.unwire().await;
    }
}

fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).split_once(':').unwrap().1.trim()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_container_serves_from_its_image_in_its_namespace() {
    let stage = Stage::new().await;
    let desired = stage.desired(&[]);
    stage.push(Want::Run(Box::new(desired.clone())), false).await;
    let up = |run: &Run| matches!(run, Run::Running { pid: Some(_), .. });
    let Run::Running { pid: Some(pid), .. } = stage.until("start", up).await else {
        unreachable!()
    };
    let name = &stage.network.namespace;
    succeed(&["ip", "-n", name, "link", "set", "lo", "up"]).await;
    let ask = ["ip", "netns", "exec", name, "busybox", "wget", "-qO-", "http://127.0.0.1:8080/"];
    let deadline = Instant::now() + Duration::from_secs(10);
    let answer = loop {
        let output = Command::new(ask[0]).args(&ask[1..]).output().await.unwrap();
        if output.status.success() || Instant::now() > deadline {
            break String::from_utf8_lossy(&output.stdout).into_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer, "skerry\n", "{}", stage.log());
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm, "busybox\n", "the pid is that of the container's first process");
    assert_eq!(stage.push(Want::Run(Box::new(desired)), false).await, 0, "nothing left to do");
    stage.push(Want::Down { kill: true }, false).await;
    let run = stage.until("kill", |run| !run.is_live()).await;
    assert!(matches!(run, Run::Ended { exit: Exit::Signal(9), .. }), "{run:?}");
    stage.clear().await;
}

/// Every kind of probe, asked of a real container in a namespace of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn probes_are_answered_from_within_the_pod() {
    let mut stage = Stage::new().await;
    stage.network.address = "127.0.0.1".parse().unwrap();
    succeed(&["ip", "-n", &stage.network.namespace, "link", "set", "lo", "up"]).await;
    let up = |run: &Run| matches!(run, Run::Running { pid: Some(_), .. });
    stage.push(Want::Run(Box::new(stage.desired(&[]))), false).await;
    stage.until("start", up).await;
    let ask = async |check: serde_json::Value| {
        let question = Question {
            pod: stage.pod,
            container: "main".parse().unwrap(),
            probe: "liveness",
            check: serde_json::from_value(check).unwrap(),
            network: stage.network.clone(),
            timeout: Duration::from_secs(2),
        };
        stage.containers.ask(&question).await
    };
    let open = json!({"tcp": {"port": 8080}});
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(open.clone()).await != Answer::Good {
        assert!(Instant::now() < deadline, "{}", stage.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shell = |script: &str| json!({"exec": {"command": ["/bin/sh", "-c", script]}});
    for good in [
        json!({"http": {"port": 8080, "path": "/index.html"}}),
        shell("exit 0"),
        // It runs in the container, as held as that.
        shell("[ \"$(/bin/busybox cat /www/index.html)\" = skerry ] && [ ! -e /etc/old ]"),
        shell("/bin/busybox grep -q 'NoNewPrivs:.1' /proc/self/status"),
        shell("/bin/busybox grep -q 'Seccomp:.2' /proc/self/status"),
        shell("/bin/busybox grep -q 'CapEff:.00000000000405fb' /proc/self/status"),
        shell("! /bin/busybox mount -t tmpfs x /tmp"),
    ] {
        assert_eq!(ask(good.clone()).await, Answer::Good, "{good}");
    }
    for (bad, why) in [
        (json!({"tcp": {"port": 81}}), "port 81: "),
        (json!({"http": {"port": 8080, "path": "/nothing"}}), "the answer was 404"),
        (shell("echo no such thing >&2; exit 3"), "exit code 3: no such thing"),
        (shell("/bin/busybox sleep 30"), "no answer within 2 s"),
        (json!({"exec": {"command": ["/no/such/program"]}}), "exit code"),
    ] {
        let answer = ask(bad.clone()).await;
        assert!(matches!(&answer, Answer::Bad(text) if text.contains(why)), "{bad}: {answer:?}");
    }
    // One that opens the port and says nothing.
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("kill", |run| !run.is_live()).await;
    let silent = stage.shell("/bin/busybox nc -ll -p 8080 -e /bin/busybox sleep 60");
    stage.push(Want::Run(Box::new(silent)), false).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(open.clone()).await != Answer::Good {
        assert!(Instant::now() < deadline, "{}", stage.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = ask(json!({"http": {"port": 8080}})).await;
    assert_eq!(answer, Answer::Bad("no answer within 2 s".into()));
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("kill", |run| !run.is_live()).await;
    stage.clear().await;
}

/// Each sort of volume, seen by a real container; files change under it, and nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn volumes_are_seen_change_and_go() {
    let stage = Stage::new().await;
    let files = |text: &str| {
        let file = VolumeFile { name: "motd".to_owned(), content: Hidden::new(text) };
        let content = VolumeContent::Files { files: vec![file], mode: 0o444, uid: 0, gid: 0 };
        VolumeDesired::new("files".parse().unwrap(), content)
    };
    let others = [
        VolumeDesired::empty("disk".parse().unwrap(), Medium::Disk, None),
        VolumeDesired::empty("memory".parse().unwrap(), Medium::Memory, Some(2)),
    ];
    let script = r#"
        b=/bin/busybox
        try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: allowed"; else echo "$name: refused"; fi; }
        try files $b touch /conf/x
        try over $b sh -c 'echo x > /conf/motd'
        try disk $b touch /disk/here
        try locked $b touch /locked/there
        try memory $b touch /memory/here
        try much $b dd if=/dev/zero of=/memory/big bs=1M count=3
        echo "first: $($b cat /conf/motd)"
        while [ "$($b cat /conf/motd)" = one ]; do $b sleep 0.1; done
        echo "second: $($b cat /conf/motd)"
        exit 7
    "#;
    let spec = json!({"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script],
        "mounts": [{"volume": "files", "path": "/conf", "read_only": true}, {"volume": "disk", "path": "/disk"},
            {"volume": "disk", "path": "/locked", "read_only": true},
            {"volume": "memory", "path": "/memory"}]});
    let spec = serde_json::from_value(spec).unwrap();
    let desired =
        ContainerDesired::new(&spec, stage.image.clone(), stage.network.clone(), 5, vec![])
            .with_users(stage.users);
    let step = async |want: Want, text: &str| {
        let volumes = [&[files(text)][..], &others].concat();
        let wanted = PodWanted {
            pod: stage.pod,
            containers: vec![("main".parse().unwrap(), want)],
            volumes: Some(volumes),
            gone: false,
            kill_strays: false,
        };
        let steps = plan(&wanted, &stage.containers.observe(stage.pod).await.unwrap());
        for step in &steps {
            stage.containers.apply(step).await.unwrap_or_else(|e| panic!("{step}: {}", e.chain()));
        }
        steps.len()
    };
    assert_eq!(step(Want::Run(Box::new(desired)), "one").await, 8);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stage.log().contains("first: one") {
        assert!(Instant::now() < deadline, "{}", stage.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(step(Want::Hold, "one").await, 0);
    assert_eq!(step(Want::Hold, "two").await, 1, "the files are exchanged under it");
    let end = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(end, Run::Ended { exit: Exit::Code(7), .. }), "{end:?} {}", stage.log());
    let log = stage.log();
    for (name, value) in [
        ("files:", "refused"),
        ("over:", "refused"),
        ("disk:", "allowed"),
        ("locked:", "refused"),
        ("memory:", "allowed"),
        ("much:", "refused"),
        ("second:", "two"),
    ] {
        assert_eq!(field(&log, name), value, "{name}\n{log}");
    }
    let data = stage.folder.path().join("data/pod-volumes");
    assert!(data.join(stage.pod.to_string()).join("disk/tree/here").exists());
    let kept = stage.folder.path().join("run/pod-volumes");
    let pod = stage.pod.to_string();
    while stage.push(Want::Hold, true).await > 0 {}
    assert!(!data.join(&pod).exists() && !kept.join(&pod).exists());
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn place_user_powers_and_folders_are_those_of_the_pod() {
    let stage = Stage::new().await;
    let script = r#"
        b=/bin/busybox
        $b cat /proc/self/status
        echo "user: $($b id -u):$($b id -g)"
        echo "place: $($b pwd)"
        try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: allowed"; else echo "$name: refused"; fi; }
        try root $b touch /here
        try memory $b touch /scratch/here
        try much $b dd if=/dev/zero of=/scratch/big bs=1M count=3
        exit 1
    "#;
    let mut spec = json!({"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script],
        "working_dir": "/www", "user": "web", "read_only_root": true,
        "tmpfs": [{"path": "/scratch", "size_mib": 2}],
        "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}});
    let desired = |spec: &serde_json::Value| {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        let (image, network) = (stage.image.clone(), stage.network.clone());
        ContainerDesired::new(&spec, image, network, 5, vec![]).with_users(stage.users)
    };
    assert_eq!(stage.run_to_end(desired(&spec)).await, Exit::Code(1), "{}", stage.log());
    let log = stage.log();
    assert_eq!(u64::from_str_radix(field(&log, "CapBnd"), 16).unwrap(), 1 << 13);
    for (name, value) in [
        ("user:", "1000:1001"),
        ("place:", "/www"),
        ("root:", "refused"),
        ("memory:", "allowed"),
        ("much:", "refused"),
    ] {
        assert_eq!(field(&log, name), value, "{name}\n{log}");
    }
    spec["user"] = json!("nobody-knows");
    let wrong = desired(&spec);
    let step = PodStep::WriteBundle { pod: stage.pod, container: Box::new(wrong) };
    let error = stage.containers.apply(&step).await.unwrap_err();
    assert_eq!(error.fault, RuntimeFault::Refused);
    assert!(error.chain().contains("no user `nobody-knows`"), "{}", error.chain());
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_container_is_held_and_sees_what_it_should() {
    for users in [Some(FIRST), None] {
        held(Stage::for_user("", users).await).await;
    }
}

async fn held(stage: Stage) {
    let script = r#"
        b=/bin/busybox
        $b cat /proc/self/status
        echo "hosts: $($b grep -c stage /etc/hosts)"
        echo "resolver: $($b cat /etc/resolv.conf)"
        echo "hostname: $($b hostname)"
        echo "env: $A $B $HOSTNAME"
        echo "pid: $$"
        echo "links: $($b ls /sys/class/net | $b tr '\n' ' ')"
        echo "deleted: $($b ls /etc/old 2>/dev/null)"
        echo "hidden: $($b ls /hidden)"
        try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: allowed"; else echo "$name: refused"; fi; }
        try write $b touch /here
        try mount $b mount -t tmpfs x /tmp
        try mknod $b mknod /tmp/sda b 8 0
        try sysctl $b sh -c 'echo 1 > /proc/sys/kernel/panic'
        try sysrq $b sh -c 'echo h > /proc/sysrq-trigger'
        try unshare $b unshare -m true
        try unshare-user $b unshare -U true
        try chroot $b chroot / /bin/busybox true
        try hostname-change $b hostname other
        try resolv-write $b touch /etc/resolv.conf
        try kcore $b sh -c '[ -s /proc/kcore ]'
        try dev-null $b sh -c 'echo x > /dev/null'
        try port-80 $b timeout 1 $b nc -l -p 80
        exit 7
    "#;
    let exit = stage.run_to_end(stage.shell(script)).await;
    let log = stage.log();
    assert_eq!(exit, Exit::Code(7), "{log}");
    let expected: u64 = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18].iter().map(|bit| 1_u64 << bit).sum();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let found = u64::from_str_radix(field(&log, set), 16).unwrap();
        assert_eq!(found, expected, "{set}");
    }
    assert_eq!(field(&log, "NoNewPrivs"), "1");
    assert_eq!(field(&log, "Seccomp"), "2");
    for (name, value) in [
        ("hosts:", "1"),
        ("resolver:", "nameserver 10.0.0.1"),
        ("hostname:", "stage"),
        ("env:", "image pod stage"),
        ("pid:", "1"),
        ("links:", "lo"),
        ("deleted:", ""),
        ("hidden:", "upper"),
        ("write:", "allowed"),
        ("mount:", "refused"),
        ("mknod:", "refused"),
        ("sysctl:", "refused"),
        ("sysrq:", "refused"),
        ("unshare:", "refused"),
        ("unshare-user:", "refused"),
        ("chroot:", "allowed"),
        ("hostname-change:", "refused"),
        ("resolv-write:", "refused"),
        ("kcore:", "refused"),
        ("dev-null:", "allowed"),
    ] {
        assert_eq!(field(&log, name), value, "{name}\n{log}");
    }
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn ends_are_told_and_data_lives_as_long_as_the_definition() {
    let stage = Stage::new().await;
    let counter = "echo x >> /count; exit $(/bin/busybox wc -l < /count)";
    assert_eq!(stage.run_to_end(stage.shell(counter)).await, Exit::Code(1));
    assert_eq!(stage.run_to_end(stage.shell(counter)).await, Exit::Code(2), "the layer stays");
    stage.push(Want::Down { kill: false }, false).await;
    assert!(!stage.observed().await.mounted);
    assert_eq!(stage.run_to_end(stage.shell(counter)).await, Exit::Code(3));
    let other = format!("{counter} ");
    assert_eq!(stage.run_to_end(stage.shell(&other)).await, Exit::Code(1), "a new definition");
    assert_eq!(stage.run_to_end(stage.shell("kill -9 $$")).await, Exit::Code(0), "pid 1 is immune");
    let killed = stage.shell("/bin/busybox sh -c 'kill -11 $$'; exit $?");
    assert_eq!(stage.run_to_end(killed).await, Exit::Signal(11));
    let missing = stage.run_to_end(stage.desired(&["/no/such/program"])).await;
    assert!(matches!(missing, Exit::NotStarted(_)), "{missing:?} {}", stage.log());
    let mut damaged = stage.desired(&[]);
    damaged.image.sha256 = "0".repeat(64);
    let step = PodStep::ImportImage { image: damaged.image };
    let error = stage.containers.apply(&step).await.unwrap_err();
    assert_eq!(error.fault, RuntimeFault::Refused, "{}", error.chain());
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_stop_signal_reaches_the_container_and_its_user_is_the_images() {
    let stage = Stage::for_user("web", Some(FIRST)).await;
    let script = "echo uid: $(/bin/busybox id -u):$(/bin/busybox id -g); \
        trap 'echo got term; exit 5' TERM; \
        echo ready; while :; do /bin/busybox sleep 0.1; done";
    stage.push(Want::Run(Box::new(stage.shell(script))), false).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stage.log().contains("ready") {
        assert!(Instant::now() < deadline, "{}", stage.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.push(Want::Down { kill: false }, false).await;
    let run = stage.until("stop", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(run, Run::Ended { exit: Exit::Code(5), .. }), "{run:?}");
    assert!(stage.log().contains("got term"));
    assert_eq!(field(&stage.log(), "uid:"), "1000:1001");
    stage.clear().await;
}

/// Work that is cut short after any step, by a crash of noded or a power cut, is completed by the next plan.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn work_cut_short_is_completed() {
    for power_cut in [false, true] {
        for after in 0..5 {
            let mut stage = Stage::new().await;
            let desired = stage.shell("echo x >> /count; exit $(/bin/busybox wc -l < /count)");
            let main: Name = "main".parse().unwrap();
            let want = Want::Run(Box::new(desired.clone()));
            let wanted = PodWanted {
                pod: stage.pod,
                containers: vec![(main.clone(), want)],
                volumes: Some(vec![]),
                gone: false,
                kill_strays: false,
            };
            let steps = plan(&wanted, &stage.containers.observe(stage.pod).await.unwrap());
            assert_eq!(steps.len(), 5, "{steps:?}");
            for step in &steps[..after] {
                stage.containers.apply(step).await.unwrap();
            }
            let (data, run) = (stage.folder.path().join("data"), stage.folder.path().join("run"));
            let places = below(&data, &run);
            if power_cut {
                let direct = Direct::default();
                direct.unmount(&places.root(stage.pod, &main)).await.unwrap();
                direct.unmount(&places.seen(FIRST)).await.unwrap();
                stage.unwire().await;
                fs::remove_dir_all(&run).unwrap_or_default();
                stage.wire().await;
            }
            // What an import that was cut short leaves.
            fs::create_dir_all(data.join("layers/tmp/layer-half/tree")).unwrap();
            let supervisor = Arc::new(Direct::default());
            stage.containers = LinuxContainers::with_supervisor(
                places.clone(),
                BlobStore::new(places.blobs()),
                supervisor,
                LogRate::default(),
            );
            assert_eq!(stage.run_to_end(desired).await, Exit::Code(1), "{power_cut} {after}");
            assert_eq!(folders::names(&data.join("layers/tmp")), Vec::<String>::new());
            stage.clear().await;
        }
    }
}

/// Whoever attaches speaks to the container's own program, as often as they like.
#[tokio::test]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_container_with_an_open_input_hears_whoever_comes() {
    let stage = Stage::new().await;
    let script = "read a; echo \"$a\" >/heard; read b; echo \"$b\" >>/heard; exit 7";
    let mut desired = stage.shell(script);
    desired.stdin = true;
    stage.push(Want::Run(Box::new(desired.clone())), false).await;
    stage.until("start", |run| matches!(run, Run::Running { pid: Some(_), .. })).await;
    let name = desired.name.clone();
    for word in ["one\n", "two\n"] {
        let input = stage.containers.input(stage.pod, &name).await.unwrap();
        input.send(word.as_bytes().to_vec()).await.unwrap();
    }
    let ended = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(ended, Run::Ended { exit: Exit::Code(7), .. }), "{ended:?}");
    assert!(stage.containers.input(stage.pod, &name).await.is_err());
    let layer = stage.containers.inner.places.layer(stage.pod, &name);
    assert_eq!(fs::read_to_string(layer.join("upper/heard")).unwrap(), "one\ntwo\n");
    stage.clear().await;
}

/// crun makes the devices that were asked for, and no other.
#[tokio::test]
#[ignore = "needs root, crun, a static busybox, ip and /dev/net/tun"]
async fn a_device_is_there_for_the_container_that_asks_for_it() {
    let stage = Stage::of_machine().await;
    let script = "[ -c /dev/net/tun ] && exit 4; exit 5";
    let mut desired = stage.shell(script);
    assert_eq!(stage.run_to_end(desired.clone()).await, Exit::Code(5));
    desired.devices = vec!["/dev/net/tun".to_owned()];
    desired.layer = "with a device".to_owned();
    desired.bundle = "with a device".to_owned();
    assert_eq!(stage.run_to_end(desired).await, Exit::Code(4));
    stage.clear().await;
}

/// Through the machine's own service manager, from image to removal.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, systemd, crun, a static busybox and ip"]
async fn under_systemd_a_container_lives_its_whole_life() {
    let folder =
        tempfile::Builder::new().prefix("skerry-live-").tempdir_in("/var/lib/skerry").unwrap();
    let places = || below(&folder.path().join("data"), Path::new("/run/skerry-live"));
    let start = || {
        let blobs = BlobStore::new(places().blobs());
        LinuxContainers::start(places(), blobs, Systemd::system(), LogRate::default())
    };
    let containers = start();
    let other_folder = tempfile::tempdir_in("/var/lib/skerry").unwrap();
    let mut stage = Stage::over(other_folder, containers, "", Some(FIRST)).await;
    let server = stage.desired(&[]);
    let began = Instant::now();
    stage.push(Want::Run(Box::new(server.clone())), false).await;
    let up = |run: &Run| matches!(run, Run::Running { pid: Some(_), .. });
    let first = stage.until("start", up).await;
    println!("from nothing to running, image unpacked: {:?}", began.elapsed());
    let Run::Running { pid: Some(pid), run, started_at } = first.clone() else { unreachable!() };
    assert_eq!(run.len(), 32);
    assert!(started_at.is_some());
    let unit = unit_name(stage.pod, &"main".parse().unwrap());
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(group.trim().ends_with(&format!("skerry-pods.slice/{unit}")), "{group}");
    let show = succeed(&["systemctl", "show", &unit, "-pMemoryMax,TasksMax,DevicePolicy"]).await;
    let overhead = crate::oci::Oci::present(&places()).overhead();
    assert!(show.contains(&format!("MemoryMax={}\n", (64 << 20) + overhead.memory)), "{show}");

    // Another noded finds it as it is.
    stage.containers = start();
    let mut events = stage.containers.events();
    let mut hear = async |wanted| {
        let heard = async { while events.recv().await.unwrap() != wanted {} };
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("nothing was heard");
    };
    hear(RuntimeEvent::All).await;
    assert_eq!(stage.observed().await.run, first);
    assert_eq!(stage.push(Want::Run(Box::new(server.clone())), false).await, 0);
    assert_eq!(stage.containers.present().await.unwrap(), [stage.pod]);

    // A death is heard of and told, and the next start is a new run in the old layer.
    succeed(&["/bin/busybox", "kill", "-KILL", &pid.to_string()]).await;
    hear(RuntimeEvent::Pod(stage.pod)).await;
    let ended = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(ended, Run::Ended { exit: Exit::Signal(9), .. }), "{ended:?}");
    let began = Instant::now();
    stage.push(Want::Run(Box::new(server)), false).await;
    let second = stage.until("second start", up).await;
    println!("started again, all there: {:?}", began.elapsed());
    assert_ne!(second, first);
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("kill", |run| !run.is_live()).await;

    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("echo first; echo second >&2; exit 3", Exit::Code(3)),
        ("/bin/busybox sh -c 'kill -11 $$'; exit $?", Exit::Signal(11)),
    ] {
        assert_eq!(stage.run_to_end(stage.shell(script)).await, exit, "{script}");
    }
    let missing = stage.run_to_end(stage.desired(&["/no/such/program"])).await;
    assert!(matches!(missing, Exit::NotStarted(_)), "{missing:?}");

    let trap = "trap 'exit 5' TERM; echo ready; while :; do /bin/busybox sleep 0.1; done";
    stage.push(Want::Run(Box::new(stage.shell(trap))), false).await;
    stage.until("trap", up).await;
    let request = LogRequest {
        pod: stage.pod,
        container: None,
        tail: 100,
        since: None,
        timestamps: false,
        follow: true,
    };
    let mut lines = stage.containers.logs(request.clone()).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("ready") {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next()).await;
        seen.push(line.unwrap_or_else(|_| panic!("no more lines: {seen:?}")).unwrap().unwrap());
    }
    assert!(seen.contains(&"first".to_owned()) && seen.contains(&"second".to_owned()), "{seen:?}");
    let by_systemd = |line: &&String| line.contains(&unit) || line.contains("Skerry container");
    assert_eq!(seen.iter().find(by_systemd), None, "{seen:?}");
    times_of_lines(&stage, request).await;
    stage.push(Want::Down { kill: false }, false).await;
    let run = stage.until("stop", |run| !run.is_live()).await;
    assert!(matches!(run, Run::Ended { exit: Exit::Code(5), .. } | Run::Absent), "{run:?}");
    stage.clear().await;
    let list = ["systemctl", "list-units", "--all", "--no-legend", "skerry-pod-*", "run-skerry*"];
    // The manager hears of mounts that others take away a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = succeed(&list).await;
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "left behind: {left}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Only crun's store of translated filters stays.
    let state = places().runtime_state(tested().family);
    assert!(folders::names(&state).iter().all(|name| name == ".cache"), "{}", state.display());
    assert_eq!(folders::names(Path::new("/run/skerry-live/turned")), Vec::<String>::new());
}

/// Lines of the pod since a moment, with their times.
async fn times_of_lines(stage: &Stage, request: LogRequest) {
    let stamped = LogRequest { timestamps: true, follow: false, ..request };
    let all: Vec<String> =
        stage.containers.logs(stamped.clone()).await.unwrap().map(Result::unwrap).collect().await;
    let (moment, text) = all.last().unwrap().split_once(' ').unwrap();
    assert_eq!(text, "ready");
    let moment: skerry_model::Timestamp = moment.parse().unwrap();
    let later = LogRequest { since: Some(moment), ..stamped };
    let last: Vec<String> =
        stage.containers.logs(later).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(last, all[all.len() - 1..]);
}
