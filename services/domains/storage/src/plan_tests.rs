use std::collections::BTreeMap;

use proptest::prelude::*;
use skerry_model::{Id, Name, Snapshot, Volume};
use uuid::Uuid;

use super::*;
use crate::testing::Disk;
use crate::{BaseImage, DiskFormat, Shape};

const MIB: u64 = 1 << 20;

fn volume_id(n: u8) -> Id<Volume> {
    Id::new(Uuid::from_u128(n.into()))
}

fn snapshot_id(n: u8) -> Id<Snapshot> {
    Id::new(Uuid::from_u128(1000 + u128::from(n)))
}

fn image(n: u8) -> BaseImage {
    BaseImage {
        sha256: format!("{n:064x}"),
        path: format!("/images/{n}").into(),
        format: DiskFormat::Qcow2,
    }
}

fn wanted(n: u8, content: Content) -> VolumeWanted {
    VolumeWanted {
        id: volume_id(n),
        name: Name::new(format!("v{n}")).unwrap(),
        size_bytes: Some(64 * MIB),
        content,
        erase: false,
        made: false,
        removing: false,
    }
}

/// What a person may do.
#[derive(Debug, Clone)]
enum Wish {
    Make(u8),
    FromImage(u8, u8),
    Clone(u8, u8),
    FromSnapshot(u8, u8, u8),
    Write(u8, u16),
    Grow(u8),
    Delete(u8),
    Snapshot(u8, Vec<u8>),
    Revert(u8),
    Drop(u8),
    Stranger(u8),
}

fn wish() -> impl Strategy<Value = Wish> {
    let v = 0_u8..6;
    let s = 0_u8..5;
    prop_oneof![
        v.clone().prop_map(Wish::Make),
        (v.clone(), 0_u8..3).prop_map(|(v, i)| Wish::FromImage(v, i)),
        (v.clone(), 0_u8..6).prop_map(|(a, b)| Wish::Clone(a, b)),
        (v.clone(), s.clone(), 0_u8..6).prop_map(|(a, s, b)| Wish::FromSnapshot(a, s, b)),
        (v.clone(), any::<u16>()).prop_map(|(v, w)| Wish::Write(v, w)),
        v.clone().prop_map(Wish::Grow),
        v.prop_map(Wish::Delete),
        (s.clone(), prop::collection::vec(0_u8..6, 1..3)).prop_map(|(s, v)| Wish::Snapshot(s, v)),
        s.clone().prop_map(Wish::Revert),
        s.prop_map(Wish::Drop),
        (100_u8..103).prop_map(Wish::Stranger),
    ]
}

/// The records, as the controller keeps them, and what each file should hold.
#[derive(Default)]
struct World {
    disk: Disk,
    volumes: BTreeMap<Id<Volume>, VolumeWanted>,
    snapshots: BTreeMap<Id<Snapshot>, SnapshotWanted>,
    data: BTreeMap<Id<Volume>, String>,
    kept: BTreeMap<Id<Snapshot>, BTreeMap<Id<Volume>, String>>,
    strangers: Vec<Id<Volume>>,
}

