//! The end of the loop, and the sign that it lives.

use std::time::Duration;

use skerry_engine::Outcome;
use skerry_store::Store;
use tokio::time::{Instant, advance};

use crate::support::{Act, Scripted, create, pass, start, want};

#[tokio::test(start_paused = true)]
async fn a_running_pass_may_end_and_no_other_starts() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let work = Act::Work(Duration::from_secs(3), Outcome::Again(Duration::from_millis(1)));
    let running = start(Scripted::new(&store).script(1, &[work]));
    pass(1.0).await;
    let asked = Instant::now();
    running.cancel.cancel();
    want(&store, 1, "too late").await;
    running.task.await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 2);
    pass(10.0).await;
    assert_eq!(running.controller.seconds(1).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_hangs_is_broken_off_after_five_seconds() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let running = start(Scripted::new(&store).script(1, &[Act::Never]));
    pass(1.0).await;
    let asked = Instant::now();
    running.cancel.cancel();
    running.task.await.unwrap();
    assert_eq!(asked.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_loop_shows_that_it_lives_though_a_pass_hangs() {
    let store = Store::in_memory();
    create(&store, 1).await;
    let running = start(Scripted::new(&store).script(1, &[Act::Never]));
    for _ in 0..100 {
        pass(3.0).await;
        assert!(running.handle.last_tick().elapsed() <= Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_no_longer_turns_shows_it() {
    let running = start(Scripted::new(&Store::in_memory()));
    pass(1.0).await;
    running.task.abort();
    let _ = running.task.await;
    advance(Duration::from_secs(30)).await;
    assert!(running.handle.last_tick().elapsed() >= Duration::from_secs(30));
}
