//! The library with the real tool: sound disks come in, hostile ones do not. Needs root and qemu-utils.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skerry_linux_disk::{
    ChildCage, DiskPlaces, ImportFolders, KeptPlaces, LinuxLibrary, Media, QemuImg,
};
use skerry_linux_host::Roots;
use skerry_linux_host::systemd::Systemd;
use skerry_model::{ImageFormat as F, Name};
use skerry_upkeep::{
    ArchiveReader, DiskBase, ImageLibrary, Incoming, IntakeRefusal, LibraryError, LibraryKeep,
    Meter, Quiet,
};
use uuid::Uuid;

const GIB: u64 = 1 << 30;

/// Stands for the eyes of containers: an archive is good unless its first file is empty.
struct NoEmptyOnes;

#[async_trait::async_trait]
impl ArchiveReader for NoEmptyOnes {
    async fn check(&self, path: &std::path::Path) -> Result<(), LibraryError> {
        let head = fs::read(path).unwrap();
        match head.get(124..135) {
            Some(b"00000000000") => Err(IntakeRefusal::archive("nothing\nin it").into()),
            _ => Ok(()),
        }
    }

    /// By tar, as the files are here, and to the limit of entries alone.
    async fn unpack(
        &self,
        path: &std::path::Path,
        into: &std::path::Path,
        _bytes: u64,
        entries: u64,
    ) -> Result<(), LibraryError> {
        let list = Command::new("tar").arg("-tf").arg(path).output().unwrap();
        if list.stdout.iter().filter(|byte| **byte == b'\n').count() as u64 > entries {
            return Err(IntakeRefusal::Boot { detail: "too many".to_owned() }.into());
        }
        let done = Command::new("tar").arg("-xf").arg(path).arg("-C").arg(into).status().unwrap();
        assert!(done.success());
        Ok(())
    }
}

struct Ground {
    folder: tempfile::TempDir,
    library: LinuxLibrary,
    places: DiskPlaces,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The tool runs as nobody and has to reach the files.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let (data, run) = (folder.path().join("data"), folder.path().join("run"));
        let places = DiskPlaces::below(&data, &run);
        fs::create_dir_all(places.spool()).unwrap();
        fs::create_dir_all(places.media()).unwrap();
        let tool = QemuImg::new(Arc::new(ChildCage::new(65_534, 65_534)));
        Self {
            library: LinuxLibrary::new(places.clone(), tool, Arc::new(NoEmptyOnes)),
            places,
            folder,
        }
    }

    /// A place outside everything, for what hostile disks point to.
    fn aside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file into the spool as the north side does.
    fn spool(&self, id: Uuid) -> PathBuf {
        self.places.spooled(id)
    }

    /// Takes and looks into a file; the size of its disk, or the reason of the refusal.
    async fn look(&self, id: Uuid, format: F) -> Result<Option<u64>, String> {
        let quiet = || Arc::new(Quiet);
        self.library.take(id, &Incoming::Spooled(id), quiet()).await.unwrap();
        match self.library.inspect(id, format, GIB).await {
            Ok(size) => Ok(size),
            Err(LibraryError::Refused(refusal)) => Err(refusal.reason().to_owned()),
            Err(other) => panic!("{other}"),
        }
    }
}

