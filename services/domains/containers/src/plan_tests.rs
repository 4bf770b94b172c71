use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use skerry_model::Medium;

use super::*;
use crate::testing::{Machine, desired, image, name, pod};
use crate::{Exit, VolumeDesired};

fn wanted(containers: Vec<(&str, Want)>) -> PodWanted {
    let containers = containers.into_iter().map(|(text, want)| (name(text), want)).collect();
    PodWanted { pod: pod(), containers, volumes: None, gone: false, kill_strays: false }
}

fn run(container: &str) -> Want {
    Want::Run(Box::new(desired(container)))
}

fn words(steps: &[PodStep]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_pod_comes_up_bottom_up_and_its_image_is_unpacked_once() {
    let steps = plan(&wanted(vec![("a", run("a")), ("b", run("b"))]), &PodObserved::default());
    assert_eq!(
        words(&steps),
        [
            "import_image tiny",
            "make_layer a",
            "write_bundle a",
            "mount_root a",
            "start a",
            "make_layer b",
            "write_bundle b",
            "mount_root b",
            "start b",
        ]
    );
}

fn prepare(container: &str) -> Want {
    Want::Prepare(Box::new(desired(container)))
}

#[test]
fn what_needs_no_network_is_made_ready_before_it_and_only_started_then() {
    let mut machine = Machine::default();
    let volume = VolumeDesired::empty(name("v"), Medium::Memory, None);
    let volumes = || Some(vec![volume.clone()]);
    let early = PodWanted { volumes: volumes(), ..wanted(vec![("a", prepare("a"))]) };
    assert_eq!(
        words(&plan(&early, &machine.observed)),
        ["make_volume v", "import_image tiny", "make_layer a", "write_bundle a", "mount_root a"]
    );
    machine.settle(&early);
    assert_eq!((machine.runs, plan(&early, &machine.observed)), (0, vec![]));
    let wired = PodWanted { volumes: volumes(), ..wanted(vec![("a", run("a"))]) };
    assert_eq!(words(&plan(&wired, &machine.observed)), ["start a"]);
    let gone = PodWanted { gone: true, volumes: Some(vec![]), ..wanted(vec![]) };
    machine.settle(&gone);
    assert!(machine.observed.is_empty(), "{:?}", machine.observed);
}

#[test]
fn another_network_than_it_was_prepared_for_is_another_bundle() {
    let mut machine = Machine::default();
    machine.settle(&wanted(vec![("a", prepare("a"))]));
    let mut other = desired("a");
    other.bundle = "other".to_owned();
    let steps = plan(&wanted(vec![("a", Want::Run(Box::new(other)))]), &machine.observed);
    assert_eq!(
        words(&steps),
        ["unmount_root a", "remove_bundle a", "write_bundle a", "mount_root a", "start a"]
    );
}

#[test]
fn preparing_leaves_alone_what_has_run_and_what_was_written() {
    let mut machine = Machine::default();
    machine.settle(&wanted(vec![("a", run("a"))]));
    let mut other = desired("a");
    (other.layer, other.bundle) = ("other".to_owned(), "other".to_owned());
    let early = wanted(vec![("a", Want::Prepare(Box::new(other)))]);
    let ended = Run::Ended { run: "1".into(), exit: Exit::Code(1), ran_for: Duration::ZERO };
    let live = machine.observed.container(&name("a")).run;
    for run in [live, Run::Starting, Run::Stopping, ended, Run::Absent] {
        machine.at(&name("a")).run = run;
        assert_eq!(plan(&early, &machine.observed), []);
    }
}

#[test]
fn what_runs_as_wanted_is_left_alone() {
    let mut machine = Machine::default();
    let pod = wanted(vec![("a", run("a"))]);
    machine.settle(&pod);
    assert_eq!(plan(&pod, &machine.observed), []);
}

#[test]
fn removal_goes_top_down_and_waits_for_the_process() {
    let mut machine = Machine::default();
    machine.settle(&wanted(vec![("a", run("a")), ("b", run("b"))]));
    let gone = PodWanted { gone: true, volumes: Some(vec![]), ..wanted(vec![]) };
    assert_eq!(words(&plan(&gone, &machine.observed)), ["stop a", "stop b"]);
    machine.at(&name("a")).run = Run::Stopping;
    machine.at(&name("b")).run = Run::Absent;
    assert_eq!(
        words(&plan(&gone, &machine.observed)),
        ["unmount_root b", "remove_bundle b", "remove_layer b"]
    );
    let kill = PodWanted { kill_strays: true, ..gone };
    assert_eq!(words(&plan(&kill, &machine.observed))[0], "kill a");
    machine.settle(&kill);
    assert!(machine.observed.is_empty());
    assert!(!machine.observed.images.is_empty(), "images belong to all pods");
}

#[test]
fn containers_stop_in_reverse_order() {
    let mut machine = Machine::default();
    machine.settle(&wanted(vec![("a", run("a")), ("b", run("b"))]));
    let down = Want::Down { kill: false };
    let steps = plan(&wanted(vec![("a", down.clone()), ("b", down)]), &machine.observed);
    assert_eq!(words(&steps), ["stop b", "stop a"]);
}

#[test]
fn an_ended_container_starts_again_in_its_old_layer() {
    let mut machine = Machine::default();
    let pod = wanted(vec![("a", run("a"))]);
    machine.settle(&pod);
    let ended = Run::Ended { run: "1".into(), exit: Exit::Code(1), ran_for: Duration::ZERO };
    machine.at(&name("a")).run = ended;
    assert_eq!(words(&plan(&pod, &machine.observed)), ["forget a", "start a"]);
}

#[test]
fn after_a_power_cut_the_layer_is_kept_and_the_rest_is_remade() {
    let mut machine = Machine::default();
    let pod = wanted(vec![("a", run("a"))]);
    machine.settle(&pod);
    let found = machine.at(&name("a"));
    (found.bundle, found.mounted, found.run) = (Part::Absent, false, Run::Absent);
    assert_eq!(
        words(&plan(&pod, &machine.observed)),
        ["write_bundle a", "mount_root a", "start a"]
    );
}

#[test]
fn a_half_made_layer_is_thrown_away() {
    let mut machine = Machine::default();
    machine.at(&name("a")).layer = Part::Broken;
    machine.observed.images = BTreeSet::from([image().sha256]);
    let steps = plan(&wanted(vec![("a", run("a"))]), &machine.observed);
    assert_eq!(words(&steps)[..2], ["remove_layer a", "make_layer a"]);
}

#[test]
fn holding_changes_nothing() {
    let mut machine = Machine::default();
    machine.settle(&wanted(vec![("a", run("a"))]));
    assert_eq!(plan(&wanted(vec![("a", Want::Hold)]), &machine.observed), []);
    assert_eq!(plan(&wanted(vec![("a", Want::Hold)]), &PodObserved::default()), []);
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![
        Just(Part::Absent),
        Just(Part::Broken),
        Just(Part::Made(desired("a").layer)),
        Just(Part::Made(desired("a").bundle)),
        Just(Part::Made("other".to_owned())),
    ]
}

fn any_run() -> impl Strategy<Value = Run> {
    prop_oneof![
        Just(Run::Absent),
        Just(Run::Starting),
        Just(Run::Running { run: "r".into(), pid: None, started_at: None }),
        Just(Run::Stopping),
        Just(Run::Ended { run: "r".into(), exit: Exit::Code(3), ran_for: Duration::ZERO }),
    ]
}

fn any_container() -> impl Strategy<Value = ContainerObserved> {
    (any_part(), any_part(), any::<bool>(), any_run())
        .prop_map(|(layer, bundle, mounted, run)| ContainerObserved { layer, bundle, mounted, run })
}

fn any_observed() -> impl Strategy<Value = PodObserved> {
    let name = prop_oneof![Just("a"), Just("b"), Just("stray")].prop_map(name);
    let containers = proptest::collection::btree_map(name, any_container(), 0..3);
    let part = prop_oneof![
        Just(Part::Broken),
        Just(Part::Made("disk".to_owned())),
        Just(Part::Made("memory:64".to_owned())),
        Just(Part::Made("files:1".to_owned())),
    ];
    let volume = prop_oneof![Just("v"), Just("stray")].prop_map(crate::testing::name);
    let volumes = proptest::collection::btree_map(volume, part, 0..3);
    (containers, volumes, any::<bool>()).prop_map(|(containers, volumes, known)| PodObserved {
        folders: !containers.is_empty() || !volumes.is_empty(),
        containers,
        volumes,
        images: known.then(|| image().sha256).into_iter().collect(),
    })
}

fn any_want(container: &'static str) -> impl Strategy<Value = Want> {
    prop_oneof![
        Just(run(container)),
        Just(prepare(container)),
        any::<bool>().prop_map(|kill| Want::Down { kill }),
        any::<bool>().prop_map(|kill| Want::Gone { kill }),
    ]
}

proptest! {
    /// Whatever is found, in whatever half-made state, the plan leads to what is wanted, without a step
    /// whose ground is missing (the machine asserts that), and then to rest.
    #[test]
    fn every_machine_is_brought_to_rest(
        observed in any_observed(), a in any_want("a"), b in any_want("b"), gone in any::<bool>(),
    ) {
        let mut machine = Machine { observed, runs: 0 };
        let containers = if gone { vec![] } else { vec![("a", a.clone()), ("b", b.clone())] };
        let volume = VolumeDesired::empty(name("v"), Medium::Memory, None);
        let volumes = Some(if gone { vec![] } else { vec![volume.clone()] });
        let goal = PodWanted { gone, volumes, ..wanted(containers) };
        machine.settle(&goal);
        prop_assert_eq!(plan(&goal, &machine.observed), vec![]);
        if gone {
            prop_assert!(machine.observed.is_empty());
        } else {
            for (text, want) in [("a", a), ("b", b)] {
                let found = machine.observed.container(&name(text));
                match want {
                    Want::Run(_) => prop_assert!(found.run.is_live()),
                    Want::Down { .. } => prop_assert!(!found.run.is_live() && !found.mounted),
                    Want::Gone { .. } => prop_assert!(!found.is_there()),
                    Want::Prepare(wanted) => {
                        let other =
                            matches!(&found.layer, Part::Made(layer) if *layer != wanted.layer);
                        let ready = found.mounted && found.bundle.is(&wanted.bundle);
                        prop_assert!(ready || other || found.run != Run::Absent);
                    }
                    Want::Hold => {}
                }
            }
            prop_assert!(!machine.observed.container(&name("stray")).is_there());
            let found = machine.observed.volumes.get(&volume.name);
            let whole = found.is_some_and(|part| part.is(&volume.made_from));
            if !machine.observed.any_live() {
                prop_assert!(machine.observed.volumes.keys().all(|other| *other == volume.name));
                prop_assert!(whole || !matches!(found, Some(Part::Made(_))));
            } else if machine.runs > 0 {
                // Something was started: then the volume was there, or another sort of one under a live container.
                prop_assert!(matches!(found, Some(Part::Made(_))));
            }
        }
    }
}