impl World {
    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Make(n) => self.make(n, Content::Empty { preallocated: false }, String::new()),
            Wish::FromImage(n, i) => {
                let data = format!("image {}", image(i).sha256);
                self.make(n, Content::Image(image(i)), data);
            }
            Wish::Clone(n, from) => {
                if let Some(data) = self.data.get(&volume_id(from)).cloned() {
                    self.make(n, Content::Volume(volume_id(from)), data);
                }
            }
            Wish::FromSnapshot(n, s, from) => {
                let kept = self.kept.get(&snapshot_id(s)).and_then(|k| k.get(&volume_id(from)));
                if let Some(data) = kept.cloned() {
                    self.make(n, Content::Snapshot(snapshot_id(s), volume_id(from)), data);
                }
            }
            Wish::Write(n, word) => {
                if let Some(data) = self.data.get_mut(&volume_id(n)) {
                    *data = word.to_string();
                    self.disk.volumes.get_mut(&volume_id(n)).unwrap().data = data.clone();
                }
            }
            Wish::Grow(n) => {
                if let Some(volume) = self.volumes.get_mut(&volume_id(n)) {
                    volume.size_bytes = volume.size_bytes.map(|size| size + MIB);
                }
            }
            Wish::Delete(n) => {
                if let Some(volume) = self.volumes.get_mut(&volume_id(n)) {
                    volume.removing = true;
                    self.data.remove(&volume_id(n));
                }
            }
            Wish::Snapshot(s, volumes) => self.snapshot(s, &volumes),
            Wish::Revert(s) => self.revert(snapshot_id(s)),
            Wish::Drop(s) => {
                if let Some(snapshot) = self.snapshots.get_mut(&snapshot_id(s)) {
                    snapshot.removing = true;
                    self.kept.remove(&snapshot_id(s));
                }
            }
            Wish::Stranger(n) => {
                let step = plan_volume(&wanted(n, Content::Empty { preallocated: false }), None);
                self.disk.apply(&step[0]).unwrap();
                self.strangers.push(volume_id(n));
            }
        }
    }

    fn make(&mut self, n: u8, content: Content, data: String) {
        self.volumes.entry(volume_id(n)).or_insert_with(|| {
            self.data.insert(volume_id(n), data);
            wanted(n, content)
        });
    }

    fn snapshot(&mut self, s: u8, volumes: &[u8]) {
        let id = snapshot_id(s);
        let mut named: Vec<_> = volumes
            .iter()
            .map(|n| volume_id(*n))
            .filter(|volume| self.data.contains_key(volume))
            .map(|volume| (volume, Name::new("v").unwrap()))
            .collect();
        named.dedup();
        if named.is_empty() || self.snapshots.contains_key(&id) {
            return;
        }
        let kept = named.iter().map(|(v, _)| (*v, self.data[v].clone())).collect();
        self.kept.insert(id, kept);
        let (name, volumes) = (Name::new(format!("s{s}")).unwrap(), named);
        let (taken, revert, removing) = (false, false, false);
        let tpm = None;
        let wanted = SnapshotWanted { id, name, volumes, tpm, taken, revert, removing };
        self.snapshots.insert(id, wanted);
    }

    fn revert(&mut self, id: Id<Snapshot>) {
        let Some(snapshot) = self.snapshots.get_mut(&id).filter(|s| !s.removing) else { return };
        // The API refuses it when one of the volumes is gone.
        if snapshot.volumes.iter().all(|(volume, _)| self.data.contains_key(volume)) {
            snapshot.revert = true;
            for (volume, data) in &self.kept[&id] {
                self.data.insert(*volume, data.clone());
                // A snapshot may be older than the last growth, which then comes again.
            }
        }
    }

    fn plan(&self) -> Vec<StorageStep> {
        let seen = self.disk.observed();
        let snapshots = self.snapshots.values();
        let files = |step| match step {
            SnapshotStep::Files(step) => Some(step),
            _ => None,
        };
        let steps = snapshots.flat_map(|s| plan_snapshot(s, seen.snapshot(s.id)));
        let mut steps: Vec<_> = steps.filter_map(files).collect();
        steps.extend(self.volumes.values().flat_map(|v| plan_volume(v, seen.volume(v.id))));
        let makes = |step: &StorageStep| matches!(step, StorageStep::Create { .. });
        if !steps.iter().any(makes) {
            steps.extend(plan_bases(&seen));
        }
        steps
    }

    /// As the controller does: steps, then what came of them is written down.
    fn settle(&mut self) {
        for _ in 0..3 {
            for step in self.plan() {
                self.disk.apply(&step).unwrap();
            }
            self.volumes.retain(|id, v| !v.removing || self.disk.volumes.contains_key(id));
            self.snapshots.retain(|id, s| !s.removing || self.disk.snapshots.contains_key(id));
            self.volumes.values_mut().for_each(|v| v.made = true);
            for snapshot in self.snapshots.values_mut() {
                (snapshot.taken, snapshot.revert) = (true, false);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.plan(), []);
        for (id, data) in &self.data {
            assert_eq!(&self.disk.volumes[id].data, data, "volume {id}");
            let size = self.disk.volumes[id].seen.size_bytes;
            assert!(Some(size) >= self.volumes[id].size_bytes, "volume {id}");
        }
        for (id, kept) in &self.kept {
            for (volume, data) in kept {
                assert_eq!(&self.disk.snapshots[id][volume].data, data, "snapshot {id}");
            }
        }
        assert!(
            self.disk
                .volumes
                .keys()
                .all(|id| { self.data.contains_key(id) || self.strangers.contains(id) })
        );
        assert_eq!(self.disk.snapshots.len(), self.kept.len());
        let seen = self.disk.observed();
        let known: Vec<_> = self.volumes.keys().copied().collect();
        let taken: Vec<_> = self.snapshots.keys().copied().collect();
        let (strange, none) = unmanaged(&seen, &known, &taken);
        assert!(strange.iter().all(|file| self.strangers.contains(&file.volume)));
        assert_eq!(none.len(), 0);
    }
}

