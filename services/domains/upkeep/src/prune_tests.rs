use proptest::prelude::*;
use serde_json::json;
use skerry_model::{ImageSpec, ImageStatus, NewResource, VmSpec};

use super::*;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// An image of the files `a` and so on, which have 1, 2, 4 … bytes.
fn image(number: u8, age: i64, stays: bool, files: &[u8]) -> PruneImage {
    let file = |n: &u8| (format!("/{n}"), 1_u64 << n);
    PruneImage {
        can_be_fetched: true,
        id: Uuid::from_u128(number.into()),
        revision: 1,
        name: Name::new(format!("i{number:03}")).unwrap(),
        last_used: Some(at(NOW - age)),
        stays,
        files: files.iter().map(file).collect(),
    }
}

fn names(steps: &[PruneStep]) -> Vec<&str> {
    steps.iter().map(|step| step.pruned.name.as_str()).collect()
}

fn sum(steps: &[PruneStep]) -> u64 {
    steps.iter().map(|step| step.pruned.bytes).sum()
}

#[test]
fn the_longest_unused_goes_first_and_no_more_than_needed() {
    let images =
        [image(1, 4000, false, &[0]), image(2, 9000, false, &[1]), image(3, 7000, false, &[2])];
    let plan = |needed| plan_prune(&images, needed, at(NOW));
    assert_eq!(names(&plan(None)), ["i002", "i003", "i001"]);
    assert_eq!(names(&plan(Some(2))), ["i002"]);
    assert_eq!(names(&plan(Some(3))), ["i002", "i003"]);
    assert_eq!(names(&plan(Some(100))), ["i002", "i003", "i001"]);
    assert!(plan(Some(0)).is_empty());
}

#[test]
fn what_is_fresh_of_unknown_age_or_from_the_future_stays() {
    let unknown = PruneImage { last_used: None, ..image(4, 0, false, &[3]) };
    let images = [
        image(1, 3599, false, &[0]),
        image(2, 3600, false, &[1]),
        image(3, -50_000, false, &[2]),
        unknown,
        image(5, 9000, false, &[]),
        image(6, 9000, true, &[4]),
    ];
    assert_eq!(names(&plan_prune(&images, None, at(NOW))), ["i002"]);
}

#[test]
fn a_file_counts_when_its_last_image_goes() {
    let images = [
        image(1, 9000, false, &[0, 5, 5]),
        image(2, 8000, false, &[5]),
        image(3, 7000, false, &[6]),
        image(4, 6000, true, &[6]),
    ];
    let steps = plan_prune(&images, None, at(NOW));
    let bytes: Vec<u64> = steps.iter().map(|step| step.pruned.bytes).collect();
    assert_eq!(
        bytes,
        [1, 32, 0],
        "the second ends the shared file, the third shares with one that stays"
    );
}

#[test]
fn marks_say_when_it_begins_and_where_it_ends() {
    let gib = 1 << 30;
    let room = |used: u64| Room::of(100 * gib, 100 * gib - used);
    let marks = PruneMarks::default();
    assert_eq!(marks.needed(room(80 * gib)), None);
    assert_eq!(marks.needed(room(81 * gib)), Some(11 * gib));
    assert_eq!(PruneMarks { above: 0, down_to: 0 }.needed(room(99 * gib)), None);
    assert_eq!(marks.needed(Room::default()), None, "nothing is known");
    // Below the reserve it is not told how far: as much as is sure.
    assert!(marks.needed(room(100 * gib)).is_some_and(|needed| needed >= 20 * gib));
}

