//! What follows from the end of a pass.

use std::time::Duration;

use skerry_engine::{ErrorClass, Failure, Outcome, PassEnd};
use skerry_store::{Store, Transaction};

use crate::support::{Act, Scripted, create, id, key, pass, start, want};

async fn one_job() -> Store {
    let store = Store::in_memory();
    create(&store, 1).await;
    store
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_is_done_is_not_repeated_before_the_resync() {
    let store = one_job().await;
    let running = start(Scripted::new(&store));
    pass(299.0).await;
    assert_eq!(running.controller.seconds(1), [0.0]);
    pass(310.0).await;
    assert_eq!(running.controller.seconds(1).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn again_means_after_that_time() {
    let store = one_job().await;
    let again = Act::End(Outcome::Again(Duration::from_secs(7)));
    let running = start(Scripted::new(&store).script(1, &[again.clone(), again]));
    pass(100.0).await;
    let times = running.controller.times(1);
    assert_eq!(times.iter().map(Duration::as_secs).collect::<Vec<_>>(), [0, 7, 14]);
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_heal_are_tried_again_ever_more_slowly() {
    let store = one_job().await;
    let fail = Act::Fail(|| Failure::retry("not yet"));
    let running = start(Scripted::new(&store).script(1, &vec![fail; 7]));
    pass(250.0).await;
    let times = running.controller.seconds(1);
    let waits: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 7, "{waits:?}");
    for (round, wait) in waits.iter().enumerate() {
        let base = f64::from(1 << round);
        assert!((base..=base * 1.25 + 0.01).contains(wait), "{waits:?}");
    }
    assert!(running.handle.failing().is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_failures_are_tried_again_after_five_minutes() {
    for fail in [
        Act::Fail(|| Failure::needs_operator("plug it in")),
        Act::Fail(|| Failure::bug("cannot be")),
        Act::Panic,
    ] {
        let store = one_job().await;
        let running = start(Scripted::new(&store).script(1, &[fail]));
        pass(299.0).await;
        assert_eq!(running.controller.seconds(1).len(), 1);
        assert_eq!(running.handle.failing().len(), 1);
        pass(3.0).await;
        assert_eq!(running.controller.seconds(1).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_bug_and_the_loop_goes_on() {
    let store = one_job().await;
    create(&store, 2).await;
    let running = start(Scripted::new(&store).script(1, &[Act::Panic]));
    pass(1.0).await;
    let report = &running.handle.explain(key(1))[0];
    let PassEnd::Failed { class, errors } = &report.end else { panic!("{report:?}") };
    assert_eq!(*class, ErrorClass::Bug);
    assert!(errors[0].contains("beside itself"), "{errors:?}");
    assert_eq!(report.plan, ["look at the script"]);
    want(&store, 2, "other").await;
    pass(1.0).await;
    assert_eq!(running.controller.seconds(2).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn something_else_wanted_ends_the_wait_and_starts_the_count_anew() {
    let store = one_job().await;
    let fail = Act::Fail(|| Failure::retry("not yet"));
    let running = start(Scripted::new(&store).script(1, &vec![fail; 8]));
    // Five failures at about 0, 1, 3, 7 and 15 s: the next would be at 31 s or later.
    pass(20.0).await;
    assert_eq!(running.controller.seconds(1).len(), 5);
    want(&store, 1, "other").await;
    pass(1.5).await;
    // At once, and then after 1 s again.
    assert_eq!(running.controller.seconds(1).len(), 7, "{:?}", running.controller.seconds(1));
}

#[tokio::test(start_paused = true)]
async fn blocked_waits_for_a_change_of_that_resource() {
    let store = one_job().await;
    create(&store, 2).await;
    let blocked = Act::End(Outcome::Blocked(key(2)));
    let running = start(Scripted::new(&store).script(1, &[blocked]));
    pass(50.0).await;
    assert_eq!(running.controller.seconds(1), [0.0]);
    // Even a change of status, which wakes nobody else here.
    crate::support::tell_status(&store, 2, "ready").await;
    pass(1.0).await;
    assert_eq!(running.controller.seconds(1).len(), 2);
    crate::support::tell_status(&store, 2, "readier").await;
    pass(1.0).await;
    assert_eq!(running.controller.seconds(1).len(), 2, "it waits for nothing any more");
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_the_pass_said_that_it_waits_is_not_missed() {
    let store = one_job().await;
    let running = start(Scripted::new(&store).script(1, &[Act::CreateThenBlock(2)]));
    pass(10.0).await;
    assert_eq!(running.controller.seconds(1).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_what_is_waited_for_wakes_too() {
    let store = one_job().await;
    create(&store, 2).await;
    let running = start(Scripted::new(&store).script(1, &[Act::End(Outcome::Blocked(key(2)))]));
    pass(5.0).await;
    let mut tx = Transaction::new();
    tx.remove(id(2));
    store.commit(tx).await.unwrap();
    pass(1.0).await;
    assert_eq!(running.controller.seconds(1).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn explain_remembers_the_last_passes_newest_first() {
    let store = one_job().await;
    let fail = Act::Fail(|| Failure::retry("the disk is slow").because("timed out"));
    let running = start(Scripted::new(&store).script(
        1,
        &[fail, Act::Work(Duration::from_secs(2), Outcome::Again(Duration::from_secs(9)))],
    ));
    pass(4.5).await;
    let reports = running.handle.explain(key(1));
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0].took_ms, reports[0].next_ms), (2000, Some(9000)));
    assert_eq!(reports[0].end, PassEnd::Again { after_ms: 9000 });
    let PassEnd::Failed { errors, .. } = &reports[1].end else { panic!("{reports:?}") };
    assert_eq!(errors, &["the disk is slow", "timed out"]);
    assert_eq!((reports[1].failures, reports[0].failures), (1, 0));
    pass(6000.0).await;
    assert_eq!(running.handle.explain(key(1)).len(), 8);
    assert!(running.handle.explain(key(9)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_gone_is_forgotten() {
    let store = one_job().await;
    let running = start(Scripted::new(&store));
    pass(1.0).await;
    let mut tx = Transaction::new();
    tx.remove(id(1));
    store.commit(tx).await.unwrap();
    pass(1.0).await;
    assert_eq!(running.handle.explain(key(1)).len(), 2);
    pass(700.0).await;
    assert!(running.handle.explain(key(1)).is_empty());
}
