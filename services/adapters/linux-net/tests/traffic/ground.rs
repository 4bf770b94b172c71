//! The ground for tests with real packets: every test has its own network, mount and `/run`, so nothing of
//! the machine is touched and tests may run side by side. Needs root.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use skerry_linux_net::{Cards, LinuxNet, NetError, Settings, Units};

/// The program that the service manager runs on a node.
const NETNS: &str = env!("CARGO_BIN_EXE_skerry-netns");

/// Runs a test in namespaces of its own.
pub fn isolated<F, Fut>(test: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    assert!(
        geteuid().is_root(),
        "this test makes network namespaces and needs root: run it as root, as `make test` does"
    );
    // What the node says of itself is shown with a failed test.
    let log = tracing_subscriber::fmt().with_test_writer().without_time().finish();
    let thread = std::thread::spawn(move || {
        let _log = tracing::subscriber::set_default(log);
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        // A development machine may send bridged frames through IP rules (`br_netfilter`); the node's kernel
        // never does.
        let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program and returns what it printed; fails the test if it fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program} could not be started ({error}): install iproute2, nftables, dnsmasq-base, busybox-static")
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{said}");
    text
}

/// `ip` with its arguments in one text.
pub fn ip(arguments: &str) -> String {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Waits until something holds; the only waiting in these tests.
pub async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("did not happen within 30 s: {what}");
}

/// Does blocking work in a named namespace, or in the node's own.
pub async fn within<T, F>(namespace: Option<&str>, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let entry = namespace.map(|name| std::fs::File::open(format!("/run/netns/{name}")).unwrap());
    let (answer, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if let Some(entry) = entry {
            setns(entry, CloneFlags::CLONE_NEWNET).unwrap();
        }
        let _ = answer.send(work());
    });
    wait.await.expect("the work panicked")
}

/// Listens in a namespace and tells every caller who it is.
pub async fn answer_at(namespace: Option<&str>, port: u16) {
    let listener =
        within(namespace, move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).await;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            echo_peer(stream);
        }
    });
}

/// Sends the peer's address, then everything back until the peer closes.
fn echo_peer(mut stream: TcpStream) {
    std::thread::spawn(move || {
        let peer = stream.peer_addr().unwrap().ip();
        let _ = writeln!(stream, "{peer}");
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..count]);
        }
    });
}

/// An open connection and the address under which the other side sees us.
pub struct Call {
    pub stream: TcpStream,
    pub seen_as: String,
}

impl Call {
    /// Whether the connection still carries bytes both ways.
    pub fn is_alive(&mut self) -> bool {
        let mut back = [0; 4];
        self.stream.write_all(b"ping").is_ok()
            && self.stream.read_exact(&mut back).is_ok()
            && &back == b"ping"
    }
}

/// Calls an address from a namespace; `None` if it does not answer.
pub async fn call(namespace: Option<&str>, address: Ipv4Addr, port: u16) -> Option<Call> {
    within(namespace, move || {
        let to = SocketAddr::from((address, port));
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(1500)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            stream.read_exact(&mut byte).ok()?;
            line.extend_from_slice(&byte);
        }
        let seen_as = String::from_utf8(line).unwrap().trim().to_owned();
        Some(Call { stream, seen_as })
    })
    .await
}

/// A program that ends with the test.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Namespaces and dnsmasq without a service manager.
#[derive(Default)]
pub struct DirectUnits {
    daemons: Mutex<BTreeMap<String, Daemon>>,
    /// What was asked, for tests that count restarts.
    pub asked: Mutex<Vec<String>>,
}

impl DirectUnits {
    fn note(&self, what: &str, name: &str) {
        self.asked.lock().unwrap().push(format!("{what} {name}"));
    }

    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Units for DirectUnits {
    async fn add_namespace(&self, name: &str, users: Option<u32>) -> Result<(), NetError> {
        self.note("add", name);
        let first = users.map(|first| first.to_string());
        run(NETNS, &["add", name].into_iter().chain(first.as_deref()).collect::<Vec<_>>());
        Ok(())
    }

    async fn remove_namespace(&self, name: &str) -> Result<(), NetError> {
        self.note("remove", name);
        run(NETNS, &["delete", name]);
        Ok(())
    }

    async fn restart(&self, bridge: &str) -> Result<(), NetError> {
        self.note("restart", bridge);
        let config = format!("--conf-file=/run/skerry/dnsmasq/{bridge}.conf");
        let arguments = ["--keep-in-foreground", &config, "--pid-file=", "--user=root"];
        let mut daemons = self.daemons.lock().unwrap();
        // The old one must have given up its sockets before the new one asks for them.
        drop(daemons.remove(bridge));
        daemons.insert(bridge.to_owned(), Daemon::start("dnsmasq", &arguments));
        Ok(())
    }

    async fn reload(&self, bridge: &str) -> Result<(), NetError> {
        self.note("reload", bridge);
        self.daemons.lock().unwrap()[bridge].signal(Signal::SIGHUP);
        Ok(())
    }

    async fn stop(&self, bridge: &str) -> Result<(), NetError> {
        self.note("stop", bridge);
        self.daemons.lock().unwrap().remove(bridge);
        Ok(())
    }

    async fn running(&self) -> Result<Vec<String>, NetError> {
        let mut daemons = self.daemons.lock().unwrap();
        daemons.retain(|_, daemon| daemon.0.try_wait().unwrap().is_none());
        Ok(daemons.keys().cloned().collect())
    }
}

/// The node in its namespace, with `up0` as its card.
pub fn node(units: &Arc<DirectUnits>) -> LinuxNet {
    let cards = Cards::Named(BTreeSet::from(["up0".to_owned()]));
    let settings = Settings { cards, hostname: Some("node".to_owned()) };
    let units: Arc<dyn Units> = Arc::clone(units) as _;
    LinuxNet::start(settings, units).unwrap()
}

/// Another machine on the node's cable: namespace `outside` with 192.0.2.1.
pub fn plug_in_outside() {
    ip("netns add outside");
    ip("link add up0 type veth peer name out0 netns outside");
    ip("-n outside link set lo up");
    ip("-n outside address add 192.0.2.1/24 dev out0");
    ip("-n outside link set out0 up");
}

/// The hypervisor's part: a device on a bridge, whose other end is `eth0` in a namespace.
pub fn plug_in_guest(name: &str, device: &str, mac: &str, bridge: &str) {
    ip(&format!("netns add {name}"));
    ip(&format!("link add {device} type veth peer name eth0 netns {name} address {mac}"));
    ip(&format!("link set {device} master {bridge} up"));
    ip(&format!("-n {name} link set lo up"));
    ip(&format!("-n {name} link set eth0 up"));
}

/// A DHCP server on the outside that has 192.0.2.50 to 192.0.2.59.
pub fn dhcp_server_outside() -> Daemon {
    let arguments = [
        "netns",
        "exec",
        "outside",
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--port=0",
        "--interface=out0",
        "--bind-interfaces",
        "--leasefile-ro",
        "--dhcp-authoritative",
        "--no-ping",
        "--dhcp-range=192.0.2.50,192.0.2.59,1h",
        "--dhcp-option=option:dns-server,192.0.2.1",
    ];
    Daemon::start("ip", &arguments)
}
