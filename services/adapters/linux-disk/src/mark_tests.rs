use std::os::unix::fs::symlink;

use skerry_model::PoolSource;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

fn pool(number: u128) -> PoolRef {
    let (id, name) = (Id::new(Uuid::from_u128(number)), Name::new("fast").unwrap());
    PoolRef { id, name, source: PoolSource::DataPartition }
}

fn ground() -> TempDir {
    let ground = tempfile::tempdir().unwrap();
    fs::set_permissions(ground.path(), Permissions::from_mode(0o755)).unwrap();
    ground
}

fn unfit(found: &FolderSeen, words: &str) {
    assert!(matches!(found, FolderSeen::Unfit(text) if text.contains(words)), "{found:?}");
}

#[test]
fn a_folder_is_made_marked_and_removed_when_it_is_empty() {
    let ground = ground();
    let (mount, pool) = (ground.path(), pool(7));
    fs::write(mount.join("letter"), "kept").unwrap();
    let seen = || look(mount, "skerry", pool.id);
    assert_eq!(seen(), FolderSeen::Absent);
    settle(mount, "skerry", &pool).unwrap();
    assert_eq!(seen(), FolderSeen::Own);
    settle(mount, "skerry", &pool).unwrap();
    let other = look(mount, "skerry", Id::new(Uuid::from_u128(8)));
    assert!(
        matches!(&other, FolderSeen::Taken(of) if of.contains("another pool, `fast`")),
        "{other:?}"
    );
    let places = Places::new(mount.join("skerry"));
    for folder in places.folders() {
        fs::create_dir(folder).unwrap();
    }
    fs::write(places.tmp().join("half"), "x").unwrap();
    // What somebody has put there stays, and so does the mark.
    fs::write(places.volumes().join("stranger"), "x").unwrap();
    clear(mount, "skerry", &pool).unwrap();
    assert_eq!(seen(), FolderSeen::Own);
    assert!(places.volumes().join("stranger").exists() && !places.tmp().exists());
    fs::remove_file(places.volumes().join("stranger")).unwrap();
    clear(mount, "skerry", &pool).unwrap();
    assert_eq!(seen(), FolderSeen::Absent);
    clear(mount, "skerry", &pool).unwrap();
    let left: Vec<_> = fs::read_dir(mount).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["letter"]);
}

#[test]
fn only_an_empty_folder_is_taken_and_one_whose_mark_was_broken_off() {
    let ground = ground();
    let (mount, pool) = (ground.path(), pool(7));
    fs::create_dir_all(mount.join("a/b")).unwrap();
    assert_eq!(look(mount, "a/b", pool.id), FolderSeen::Empty);
    assert_eq!(look(mount, "a", pool.id), FolderSeen::Taken("holds other files".into()));
    assert!(settle(mount, "a", &pool).is_err());
    fs::write(mount.join("a/b").join(MAKING), "{").unwrap();
    assert_eq!(look(mount, "a/b", pool.id), FolderSeen::Empty);
    settle(mount, "a/b", &pool).unwrap();
    assert_eq!(look(mount, "a/b", pool.id), FolderSeen::Own);
    // A mark that cannot be read is a file like others.
    fs::write(mount.join("a/b").join(MARK), "{").unwrap();
    assert_eq!(look(mount, "a/b", pool.id), FolderSeen::Taken("holds other files".into()));
    clear(mount, "a/b", &pool).unwrap();
    assert!(mount.join("a/b").exists());
}

#[test]
fn no_way_leads_off_the_file_system() {
    let (ground, elsewhere) = (ground(), ground());
    let (mount, pool) = (ground.path(), pool(7));
    symlink(elsewhere.path(), mount.join("link")).unwrap();
    symlink(".", mount.join("self")).unwrap();
    fs::write(mount.join("file"), "x").unwrap();
    fs::create_dir(mount.join("closed")).unwrap();
    fs::set_permissions(mount.join("closed"), Permissions::from_mode(0o700)).unwrap();
    for (folder, words) in [
        ("link", "is a link"),
        ("link/x", "is a link"),
        ("self/x", "is a link"),
        ("file", "a file"),
        ("file/x", "a file"),
        ("closed/x", "may not pass through `closed`"),
        ("none/x", "`none` above it is not there"),
        ("../x", "leads to another"),
    ] {
        unfit(&look(mount, folder, pool.id), words);
        assert!(settle(mount, folder, &pool).is_err(), "{folder}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // Nor does one from inside the pool's own folder.
    settle(mount, "own", &pool).unwrap();
    symlink(elsewhere.path(), mount.join("own/volumes")).unwrap();
    unfit(&look(mount, "own", pool.id), "is no folder");
    // A mark behind a link is none.
    fs::remove_file(mount.join("own/volumes")).unwrap();
    fs::rename(mount.join("own").join(MARK), elsewhere.path().join(MARK)).unwrap();
    symlink(elsewhere.path().join(MARK), mount.join("own").join(MARK)).unwrap();
    assert_eq!(look(mount, "own", pool.id), FolderSeen::Taken("holds other files".into()));
    fs::set_permissions(mount, Permissions::from_mode(0o700)).unwrap();
    unfit(&look(mount, "own", pool.id), "may not pass through `.`");
}
