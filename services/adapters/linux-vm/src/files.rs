//! Where the files of virtual machines lie, and how their serial logs are read.
//!
//! A machine's folder is named by its id. libvirt's log service writes the serial log and keeps its
//! size within bounds by renaming it: `serial.log` is the newest part, `serial.log.0` the one before.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use skerry_compute::{DomainDefinition, LogChunk, LogPosition};
use skerry_model::{Id, Vm};

/// The disk that cloud-init reads, in a machine's folder.
pub const SEED: &str = "seed.img";

/// What a machine's TPM keeps: a folder in its folder.
pub const TPM: &str = "tpm";

/// What a machine's UEFI writes down, in its folder.
pub const NVRAM: &str = "nvram.fd";

/// Older parts of a log that are looked for. The log service keeps fewer.
const MOST_PARTS: usize = 10;

/// The folders.
#[derive(Debug, Clone)]
pub struct Places {
    /// Holds one folder per machine.
    pub data: PathBuf,
    /// Where libvirt notes the process ids of its domains.
    pub pids: PathBuf,
    /// Where libvirt puts the memory of suspended guests; `None` if it keeps none on disk.
    pub memory: Option<PathBuf>,
    /// Group of the account that guests run as, if it is another one.
    pub guests: Option<u32>,
}

/// How the file of a guest's memory begins once it is whole; before, it begins otherwise.
const WHOLE: &[u8] = b"LibvirtQemudSave";

impl Places {
    pub(crate) fn folder(&self, vm: Id<Vm>) -> PathBuf {
        self.data.join(vm.to_string())
    }

    /// The file that the serial log is written to.
    pub fn serial_log(&self, vm: Id<Vm>) -> PathBuf {
        self.folder(vm).join("serial.log")
    }

    /// The socket of the serial line. As long as the folder's path is short enough for one (107 bytes in all).
    pub fn serial_socket(&self, vm: Id<Vm>) -> PathBuf {
        self.folder(vm).join("serial.sock")
    }

