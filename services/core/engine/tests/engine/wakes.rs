//! What causes a pass, and what does not.

use std::time::Duration;

use skerry_engine::{Failure, Outcome};
use skerry_model::Kind;
use skerry_store::Store;

use crate::support::{
    Act, Scripted, create, create_user, key, pass, start, start_with, tell_status, user_key, want,
};

#[tokio::test(start_paused = true)]
async fn a_change_during_a_pass_causes_one_more_and_never_two_at_once() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let long = Act::Work(Duration::from_secs(10), Outcome::Done);
    let running = start(Scripted::new(&store).script(1, &[long]));
    pass(1.0).await;
    for round in 0..20 {
        want(&store, 1, &format!("wanted {round}")).await;
        pass(0.1).await;
    }
    pass(60.0).await;
    // One pass before, one after, whatever the number of changes.
    assert_eq!(running.controller.seconds(1).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn its_own_status_does_not_wake_a_controller() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let running = start(Scripted::new(&store).script(1, &[Act::Write("seen", Outcome::Done)]));
    pass(60.0).await;
    assert_eq!(running.controller.seconds(1), [0.0]);
    assert_eq!(store.revision(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_others_does() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let mut controller = Scripted::new(&store);
    controller.writes = &[Kind::Vm];
    let running = start(controller);
    pass(1.0).await;
    tell_status(&store, 1, "ready").await;
    pass(1.0).await;
    assert_eq!(running.controller.seconds(1).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn kinds_that_are_not_watched_wake_nobody() {
    let store = Store::in_memory();
    let running = start(Scripted::new(&store));
    pass(1.0).await;
    create_user(&store, 3).await;
    pass(10.0).await;
    assert_eq!(running.controller.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_driver_event_wakes_a_key_or_all_keys() {
    let store = Store::in_memory();
    create(&store, 1).await;
    create(&store, 2).await;
    let running = start(Scripted::new(&store));
    pass(1.0).await;
    for _ in 0..100 {
        assert!(running.handle.wake("scripted", key(1)));
    }
    assert!(!running.handle.wake("nobody", key(1)));
    pass(1.0).await;
    assert_eq!((running.controller.times(1).len(), running.controller.times(2).len()), (2, 1));
    assert!(running.handle.wake_all("scripted"));
    pass(1.0).await;
    assert_eq!((running.controller.times(1).len(), running.controller.times(2).len()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_events_does_not_make_a_failing_key_spin() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let fail = Act::Fail(|| Failure::retry("no"));
    let running = start(Scripted::new(&store).script(1, &vec![fail; 1000]));
    for _ in 0..1000 {
        running.handle.wake("scripted", key(1));
        pass(0.01).await;
    }
    // Ten seconds: at most one pass a second.
    let passes = running.controller.seconds(1).len();
    assert!((9..=11).contains(&passes), "{passes}");
}

#[tokio::test(start_paused = true)]
async fn no_more_passes_run_at_once_than_allowed_and_none_starves() {
    let store = Store::in_memory();
    let mut controller = Scripted::new(&store);
    for n in 0..20 {
        create(&store, n).await;
        controller = controller.script(n, &[Act::Work(Duration::from_secs(1), Outcome::Done)]);
    }
    let running = start_with(controller, 3);
    pass(30.0).await;
    assert_eq!(running.controller.most_at_once(), 3);
    assert!((0..20).all(|n| running.controller.times(n).len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_without_a_resource_is_looked_at_on_start_and_resync() {
    let store = Store::in_memory();
    let mut controller = Scripted::new(&store);
    controller.extra = vec![user_key(1)];
    let running = start(controller);
    pass(310.0).await;
    assert_eq!(running.controller.count(), 2);
    assert_eq!(running.handle.explain(user_key(1)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn missed_changes_lead_to_a_look_at_everything() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let running = start(Scripted::new(&store));
    pass(1.0).await;
    // More changes than the history holds, without giving the loop a turn in between.
    create(&store, 2).await;
    for round in 0..2000 {
        want(&store, 1, &format!("wanted {round}")).await;
    }
    pass(1.0).await;
    assert_eq!(running.controller.times(2).len(), 1);
    assert_eq!(running.controller.times(1).len(), 2);
}
