//! Runs the program that reads layers, feeds it one, and makes the files that it tells of.
//!
//! The program is not believed: the blob is hashed here, on its way in, and everything that comes out is
//! checked again. What it says about the unpacked stream's digest is compared with the image's configuration,
//! but nothing is shared on its word: layers are kept by the digest of their blob.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use sha2::{Digest, Sha256};
use skerry_containers::oci::Compression;

use crate::entry::LayerEntry;
use crate::frames::{Frame, FrameReader};
use crate::room::{ENTRY, KeptFree, RoomWatch, kept_free};
use crate::unpack::{Limits, UnpackError, Unpacker};
use crate::{child, jail};

/// The user that the program runs as, and who else if there is no such user.
const USER: &str = "skerry-unpack";
const NOBODY: u32 = 65534;
/// Longest time for one layer.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Bytes of the pipe's ends that are gathered.
const BUFFER: usize = 128 << 10;

/// Where the program is.
#[derive(Debug, Clone)]
pub struct Unpacking {
    /// The program.
    pub program: PathBuf,
    /// Limits of one layer.
    pub limits: Limits,
    /// What is to stay free where it is unpacked.
    pub kept_free: KeptFree,
}

impl Unpacking {
    /// With the usual limits.
    pub fn new(program: PathBuf) -> Self {
        Self { program, limits: Limits::default(), kept_free }
    }

    /// Unpacks a blob into an empty directory.
    ///
    /// The outer error is one of running the program; the inner one comes with the blob's digest, since a blob
    /// with wrong bytes is a different matter from a layer that means harm.
    pub fn unpack(
        &self,
        blob: impl Read + Send,
        compression: Compression,
        root: &File,
    ) -> io::Result<(String, Result<String, UnpackError>)> {
        let mut child = self.start(compression)?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let pid = child.id();
        let (done, ended) = mpsc::channel::<()>();
        let (digest, told, status) = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || feed(blob, stdin));
            scope.spawn(move || {
                if ended.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                    stop(pid);
                }
            });
            let frames = FrameReader(BufReader::with_capacity(BUFFER, stdout));
            // Returning drops the pipe, so a program that still writes comes to its end.
            let room = RoomWatch::new(root, self.kept_free);
            let told = make_files(frames, root, self.limits, room);
            let told = told.map_err(|told| match told {
                Told::Fault(UnpackError::CutShort { .. }) => Told::Ended,
                told => told,
            });
            if matches!(told, Err(Told::Fault(_) | Told::Odd(_))) {
                stop(pid);
            }
            let status = child.wait();
            drop(done);
            (feeder.join(), told, status)
        });
        let digest = digest.map_err(|_| io::Error::other("the layer could not be read"))??;
        let status = status?;
        let told = told.map_err(|told| match told {
            Told::Fault(fault) => fault,
            Told::Odd(error) => UnpackError::Damaged { why: error.to_string() },
            Told::Ended => UnpackError::CutShort { how: status.to_string() },
        });
        Ok((digest, told))
    }

    fn start(&self, compression: Compression) -> io::Result<Child> {
        let word = match compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        };
        let mut command = Command::new(&self.program);
        command
            .arg(word)
            .arg(self.limits.bytes.to_string())
            .arg(self.limits.entries.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if Uid::effective().is_root() {
            let user = User::from_name(USER).ok().flatten();
            let (uid, gid) =
                user.map_or((NOBODY, NOBODY), |user| (user.uid.as_raw(), user.gid.as_raw()));
            command.uid(uid).gid(gid);
        }
        command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot run {}: {error}", self.program.display()))
        })
    }
}

fn stop(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Feeds the program and hashes; a program that takes no more does not end the hashing.
fn feed(blob: impl Read, stdin: ChildStdin) -> io::Result<String> {
    let mut blob = BufReader::with_capacity(BUFFER, blob);
    let mut stdin = Some(stdin);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = blob.read(&mut buffer)?;
        if got == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        let piece = buffer.get(..got).unwrap_or_default();
        hasher.update(piece);
        if let Some(pipe) = &mut stdin
            && pipe.write_all(piece).is_err()
        {
            stdin = None;
        }
    }
}

/// How a layer's frames ended, if not well.
enum Told {
    /// The layer, or the disk.
    Fault(UnpackError),
    /// The frames were none.
    Odd(io::Error),
    /// The frames broke off.
    Ended,
}

impl From<io::Error> for Told {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Odd(error),
        }
    }
}

/// Makes files as frames come.
fn make_files(
    mut frames: FrameReader<impl Read>,
    root: &File,
    limits: Limits,
    mut room: RoomWatch<'_>,
) -> Result<String, Told> {
    let unpacker = Unpacker::new(root, limits);
    let (mut entries, mut bytes) = (0, 0);
    loop {
        match frames.frame()? {
            Frame::Entry(entry) => {
                entries += 1;
                if entries > limits.entries {
                    let what = "entries".into();
                    return Err(Told::Fault(UnpackError::TooLarge { limit: limits.entries, what }));
                }
                room.grow(ENTRY).map_err(|error| no_room(&entry, error))?;
                let mut data = FileData {
                    frames: &mut frames,
                    room: &mut room,
                    piece: 0,
                    done: !entry.kind.is_file() && !entry.kind.is_contiguous(),
                    bytes: &mut bytes,
                    limit: limits.bytes,
                };
                unpacker.entry(&entry, &mut data).map_err(Told::Fault)?;
                io::copy(&mut data, &mut io::sink())?;
            }
            Frame::End(diff_id) => return Ok(diff_id),
            Frame::Failed(fault) => return Err(Told::Fault(fault)),
            Frame::Data(_) | Frame::FileEnd => {
                return Err(Told::Odd(io::Error::other("data without a file")));
            }
        }
    }
}

