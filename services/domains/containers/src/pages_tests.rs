//! Huge pages over the life of a pod, against an account in memory.

use skerry_model::{HugePageSize, HugePagesTaken};

use super::*;
use crate::PageAccount;

const SIZE: HugePageSize = HugePageSize::Mib2;

/// So many pages of 2 MiB are left for the pod, whoever has the rest.
struct Account(Mutex<u64>);

#[async_trait]
impl PageAccount for Account {
    async fn turn(&self) -> Box<dyn Send> {
        Box::new(())
    }

    fn find(
        &self,
        _pod: Id<Pod>,
        wanted: &[(HugePageSize, u64)],
        _held: &[HugePagesTaken],
    ) -> Result<Vec<HugePagesTaken>, String> {
        let left = *lock(&self.0);
        let [(SIZE, count)] = wanted else { return Err(format!("{wanted:?}")) };
        match *count <= left {
            true => Ok(of(*count)),
            false => Err(format!("asks for {count}, {left} are left")),
        }
    }
}

fn of(count: u64) -> Vec<HugePagesTaken> {
    vec![HugePagesTaken { node: 0, size: SIZE, count }]
}

struct Paged {
    world: World,
    account: Arc<Account>,
}

impl Paged {
    /// A pod with two pages, a folder of them, and this policy.
    async fn new(left: u64, restart: &str) -> Self {
        let world = World::ready(&["a"], restart).await;
        let account = Arc::new(Account(Mutex::new(left)));
        let mut paged = Self { world, account };
        paged.restart_noded();
        paged.want(2).await;
        paged
    }

    fn restart_noded(&mut self) {
        let (store, runtime) = (self.world.store.clone(), self.world.runtime.clone());
        let controller = PodController::new(store, runtime, clock, self.world.boot);
        self.world.controller = controller.with_pages(self.account.clone());
    }

    async fn want(&self, count: u64) {
        let volume = serde_json::json!(
            {"name": "huge", "source": {"empty": {"medium": "huge_pages_2Mi"}}});
        let mount = serde_json::json!({"volume": "huge", "path": "/huge"});
        self.world
            .change(|spec| {
                let pages = skerry_model::ContainerPages { size: SIZE, mib: 2 * count };
                spec.containers[0].huge_pages = if count > 0 { vec![pages] } else { vec![] };
                let is_any = count > 0;
                spec.containers[0].mounts =
                    is_any.then(|| serde_json::from_value(mount).unwrap()).into_iter().collect();
                spec.volumes =
                    is_any.then(|| serde_json::from_value(volume).unwrap()).into_iter().collect();
            })
            .await;
    }

    /// Goes on until nothing changes.
    async fn settle(&self) -> PodState {
        for _ in 0..5 {
            self.world.pass().await.unwrap();
            self.world.finish_stops();
        }
        self.world.state()
    }

    fn held(&self) -> Vec<HugePagesTaken> {
        self.world.status().huge_pages
    }

    fn folder_is_there(&self) -> bool {
        lock(&self.world.runtime.machine).observed.volumes.contains_key(&name("huge"))
    }
}

#[tokio::test(start_paused = true)]
async fn they_are_written_down_before_the_start_and_given_back_with_the_folder() {
    let paged = Paged::new(2, "always").await;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(2)));
    assert!(paged.folder_is_there());
    paged.world.power(Power::Stopped).await;
    paged.world.pass().await.unwrap();
    assert_eq!((paged.world.state(), paged.held()), (PodState::Stopping, of(2)), "it still runs");
    paged.world.finish_stops();
    assert_eq!((paged.settle().await, paged.held()), (PodState::Stopped, vec![]));
    assert!(!paged.folder_is_there(), "it would hold what is others'");
    paged.world.power(Power::Running).await;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(2)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_them_and_says_how_many_are_short() {
    let paged = Paged::new(1, "always").await;
    let outcome = paged.world.pass().await.unwrap();
    assert_eq!(outcome, Outcome::Again(Duration::from_secs(10)));
    assert_eq!((paged.world.state(), paged.held()), (PodState::Pending, vec![]));
    assert_eq!(paged.world.status().reason, "asks for 2, 1 are left");
    assert!(paged.world.steps().iter().all(|step| !step.starts_with("start")));
    *lock(&paged.account.0) = 2;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(2)));
    // What others take meanwhile changes nothing.
    *lock(&paged.account.0) = 0;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(2)));
}

#[tokio::test(start_paused = true)]
async fn another_number_takes_the_pod_and_its_folder_down_first() {
    let paged = Paged::new(9, "always").await;
    paged.settle().await;
    paged.world.steps();
    for count in [5, 1] {
        paged.want(count).await;
        assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(count)));
        let steps = paged.world.steps();
        let at = |word: &str| steps.iter().position(|step| step.starts_with(word)).unwrap();
        let order = [at("stop"), at("remove_volume"), at("make_volume"), at("start")];
        assert!(order.is_sorted(), "{steps:?}");
    }
    paged.want(0).await;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, vec![]));
    assert!(!paged.folder_is_there());
    // And from none to some.
    paged.want(3).await;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(3)));
}

#[tokio::test(start_paused = true)]
async fn a_task_gives_them_back_when_it_is_done_and_a_crash_does_not() {
    let paged = Paged::new(2, "on_failure").await;
    paged.settle().await;
    paged.world.end("a", Exit::Code(3), 1);
    paged.world.pass().await.unwrap();
    assert!(paged.folder_is_there() && paged.held() == of(2), "it starts again");
    paged.settle().await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(paged.settle().await, PodState::Running);
    paged.world.end("a", Exit::Code(0), 1);
    assert_eq!((paged.settle().await, paged.held()), (PodState::Succeeded, vec![]));
    assert!(!paged.folder_is_there());
}

#[tokio::test(start_paused = true)]
async fn they_outlive_noded_and_a_power_cut_and_are_let_go_if_there_are_too_few() {
    let mut paged = Paged::new(2, "always").await;
    paged.settle().await;
    paged.world.steps();
    paged.restart_noded();
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(2)));
    assert_eq!(paged.world.steps(), [""; 0], "nothing is done to what runs");
    paged.world.cut_power();
    lock(&paged.world.runtime.machine).observed.volumes.clear();
    paged.restart_noded();
    *lock(&paged.account.0) = 1;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Pending, vec![]));
    assert_eq!(paged.world.status().reason, "asks for 2, 1 are left");
    *lock(&paged.account.0) = 3;
    assert_eq!((paged.settle().await, paged.held()), (PodState::Running, of(2)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hands_out_none_says_so() {
    let mut paged = Paged::new(2, "always").await;
    paged.world.restart_noded();
    paged.settle().await;
    assert_eq!(paged.world.state(), PodState::Pending);
    assert!(paged.world.status().reason.contains("hands out no huge pages"));
    paged.restart_noded();
    paged.settle().await;
    paged.world.remove().await;
    paged.settle_removal().await;
    assert!(paged.world.store.get(paged.world.pod).unwrap().is_none());
    assert!(lock(&paged.world.runtime.machine).observed.is_empty());
}

impl Paged {
    async fn settle_removal(&self) {
        for _ in 0..5 {
            self.world.pass().await.unwrap();
            self.world.finish_stops();
        }
    }
}
