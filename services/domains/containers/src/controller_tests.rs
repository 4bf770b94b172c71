use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use skerry_model::{
    Binding, ConditionState, ContainerState, ContainerStats, Image, ImageState, ImageStatus,
    Network, NewResource, PodRequestKind, PodSpec, PodState, PodStatus, Port, PortStatus, Power,
    RestartPolicy,
};
use tokio::sync::broadcast;

use super::*;
use crate::testing::{Machine, name};
use crate::{Answer, Exit, LogLines, LogRequest, Question, Run};

#[path = "boot_tests.rs"]
mod boot;
#[path = "pages_tests.rs"]
mod pages;

/// A runtime in memory that can be told to fail.
struct FakeRuntime {
    machine: Mutex<Machine>,
    fail_next: Mutex<Option<RuntimeFault>>,
    port_ready: AtomicBool,
    done: Mutex<Vec<String>>,
    /// What probes are answered, by their names.
    answers: Mutex<BTreeMap<&'static str, Answer>>,
    asked: Mutex<Vec<Question>>,
    events: broadcast::Sender<RuntimeEvent>,
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn observe(&self, _pod: Id<Pod>) -> Result<PodObserved, RuntimeError> {
        Ok(lock(&self.machine).observed.clone())
    }

    async fn present(&self) -> Result<Vec<Id<Pod>>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn stats(&self, _pod: Id<Pod>) -> Result<Vec<ContainerStats>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn apply(&self, step: &PodStep) -> Result<(), RuntimeError> {
        if let Some(fault) = lock(&self.fail_next).take() {
            return Err(RuntimeError::new(fault, "told to fail"));
        }
        if let PodStep::Start { .. } = step {
            assert!(self.port_ready.load(Ordering::Relaxed), "started without its port");
        }
        lock(&self.done).push(step.to_string());
        lock(&self.machine).apply(step);
        Ok(())
    }

    async fn logs(&self, _request: LogRequest) -> Result<LogLines, RuntimeError> {
        Ok(Box::pin(futures::stream::empty()))
    }

    async fn ask(&self, question: &Question) -> Answer {
        lock(&self.asked).push(question.clone());
        lock(&self.answers).get(question.probe).cloned().unwrap_or(Answer::Good)
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}

/// One pod `web` with its port, network and image, and the controller under test.
struct World {
    store: Store,
    runtime: Arc<FakeRuntime>,
    controller: PodController,
    pod: Id<Pod>,
    port: Id<Port>,
    image: Id<Image>,
    boot: &'static str,
}

fn clock() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn id<K>(number: u128) -> Id<K> {
    Id::new(uuid::Uuid::from_u128(number))
}

async fn put(store: &Store, fill: impl FnOnce(&mut Transaction)) {
    let mut tx = Transaction::new();
    fill(&mut tx);
    store.commit(tx).await.unwrap();
}

impl World {
    async fn new(containers: &[&str], restart: &str) -> Self {
        let store = Store::in_memory();
        let containers: Vec<serde_json::Value> = containers
            .iter()
            .map(|name| serde_json::json!({"name": name, "image": "tiny"}))
            .collect();
        let spec = serde_json::json!({"containers": containers, "restart": restart});
        let mut pod =
            NewResource::<Pod>::new(id(1), name("web"), serde_json::from_value(spec).unwrap());
        pod.finalizers = vec![FINALIZER.to_owned()];
        let network = serde_json::json!({"mode": "nat",
            "subnet": {"network": "10.1.0.0", "prefix": 24}});
        let port = serde_json::json!({"network": uuid::Uuid::from_u128(3),
            "workload": {"kind": "Pod", "id": uuid::Uuid::from_u128(1)},
            "hostname": "web", "mac": "02:00:00:00:00:01", "address": "10.1.0.2"});
        let image = serde_json::json!({"format": "oci_archive", "source": "built_in",
            "architecture": "x86_64",
            "files": [{"role": "archive", "path": "/x.tar", "sha256": "ab".repeat(32), "size": 1}]});
        put(&store, |tx| {
            let network = serde_json::from_value(network).unwrap();
            tx.create(NewResource::<Network>::new(id(3), name("default"), network));
            let port = serde_json::from_value(port).unwrap();
            tx.create(NewResource::<Port>::new(id(2), name("web-pod"), port));
            let image = serde_json::from_value(image).unwrap();
            tx.create(NewResource::<Image>::new(id(4), name("tiny"), image));
            tx.create(pod);
        })
        .await;
        let runtime = Arc::new(FakeRuntime {
            machine: Mutex::default(),
            fail_next: Mutex::default(),
            port_ready: AtomicBool::new(false),
            done: Mutex::default(),
            answers: Mutex::default(),
            asked: Mutex::default(),
            events: broadcast::channel(4).0,
        });
        let controller = PodController::new(store.clone(), runtime.clone(), clock, "one");
        Self { store, runtime, controller, pod: id(1), port: id(2), image: id(4), boot: "one" }
    }

    /// A world whose port and image are there.
    async fn ready(containers: &[&str], restart: &str) -> Self {
        let world = Self::new(containers, restart).await;
        world.set_port(true).await;
        world.set_image(true).await;
        world
    }

    async fn set_port(&self, ready: bool) {
        self.port_is(ready, "Test").await;
    }

    async fn port_fails(&self, reason: &str) {
        self.port_is(false, reason).await;
    }

    async fn port_is(&self, ready: bool, reason: &str) {
        self.runtime.port_ready.store(ready, Ordering::Relaxed);
        let mut status = PortStatus {
            binding: Some(Binding::Veth {
                namespace: Binding::namespace_of(self.pod),
                device: "v".into(),
                bridge: "b".into(),
                // Those of the first pod that asks.
                users: Some(655_360),
            }),
            ..PortStatus::default()
        };
        let state = if ready { ConditionState::True } else { ConditionState::False };
        status.conditions.set("Ready", state, reason, "", clock());
        put(&self.store, |tx| {
            tx.put_status::<Port>(self.port, status);
        })
        .await;
    }

    async fn set_image(&self, available: bool) {
        let state = if available { ImageState::Available } else { ImageState::Quarantined };
        let status = ImageStatus { state, ..ImageStatus::default() };
        put(&self.store, |tx| {
            tx.put_status::<Image>(self.image, status);
        })
        .await;
    }

    async fn change(&self, edit: impl FnOnce(&mut PodSpec)) {
        let Some(pod) = self.store.get(self.pod).unwrap() else { return };
        if pod.meta.phase == Phase::Removing {
            return;
        }
        let mut spec = pod.spec;
        edit(&mut spec);
        put(&self.store, |tx| {
            tx.put_spec::<Pod>(self.pod, None, spec);
        })
        .await;
    }

    async fn power(&self, power: Power) {
        self.change(|spec| spec.power = power).await;
    }

    async fn remove(&self) {
        if self.store.get(self.pod).unwrap().is_some() {
            put(&self.store, |tx| {
                tx.begin_removal::<Pod>(self.pod, None);
            })
            .await;
        }
    }

