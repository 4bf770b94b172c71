use super::*;

fn wanted() -> PoolFileSystem {
    PoolFileSystem { uuid: "1a2b-3c4d".into(), folder: "vms/skerry".into() }
}

fn there(kind: &str, busy: Option<&str>) -> FileSystemSeen {
    FileSystemSeen {
        name: "sdb1".into(),
        kind: kind.into(),
        size_bytes: 8 << 30,
        busy: busy.map(Into::into),
    }
}

fn folders() -> [FolderSeen; 6] {
    let (taken, unfit) = ("holds other files".to_owned(), "it is a link".to_owned());
    let fit = [FolderSeen::Unknown, FolderSeen::Absent, FolderSeen::Empty, FolderSeen::Own];
    let [a, b, c, d] = fit;
    [a, b, c, d, FolderSeen::Taken(taken), FolderSeen::Unfit(unfit)]
}

/// Every situation there is.
fn situations() -> impl Iterator<Item = (bool, KeptSeen)> {
    let systems = ["xfs", "ext4", "vfat", "ntfs", "iso9660"]
        .into_iter()
        .flat_map(|kind| [None, Some("is mounted at /srv")].map(|busy| Some(there(kind, busy))))
        .chain([None, Some(FileSystemSeen { size_bytes: 1 << 20, ..there("xfs", None) })]);
    systems.flat_map(|file_system| {
        (0..8_u8).flat_map(move |bits| {
            let file_system = file_system.clone();
            folders().into_iter().map(move |folder| {
                let (mounted, read_only) = (bits & 2 != 0, bits & 4 != 0);
                let file_system = file_system.clone();
                (bits & 1 != 0, KeptSeen { file_system, mounted, read_only, folder })
            })
        })
    })
}

#[test]
fn in_no_situation_is_anything_formatted_and_only_a_new_pool_makes_a_folder() {
    for (prepared, seen) in situations() {
        let step = plan_kept(&wanted(), prepared, &seen);
        let fit = seen.file_system.as_ref().is_some_and(|found| {
            KINDS.contains(&found.kind.as_str()) && found.busy.is_none() && found.size_bytes > LEAST
        });
        let writable = seen.file_system.is_some() && seen.mounted && !seen.read_only;
        let free = matches!(seen.folder, FolderSeen::Absent | FolderSeen::Empty);
        let settles = writable && free && !prepared;
        assert_eq!(step == Ok(Some(PlaceStep::Mount)), fit && !seen.mounted, "{prepared} {seen:?}");
        assert_eq!(step == Ok(Some(PlaceStep::Settle)), settles, "{prepared} {seen:?}");
        let done = writable && seen.folder == FolderSeen::Own;
        assert_eq!(step == Ok(None), done, "{prepared} {seen:?}");
        let others = [PlaceStep::Format, PlaceStep::Unmount, PlaceStep::Clear];
        assert!(!others.iter().any(|other| step == Ok(Some(*other))), "{prepared} {seen:?}");
    }
}

#[test]
fn in_every_situation_a_file_system_is_given_back_and_only_what_is_marked_is_cleared() {
    for (prepared, seen) in situations() {
        let steps = plan_release(&wanted(), prepared, &seen);
        assert_eq!(steps.last(), Some(&PlaceStep::Unmount), "{prepared} {seen:?}");
        let clears = steps.contains(&PlaceStep::Clear);
        let own = seen.mounted && seen.folder == FolderSeen::Own && !seen.read_only;
        assert!(!clears || own || prepared && !seen.mounted, "{prepared} {seen:?}");
        assert!(!steps.contains(&PlaceStep::Format) && !steps.contains(&PlaceStep::Settle));
        let mounts = steps.contains(&PlaceStep::Mount);
        assert!(!mounts || seen.file_system.is_some(), "{prepared} {seen:?}");
    }
}

#[test]
fn what_keeps_a_pool_away_says_what_to_do() {
    let away = |prepared, file_system, folder| {
        let seen = KeptSeen { file_system, mounted: true, read_only: false, folder };
        plan_kept(&wanted(), prepared, &seen).unwrap_err().to_string()
    };
    let ext4 = || Some(there("ext4", None));
    assert_eq!(
        away(true, None, FolderSeen::Unknown),
        "its file system `1a2b-3c4d` is not there; plug its disk in again"
    );
    assert!(away(false, None, FolderSeen::Unknown).contains("no file system with the UUID"));
    let found = |file_system: FileSystemSeen| {
        let seen = KeptSeen { file_system: Some(file_system), ..KeptSeen::default() };
        plan_kept(&wanted(), false, &seen).unwrap_err().to_string()
    };
    let stick = found(there("vfat", None));
    assert!(stick.contains("of the kind `vfat`; a pool needs xfs or ext4"), "{stick}");
    let used = found(there("xfs", Some("is mounted at /srv")));
    assert!(used.contains("(sdb1) is mounted at /srv"), "{used}");
    let [_, _, empty, _, taken, unfit] = folders();
    assert!(away(true, ext4(), empty).contains("is gone from its file system"));
    assert!(
        away(false, ext4(), taken).contains("`vms/skerry` on its file system holds other files")
    );
    assert!(away(false, ext4(), unfit).contains("cannot be used: it is a link"));
    let small = FileSystemSeen { size_bytes: 1 << 20, ..there("xfs", None) };
    assert!(found(small).contains("has 1 MiB"));
    let seen =
        KeptSeen { file_system: ext4(), mounted: true, read_only: true, folder: FolderSeen::Own };
    let locked = plan_kept(&wanted(), true, &seen).unwrap_err().to_string();
    assert!(locked.contains("takes no writes"), "{locked}");
}
