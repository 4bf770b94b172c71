//! What a machine's TPM keeps, copied for snapshots and put back.
//!
//! The program that emulates a TPM (swtpm) replaces its file as a whole whenever something is to last, and does so before
//! it answers the guest, so a copy that is made while the guest is off or held is whole. The copies lie in the machine's
//! folder, where only root can read them. The folder that swtpm writes to belongs to its account and is not trusted:
//! links are not followed, and nothing but plain files of bounded size is copied.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Error, ErrorKind, Read};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use skerry_model::{Id, Snapshot, Vm};

use crate::files::{Places, TPM};

/// The copies for snapshots, each in a folder named by the snapshot's id.
const KEPT: &str = "tpm-kept";

/// Most that all files of a TPM have together, in bytes. A TPM 2.0 keeps some hundred KiB at most.
const LARGEST: u64 = 16 << 20;

impl Places {
    fn tpm(&self, vm: Id<Vm>) -> PathBuf {
        self.folder(vm).join(TPM)
    }

    fn kept(&self, vm: Id<Vm>) -> PathBuf {
        self.folder(vm).join(KEPT)
    }

    /// Copies what a TPM keeps. `false` if it keeps nothing.
    pub fn keep_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> io::Result<bool> {
        self.drop_tpm(vm, snapshot)?;
        let from = self.tpm(vm);
        if !from.is_dir() {
            return Ok(false);
        }
        let folder = self.kept(vm);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let making = making(&folder, snapshot);
        if copy(&from, &making)? == 0 {
            fs::remove_dir_all(&making)?;
            return Ok(false);
        }
        fs::rename(&making, folder.join(snapshot.to_string()))?;
        sync(&folder)?;
        sync(&self.folder(vm))?;
        Ok(true)
    }