    async fn pass(&self) -> Result<Outcome, Failure> {
        self.controller.reconcile(key_of(self.pod)).await
    }

    fn status(&self) -> PodStatus {
        self.store.get(self.pod).unwrap().unwrap().status
    }

    fn state(&self) -> PodState {
        self.status().state
    }

    /// The steps done since the last call.
    fn steps(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.runtime.done))
    }

    /// Ends a container that runs.
    fn end(&self, container: &str, exit: Exit, ran_for: u64) {
        let mut machine = lock(&self.runtime.machine);
        let found = machine.at(&name(container));
        if let Run::Running { run, .. } = &found.run {
            let ran_for = Duration::from_secs(ran_for);
            found.run = Run::Ended { run: run.clone(), exit, ran_for };
        }
    }

    /// Lets containers that were told to stop do so.
    fn finish_stops(&self) {
        for found in lock(&self.runtime.machine).observed.containers.values_mut() {
            if found.run == Run::Stopping {
                found.run = Run::Absent;
            }
        }
    }

    /// What a power cut leaves: layers and images on disk, nothing in memory.
    fn cut_power(&mut self) {
        for found in lock(&self.runtime.machine).observed.containers.values_mut() {
            let layer = std::mem::take(&mut found.layer);
            *found = crate::ContainerObserved { layer, ..Default::default() };
        }
        self.boot = "two";
        self.restart_noded();
        // A store in memory writes at once.
        futures::FutureExt::now_or_never(self.controller.prepare()).unwrap().unwrap();
    }

    fn restart_noded(&mut self) {
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        self.controller = PodController::new(store, runtime, clock, self.boot);
    }

    fn container(&self, container: &str) -> skerry_model::ContainerStatus {
        let status = self.status();
        status.containers.into_iter().find(|found| found.name == container).unwrap()
    }
}

const PREPARATION: [&str; 4] =
    ["import_image tiny", "make_layer a", "write_bundle a", "mount_root a"];