    /// Makes a machine's folder if it is not there. Guests' account reaches what it knows in there, and
    /// cannot list it.
    pub fn make(&self, vm: Id<Vm>) -> io::Result<()> {
        let folder = self.folder(vm);
        for path in [&self.data, &folder] {
            DirBuilder::new().recursive(true).mode(0o711).create(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o711))?;
        }
        Ok(())
    }

    /// The disk that cloud-init in a machine's guest reads.
    pub fn seed(&self, vm: Id<Vm>) -> PathBuf {
        self.folder(vm).join(SEED)
    }

    /// Writes the disk for cloud-init, or removes it. One that is there and the same stays; a running guest
    /// keeps the one that it started with.
    pub fn put_seed(&self, vm: Id<Vm>, disk: Option<&[u8]>) -> io::Result<()> {
        let path = self.seed(vm);
        let Some(disk) = disk else {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        if fs::read(&path).is_ok_and(|there| there == disk) {
            return Ok(());
        }
        let making = path.with_extension("new");
        let _ = fs::remove_file(&making);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&making)?;
        file.write_all(disk)?;
        if let Some(group) = self.guests {
            fchown(&file, None, Some(group))?;
            file.set_permissions(Permissions::from_mode(0o640))?;
        }
        file.sync_all()?;
        fs::rename(&making, &path)?;
        File::open(self.folder(vm))?.sync_all()
    }

    /// Removes a machine's folder with all that is in it.
    pub fn erase(&self, vm: Id<Vm>) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(vm)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Whether a machine has a folder.
    pub fn has_files(&self, vm: Id<Vm>) -> bool {
        self.folder(vm).is_dir()
    }

    /// The machines that have a folder.
    pub fn machines(&self) -> io::Result<Vec<Id<Vm>>> {
        let entries = match fs::read_dir(&self.data) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Some(vm) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(vm);
            }
        }
        Ok(found)
    }

    /// The process of a domain, as libvirt noted it.
    pub fn pid(&self, domain: &str) -> Option<u32> {
        let text = fs::read_to_string(self.pids.join(format!("{domain}.pid"))).ok()?;
        text.trim().parse().ok()
    }

    fn memory_file(&self, vm: Id<Vm>) -> Option<PathBuf> {
        let folder = self.memory.as_ref()?;
        Some(folder.join(format!("{}.save", DomainDefinition::domain_name(vm))))
    }

    /// Whether a machine's whole memory is on disk; `None` if files do not tell.
    pub fn saved(&self, vm: Id<Vm>) -> Option<bool> {
        let path = self.memory_file(vm)?;
        let mut begin = Vec::new();
        let limit = WHOLE.len() as u64;
        let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut begin));
        Some(read.is_ok() && begin == WHOLE)
    }

    /// Whether there is a folder of any machine, or a process of any guest.
    pub fn has_traces(&self) -> bool {
        let processes = || {
            let mut names = fs::read_dir(&self.pids).into_iter().flatten().flatten();
            names.any(|entry| entry.path().extension().is_some_and(|end| end == "pid"))
        };
        self.machines().map_or(true, |machines| !machines.is_empty()) || processes()
    }

    /// Removes a machine's memory from disk, and sees to it that it stays removed after a power cut.
    pub fn discard(&self, vm: Id<Vm>) -> io::Result<()> {
        let Some(path) = self.memory_file(vm) else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match &self.memory {
            Some(folder) if folder.is_dir() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Reads a serial log from a place on.
    pub fn read_serial(&self, vm: Id<Vm>, from: LogPosition, limit: usize) -> io::Result<LogChunk> {
        let parts = parts(&self.serial_log(vm))?;
        let first = parts.iter().position(|part| part.inode == from.file);
        let mut chunk = LogChunk { bytes: Vec::new(), next: from };
        for (index, part) in parts.into_iter().enumerate().skip(first.unwrap_or(0)) {
            let offset = if Some(index) == first { from.offset } else { 0 };
            let room = limit.saturating_sub(chunk.bytes.len());
            let file = part.inode;
            let read = part.read(offset, room, &mut chunk.bytes)?;
            chunk.next = LogPosition { file, offset: offset.saturating_add(read) };
            if chunk.bytes.len() >= limit {
                break;
            }
        }
        Ok(chunk)
    }
}

/// One file of a log, held open so that renaming it does not matter.
struct Part {
    inode: u64,
    file: File,
}

impl Part {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { inode: file.metadata()?.ino(), file })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds what follows `offset` to `bytes`, at most `room` of it.
    fn read(mut self, offset: u64, room: usize, bytes: &mut Vec<u8>) -> io::Result<u64> {
        // A shorter file than expected has been emptied, and is read from its beginning.
        let offset = if self.file.metadata()?.len() < offset { 0 } else { offset };
        self.file.seek(SeekFrom::Start(offset))?;
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let read = self.file.take(room).read_to_end(bytes)?;
        Ok(u64::try_from(read).unwrap_or(u64::MAX))
    }
}