/// Every combination of what is wanted of a snapshot and what is there.
#[test]
fn a_tpm_is_kept_before_the_files_set_back_before_them_and_dropped_after() {
    let vm = Id::new(Uuid::from_u128(7));
    let name = Name::new("s").unwrap();
    let volumes = vec![(volume_id(1), name.clone()), (volume_id(2), name.clone())];
    let there = SnapshotFiles { snapshot: snapshot_id(1), name: None, volumes: Vec::new() };
    for bits in 0..32_u8 {
        let bit = |n: u8| bits & (1 << n) != 0;
        let wanted = SnapshotWanted {
            id: snapshot_id(1),
            name: name.clone(),
            volumes: volumes.clone(),
            tpm: bit(0).then_some(vm),
            taken: bit(1),
            revert: bit(2),
            removing: bit(3),
        };
        let seen = bit(4).then_some(&there);
        let steps: Vec<_> = plan_snapshot(&wanted, seen).iter().map(SnapshotStep::name).collect();
        let without = SnapshotWanted { tpm: None, ..wanted.clone() };
        let files: Vec<_> = plan_snapshot(&without, seen).iter().map(SnapshotStep::name).collect();
        let expected = match (wanted.tpm, wanted.removing, seen.is_some()) {
            (None, ..) => files,
            (_, true, _) => [files.as_slice(), &["drop TPM"]].concat(),
            (_, false, true) if wanted.revert => {
                let (look, rest) = files.split_at(1);
                [look, &["revert TPM"], rest].concat()
            }
            (_, false, false) if !wanted.taken => [&["keep TPM"], files.as_slice()].concat(),
            _ => files,
        };
        assert_eq!(steps, expected, "{wanted:?}");
    }
}

proptest! {
    /// Whatever is wished for in whatever order: nothing is left to do, nothing is lost, nothing is left
    /// over, and what is not ours stays.
    #[test]
    fn any_order_of_wishes_comes_to_rest(wishes in prop::collection::vec(wish(), 1..60)) {
        let mut world = World { disk: Disk::new(), ..World::default() };
        for wish in wishes {
            world.wish(wish);
            world.settle();
            world.check();
        }
    }
}

#[test]
fn what_was_made_and_is_gone_is_not_made_again() {
    let mut volume = wanted(1, Content::Empty { preallocated: false });
    assert_eq!(plan_volume(&volume, None).len(), 1);
    volume.made = true;
    assert_eq!(plan_volume(&volume, None), []);
}

#[test]
fn nothing_shrinks() {
    let volume = wanted(1, Content::Empty { preallocated: false });
    let seen = VolumeFile {
        volume: volume.id,
        shape: Shape::Disk,
        size_bytes: 65 * MIB,
        used_bytes: 0,
        base: None,
        name: None,
    };
    assert_eq!(plan_volume(&volume, Some(&seen)), []);
}