#[tokio::test(start_paused = true)]
async fn all_but_the_start_is_done_while_the_network_is_being_wired() {
    let world = World::new(&["a"], "always").await;
    world.set_image(true).await;
    let port = Outcome::Blocked(LocalRef { kind: Kind::Port, id: world.port.uuid() });
    assert_eq!(world.pass().await.unwrap(), port);
    assert_eq!(
        (world.state(), world.steps()),
        (PodState::Pending, PREPARATION.map(Into::into).into())
    );
    assert!(world.status().reason.contains("port `web-pod`"));
    assert_eq!((world.pass().await.unwrap(), world.steps()), (port, vec![]));
    world.set_port(true).await;
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.steps()), (PodState::Running, vec!["start a".into()]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_prepared_is_told_when_the_pod_may_start() {
    let world = World::new(&["a"], "always").await;
    world.set_image(true).await;
    *lock(&world.runtime.fail_next) = Some(RuntimeFault::Refused);
    let port = Outcome::Blocked(LocalRef { kind: Kind::Port, id: world.port.uuid() });
    assert_eq!(world.pass().await.unwrap(), port);
    assert_eq!((world.state(), world.steps()), (PodState::Pending, vec![]));
    world.set_port(true).await;
    *lock(&world.runtime.fail_next) = Some(RuntimeFault::Refused);
    assert!(world.pass().await.is_err());
    assert!(world.status().reason.contains("told to fail"), "{}", world.status().reason);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_before_its_network_is_wired_leaves_nothing() {
    for off in [false, true] {
        let world = World::new(&["a"], "always").await;
        world.set_image(true).await;
        world.pass().await.unwrap();
        if off {
            world.power(Power::Stopped).await;
            world.pass().await.unwrap();
            let found = lock(&world.runtime.machine).observed.container(&name("a"));
            assert!(!found.mounted && !found.bundle.is_there(), "{found:?}");
        }
        world.remove().await;
        world.pass().await.unwrap();
        assert!(lock(&world.runtime.machine).observed.is_empty());
        assert!(world.store.get(world.pod).unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_boot_a_pod_keeps_its_turn_until_its_network_was_tried() {
    let mut world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.steps();
    world.cut_power();
    world.port_fails("NoDevice").await;
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.steps()), (PodState::Pending, vec![]));
    assert_eq!(world.status().boot.as_deref(), Some("one"), "the others wait for it");
    world.port_fails("StepFailed").await;
    world.pass().await.unwrap();
    assert_eq!(world.status().boot.as_deref(), Some("two"), "nobody waits for what cannot start");
    world.set_port(true).await;
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Running);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_pod_is_not_prepared() {
    let world = World::new(&["a"], "always").await;
    world.set_image(true).await;
    world
        .change(|spec| {
            let on = serde_json::json!([{"pod": "first"}]);
            spec.depends_on = serde_json::from_value(on).unwrap();
        })
        .await;
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.steps()), (PodState::Pending, vec![]));
    assert!(world.status().reason.contains("`first`"), "{}", world.status().reason);
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_port_then_its_image_then_runs() {
    let world = World::new(&["a"], "always").await;
    let port = LocalRef { kind: Kind::Port, id: world.port.uuid() };
    assert_eq!(world.pass().await.unwrap(), Outcome::Blocked(port));
    assert_eq!(world.state(), PodState::Pending);
    assert!(world.status().reason.contains("port `web-pod`"));
    world.set_port(true).await;
    let image = LocalRef { kind: Kind::Image, id: world.image.uuid() };
    assert_eq!(world.pass().await.unwrap(), Outcome::Blocked(image));
    world.set_image(true).await;
    let proving = Outcome::Again(Duration::from_secs(10));
    assert_eq!(world.pass().await.unwrap(), proving);
    let status = world.status();
    assert_eq!(status.state, PodState::Running);
    assert_eq!(status.addresses, ["10.1.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(status.port, Some(world.port));
    assert!(status.conditions.holds("Ready"));
    assert_eq!(world.container("a").pid, Some(1));
    assert_eq!(
        world.steps(),
        ["import_image tiny", "make_layer a", "write_bundle a", "mount_root a", "start a"]
    );
    let revision = world.store.revision();
    assert_eq!(world.pass().await.unwrap(), proving);
    assert_eq!((world.steps(), world.store.revision()), (vec![], revision), "rest means no write");
}

impl World {
    /// A world whose pod has containers that run before the others, and these with probes.
    async fn with_spec(spec: serde_json::Value) -> Self {
        let world = Self::ready(&["a"], "always").await;
        let spec = serde_json::from_value(spec).unwrap();
        world.change(|present| *present = spec).await;
        world
    }

    /// Lets the probes' tasks ask, then makes a pass.
    async fn pass_after(&self, seconds: u64) -> Result<Outcome, Failure> {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        self.pass().await
    }

    fn answer(&self, probe: &'static str, answer: Answer) {
        lock(&self.runtime.answers).insert(probe, answer);
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut *lock(&self.runtime.asked)).len()
    }

    fn init(&self, index: usize) -> skerry_model::ContainerStatus {
        self.status().init[index].clone()
    }

    fn starts(&self) -> Vec<String> {
        self.steps().into_iter().filter(|step| step.starts_with("start ")).collect()
    }
}

fn with_init() -> serde_json::Value {
    serde_json::json!({
        "init": [{"name": "one", "image": "tiny"}, {"name": "two", "image": "tiny"}],
        "containers": [{"name": "a", "image": "tiny"}, {"name": "b", "image": "tiny"}],
    })
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_process_is_not_known_yet_is_looked_at_again() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    let forget = |to: Option<u32>| {
        let mut machine = lock(&world.runtime.machine);
        let run = machine.observed.containers.values_mut().next().map(|found| &mut found.run);
        let Some(Run::Running { pid, .. }) = run else { panic!("it runs") };
        *pid = to;
    };
    forget(None);
    assert_eq!(world.pass().await.unwrap(), Outcome::Again(POLL));
    assert_eq!(world.container("a").pid, None);
    forget(Some(7));
    assert_ne!(world.pass().await.unwrap(), Outcome::Again(POLL));
    assert_eq!(world.container("a").pid, Some(7));
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_by_one_before_the_others() {
    let mut world = World::with_spec(with_init()).await;
    world.pass().await.unwrap();
    assert_eq!((world.starts(), world.state()), (vec!["start one".into()], PodState::Starting));
    world.end("one", Exit::Code(1), 1);
    world.pass().await.unwrap();
    assert_eq!(world.starts(), ["start one"], "a failed one has its turn again");
    assert_eq!(world.init(0).restarts, 1);
    world.end("one", Exit::Code(0), 1);
    world.pass().await.unwrap();
    assert_eq!((world.starts(), world.state()), (vec!["start two".into()], PodState::Starting));
    // A new noded goes on where the old one was.
    world.restart_noded();
    world.end("two", Exit::Code(0), 1);
    world.pass().await.unwrap();
    assert_eq!(world.starts(), ["start a", "start b"]);
    assert_eq!(world.state(), PodState::Running);
    assert_eq!((world.init(0).exit_code, world.init(1).state), (Some(0), ContainerState::Exited));
    world.restart_noded();
    world.end("a", Exit::Code(1), 1);
    world.pass().await.unwrap();
    assert_eq!(world.starts(), ["start a"], "they do not run again for one container");
    // Nor for a change of something else.
    world.change(|spec| spec.stop_timeout_s = 31).await;
    world.pass().await.unwrap();
    world.finish_stops();
    world.pass().await.unwrap();
    assert!(!world.starts().contains(&"start one".to_owned()));
    // But they do after the machine's restart, and when the pod starts anew.
    world.cut_power();
    world.pass().await.unwrap();
    assert_eq!(world.starts(), ["start one"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_starts_anew_or_has_another_init_container_runs_them_again() {
    let world = World::with_spec(with_init()).await;
    for round in 0..2 {
        world.pass().await.unwrap();
        world.end("one", Exit::Code(0), 1);
        world.pass().await.unwrap();
        world.end("two", Exit::Code(0), 1);
        world.pass().await.unwrap();
        assert_eq!(world.state(), PodState::Running, "round {round}");
        assert_eq!(world.starts(), ["start one", "start two", "start a", "start b"]);
        ask(&world, PodRequestKind::Restart, wanted(&world)).await;
        world.pass().await.unwrap();
        world.finish_stops();
    }
    world.pass().await.unwrap();
    world.end("one", Exit::Code(0), 1);
    world.pass().await.unwrap();
    world.end("two", Exit::Code(0), 1);
    world.pass().await.unwrap();
    world.starts();
    world.change(|spec| spec.init[1].memory_mib = 65).await;
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Stopping, "the others go down first");
    world.finish_stops();
    world.pass().await.unwrap();
    assert_eq!(world.starts(), ["start two"], "only what has changed runs again");
    world.end("two", Exit::Code(0), 1);
    world.pass().await.unwrap();
    assert_eq!(
        (world.starts(), world.state()),
        (vec!["start a".into(), "start b".into()], PodState::Running)
    );
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_fails_for_good_fails_the_pod() {
    let mut spec = with_init();
    spec["restart"] = "never".into();
    let mut world = World::with_spec(spec).await;
    world.pass().await.unwrap();
    world.end("one", Exit::Code(4), 1);
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Failed);
    assert!(world.status().reason.contains("`one` ended with exit code 4"));
    world.steps();
    world.cut_power();
    world.pass().await.unwrap();
    assert_eq!((world.starts(), world.state()), (vec![], PodState::Failed));
}

fn with_probe(name: &str, probe: serde_json::Value) -> serde_json::Value {
    serde_json::json!({"containers": [{"name": "a", "image": "tiny", name: probe}]})
}

#[tokio::test(start_paused = true)]
async fn ready_follows_the_readiness_probe_and_touches_nothing() {
    let probe = serde_json::json!({"check": {"tcp": {"port": 80}}, "period_s": 2,
        "failure_threshold": 2});
    let mut world = World::with_spec(with_probe("readiness", probe)).await;
    world.answer("readiness", Answer::Bad("closed".into()));
    world.pass().await.unwrap();
    let not_ready = |world: &World, message: &str| {
        let status = world.status();
        assert_eq!(status.state, PodState::Running);
        let ready = status.conditions.get("Ready").unwrap();
        assert_eq!((ready.state, ready.reason.as_str()), (ConditionState::False, "NotReady"));
        assert!(ready.message.contains(message), "{}", ready.message);
        assert!(!world.container("a").ready);
    };
    not_ready(&world, "not ready yet");
    let mut news = world.controller.probe_news();
    world.pass_after(5).await.unwrap();
    not_ready(&world, "readiness probe: closed");
    assert_eq!(news.try_recv().unwrap(), RuntimeEvent::Pod(world.pod));
    world.answer("readiness", Answer::Good);
    world.pass_after(3).await.unwrap();
    assert!(world.status().conditions.holds("Ready") && world.container("a").ready);
    // An answer that says nothing changes nothing, nor does a single bad one.
    world.answer("readiness", Answer::Unknown("busy".into()));
    world.pass_after(9).await.unwrap();
    assert!(world.status().conditions.holds("Ready"));
    world.steps();
    // A new noded asks anew.
    world.restart_noded();
    world.pass().await.unwrap();
    not_ready(&world, "not ready yet");
    world.answer("readiness", Answer::Good);
    world.pass_after(3).await.unwrap();
    assert!(world.status().conditions.holds("Ready"));
    assert_eq!(world.steps(), Vec::<String>::new());
    // Nobody is asked once it is off.
    world.power(Power::Stopped).await;
    world.pass().await.unwrap();
    world.finish_stops();
    world.pass().await.unwrap();
    world.asked();
    world.pass_after(9).await.unwrap();
    assert_eq!(world.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_restarts_the_container_alone() {
    let world = World::with_spec(serde_json::json!({"stop_timeout_s": 5, "containers": [
        {"name": "a", "image": "tiny", "liveness": {"check": {"exec": {"command": ["/x"]}},
            "initial_delay_s": 3, "period_s": 1, "failure_threshold": 2}},
        {"name": "b", "image": "tiny"}]}))
    .await;
    world.answer("liveness", Answer::Bad("exit code 1".into()));
    world.pass().await.unwrap();
    world.steps();
    world.pass_after(2).await.unwrap();
    assert_eq!((world.asked(), world.steps()), (0, vec![]), "its delay is kept");
    world.pass_after(3).await.unwrap();
    assert_eq!(world.steps(), ["stop a"]);
    assert_eq!(world.state(), PodState::Backoff);
    assert!(world.status().reason.contains("liveness probe: exit code 1"));
    // It does not end when told to.
    assert!(matches!(world.pass_after(2).await.unwrap(), Outcome::Again(_)));
    assert_eq!(world.steps(), Vec::<String>::new());
    world.pass_after(4).await.unwrap();
    assert_eq!(world.steps()[0], "kill a");
    for _ in 0..3 {
        // However often it is looked at before it is started again.
        world.pass().await.unwrap();
        let reason = world.container("a").exit_reason;
        assert_eq!(reason, "unhealthy: liveness probe: exit code 1");
    }
    world.answer("liveness", Answer::Good);
    world.pass().await.unwrap();
    let container = world.container("a");
    assert_eq!(container.exit_reason, "unhealthy: liveness probe: exit code 1");
    assert_eq!((container.restarts, world.state()), (1, PodState::Running));
    world.pass_after(60).await.unwrap();
    assert_eq!((world.container("a").restarts, world.container("b").restarts), (1, 0));
    assert!(world.status().conditions.holds("Ready"));
}

#[tokio::test(start_paused = true)]
async fn other_probes_wait_for_the_startup_probe() {
    let world = World::with_spec(serde_json::json!({"containers": [
        {"name": "a", "image": "tiny",
         "startup": {"check": {"tcp": {"port": 1}}, "period_s": 1, "failure_threshold": 5},
         "liveness": {"check": {"tcp": {"port": 1}}, "period_s": 1}}]}))
    .await;
    world.answer("startup", Answer::Bad("closed".into()));
    world.answer("liveness", Answer::Bad("closed".into()));
    world.pass().await.unwrap();
    world.pass_after(3).await.unwrap();
    let asked = std::mem::take(&mut *lock(&world.runtime.asked));
    assert!(asked.len() >= 3 && asked.iter().all(|question| question.probe == "startup"));
    assert!(!world.status().conditions.holds("Ready"));
    world.answer("startup", Answer::Good);
    world.answer("liveness", Answer::Good);
    world.pass_after(3).await.unwrap();
    assert!(world.status().conditions.holds("Ready"));
    let asked = std::mem::take(&mut *lock(&world.runtime.asked));
    assert_eq!(asked.iter().filter(|question| question.probe == "startup").count(), 1);
    assert!(asked.iter().any(|question| question.probe == "liveness"));
    assert_eq!(world.container("a").restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_started_up_once_is_not_asked_again_by_a_new_noded() {
    let mut world = World::with_spec(serde_json::json!({"containers": [
        {"name": "a", "image": "tiny",
         "startup": {"check": {"tcp": {"port": 1}}, "period_s": 1, "failure_threshold": 1},
         "readiness": {"check": {"tcp": {"port": 2}}, "period_s": 1}}]}))
    .await;
    world.pass().await.unwrap();
    world.pass_after(3).await.unwrap();
    assert!(world.container("a").ready);
    let run = world.container("a").started_run;
    assert!(run.is_some());
    // What its start-up check looks at is long gone; it does its work.
    world.answer("startup", Answer::Bad("closed".into()));
    world.restart_noded();
    world.asked();
    world.pass().await.unwrap();
    world.steps();
    world.pass_after(5).await.unwrap();
    let asked = std::mem::take(&mut *lock(&world.runtime.asked));
    assert!(!asked.is_empty() && asked.iter().all(|question| question.probe == "readiness"));
    assert_eq!((world.steps(), world.container("a").restarts), (vec![], 0));
    assert!(world.container("a").ready);
    // The next run is asked as any other.
    world.end("a", Exit::Code(1), 1);
    world.pass().await.unwrap();
    world.pass_after(2).await.unwrap();
    assert_ne!(world.container("a").started_run, run);
    let asked = std::mem::take(&mut *lock(&world.runtime.asked));
    assert!(asked.iter().any(|question| question.probe == "startup"));
}

impl World {
    /// Lets so much time pass, then makes a pass.
    async fn later(&self, seconds: u64) -> Outcome {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        self.pass().await.unwrap()
    }

    /// Another definition of the only container.
    async fn redefine(&self, memory_mib: u64) {
        self.change(|spec| spec.containers[0].memory_mib = memory_mib).await;
        self.pass().await.unwrap();
        self.finish_stops();
        self.pass().await.unwrap();
    }

    fn revisions(&self) -> Vec<(u32, RevisionState)> {
        self.status().history.iter().map(|it| (it.number, it.state)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_that_fails_gives_way_to_the_last_good_one() {
    use RevisionState::{Failed, Good, Rolling};
    let mut world = World::ready(&["a"], "always").await;
    assert_eq!(world.pass().await.unwrap(), Outcome::Again(Duration::from_secs(10)));
    assert_eq!(world.revisions(), [(1, Rolling)]);
    assert_eq!(world.later(10).await, Outcome::Done);
    assert_eq!((world.revisions(), world.status().revision), (vec![(1, Good)], 1));
    world.redefine(65).await;
    assert_eq!((world.revisions(), world.status().revision), (vec![(1, Good), (2, Rolling)], 2));
    world.later(9).await;
    world.end("a", Exit::Code(3), 1);
    world.pass().await.unwrap();
    world.finish_stops();
    world.pass().await.unwrap();
    let status = world.status();
    assert_eq!((world.revisions(), status.revision), (vec![(1, Good), (2, Failed)], 1));
    assert_eq!(status.history[1].reason, "container `a` ended with exit code 3");
    let condition = status.conditions.get("RolledBack").unwrap();
    assert!(condition.message.contains("revision 2 failed and revision 1 runs"));
    assert_eq!(status.state, PodState::Running);
    // What is wanted stays as it was given; a new noded does not try it again.
    let spec = || world.store.get(world.pod).unwrap().unwrap().spec;
    assert_eq!(spec().containers[0].memory_mib, 65);
    world.steps();
    world.restart_noded();
    world.later(60).await;
    assert_eq!((world.steps(), world.state()), (vec![], PodState::Running));
    // The next change is the next revision.
    world.redefine(66).await;
    world.later(10).await;
    assert_eq!(world.revisions(), [(1, Good), (2, Failed), (3, Good)]);
    assert!(world.status().conditions.get("RolledBack").is_none());
    // A good one that ends later is started again and stays.
    world.end("a", Exit::Code(3), 30);
    world.pass().await.unwrap();
    assert_eq!((world.status().revision, world.state()), (3, PodState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_never_ready_or_cannot_start_gives_way() {
    use RevisionState::{Failed, Good};
    let world = World::with_spec(serde_json::json!({"update": {"deadline_s": 30},
        "containers": [{"name": "a", "image": "tiny",
            "readiness": {"check": {"tcp": {"port": 1}}, "period_s": 1}}]}))
    .await;
    world.pass().await.unwrap();
    world.pass_after(2).await.unwrap();
    world.pass_after(11).await.unwrap();
    let first = world.revisions();
    assert_eq!(first.last().unwrap().1, Good, "{first:?}");
    world.answer("readiness", Answer::Bad("closed".into()));
    world.redefine(65).await;
    world.pass_after(29).await.unwrap();
    world.answer("readiness", Answer::Good);
    world.pass_after(2).await.unwrap();
    world.finish_stops();
    world.pass().await.unwrap();
    assert_eq!(world.revisions().last().unwrap().1, Failed);
    assert!(world.status().history.last().unwrap().reason.contains("not ready within 30 s"));
    world.change(|spec| spec.containers[0].memory_mib = 66).await;
    world.pass().await.unwrap();
    world.finish_stops();
    *lock(&world.runtime.fail_next) = Some(RuntimeFault::Refused);
    world.pass().await.unwrap();
    world.finish_stops();
    world.pass_after(2).await.unwrap();
    let status = world.status();
    assert_eq!(status.history.last().unwrap().reason, "told to fail");
    assert_eq!((status.revision, status.state), (first[0].0, PodState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_paused_pod_keeps_what_runs() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.later(10).await;
    world.steps();
    world.change(|spec| spec.update.paused = true).await;
    world.redefine(65).await;
    assert_eq!((world.steps(), world.status().revision), (vec![], 1));
    // It is started again as it was.
    world.end("a", Exit::Code(1), 1);
    world.pass().await.unwrap();
    assert!(!world.steps().contains(&"make_layer a".to_owned()));
    world.change(|spec| spec.update.paused = false).await;
    world.pass().await.unwrap();
    world.finish_stops();
    world.pass().await.unwrap();
    assert_eq!(world.status().revision, 2);
    assert!(world.steps().contains(&"make_layer a".to_owned()));
}

/// Lets a pod that is to stop and go do so; nothing of it is left.
async fn stops_and_goes(world: &World) {
    world.power(Power::Stopped).await;
    world.pass().await.unwrap();
    world.finish_stops();
    world.pass().await.unwrap();
    let running = lock(&world.runtime.machine).observed.any_live();
    assert!(!running, "{:?}", world.steps());
    world.remove().await;
    world.pass().await.unwrap();
    assert!(world.store.get(world.pod).unwrap().is_none(), "{:?}", world.steps());
}

#[tokio::test(start_paused = true)]
async fn a_history_that_outgrows_the_pods_record_loses_its_oldest() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.later(10).await;
    for round in 0..12 {
        let script = round.to_string().repeat(26 * 1024).split_off(round.to_string().len());
        world.change(|spec| spec.containers[0].args = vec![script.clone()]).await;
        world.pass().await.unwrap();
        world.finish_stops();
        world.pass().await.unwrap();
        world.later(10).await;
        assert_eq!(world.state(), PodState::Running, "change {round}");
    }
    let status = world.status();
    assert_eq!(status.revision, 13);
    assert!((2..10).contains(&status.history.len()), "{:?}", world.revisions());
    assert_eq!(world.revisions().last(), Some(&(13, RevisionState::Good)));
    let condition = status.conditions.get("HistoryCut").unwrap();
    let oldest = status.history[0].number - 1;
    assert!(condition.message.contains(&format!("up to {oldest} ")), "{}", condition.message);
    // With room again, the history grows back to what is wanted.
    for memory in 100..110 {
        world.change(|spec| spec.containers[0].args.clear()).await;
        world.redefine(memory).await;
        world.later(10).await;
    }
    assert_eq!(world.status().history.len(), 10);
    assert!(world.status().conditions.get("HistoryCut").is_none());
    stops_and_goes(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_does_not_fit_never_keeps_a_pod() {
    // From before there was a limit: with 140 KiB a second copy does not fit, near 256 KiB nothing does.
    for bytes in [100 * 1024, 140 * 1024, 254 * 1024, 256 * 1024] {
        let world = World::ready(&["a"], "always").await;
        let mut bytes = bytes;
        let mut spec = world.store.get(world.pod).unwrap().unwrap().spec;
        loop {
            spec.containers[0].args = vec!["x".repeat(bytes)];
            let mut tx = Transaction::new();
            tx.put_spec::<Pod>(world.pod, None, spec.clone());
            // The last one is as large as the store takes it at all, so that no word of status fits.
            match world.store.commit(tx).await {
                Ok(_) => break,
                Err(_) => bytes -= 32,
            }
        }
        // Whether it starts or says that it cannot: it comes to rest, and it can be stopped.
        let first = world.pass().await;
        let fits = bytes <= 254 * 1024;
        assert_eq!(first.is_ok(), fits, "{bytes}: {first:?}");
        if fits {
            assert_eq!(world.state(), PodState::Running);
            world.later(10).await;
            world.end("a", Exit::Code(1), 1);
            world.later(10).await;
            world.later(60).await;
            assert_eq!(world.state(), PodState::Running, "{bytes}: {:?}", world.steps());
        }
        stops_and_goes(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_stopped_though_nothing_can_be_written_any_more() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    let status = serde_json::to_string(&world.status()).unwrap().len();
    world
        .change(|spec| {
            spec.power = Power::Stopped;
            spec.containers[0].args = vec!["x".repeat(262_144 - 1900 - status)];
        })
        .await;
    world.pass().await.unwrap();
    stops_and_goes(&world).await;
}

impl World {
    async fn put_config(&self, value: &str) {
        let spec = skerry_model::ConfigSpec {
            data: BTreeMap::from([("motd".to_owned(), value.to_owned())]),
        };
        let known = self.store.find::<skerry_model::Config>(&name("app")).unwrap();
        put(&self.store, |tx| {
            match known {
                Some(known) => tx.put_spec(known.id(), None, spec),
                None => {
                    tx.create(NewResource::<skerry_model::Config>::new(id(5), name("app"), spec))
                }
            };
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn files_follow_their_config_and_variables_wait_for_the_next_start() {
    let world = World::with_spec(serde_json::json!({
        "volumes": [{"name": "conf", "source": {"config": {"name": "app"}}},
            {"name": "scratch", "source": {"empty": {"medium": "memory"}}}],
        "containers": [{"name": "a", "image": "tiny",
            "env": [{"name": "MOTD", "config": {"name": "app", "key": "motd"}}],
            "mounts": [{"volume": "conf", "path": "/conf"}]}]}))
    .await;
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Pending);
    assert!(world.status().reason.contains("no config `app`"), "{}", world.status().reason);
    world.put_config("one").await;
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Running);
    let steps = world.steps();
    assert_eq!(steps[..2], ["make_volume conf", "make_volume scratch"]);
    world.put_config("two").await;
    let config = LocalRef { kind: Kind::Config, id: uuid::Uuid::from_u128(5) };
    let change = |after| Change { revision: 1, subject: config, before: None, after };
    let woken = world.controller.keys(&change(world.store.document(config)));
    assert_eq!(woken, [key_of(world.pod)]);
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["make_volume conf"], "the process goes on");
    world.end("a", Exit::Code(1), 1);
    world.pass().await.unwrap();
    let steps = world.steps();
    assert!(steps.contains(&"write_bundle a".to_owned()), "the next start has the new value");
    assert!(!steps.contains(&"make_layer a".to_owned()), "in the old layer");
    // A config that is gone leaves what runs alone.
    put(&world.store, |tx| {
        tx.remove(id::<skerry_model::Config>(5));
    })
    .await;
    world.pass().await.unwrap();
    assert_eq!((world.steps(), world.state()), (vec![], PodState::Running));
}

#[tokio::test(start_paused = true)]
async fn another_sort_of_volume_takes_the_pod_down_first() {
    let spec = |source: serde_json::Value| {
        serde_json::json!({"volumes": [{"name": "v", "source": source}],
            "containers": [{"name": "a", "image": "tiny",
                "mounts": [{"volume": "v", "path": "/v"}]}, {"name": "b", "image": "tiny"}]})
    };
    let world = World::with_spec(spec(serde_json::json!({"empty": {}}))).await;
    world.pass().await.unwrap();
    world.steps();
    let memory = spec(serde_json::json!({"empty": {"medium": "memory"}}));
    let memory = serde_json::from_value(memory).unwrap();
    world.change(|present| *present = memory).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["stop b", "stop a"]);
    world.finish_stops();
    world.pass().await.unwrap();
    let steps = world.steps();
    let place = |word: &str| steps.iter().position(|step| step == word).unwrap();
    assert!(place("remove_volume v") < place("make_volume v"));
    assert!(place("make_volume v") < place("start a"));
    assert_eq!(world.state(), PodState::Running);
    world.remove().await;
    for _ in 0..3 {
        world.pass().await.unwrap();
        world.finish_stops();
    }
    assert_eq!(world.steps().last().unwrap(), "remove_folders pod");
    assert!(world.store.get(world.pod).unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_kill_for_want_of_memory_is_told_until_a_good_run() {
    let mut world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.end("a", Exit::OutOfMemory, 1);
    let next = world.pass().await.unwrap();
    let killed = |world: &World| world.status().conditions.holds("OutOfMemory");
    assert!(killed(&world));
    assert!(matches!(next, Outcome::Again(wait) if wait <= Duration::from_secs(600)), "{next:?}");
    world.restart_noded();
    world.pass().await.unwrap();
    assert!(killed(&world), "a new noded knows it from the record");
    tokio::time::advance(Duration::from_secs(600)).await;
    world.pass().await.unwrap();
    assert!(!killed(&world));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_noded_adopts_what_runs() {
    let mut world = World::ready(&["a", "b"], "always").await;
    world.pass().await.unwrap();
    world.steps();
    let before = world.status();
    world.restart_noded();
    // Even if the port's record says otherwise for a while, a running pod is left alone.
    world.set_port(false).await;
    world.pass().await.unwrap();
    assert_eq!((world.steps(), world.status()), (vec![], before));
}

#[tokio::test(start_paused = true)]
async fn exits_are_counted_and_waits_follow_the_curve() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    for (round, wait) in [0, 10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
        world.end("a", Exit::Code(2), 1);
        let outcome = world.pass().await.unwrap();
        if wait > 0 {
            let expected = Duration::from_secs(wait);
            assert_eq!(outcome, Outcome::Again(expected), "round {round}");
            assert_eq!(world.state(), PodState::Backoff);
            assert!(world.status().next_try.is_some());
            tokio::time::advance(expected).await;
            world.pass().await.unwrap();
        }
        assert_eq!(world.state(), PodState::Running, "round {round}");
        assert_eq!(world.container("a").restarts as usize, round + 1);
    }
    assert_eq!(world.status().next_try, None);
    // A good run ends the series.
    world.end("a", Exit::OutOfMemory, 600);
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Running);
    assert_eq!(world.container("a").exit_reason, "oom");
}

#[tokio::test(start_paused = true)]
async fn many_exits_are_called_a_crash_loop_until_they_are_past() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    for _ in 0..6 {
        assert!(!world.status().conditions.holds("CrashLoop"));
        world.end("a", Exit::Signal(11), 1);
        if let Outcome::Again(wait) = world.pass().await.unwrap() {
            tokio::time::advance(wait).await;
            world.pass().await.unwrap();
        }
    }
    assert!(world.status().conditions.holds("CrashLoop"));
    assert_eq!(world.container("a").exit_reason, "signal 11");
    tokio::time::advance(Duration::from_secs(601)).await;
    world.pass().await.unwrap();
    assert!(world.status().conditions.get("CrashLoop").is_none());
}

#[tokio::test(start_paused = true)]
async fn policies_decide_about_ended_containers() {
    for (policy, exit, state) in [
        ("never", Exit::Code(0), PodState::Succeeded),
        ("never", Exit::Code(1), PodState::Failed),
        ("on_failure", Exit::Code(0), PodState::Succeeded),
        ("on_failure", Exit::Code(1), PodState::Running),
        ("always", Exit::Code(0), PodState::Running),
    ] {
        let mut world = World::ready(&["a"], policy).await;
        world.pass().await.unwrap();
        world.end("a", exit.clone(), 1);
        world.pass().await.unwrap();
        assert_eq!(world.state(), state, "{policy} {exit:?}");
        if state == PodState::Running {
            continue;
        }
        // Neither a restart of noded nor a power cut runs a finished task again; a person does.
        world.restart_noded();
        world.pass().await.unwrap();
        assert_eq!(world.state(), state);
        world.cut_power();
        world.steps();
        world.pass().await.unwrap();
        assert_eq!((world.state(), world.steps()), (state, vec![]));
        assert_eq!(world.container("a").state, ContainerState::Exited);
        ask(&world, PodRequestKind::Restart, wanted(&world)).await;
        world.pass().await.unwrap();
        assert_eq!(world.state(), PodState::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_the_stop_time_and_then_kills() {
    let world = World::ready(&["a", "b"], "always").await;
    world.pass().await.unwrap();
    world.steps();
    world.power(Power::Stopped).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["stop b", "stop a"]);
    assert_eq!(world.state(), PodState::Stopping);
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(world.pass().await.unwrap(), Outcome::Again(Duration::from_secs(1)));
    assert_eq!(world.steps(), Vec::<String>::new());
    tokio::time::advance(Duration::from_secs(1)).await;
    world.pass().await.unwrap();
    let steps = world.steps();
    assert_eq!(steps[..2], ["kill b", "kill a"]);
    assert!(!steps.contains(&"remove_layer a".to_owned()), "data outlives a stop");
    assert_eq!(world.state(), PodState::Stopped);
    assert_eq!(world.container("a").restarts, 0, "a wanted end is no failure");
    world.power(Power::Running).await;
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_does_not_wait() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.steps();
    world.power(Power::Stopped).await;
    ask(&world, PodRequestKind::Kill, wanted(&world)).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps()[0], "kill a");
    assert_eq!(world.state(), PodState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_all_containers_down_and_up() {
    let world = World::ready(&["a"], "never").await;
    world.pass().await.unwrap();
    world.steps();
    ask(&world, PodRequestKind::Restart, wanted(&world)).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["stop a"]);
    let ended = Run::Ended { run: "1".into(), exit: Exit::Signal(15), ran_for: Duration::ZERO };
    lock(&world.runtime.machine).at(&name("a")).run = ended;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["forget a", "start a"]);
    assert_eq!(world.state(), PodState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_person_can_start_what_has_ended_or_waits() {
    let world = World::ready(&["a", "b"], "on_failure").await;
    world.pass().await.unwrap();
    world.end("b", Exit::Code(0), 1);
    for _ in 0..2 {
        world.end("a", Exit::Code(1), 1);
        world.pass().await.unwrap();
    }
    assert_eq!(world.state(), PodState::Backoff);
    world.steps();
    ask(&world, PodRequestKind::Start, wanted(&world)).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["forget a", "start a", "forget b", "start b"]);
    assert_eq!(world.state(), PodState::Running);
    ask(&world, PodRequestKind::Start, wanted(&world)).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_changed_container_is_replaced_and_its_layer_dropped() {
    let world = World::ready(&["a", "b"], "always").await;
    world.pass().await.unwrap();
    world.steps();
    world.change(|spec| spec.containers[0].memory_mib = 128).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["stop a"]);
    world.finish_stops();
    world.pass().await.unwrap();
    assert_eq!(
        world.steps(),
        [
            "unmount_root a",
            "remove_bundle a",
            "remove_layer a",
            "make_layer a",
            "write_bundle a",
            "mount_root a",
            "start a"
        ]
    );
    world.change(|spec| drop(spec.containers.remove(1))).await;
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["stop b"]);
    world.finish_stops();
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["unmount_root b", "remove_bundle b", "remove_layer b"]);
    assert_eq!(world.state(), PodState::Running);
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_everything_is_remade_over_the_old_layer() {
    let mut world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.cut_power();
    world.steps();
    world.pass().await.unwrap();
    assert_eq!(world.steps(), ["write_bundle a", "mount_root a", "start a"]);
    assert_eq!((world.state(), world.container("a").restarts), (PodState::Running, 0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_failed_with_its_reason_and_healed_when_it_can() {
    let world = World::ready(&["a"], "always").await;
    *lock(&world.runtime.fail_next) = Some(RuntimeFault::Refused);
    let failure = world.pass().await.unwrap_err();
    assert_eq!(failure.class, skerry_engine::ErrorClass::NeedsOperator);
    assert_eq!((world.state(), world.status().reason.as_str()), (PodState::Failed, "told to fail"));
    let revision = world.store.revision();
    *lock(&world.runtime.fail_next) = Some(RuntimeFault::Refused);
    world.pass().await.unwrap_err();
    assert_eq!(world.store.revision(), revision, "trying again writes nothing new");
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.status().reason.as_str()), (PodState::Running, ""));
}

#[tokio::test(start_paused = true)]
async fn deleting_removes_all_parts_before_the_record() {
    let world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.steps();
    world.remove().await;
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.steps()), (PodState::Deleting, vec!["stop a".to_owned()]));
    world.finish_stops();
    assert_eq!(world.pass().await.unwrap(), Outcome::Done);
    assert_eq!(
        world.steps(),
        ["unmount_root a", "remove_bundle a", "remove_layer a", "remove_folders pod"]
    );
    assert!(world.store.get(world.pod).unwrap().is_none());
    assert!(lock(&world.runtime.machine).observed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn changes_of_what_a_pod_needs_wake_it() {
    let world = World::new(&["a"], "always").await;
    let key = key_of(world.pod);
    for subject in [
        LocalRef { kind: Kind::Port, id: world.port.uuid() },
        LocalRef { kind: Kind::Image, id: world.image.uuid() },
        LocalRef { kind: Kind::Network, id: uuid::Uuid::from_u128(3) },
        key,
    ] {
        let after = world.store.document(subject);
        let change = Change { revision: 1, subject, before: None, after };
        assert_eq!(world.controller.keys(&change), [key], "{subject:?}");
    }
    assert_eq!(world.controller.keys_for(RuntimeEvent::All), [key]);
    assert_eq!(world.controller.keys_for(RuntimeEvent::Pod(world.pod)), [key]);
}

/// What may happen to a pod, in any order.
#[derive(Debug, Clone)]
enum Happening {
    Power(Power),
    Start,
    Restart,
    Kill,
    End(&'static str, Exit),
    StopsFinish,
    Port(bool),
    Image(bool),
    NodedRestarts,
    PowerCut,
    Wait(u64),
    StepFails(RuntimeFault),
    Change(u64),
    Remove,
}

fn happening() -> impl Strategy<Value = Happening> {
    let container = prop_oneof![Just("a"), Just("b")];
    let exit = prop_oneof![
        Just(Exit::Code(0)),
        Just(Exit::Code(1)),
        Just(Exit::OutOfMemory),
        Just(Exit::NotStarted("no such file".into())),
    ];
    let fault = prop_oneof![
        Just(RuntimeFault::Passing),
        Just(RuntimeFault::Refused),
        Just(RuntimeFault::NoSpace),
        Just(RuntimeFault::Broken),
    ];
    prop_oneof![
        2 => prop_oneof![Just(Power::Running), Just(Power::Stopped)].prop_map(Happening::Power),
        1 => Just(Happening::Start),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Kill),
        4 => (container, exit).prop_map(|(name, exit)| Happening::End(name, exit)),
        3 => Just(Happening::StopsFinish),
        1 => any::<bool>().prop_map(Happening::Port),
        1 => any::<bool>().prop_map(Happening::Image),
        2 => Just(Happening::NodedRestarts),
        2 => Just(Happening::PowerCut),
        3 => (1_u64..700).prop_map(Happening::Wait),
        2 => fault.prop_map(Happening::StepFails),
        1 => (64_u64..66).prop_map(Happening::Change),
        1 => Just(Happening::Remove),
    ]
}

async fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::Power(power) => world.power(*power).await,
        Happening::Start => ask(world, PodRequestKind::Start, wanted(world)).await,
        Happening::Restart => ask(world, PodRequestKind::Restart, wanted(world)).await,
        Happening::Kill => ask(world, PodRequestKind::Kill, wanted(world)).await,
        Happening::End(container, exit) => world.end(container, exit.clone(), 1),
        Happening::StopsFinish => world.finish_stops(),
        Happening::Port(ready) => world.set_port(*ready).await,
        Happening::Image(available) => world.set_image(*available).await,
        Happening::NodedRestarts => world.restart_noded(),
        Happening::PowerCut => world.cut_power(),
        Happening::Wait(seconds) => tokio::time::advance(Duration::from_secs(*seconds)).await,
        Happening::StepFails(fault) => *lock(&world.runtime.fail_next) = Some(*fault),
        Happening::Change(memory) => {
            world.change(|spec| spec.containers[0].memory_mib = *memory).await;
        }
        Happening::Remove => world.remove().await,
    }
}

/// A process is only ever stopped because somebody wanted it so.
fn stop_is_wanted(happening: &Happening, stopping_before: bool) -> bool {
    stopping_before
        || matches!(
            happening,
            Happening::Power(Power::Stopped)
                | Happening::Restart
                | Happening::Change(_)
                | Happening::Remove
        )
}

async fn live_through(happenings: Vec<Happening>, restart: RestartPolicy) {
    let mut world = World::ready(&["a", "b"], "always").await;
    world.change(|spec| spec.restart = restart).await;
    let mut stop_wanted = false;
    for happening in &happenings {
        happen(&mut world, happening).await;
        stop_wanted = stop_is_wanted(happening, stop_wanted);
        if let Err(failure) = world.pass().await {
            assert!(
                failure.message.contains("told to fail"),
                "unexpected failure: {}",
                failure.message
            );
        }
        let steps = world.steps();
        let stops = steps.iter().any(|step| step.starts_with("stop") || step.starts_with("kill"));
        assert!(stop_wanted || !stops, "{happening:?} led to {steps:?}");
    }
    arrive(&mut world).await;
}

/// Whatever happened: with everything there and time passing, the pod gets where it is wanted, and a removal
/// leaves nothing.
async fn arrive(world: &mut World) {
    lock(&world.runtime.fail_next).take();
    world.set_port(true).await;
    world.set_image(true).await;
    for _ in 0..4 {
        world.pass().await.unwrap();
        tokio::time::advance(Duration::from_secs(301)).await;
        world.finish_stops();
    }
    world.pass().await.unwrap();
    if let Some(pod) = world.store.get(world.pod).unwrap() {
        let live = lock(&world.runtime.machine).observed.any_live();
        match pod.status.state {
            PodState::Running => assert!(live && pod.spec.power == Power::Running),
            PodState::Stopped => assert!(!live && pod.spec.power == Power::Stopped),
            PodState::Succeeded | PodState::Failed => {
                assert!(!live && pod.spec.restart != RestartPolicy::Always);
            }
            other => panic!("did not come to rest: {other:?}, {:?}", pod.status),
        }
        assert_eq!(pod.status.observed_generation, pod.meta.generation);
        world.steps();
        let revision = world.store.revision();
        assert_eq!(world.pass().await.unwrap(), Outcome::Done);
        assert_eq!((world.steps(), world.store.revision()), (vec![], revision));
        world.remove().await;
        world.pass().await.unwrap();
        tokio::time::advance(Duration::from_secs(301)).await;
        world.pass().await.unwrap();
    }
    assert!(world.store.get(world.pod).unwrap().is_none());
    assert!(lock(&world.runtime.machine).observed.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_life_ends_where_it_is_wanted(
        happenings in proptest::collection::vec(happening(), 0..24),
        restart in prop_oneof![
            Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live_through(happenings, restart));
    }
}

/// A request as the API writes it: in the record, with the next number.
fn wanted(world: &World) -> Power {
    world.store.get(world.pod).unwrap().map_or(Power::Running, |pod| pod.spec.power)
}

async fn ask(world: &World, what: PodRequestKind, power: Power) {
    world
        .change(|spec| {
            let number = spec.request.map_or(0, |request| request.number) + 1;
            spec.request = Some(skerry_model::PodRequest { number, what });
            spec.power = power;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn requests_outlive_the_service_and_are_done_once() {
    use PodRequestKind::{Kill, Restart, Start};
    let mut world = World::ready(&["a"], "never").await;
    world.pass().await.unwrap();
    ask(&world, Restart, Power::Running).await;
    // Noded ends before it has looked.
    world.restart_noded();
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.status().request_done), (PodState::Stopping, 0));
    world.restart_noded();
    world.finish_stops();
    world.steps();
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.status().request_done), (PodState::Running, 1));
    assert_eq!(world.starts(), ["start a"]);
    world.restart_noded();
    world.pass().await.unwrap();
    assert_eq!(world.steps(), Vec::<String>::new(), "it is not done again");

    world.end("a", Exit::Code(0), 1);
    world.pass().await.unwrap();
    assert_eq!(world.state(), PodState::Succeeded);
    ask(&world, Start, Power::Running).await;
    world.cut_power();
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.status().request_done), (PodState::Running, 2));

    ask(&world, Kill, Power::Stopped).await;
    world.restart_noded();
    world.steps();
    world.pass().await.unwrap();
    assert!(world.steps().contains(&"kill a".to_owned()));
    world.finish_stops();
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.status().request_done), (PodState::Stopped, 3));
    // A kill that was overtaken by a start kills nothing.
    ask(&world, Kill, Power::Running).await;
    world.steps();
    world.pass().await.unwrap();
    assert!(!world.steps().iter().any(|step| step.starts_with("kill")));
    assert_eq!((world.state(), world.status().request_done), (PodState::Running, 4));
}

#[tokio::test(start_paused = true)]
async fn after_a_boot_no_record_says_that_a_pod_runs_before_it_does() {
    let mut world = World::ready(&["a"], "always").await;
    world.pass().await.unwrap();
    world.pass().await.unwrap();
    world.restart_noded();
    world.controller.prepare().await.unwrap();
    assert_eq!(world.state(), PodState::Running, "it is the same boot");
    world.cut_power();
    let main = world.container("a");
    assert_eq!((world.state(), main.state), (PodState::Pending, ContainerState::Waiting));
    assert_eq!((main.pid, main.ready, main.restarts), (None, false, 0));
    assert_eq!(
        world.status().conditions.get("Ready").map(|it| it.state),
        Some(ConditionState::False)
    );
    world.pass().await.unwrap();
    world.pass().await.unwrap();
    assert_eq!((world.state(), world.container("a").restarts), (PodState::Running, 0));
}

#[tokio::test(start_paused = true)]
async fn a_boot_makes_of_a_pod_what_its_record_says() {
    for (autostart, power, after) in [
        (skerry_model::Autostart::Always, Power::Stopped, PodState::Running),
        (skerry_model::Autostart::Never, Power::Running, PodState::Stopped),
    ] {
        let mut world = World::ready(&["a"], "always").await;
        world.change(|spec| spec.autostart = autostart).await;
        world.power(power).await;
        world.pass().await.unwrap();
        world.cut_power();
        world.pass().await.unwrap();
        world.pass().await.unwrap();
        assert_eq!(world.state(), after);
        assert_eq!(world.status().boot.as_deref(), Some("two"));
        // What is wanted later in the same boot holds.
        world.power(power).await;
        world.pass().await.unwrap();
        world.finish_stops();
        world.pass().await.unwrap();
        assert_ne!(world.state(), after);
    }
}