/// The files of a log, oldest first.
fn parts(log: &Path) -> io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    // The newest is opened first: if it is renamed meanwhile, it is met again under its new name.
    parts.extend(Part::open(log)?);
    for number in 0..MOST_PARTS {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let Some(part) = Part::open(Path::new(&name))? else { break };
        if parts.iter().all(|known| known.inode != part.inode) {
            parts.push(part);
        }
    }
    parts.reverse();
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    struct Log {
        places: Places,
        vm: Id<Vm>,
        _root: tempfile::TempDir,
    }

    impl Log {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let places = Places {
                data: root.path().join("vm"),
                pids: root.path().join("run"),
                memory: Some(root.path().join("memory")),
                guests: None,
            };
            let vm = Id::new(Uuid::from_u128(7));
            places.make(vm).unwrap();
            places.make(vm).unwrap();
            Self { places, vm, _root: root }
        }

        fn write(&self, suffix: &str, text: &str) {
            let mut path = self.places.serial_log(self.vm).into_os_string();
            path.push(suffix);
            fs::write(path, text).unwrap();
        }

        fn read(&self, from: LogPosition, limit: usize) -> (String, LogPosition) {
            let chunk = self.places.read_serial(self.vm, from, limit).unwrap();
            (String::from_utf8(chunk.bytes).unwrap(), chunk.next)
        }
    }

    #[test]
    fn a_log_is_read_across_its_parts_without_gap_or_repetition() {
        let log = Log::new();
        assert_eq!(log.read(LogPosition::default(), 100).0, "", "nothing written yet");
        log.write(".1", "one ");
        log.write(".0", "two ");
        log.write("", "three");
        let (mut text, mut at) = log.read(LogPosition::default(), 3);
        loop {
            let (more, next) = log.read(at, 3);
            if more.is_empty() {
                break;
            }
            assert!(more.len() <= 3);
            text += &more;
            at = next;
        }
        assert_eq!(text, "one two three");
    }

    #[test]
    fn a_reader_is_not_lost_when_the_log_is_renamed() {
        let log = Log::new();
        log.write("", "before");
        let (_, at) = log.read(LogPosition::default(), 100);
        let current = log.places.serial_log(log.vm);
        log.write("", "before and after ");
        fs::rename(&current, current.with_extension("log.0")).unwrap();
        log.write("", "new");
        assert_eq!(log.read(at, 100).0, " and after new");
    }

    #[test]
    fn a_place_that_is_gone_is_the_oldest_there_is() {
        let log = Log::new();
        log.write("", "text");
        assert_eq!(log.read(LogPosition { file: 1, offset: 99 }, 100).0, "text");
    }

    #[test]
    fn only_whole_memory_counts() {
        let log = Log::new();
        let folder = log.places.memory.clone().unwrap();
        log.places.discard(log.vm).unwrap();
        fs::create_dir(&folder).unwrap();
        let file = folder.join(format!("{}.save", DomainDefinition::domain_name(log.vm)));
        assert_eq!(log.places.saved(log.vm), Some(false));
        for (text, whole) in [("LibvirtQemudPart..", false), ("Lib", false), ("", false)] {
            fs::write(&file, text).unwrap();
            assert_eq!(log.places.saved(log.vm), Some(whole), "{text}");
        }
        fs::write(&file, "LibvirtQemudSave and memory").unwrap();
        assert_eq!(log.places.saved(log.vm), Some(true));
        log.places.discard(log.vm).unwrap();
        assert_eq!(log.places.saved(log.vm), Some(false));
        let nowhere = Places { memory: None, ..log.places };
        assert_eq!(nowhere.saved(log.vm), None);
    }

    #[test]
    fn a_seed_is_written_only_when_it_is_another_one() {
        let log = Log::new();
        let put = |disk: Option<&[u8]>| log.places.put_seed(log.vm, disk).unwrap();
        let inode = || fs::metadata(log.places.seed(log.vm)).unwrap().ino();
        put(None);
        put(Some(b"one"));
        let first = inode();
        put(Some(b"one"));
        assert_eq!(inode(), first);
        let running = File::open(log.places.seed(log.vm)).unwrap();
        put(Some(b"two"));
        assert_eq!(fs::read(log.places.seed(log.vm)).unwrap(), b"two");
        assert_eq!(io::read_to_string(running).unwrap(), "one", "a guest keeps what it has");
        let mode = fs::metadata(log.places.seed(log.vm)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
        put(None);
        assert!(!log.places.seed(log.vm).exists());
    }

    #[test]
    fn folders_are_found_and_erased() {
        let log = Log::new();
        fs::create_dir(log.places.data.join("lost+found")).unwrap();
        assert_eq!(log.places.machines().unwrap(), [log.vm]);
        log.places.erase(log.vm).unwrap();
        log.places.erase(log.vm).unwrap();
        assert!(!log.places.has_files(log.vm));
    }
}