fn no_room(entry: &LayerEntry, source: io::Error) -> Told {
    Told::Fault(UnpackError::System { action: "make", path: entry.path.to_string(), source })
}

/// The data of one file, out of frames.
struct FileData<'a, 'b, R> {
    frames: &'a mut FrameReader<R>,
    room: &'a mut RoomWatch<'b>,
    /// Bytes left of the present frame.
    piece: usize,
    done: bool,
    /// Bytes of all files so far.
    bytes: &'a mut u64,
    limit: u64,
}

impl<R: Read> Read for FileData<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece == 0 && !self.done {
            match self.frames.frame()? {
                Frame::Data(length) => self.piece = length,
                Frame::FileEnd => self.done = true,
                Frame::Failed(fault) => return Err(io::Error::other(fault)),
                Frame::Entry(_) | Frame::End(_) => {
                    return Err(io::Error::other("a file that breaks off"));
                }
            }
        }
        let most = self.piece.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.frames.data(buffer.get_mut(..most).unwrap_or_default())?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.room.grow(got as u64)?;
        self.piece -= got;
        *self.bytes += got as u64;
        if *self.bytes > self.limit {
            return Err(io::Error::other(crate::entry::Malformed::TooLong));
        }
        Ok(got)
    }
}

/// The program itself: `skerry-unpack none|gzip|zstd <most bytes> <most entries>`, or `--check`, which locks
/// itself in and then opens a file, and must not live to tell.
pub fn program(mut words: impl Iterator<Item = String>) -> ExitCode {
    let compression = match words.next().as_deref() {
        Some("none") => Some(Compression::None),
        Some("gzip") => Some(Compression::Gzip),
        Some("zstd") => Some(Compression::Zstd),
        Some("--check") => None,
        _ => return ExitCode::from(2),
    };
    let mut number = || words.next().and_then(|word| word.parse().ok());
    let limits = match (number(), number()) {
        (Some(bytes), Some(entries)) => Limits { bytes, entries },
        _ if compression.is_none() => Limits::default(),
        _ => return ExitCode::from(2),
    };
    if jail::enter().is_err() {
        return ExitCode::from(3);
    }
    let Some(compression) = compression else {
        return if File::open("/proc/self/status").is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(4)
        };
    };
    let frames = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    match child::run(io::stdin().lock(), frames, compression, limits) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody listens any more.
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that has been taken over may say anything; nothing comes of it.
    #[test]
    fn what_the_program_says_is_checked_again() {
        use crate::entry::EntryPath;
        use crate::frames::FrameWriter;
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let limits = Limits { bytes: 10, entries: 3 };
        let entry = |path: &str, kind: u8, link: &str, size: u64| LayerEntry {
            path: EntryPath::parse(path.as_bytes()).unwrap(),
            kind: tar::EntryType::new(kind),
            link: link.as_bytes().to_vec(),
            size,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        let told = |write: &dyn Fn(&mut FrameWriter<&mut Vec<u8>>)| {
            let mut bytes = Vec::new();
            write(&mut FrameWriter(&mut bytes));
            make_files(FrameReader(bytes.as_slice()), &root, limits, RoomWatch::new(&root, |_| 0))
        };
        assert!(matches!(told(&|_| {}), Err(Told::Ended)));
        assert!(told(&|w| w.end("abc").unwrap()).is_ok());
        assert!(told(&|w| w.data(b"x").unwrap()).is_err(), "data without a file");
        assert!(told(&|w| w.entry(&entry("dev", b'4', "", 0)).unwrap()).is_err(), "a device");
        assert!(told(&|w| w.entry(&entry("l", b'1', "../x", 0)).unwrap()).is_err(), "a link out");
        assert!(
            told(&|w| (0..4).for_each(|n| w.entry(&entry(&n.to_string(), b'5', "", 0)).unwrap()))
                .is_err()
        );
        let long = |w: &mut FrameWriter<&mut Vec<u8>>| {
            for name in ["a", "b"] {
                w.entry(&entry(name, b'0', "", 8)).unwrap();
                w.data(&[0; 8]).unwrap();
                w.file_end().unwrap();
            }
        };
        assert!(matches!(told(&long), Err(Told::Fault(UnpackError::TooLarge { .. }))));
        let short = |w: &mut FrameWriter<&mut Vec<u8>>| {
            w.entry(&entry("c", b'0', "", 8)).unwrap();
            w.data(&[0; 3]).unwrap();
            w.end("abc").unwrap();
        };
        assert!(matches!(told(&short), Err(Told::Fault(_))), "a file that breaks off");
        let killed = |w: &mut FrameWriter<&mut Vec<u8>>| {
            w.entry(&entry("d", b'0', "", 8)).unwrap();
            w.data(&[0; 3]).unwrap();
        };
        let Err(Told::Fault(told)) = told(&killed) else { panic!("no fault") };
        assert!(matches!(told, UnpackError::CutShort { .. }), "the program is gone: {told:?}");
    }
}