    /// Puts back what was kept, in one step; what was there is gone.
    pub fn revert_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> io::Result<()> {
        let from = self.kept(vm).join(snapshot.to_string());
        if !from.is_dir() {
            let message = "what was kept of it is gone";
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        let (making, to) = (self.folder(vm).join("tpm.new"), self.tpm(vm));
        copy(&from, &making)?;
        if to.is_dir() {
            renameat_with(CWD, &making, CWD, &to, RenameFlags::EXCHANGE)?;
        } else {
            fs::rename(&making, &to)?;
        }
        sync(&self.folder(vm))?;
        remove(&making)
    }

    /// Removes what was kept.
    pub fn drop_tpm(&self, vm: Id<Vm>, snapshot: Id<Snapshot>) -> io::Result<()> {
        let folder = self.kept(vm);
        remove(&making(&folder, snapshot))?;
        remove(&folder.join(snapshot.to_string()))?;
        if folder.is_dir() { sync(&folder) } else { Ok(()) }
    }
}

fn making(folder: &Path, snapshot: Id<Snapshot>) -> PathBuf {
    folder.join(format!("{snapshot}.new"))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Copies the files of a folder to a new one, with the same owner, and tells how many there are.
fn copy(from: &Path, to: &Path) -> io::Result<usize> {
    remove(to)?;
    DirBuilder::new().mode(0o700).create(to)?;
    let mut room = LARGEST;
    let mut count = 0_usize;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Locks, and what swtpm has not finished writing.
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().starts_with(b"TMP")
        {
            continue;
        }
        room = copy_file(&entry.path(), &to.join(&name), room)?;
        count = count.saturating_add(1);
    }
    let seen = fs::metadata(from)?;
    chown(to, Some(seen.uid()), Some(seen.gid()))?;
    fs::set_permissions(to, Permissions::from_mode(seen.mode() & 0o777))?;
    sync(to)?;
    Ok(count)
}

/// Copies a file and tells how much room is left after it.
fn copy_file(from: &Path, to: &Path, room: u64) -> io::Result<u64> {
    let flags =
        i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(Error::other)?;
    let source = OpenOptions::new().read(true).custom_flags(flags).open(from)?;
    let seen = source.metadata()?;
    if !seen.is_file() {
        let message = format!("{} is no plain file", from.display());
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let written = io::copy(&mut source.take(room.saturating_add(1)), &mut copy)?;
    let Some(left) = room.checked_sub(written) else {
        let message = format!("what the TPM keeps is larger than {LARGEST} bytes");
        return Err(Error::new(ErrorKind::InvalidData, message));
    };
    fchown(&copy, Some(seen.uid()), Some(seen.gid()))?;
    copy.set_permissions(Permissions::from_mode(seen.mode() & 0o777))?;
    copy.sync_all()?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use uuid::Uuid;

    struct Machine {
        places: Places,
        vm: Id<Vm>,
        _root: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let (data, pids) = (root.path().join("vm"), root.path().join("run"));
            let places = Places { data, pids, memory: None, guests: None };
            let vm = Id::new(Uuid::from_u128(7));
            places.make(vm).unwrap();
            Self { places, vm, _root: root }
        }

        /// As swtpm writes it.
        fn write(&self, text: &str) {
            let folder = self.places.tpm(self.vm);
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
            fs::write(folder.join(".lock"), "").unwrap();
            fs::write(folder.join("TMP2-00.permall"), "half").unwrap();
            fs::write(folder.join("tpm2-00.permall"), text).unwrap();
        }

        fn read(&self) -> String {
            fs::read_to_string(self.places.tpm(self.vm).join("tpm2-00.permall")).unwrap()
        }

        fn keep(&self, n: u128) -> io::Result<bool> {
            self.places.keep_tpm(self.vm, snapshot(n))
        }

        fn revert(&self, n: u128) -> io::Result<()> {
            self.places.revert_tpm(self.vm, snapshot(n))
        }
    }

    fn snapshot(n: u128) -> Id<Snapshot> {
        Id::new(Uuid::from_u128(n))
    }

    #[test]
    fn what_was_kept_comes_back_and_nothing_else() {
        let machine = Machine::new();
        assert!(!machine.keep(1).unwrap(), "it never ran");
        machine.write("one");
        assert!(machine.keep(1).unwrap());
        machine.write("two");
        assert!(machine.keep(2).unwrap());
        assert!(machine.keep(2).unwrap(), "once more");
        let folder = machine.places.tpm(machine.vm);
        fs::write(folder.join("tpm2-00.volatilestate"), "later").unwrap();
        for (n, text) in [(1, "one"), (2, "two"), (2, "two"), (1, "one")] {
            machine.revert(n).unwrap();
            assert_eq!(machine.read(), text);
            let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(names.collect::<Vec<_>>(), ["tpm2-00.permall"]);
            assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        }
        assert!(!machine.places.folder(machine.vm).join("tpm.new").exists());
    }

    #[test]
    fn a_folder_that_is_gone_comes_back_too() {
        let machine = Machine::new();
        machine.write("one");
        machine.keep(1).unwrap();
        fs::remove_dir_all(machine.places.tpm(machine.vm)).unwrap();
        machine.revert(1).unwrap();
        assert_eq!(machine.read(), "one");
    }

    #[test]
    fn what_was_broken_off_is_in_nobodys_way() {
        let machine = Machine::new();
        machine.write("one");
        let kept = machine.places.kept(machine.vm);
        fs::create_dir_all(making(&kept, snapshot(1))).unwrap();
        fs::write(making(&kept, snapshot(1)).join("tpm2-00.permall"), "half").unwrap();
        assert_eq!(machine.revert(1).unwrap_err().kind(), ErrorKind::InvalidData);
        machine.keep(1).unwrap();
        let new = machine.places.folder(machine.vm).join("tpm.new");
        fs::create_dir(&new).unwrap();
        fs::write(new.join("tpm2-00.permall"), "half").unwrap();
        machine.write("two");
        machine.revert(1).unwrap();
        assert_eq!(machine.read(), "one");
    }

    #[test]
    fn what_is_dropped_is_gone_and_with_the_machine_all_of_it() {
        let machine = Machine::new();
        machine.places.drop_tpm(machine.vm, snapshot(1)).unwrap();
        machine.write("one");
        for n in [1, 2] {
            machine.keep(n).unwrap();
        }
        machine.places.drop_tpm(machine.vm, snapshot(1)).unwrap();
        assert_eq!(machine.revert(1).unwrap_err().kind(), ErrorKind::InvalidData);
        machine.revert(2).unwrap();
        machine.places.erase(machine.vm).unwrap();
        assert!(!machine.keep(2).unwrap());
        assert!(!machine.places.has_files(machine.vm), "no folder for a machine that is gone");
    }

    #[test]
    fn neither_links_nor_floods_are_copied() {
        let machine = Machine::new();
        machine.write("one");
        machine.keep(1).unwrap();
        let odd = machine.places.tpm(machine.vm).join("odd");
        symlink("/etc/passwd", &odd).unwrap();
        machine.keep(2).unwrap_err();
        fs::remove_file(&odd).unwrap();
        fs::create_dir(&odd).unwrap();
        machine.keep(2).unwrap_err();
        fs::remove_dir(&odd).unwrap();
        File::create(&odd).unwrap().set_len(LARGEST).unwrap();
        machine.keep(2).unwrap_err();
        assert_eq!(machine.revert(2).unwrap_err().kind(), ErrorKind::InvalidData);
        machine.revert(1).unwrap();
        assert_eq!(machine.read(), "one");
    }
}