#[tokio::test]
async fn what_the_store_wants_stays_and_the_rest_goes() {
    let store = Store::in_memory_with(|| at(NOW));
    let add = async |number: u128, name: &str, more: serde_json::Value| {
        let mut spec = json!({"format": "iso", "architecture": "x86_64",
            "source": {"upload": Uuid::from_u128(number)},
            "files": [{"role": "iso", "path": format!("/{name}"), "sha256": "a".repeat(64), "size": 8}]});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let spec: ImageSpec = serde_json::from_value(spec).unwrap();
        let id = Id::<Image>::new(Uuid::from_u128(number));
        let mut tx = Transaction::new();
        let mut new = NewResource::new(id, Name::new(name).unwrap(), spec);
        new.finalizers = vec![crate::IMAGE_FINALIZER.to_owned()];
        tx.create(new);
        let last_used = Some(at(NOW - 10_000));
        tx.put_status(id, ImageStatus { last_used, ..ImageStatus::default() });
        store.commit(tx).await.unwrap();
    };
    add(1, "unused", json!({})).await;
    add(2, "pinned", json!({"pinned": true})).await;
    add(3, "built-in", json!({"source": "built_in"})).await;
    add(4, "in-a-drive", json!({})).await;
    add(5, "at-work", json!({})).await;
    add(6, "installed-from", json!({})).await;
    let vm = json!({"image": "installed-from", "media": [{"image": "in-a-drive"}]});
    let vm: VmSpec = serde_json::from_value(vm).unwrap();
    let mut tx = Transaction::new();
    tx.create(NewResource::new(
        Id::<skerry_model::Vm>::new(Uuid::from_u128(9)),
        Name::new("vm").unwrap(),
        vm,
    ));
    store.commit(tx).await.unwrap();

    let busy = |subject: LocalRef| subject.id == Uuid::from_u128(5);
    let images = prune_images(&store, busy).unwrap();
    let steps = plan_prune(&images, None, at(NOW));
    assert_eq!(names(&steps), ["installed-from", "unused"]);
    let mut stale = steps.clone();
    stale[0].revision = 0;
    let report = carry_out_prune(&store, stale, "a test").await.unwrap();
    assert_eq!((report.items.len(), report.bytes), (1, 8), "one changed meanwhile");
    let removing = |name: &str| {
        let image = store.find::<Image>(&Name::new(name).unwrap()).unwrap();
        image.is_none_or(|image| image.meta.phase == Phase::Removing)
    };
    assert!(removing("unused") && !removing("installed-from") && !removing("pinned"));
}

proptest! {
    #[test]
    fn only_what_may_goes_in_order_and_no_more_than_needed(
        all in prop::collection::vec(
            (0_i64..8000, any::<bool>(), prop::collection::btree_set(0_u8..10, 0..4)),
            0..12,
        ),
        needed in prop::option::of(0_u64..2000),
    ) {
        let images: Vec<PruneImage> = (0_u8..)
            .zip(&all)
            .map(|(number, (age, stays, files))| {
                image(number, *age, *stays, &files.iter().copied().collect::<Vec<_>>())
            })
            .collect();
        let steps = plan_prune(&images, needed, at(NOW));
        let of = |step: &PruneStep| images.iter().find(|image| image.id == step.id).unwrap();
        for step in &steps {
            prop_assert!(!of(step).stays && !of(step).files.is_empty());
            prop_assert!(step.pruned.last_used <= at(NOW - 3600));
        }
        prop_assert!(steps.is_sorted_by_key(|step| (step.pruned.last_used, step.id)));
        let everything = plan_prune(&images, None, at(NOW));
        prop_assert_eq!(&everything[..steps.len()], &steps[..]);
        if let Some(needed) = needed {
            prop_assert!(sum(&steps) >= needed || steps.len() == everything.len());
            // Without its last it would not have been enough.
            let but_one = steps.split_last().map_or(0, |(_, rest)| sum(rest));
            prop_assert!(steps.is_empty() || but_one < needed);
        }
        // What it says is freed is what nobody who stays has.
        let gone = |image: &&PruneImage| steps.iter().any(|step| step.id == image.id);
        let left: Vec<_> = images.iter().filter(|image| !gone(image)).collect();
        let lost: std::collections::BTreeSet<_> =
            images.iter().filter(gone).flat_map(|image| image.files.clone()).collect();
        let free = lost.into_iter().filter(|file| left.iter().all(|image| !image.files.contains(file)));
        prop_assert_eq!(free.map(|(_, size)| size).sum::<u64>(), sum(&steps));
    }
}
