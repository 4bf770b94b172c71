use super::*;
use crate::{FileSystemSeen, FolderSeen};

const UUID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

fn file_system(kind: &str) -> FileSystemSeen {
    FileSystemSeen { name: "sdb1".into(), kind: kind.into(), size_bytes: 8 * GIB, busy: None }
}

/// A pool on a file system of this kind with this in its folder's place.
async fn with_file_system(kind: &str, folder: FolderSeen) -> World {
    let world = World::new().await;
    world.host.model().file_systems.insert(UUID.into(), (file_system(kind), folder));
    let spec = format!(r#"{{"source":{{"file_system":{{"uuid":"{UUID}"}}}}}}"#);
    let spec: PoolSpec = serde_json::from_str(&spec).unwrap();
    let mut new = NewResource::<Pool>::new(id(50), name("fast"), spec);
    new.finalizers = vec![FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.create(new);
    world.store.commit(tx).await.unwrap();
    world.host.model().steps.clear();
    world.settle().await;
    world
}

#[tokio::test]
async fn a_file_system_is_mounted_settled_on_once_and_given_back_with_its_folder_gone() {
    let world = with_file_system("ext4", FolderSeen::Absent).await;
    assert_eq!((world.fast().state, world.fast().prepared), (PoolState::Ready, true));
    assert_eq!(world.host.model().steps, ["mount pool", "settle pool"]);
    world.volume(51, "data", r#"{"size_mib":64,"pool":"fast"}"#).await;
    world.settle().await;
    assert_eq!(world.seen(51).status.state, VolumeState::Available);
    // Another boot.
    world.host.model().mounted.clear();
    world.host.model().steps.clear();
    let again = World::again(world.store.clone(), Arc::clone(&world.host));
    again.settle().await;
    assert_eq!(world.host.model().steps.first(), Some(&"mount pool"));
    assert!(!world.host.model().steps.contains(&"settle pool"), "the folder is made once");
    assert_eq!(again.fast().state, PoolState::Ready);
    again.remove::<Pool>(50).await;
    assert!(again.store.get::<Pool>(id(50)).unwrap().is_some(), "a volume lies there");
    world.host.model().steps.clear();
    again.remove::<Volume>(51).await;
    again.settle().await;
    assert!(again.store.get::<Pool>(id(50)).unwrap().is_none());
    let model = again.host.model();
    assert!(model.mounted.is_empty());
    assert!(model.steps.ends_with(&["clear pool", "unmount pool"]), "{:?}", model.steps);
    assert_eq!(model.file_systems[UUID].1, FolderSeen::Absent);
}

#[tokio::test]
async fn a_folder_made_before_the_power_went_is_the_pools() {
    let world = with_file_system("xfs", FolderSeen::Own).await;
    assert_eq!((world.fast().state, world.fast().prepared), (PoolState::Ready, true));
    assert_eq!(world.host.model().steps, ["mount pool"]);
}

#[tokio::test]
async fn what_cannot_hold_a_pool_is_told_and_nothing_is_touched() {
    for (kind, folder, words) in [
        ("vfat", FolderSeen::Absent, "of the kind `vfat`"),
        ("ext4", FolderSeen::Taken("holds other files".into()), "holds other files"),
        ("ext4", FolderSeen::Unfit("it is a link".into()), "it is a link"),
    ] {
        let world = with_file_system(kind, folder.clone()).await;
        let status = world.fast();
        assert_eq!((status.state, status.prepared), (PoolState::Failed, false));
        assert!(status.reason.contains(words), "{}", status.reason);
        assert!(!world.host.model().steps.contains(&"settle pool"));
        world.remove::<Pool>(50).await;
        assert!(world.store.get::<Pool>(id(50)).unwrap().is_none());
        assert!(!world.host.model().steps.contains(&"clear pool"));
        assert_eq!(world.host.model().file_systems[UUID].1, folder);
    }
}

#[tokio::test]
async fn without_its_file_system_or_its_folder_a_pool_waits() {
    let world = with_file_system("ext4", FolderSeen::Absent).await;
    world.volume(51, "data", r#"{"size_mib":64,"pool":"fast"}"#).await;
    world.settle().await;
    let there = world.host.model().file_systems.remove(UUID).unwrap();
    world.host.model().mounted.clear();
    world.settle().await;
    assert_eq!(world.fast().state, PoolState::Failed);
    assert!(world.fast().reason.contains("is not there; plug"), "{}", world.fast().reason);
    assert!(world.seen(51).status.reason.contains("`fast` cannot be used"));
    // It comes back, but somebody has removed the folder: no empty one takes its place.
    let bare = (there.0.clone(), FolderSeen::Absent);
    world.host.model().file_systems.insert(UUID.into(), bare);
    world.host.model().steps.clear();
    world.settle().await;
    assert!(
        world.fast().reason.contains("is gone from its file system"),
        "{}",
        world.fast().reason
    );
    assert!(!world.host.model().steps.contains(&"settle pool"));
    world.host.model().file_systems.insert(UUID.into(), there);
    world.settle().await;
    assert_eq!(world.fast().state, PoolState::Ready);
    assert!(world.seen(51).status.checked);
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again_and_a_broken_disk_holds_up_no_deletion() {
    let world = with_file_system("xfs", FolderSeen::Absent).await;
    world.host.model().mounted.clear();
    world.host.model().failing = vec!["mount pool"];
    world.settle().await;
    assert_eq!(world.fast().state, PoolState::Ready);
    // It cannot be mounted any more: the record goes all the same.
    world.host.model().mounted.clear();
    world.host.model().failing = vec!["mount pool", "mount pool", "clear pool", "clear pool"];
    world.remove::<Pool>(50).await;
    assert!(world.store.get::<Pool>(id(50)).unwrap().is_none());
    assert_eq!(world.host.model().file_systems[UUID].1, FolderSeen::Own, "what is there stays");
}