fn qemu_img(words: &[&str]) {
    let output = Command::new("/usr/bin/qemu-img").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn make(path: &std::path::Path, format: &str, size: &str, more: &[&str]) {
    let words = [&["create", "-q", "-f", format], more, &[path.to_str().unwrap(), size]].concat();
    qemu_img(&words);
}

/// Fills the start of a disk with content that is not zero.
fn fill(path: &std::path::Path, format: &str, mib: u64) {
    let script = format!("write -P 0x5a 0 {mib}M");
    let output = Command::new("/usr/bin/qemu-io")
        .args(["-f", format, "-c", &script, path.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

#[tokio::test]
async fn a_sound_disk_comes_in_and_lies_sealed_under_its_digest() {
    let ground = Ground::new();
    let spooled = ground.spool(id(1));
    make(&spooled, "qcow2", "64M", &[]);
    fill(&spooled, "qcow2", 2);
    assert_eq!(ground.look(id(1), F::Qcow2).await, Ok(Some(64 << 20)));
    let digest = ground.library.digest(id(1), Arc::new(Quiet)).await.unwrap();
    let place = ground.library.adopt(id(1), &digest.sha256).await.unwrap();
    assert_eq!(place, ground.places.images().join(&digest.sha256));
    let found = fs::metadata(&place).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.len()), (0o444, digest.size));
    assert_eq!(fs::read(&place).unwrap(), fs::read(&spooled).unwrap());
    // Once more, as after a power cut behind the move.
    assert_eq!(ground.library.adopt(id(1), &digest.sha256).await.unwrap(), place);
    ground.library.drop_spooled(id(1)).await.unwrap();
    ground.library.discard(id(1)).await.unwrap();
    assert_eq!(ground.library.incoming(&Incoming::Spooled(id(1))).await.unwrap(), None);
}

#[tokio::test]
async fn foreign_formats_become_qcow2_with_the_same_content() {
    for (n, format, word, more) in [
        (1, F::Vmdk, "vmdk", &["-o", "subformat=monolithicSparse"][..]),
        (2, F::Vmdk, "vmdk", &["-o", "subformat=streamOptimized"]),
        (3, F::Vdi, "vdi", &[]),
        (4, F::Raw, "raw", &[]),
    ] {
        let ground = Ground::new();
        let (spooled, plain) = (ground.spool(id(n)), ground.aside("plain"));
        make(&plain, "raw", "8M", &[]);
        fill(&plain, "raw", 1);
        let convert = ["convert", "-f", "raw", "-O", word];
        let paths = [plain.to_str().unwrap(), spooled.to_str().unwrap()];
        qemu_img(&[&convert, more, &paths].concat());
        assert_eq!(ground.look(id(n), format).await, Ok(Some(8 << 20)), "{word} {more:?}");
        if format == F::Raw {
            continue;
        }
        ground.library.convert(id(n), format, Arc::new(Quiet)).await.unwrap();
        assert_eq!(ground.library.inspect(id(n), F::Qcow2, GIB).await.unwrap(), Some(8 << 20));
        let source = ground.places.source(id(n));
        assert_eq!(fs::metadata(&source).unwrap().uid(), 0);
        qemu_img(&["compare", "-f", "raw", "-F", "qcow2", paths[0], source.to_str().unwrap()]);
    }
}

/// Promises all room to another job, however much comes free meanwhile on the machine of this test.
fn promise_all(ground: &Ground) {
    ground.library.promises().claim(id(999), u64::MAX, u64::MAX).unwrap();
}

#[tokio::test]
async fn a_disk_that_outgrows_the_room_is_told_so_with_numbers_and_is_not_damaged() {
    let ground = Ground::new();
    let (spooled, plain) = (ground.spool(id(1)), ground.aside("plain"));
    make(&plain, "raw", "64M", &[]);
    fill(&plain, "raw", 32);
    let convert = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    let paths = [plain.to_str().unwrap(), spooled.to_str().unwrap()];
    qemu_img(&[&convert[..], &paths].concat());
    assert!(fs::metadata(&spooled).unwrap().len() < 4 << 20, "compressed it is small");
    ground.look(id(1), F::Vmdk).await.unwrap();
    promise_all(&ground);
    let refused = ground.library.convert(id(1), F::Vmdk, Arc::new(Quiet)).await.unwrap_err();
    let LibraryError::NoSpace { needed, free } = refused else { panic!("{refused}") };
    assert!((32 << 20..40 << 20).contains(&needed) && free == 0, "{needed} {free}");
    assert_eq!(ground.library.promises().others(id(999)), 0, "a refusal holds nothing back");
    ground.library.promises().release(id(999));
    ground.library.convert(id(1), F::Vmdk, Arc::new(Quiet)).await.unwrap();
}

#[tokio::test]
async fn what_others_were_promised_is_not_there_for_a_copy() {
    let ground = Ground::new();
    fs::write(ground.spool(id(1)), vec![1; 4 << 20]).unwrap();
    let arrived = ground.library.incoming(&Incoming::Spooled(id(1))).await.unwrap().unwrap();
    assert_eq!(arrived.size, 4 << 20);
    // An upload that is to bring 10 MiB and has brought 4.
    let upload = ground.spool(id(2));
    fs::write(upload.with_extension("json"), format!(r#"{{"name":"x","size":{}}}"#, 10 << 20))
        .unwrap();
    fs::write(upload.with_extension("part"), vec![1; 4 << 20]).unwrap();
    // No record of an upload: what a north side that has been taken over might put there to hold the node up.
    let pipe = ground.spool(id(3)).with_extension("json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink(upload.with_extension("json"), ground.spool(id(4)).with_extension("json")).unwrap();
    assert_eq!(ground.library.announced().await.unwrap(), 6 << 20);
    assert_eq!(ground.library.fetched(id(2)).await.unwrap(), 4 << 20);
    fs::write(upload.with_extension("json"), format!(r#"{{"name":"x","size":{}}}"#, u64::MAX))
        .unwrap();
    assert_eq!(ground.library.free_for(id(1)).await.unwrap(), 0);
    fs::remove_file(upload.with_extension("json")).unwrap();
    promise_all(&ground);
    let taken = ground.library.take(id(1), &Incoming::Spooled(id(1)), Arc::new(Quiet)).await;
    // Where blocks are shared a copy takes nothing.
    assert_eq!(taken.is_ok(), arrived.copy == 0, "{taken:?}");
    ground.library.promises().release(id(999));
    ground.library.take(id(1), &Incoming::Spooled(id(1)), Arc::new(Quiet)).await.unwrap();
}

/// Puts a disk where a copy of a volume is put.
async fn lend(ground: &Ground, n: u128, from: &std::path::Path) {
    let place = ground.library.lend(id(n)).await.unwrap();
    fs::copy(from, place).unwrap();
}

#[tokio::test]
async fn a_volume_and_its_base_become_one_disk_with_the_same_content() {
    for (n, word, format) in [(1, "qcow2", F::Qcow2), (2, "raw", F::Raw)] {
        let ground = Ground::new();
        let (base, volume) = (ground.aside("base"), ground.aside("volume"));
        make(&base, word, "8M", &[]);
        fill(&base, word, 2);
        let linked = ["-b", base.to_str().unwrap(), "-F", word];
        make(&volume, "qcow2", "16M", &linked);
        fill(&volume, "qcow2", 1);
        lend(&ground, n, &volume).await;
        let below = DiskBase { path: base.clone(), format };
        ground.library.flatten(id(n), Some(&below), Arc::new(Quiet)).await.unwrap();
        let size = ground.library.inspect(id(n), F::Qcow2, GIB).await.unwrap();
        assert_eq!(size, Some(16 << 20), "it stands for itself");
        let source = ground.places.source(id(n));
        let paths = [volume.to_str().unwrap(), source.to_str().unwrap()];
        qemu_img(&["compare", "-f", "qcow2", "-F", "qcow2", paths[0], paths[1]]);
        assert!(!ground.places.lent(id(n)).exists());
        assert_eq!(fs::metadata(&source).unwrap().uid(), 0);
    }
}

#[tokio::test]
async fn what_the_head_of_a_volume_names_is_not_followed() {
    let ground = Ground::new();
    let (secret, volume) = (ground.aside("secret"), ground.aside("volume"));
    make(&secret, "raw", "8M", &[]);
    fill(&secret, "raw", 8);
    make(&volume, "qcow2", "8M", &["-b", secret.to_str().unwrap(), "-F", "raw"]);
    lend(&ground, 1, &volume).await;
    ground.library.flatten(id(1), None, Arc::new(Quiet)).await.unwrap();
    let empty = ground.aside("empty");
    make(&empty, "raw", "8M", &[]);
    let source = ground.places.source(id(1));
    let paths = [empty.to_str().unwrap(), source.to_str().unwrap()];
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2", paths[0], paths[1]]);

    let data = format!("data_file={}", ground.aside("content").display());
    let outside = ground.aside("outside");
    make(&outside, "qcow2", "8M", &["-o", &data]);
    lend(&ground, 2, &outside).await;
    let refused = ground.library.flatten(id(2), None, Arc::new(Quiet)).await;
    assert!(matches!(refused, Err(LibraryError::Refused(_))), "{refused:?}");
    lend(&ground, 3, &secret).await;
    assert!(ground.library.flatten(id(3), None, Arc::new(Quiet)).await.is_err());
}

#[tokio::test]
async fn disks_that_lead_to_other_files_are_refused() {
    let ground = Ground::new();
    let base = ground.aside("base");
    make(&base, "qcow2", "8M", &[]);
    let linked = ["-b", base.to_str().unwrap(), "-F", "qcow2"];
    make(&ground.spool(id(1)), "qcow2", "8M", &linked);
    assert_eq!(ground.look(id(1), F::Qcow2).await, Err("BackingFile".to_owned()));

    let data = format!("data_file={}", ground.aside("content").display());
    make(&ground.spool(id(2)), "qcow2", "8M", &["-o", &data]);
    assert_eq!(ground.look(id(2), F::Qcow2).await, Err("OtherFile".to_owned()));

    let text = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
                createType=\"monolithicFlat\"\n\nRW 8 FLAT \"/etc/passwd\" 0\n";
    fs::write(ground.spool(id(3)), text).unwrap();
    assert_eq!(ground.look(id(3), F::Vmdk).await, Err("OtherFile".to_owned()));
    assert_eq!(ground.look(id(3), F::Raw).await, Err("WrongFormat".to_owned()));

    let secret = "--object=secret,id=k,data=secret";
    let options = ["-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"];
    make(&ground.spool(id(4)), "qcow2", "8M", &[&[secret], &options[..]].concat());
    assert_eq!(ground.look(id(4), F::Qcow2).await, Err("Encrypted".to_owned()));
}

#[tokio::test]
async fn bombs_lies_and_halves_are_refused() {
    let ground = Ground::new();
    make(&ground.spool(id(1)), "qcow2", "1P", &["-o", "cluster_size=2M"]);
    assert_eq!(ground.look(id(1), F::Qcow2).await, Err("TooLarge".to_owned()));

    make(&ground.spool(id(2)), "raw", "1M", &[]);
    assert_eq!(ground.look(id(2), F::Qcow2).await, Err("WrongFormat".to_owned()));
    assert_eq!(ground.look(id(2), F::Vmdk).await, Err("WrongFormat".to_owned()));

    let cut = ground.spool(id(3));
    make(&cut, "qcow2", "64M", &[]);
    fill(&cut, "qcow2", 8);
    let size = fs::metadata(&cut).unwrap().len();
    OpenOptions::new().write(true).open(&cut).unwrap().set_len(size / 2).unwrap();
    let refused = ground.look(id(3), F::Qcow2).await.unwrap_err();
    assert!(["CutOff", "Damaged"].contains(&refused.as_str()), "{refused}");

    // Tables that point into each other.
    let broken = ground.spool(id(4));
    make(&broken, "qcow2", "64M", &[]);
    fill(&broken, "qcow2", 1);
    let file = OpenOptions::new().write(true).read(true).open(&broken).unwrap();
    let mut offset = [0; 8];
    file.read_exact_at(&mut offset, 40).unwrap();
    file.write_all_at(&[0xff; 64], u64::from_be_bytes(offset)).unwrap();
    let refused = ground.look(id(4), F::Qcow2).await.unwrap_err();
    assert_eq!(refused, "Damaged");
}

#[tokio::test]
async fn only_plain_files_of_the_allowed_places_are_taken() {
    let ground = Ground::new();
    fs::write(ground.aside("secret"), "x").unwrap();
    symlink(ground.aside("secret"), ground.places.media().join("link")).unwrap();
    symlink(ground.folder.path(), ground.places.media().join("folder")).unwrap();
    fs::create_dir(ground.places.media().join("sub")).unwrap();
    fs::write(ground.places.media().join("sub/disk"), "disk").unwrap();
    fs::hard_link(ground.aside("secret"), ground.places.media().join("twin")).unwrap();
    nix::unistd::mkfifo(&ground.places.media().join("pipe"), nix::sys::stat::Mode::S_IRWXU)
        .unwrap();
    let size = |path: &str| {
        let (library, what) = (ground.library.clone(), Incoming::Medium(path.to_owned()));
        async move { library.incoming(&what).await.map(|found| found.map(|found| found.size)) }
    };
    assert_eq!(size("sub/disk").await.unwrap(), Some(4));
    assert_eq!(size("nothing").await.unwrap(), None);
    for path in ["link", "folder/secret", "../secret", "twin", "pipe", "sub", "/etc/passwd"] {
        assert!(size(path).await.is_err(), "{path}");
    }
    symlink("/etc/passwd", ground.spool(id(1))).unwrap();
    assert!(ground.library.incoming(&Incoming::Spooled(id(1))).await.is_err());
}

/// Does something to a file while it is read.
struct Meddler(PathBuf, fn(&std::path::Path));

impl Meter for Meddler {
    fn bytes(&self, _done: u64, _total: u64) {
        (self.1)(&self.0);
    }
    fn is_stopped(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_file_of_the_inbox_that_changes_or_goes_while_it_is_read_is_refused() {
    let ground = Ground::new();
    let inbox = ground.places.inbox();
    fs::create_dir_all(&inbox).unwrap();
    let folders = vec![(Name::new("import").unwrap(), inbox.clone())];
    let media = Media::new(
        Systemd::at("unix:path=/none"),
        Roots::below(ground.folder.path()),
        ground.places.media(),
    );
    let folders = ImportFolders::new(folders, KeptPlaces::default());
    let library = ground.library.clone().with_media(media.with_folders(folders));
    let what = Incoming::Medium("import/a.img".to_owned());
    assert_eq!(library.incoming(&what).await.unwrap(), None);
    let file = inbox.join("a.img");
    let meddlers: [fn(&std::path::Path); 3] = [
        |file| {
            fs::OpenOptions::new().append(true).open(file).unwrap().write_all_at(b"x", 0).unwrap()
        },
        |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1).unwrap(),
        |file| drop(fs::remove_file(file)),
    ];
    for meddle in meddlers {
        fs::write(&file, "whole").unwrap();
        assert_eq!(library.incoming(&what).await.unwrap().map(|found| found.size), Some(5));
        let meddler = Arc::new(Meddler(file.clone(), meddle));
        let refused = library.take(id(1), &what, meddler).await.unwrap_err().to_string();
        assert!(refused.contains("was changed while it was read"), "{refused}");
    }
    fs::write(&file, "whole").unwrap();
    assert_eq!(library.take(id(1), &what, Arc::new(Quiet)).await.unwrap(), 5);
    assert_eq!(fs::read(ground.places.source(id(1))).unwrap(), b"whole");
    let listed = library.media().await.unwrap();
    assert_eq!(listed.items[0].files[0].path, "a.img");
    // What leads elsewhere is refused as on a stick.
    fs::write(ground.aside("secret"), "x").unwrap();
    symlink(ground.aside("secret"), inbox.join("link.img")).unwrap();
    fs::hard_link(ground.aside("secret"), inbox.join("twin.img")).unwrap();
    nix::unistd::mkfifo(&inbox.join("pipe.img"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in ["link.img", "twin.img", "pipe.img", "../secret"] {
        let what = Incoming::Medium(format!("import/{path}"));
        assert!(library.incoming(&what).await.is_err(), "{path}");
    }
}

/// Ends the work after a number of looks.
struct Impatient(AtomicU64);

impl Meter for Impatient {
    fn bytes(&self, _done: u64, _total: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 1
    }
}

#[tokio::test]
async fn work_can_be_broken_off_and_what_nobody_needs_is_cleared_away() {
    let ground = Ground::new();
    let spooled = ground.spool(id(1));
    fs::File::create(&spooled).unwrap().set_len(64 << 20).unwrap();
    let what = Incoming::Spooled(id(1));
    let broken = ground.library.take(id(1), &what, Arc::new(Impatient(AtomicU64::new(0)))).await;
    assert!(matches!(broken, Err(LibraryError::Stopped)), "{broken:?}");
    ground.library.take(id(1), &what, Arc::new(Quiet)).await.unwrap();
    ground.library.take(id(2), &what, Arc::new(Quiet)).await.unwrap();
    let (kept, loose) = ("a".repeat(64), "b".repeat(64));
    for name in [kept.as_str(), loose.as_str(), "README"] {
        fs::write(ground.places.images().join(name), name).unwrap();
    }
    let keep = LibraryKeep { digests: [kept.clone()].into(), jobs: [id(1)].into() };
    assert_eq!(ground.library.tidy(&keep).await.unwrap(), 2);
    assert_eq!(ground.library.tidy(&keep).await.unwrap(), 0);
    let there = |path: PathBuf| path.exists();
    assert!(there(ground.places.source(id(1))) && !there(ground.places.work(id(2))));
    assert!(
        there(ground.places.images().join(&kept)) && !there(ground.places.images().join(&loose))
    );
    ground.library.remove(&ground.aside("secret")).await.unwrap();
    ground.library.remove(&ground.places.images().join(&kept)).await.unwrap();
    assert!(!there(ground.places.images().join(&kept)));
}

#[tokio::test]
async fn archives_are_looked_into_by_those_who_use_them() {
    let ground = Ground::new();
    let tar = |size: &[u8; 11]| {
        let mut head = vec![0_u8; 1024];
        head[124..135].copy_from_slice(size);
        head[257..262].copy_from_slice(b"ustar");
        head
    };
    let id = Uuid::from_u128(1);
    fs::write(ground.spool(id), tar(b"00000000001")).unwrap();
    assert_eq!(ground.look(id, F::OciArchive).await, Ok(None));
    let id = Uuid::from_u128(2);
    fs::write(ground.spool(id), tar(b"00000000000")).unwrap();
    assert_eq!(ground.look(id, F::OciArchive).await, Err("UnusableArchive".to_owned()));
    let text = IntakeRefusal::archive("nothing\nin it").to_string();
    assert!(text.contains("nothing\\nin it"), "{text}");
}

/// A kernel of 1056 bytes, as far as its header goes.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0_u8; 1056];
    for (at, part) in [
        (0x1f1, &[1_u8][..]),
        (0x1f4, &2_u32.to_le_bytes()),
        (0x1fe, &[0x55, 0xaa]),
        (0x202, b"HdrS"),
        (0x206, &0x020f_u16.to_le_bytes()),
        (0x236, &1_u16.to_le_bytes()),
    ] {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[tokio::test]
async fn a_kernel_comes_with_its_initrd() {
    let ground = Ground::new();
    let initrd = [b"070701".as_slice(), &[0; 100]].concat();
    let pack = |n: u128, files: &[(&str, &[u8])], words: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let id = Uuid::from_u128(n);
        let mut tar = Command::new("tar");
        tar.args(["--format=ustar", "--owner=1000", "-C"]).arg(folder.path());
        tar.arg("-cf").arg(ground.spool(id)).args(words);
        assert!(tar.status().unwrap().success());
        id
    };
    let apart = async |id: Uuid| {
        assert_eq!(ground.look(id, F::KernelInitrd).await, Ok(None));
        match ground.library.take_apart(id, Arc::new(Quiet)).await {
            Ok(parts) => Ok(parts),
            Err(LibraryError::Refused(refusal)) => Err(refusal.to_string()),
            Err(other) => panic!("{other}"),
        }
    };
    let good: [(&str, &[u8]); 3] =
        [("kernel", &kernel()), ("initrd", &initrd), ("cmdline", b"console=ttyS0 quiet\n")];
    let id = pack(1, &good, &["."]);
    let parts = apart(id).await.unwrap();
    assert_eq!((parts.kernel.size, parts.initrd.size), (1056, 106));
    assert_eq!(parts.arguments, "console=ttyS0 quiet");
    for (role, found) in [("kernel", &parts.kernel), ("initrd", &parts.initrd)] {
        let place = ground.library.adopt_part(id, role, &found.sha256).await.unwrap();
        let meta = fs::metadata(&place).unwrap();
        assert_eq!((meta.uid(), meta.permissions().mode() & 0o7777), (0, 0o444));
        assert_eq!(meta.len(), found.size);
        // A run after a power cut finds it there.
        assert_eq!(ground.library.adopt_part(id, role, &found.sha256).await.unwrap(), place);
    }
    let id = pack(2, &good[..2], &["kernel", "initrd"]);
    assert_eq!(apart(id).await.unwrap().arguments, "");

    type Case<'a> = (&'a [(&'a str, &'a [u8])], &'a str);
    let bad: [Case<'_>; 5] = [
        (&good[..1], "has no file `initrd`"),
        (&[("kernel", b"#!/bin/sh"), ("initrd", &initrd)], "no kernel"),
        (&[("kernel", &kernel()), ("initrd", b"text")], "no initial file system"),
        (&[good[0], good[1], ("other", b"x")], "it holds `other`"),
        (&[good[0], good[1], ("cmdline", b"two\nlines")], "not one line"),
    ];
    for (n, (files, said)) in (10..).zip(bad) {
        let refused = apart(pack(n, files, &["."])).await.unwrap_err();
        assert!(refused.contains(said), "{refused}");
        ground.library.discard(Uuid::from_u128(n)).await.unwrap();
        assert!(!ground.places.work(Uuid::from_u128(n)).exists());
    }
    // Links lead nowhere.
    for (n, hard) in [(20, true), (21, false)] {
        let folder = tempfile::tempdir().unwrap();
        let (kernel_at, initrd_at) = (folder.path().join("kernel"), folder.path().join("initrd"));
        fs::write(&kernel_at, kernel()).unwrap();
        if hard {
            fs::hard_link(&kernel_at, &initrd_at).unwrap();
        } else {
            symlink("/etc/shadow", &initrd_at).unwrap();
        }
        let id = Uuid::from_u128(n);
        let mut tar = Command::new("tar");
        tar.args(["--format=ustar", "-C"]).arg(folder.path()).arg("-cf").arg(ground.spool(id));
        assert!(tar.arg(".").status().unwrap().success());
        assert!(apart(id).await.unwrap_err().contains("has no file"));
    }
}
