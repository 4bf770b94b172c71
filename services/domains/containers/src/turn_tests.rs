use serde_json::{Value, json};
use skerry_model::{ConditionState, Id, NewResource, PodStatus, Timestamp};
use skerry_store::{Store, Transaction};
use uuid::Uuid;

use super::*;

/// A pod with this in its spec, in this state since a boot.
async fn pod(store: &Store, name: &str, more: Value, state: PodState, boot: &str) -> Resource<Pod> {
    let mut spec = json!({"containers": [{"name": "a", "image": "tiny"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let id = Id::<Pod>::new(Uuid::new_v4());
    let spec = serde_json::from_value(spec).unwrap();
    let mut status = PodStatus { state, boot: Some(boot.to_owned()), ..PodStatus::default() };
    if state == PodState::Running {
        let ready = ConditionState::True;
        status.conditions.set("Ready", ready, "Test", "", Timestamp::UNIX_EPOCH);
    }
    let mut tx = Transaction::new();
    tx.create(NewResource::<Pod>::new(id, name.parse().unwrap(), spec));
    tx.put_status(id, status);
    store.commit(tx).await.unwrap();
    store.get(id).unwrap().unwrap()
}

fn reason(held: Option<Held>) -> String {
    match held {
        Some(Held::Turn(missing)) => format!("turn: {}", missing.reason),
        Some(Held::Dependency(missing)) => format!("dependency: {}", missing.reason),
        None => String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_boot_lower_ones_go_first_and_each_after_its_delay() {
    let store = Store::in_memory();
    let none = json!({});
    let web = pod(&store, "web", json!({"start_delay_s": 5}), PodState::Running, "old").await;
    let base = pod(&store, "base", json!({"start_order": 10}), PodState::Running, "old").await;
    let off = json!({"start_order": 1, "power": "stopped"});
    let never = json!({"start_order": 1, "autostart": "never"});
    let off = pod(&store, "off", off, PodState::Stopped, "old").await;
    let never = pod(&store, "never", never, PodState::Running, "old").await;
    let mut memory = PodMemory::default();
    let mut look = |others: &[Resource<Pod>]| {
        reason(held(&web, others, &HashSet::new(), Some("new"), &mut memory, Instant::now()))
    };
    let others = [base.clone(), off.clone(), never.clone()];
    assert_eq!(look(&others), "turn: waits for pod `base`, which is started first");
    let up = pod(&store, "base-2", json!({"start_order": 10}), PodState::Starting, "new").await;
    assert!(look(&[up.clone(), off.clone()]).contains("5 s after"));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(look(&[up.clone(), off, never]), "");
    assert_eq!(look(&vec![up; AT_ONCE]), "turn: waits while 4 other pods are started");
    // One that never comes holds nobody back for ever.
    tokio::time::advance(LONGEST_QUEUE).await;
    assert_eq!(look(&others), "");
    let new = pod(&store, "new", none, PodState::Pending, "new").await;
    let nobody = HashSet::new();
    assert_eq!(held(&new, &others, &nobody, Some("new"), &mut memory, Instant::now()), None);
    assert_eq!(held(&web, &others, &nobody, None, &mut memory, Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn who_was_just_let_on_counts_as_one_that_is_started() {
    let store = Store::in_memory();
    let mut others = Vec::new();
    for number in 0..AT_ONCE {
        let name = format!("other-{number}");
        others.push(pod(&store, &name, json!({}), PodState::Running, "old").await);
    }
    let web = pod(&store, "web", json!({}), PodState::Running, "old").await;
    let look = |let_on: &HashSet<Id<Pod>>| {
        let memory = &mut PodMemory::default();
        reason(held(&web, &others, let_on, Some("new"), memory, Instant::now()))
    };
    let mut let_on: HashSet<Id<Pod>> = others.iter().map(Resource::id).collect();
    assert_eq!(look(&let_on), "turn: waits while 4 other pods are started");
    let_on.remove(&others[0].id());
    assert_eq!(look(&let_on), "");
}

#[tokio::test(start_paused = true)]
async fn what_it_depends_on_must_be_there_in_this_boot() {
    let store = Store::in_memory();
    let on = |condition: &str| json!({"depends_on": [{"pod": "db", "condition": condition}]});
    let web = pod(&store, "web", on("ready"), PodState::Pending, "new").await;
    let eager = pod(&store, "eager", on("running"), PodState::Pending, "new").await;
    let mut memory = PodMemory::default();
    let mut look = |pod: &Resource<Pod>, others: &[Resource<Pod>]| {
        reason(held(pod, others, &HashSet::new(), Some("new"), &mut memory, Instant::now()))
    };
    assert!(look(&web, &[]).contains("there is no pod `db`"));
    let mut db = pod(&store, "db", json!({}), PodState::Running, "old").await;
    let waits = "dependency: waits for pod `db` to be ready";
    assert_eq!(look(&web, &[db.clone()]), waits, "that was before the boot");
    db.status.boot = Some("new".to_owned());
    assert_eq!(look(&web, &[db.clone()]), "");
    let unready = ConditionState::False;
    db.status.conditions.set("Ready", unready, "Test", "", Timestamp::UNIX_EPOCH);
    assert_eq!(look(&web, &[db.clone()]), waits);
    assert_eq!(look(&eager, &[db.clone()]), "");
    db.status.state = PodState::Backoff;
    assert_eq!(look(&eager, &[db]), "dependency: waits for pod `db` to be running");
}
