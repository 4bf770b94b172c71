//! All but the start before the network is there.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_container_is_made_ready_before_its_network_and_then_only_started() {
    for users in [None, Some(FIRST)] {
        let stage = Stage::for_user("", users).await;
        stage.unwire().await;
        let desired = stage.shell("/bin/busybox ls /sys/class/net >/dev/null; exit 6");
        let early = Want::Prepare(Box::new(desired.clone()));
        assert_eq!(stage.push(early.clone(), false).await, 4);
        let found = stage.observed().await;
        assert!(found.mounted && found.run == Run::Absent, "{found:?}");
        assert_eq!(stage.push(early, false).await, 0);

        stage.wire().await;
        assert_eq!(stage.push(Want::Run(Box::new(desired)), false).await, 1, "only started");
        let run = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
        assert!(matches!(run, Run::Ended { exit: Exit::Code(6), .. }), "{run:?} {}", stage.log());
        stage.clear().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn what_was_made_ready_goes_without_ever_having_run() {
    let stage = Stage::new().await;
    let desired = stage.shell("exit 1");
    stage.push(Want::Prepare(Box::new(desired)), false).await;
    assert!(stage.observed().await.mounted);
    stage.push(Want::Down { kill: false }, false).await;
    let found = stage.observed().await;
    assert!(!found.mounted && !found.bundle.is_there() && found.layer.is_there(), "{found:?}");
    stage.clear().await;
}
