use std::io::Read;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn folders(ground: &TempDir) -> ImportFolders {
    let name = Name::new("import").unwrap();
    ImportFolders::new(vec![(name, ground.path().join("import"))], KeptPlaces::default())
}

#[test]
fn a_folder_is_listed_with_its_image_files_and_one_that_is_not_there_says_so() {
    let ground = tempfile::tempdir().unwrap();
    let folders = folders(&ground);
    let gone = &folders.list()[0];
    assert!(gone.reason.contains("cannot be read") && gone.files.is_empty(), "{gone:?}");
    fs::create_dir_all(ground.path().join("import/sub")).unwrap();
    fs::write(ground.path().join("import/sub/a.qcow2"), "12").unwrap();
    fs::write(ground.path().join("import/note.txt"), "12").unwrap();
    let listed = &folders.list()[0];
    assert_eq!((listed.name.as_str(), listed.kind), ("import", MediumKind::Folder));
    assert_eq!((listed.files.len(), listed.files[0].path.as_str()), (1, "sub/a.qcow2"));
    assert!(listed.reason.is_empty() && listed.size_bytes > 0 && listed.path.ends_with("/import"));
}

#[test]
fn no_link_and_nothing_outside_is_opened() {
    let ground = tempfile::tempdir().unwrap();
    let inbox = ground.path().join("import");
    fs::create_dir_all(inbox.join("sub")).unwrap();
    fs::write(ground.path().join("secret.img"), "x").unwrap();
    fs::write(inbox.join("sub/a.img"), "good").unwrap();
    symlink("../secret.img", inbox.join("link.img")).unwrap();
    symlink("..", inbox.join("up")).unwrap();
    symlink("sub", inbox.join("inner")).unwrap();
    let place = folders(&ground).places().remove(0);
    let mut text = String::new();
    place.open("sub/a.img").unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "good");
    assert!(place.open("none.img").unwrap().is_none() && place.open("none/a").unwrap().is_none());
    for path in ["link.img", "up/secret.img", "../secret.img", "inner/a.img", "/etc/passwd", ""] {
        assert!(!matches!(place.open(path), Ok(Some(_))), "{path}");
    }
}

#[test]
fn of_a_kept_file_system_all_but_the_pools_own_folder_is_read() {
    let ground = tempfile::tempdir().unwrap();
    let mount = ground.path().to_owned();
    fs::create_dir_all(mount.join("vms/skerry/volumes")).unwrap();
    fs::create_dir_all(mount.join("images")).unwrap();
    for path in ["vms/skerry/volumes/own.qcow2", "vms/other.img", "images/debian.qcow2"] {
        fs::write(mount.join(path), "12").unwrap();
    }
    let place = FolderPlace {
        name: "fast".into(),
        but: Some(mount.join("vms/skerry")),
        path: mount,
        device: "sdb1".into(),
        file_system: "ext4".into(),
    };
    assert!(place.open("vms/other.img").unwrap().is_some());
    let refused = place.open("vms/skerry/volumes/own.qcow2").unwrap_err();
    assert!(refused.to_string().contains("the pool's own folder"), "{refused}");
    let listed = place.listed();
    let paths: Vec<_> = listed.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["images/debian.qcow2", "vms/other.img"]);
    assert_eq!((listed.device.as_str(), listed.file_system.as_str()), ("sdb1", "ext4"));
}
