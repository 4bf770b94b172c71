//! What the program that reads a layer tells the one that makes its files: checked entries, data, and the end.
//!
//! ```text
//! frame = tag, length (u32, little-endian), so many bytes
//! E     an entry (postcard)
//! D     bytes of the last entry's file, at most 64 KiB
//! F     the last entry's file is complete
//! Z     the end: SHA-256 of the whole stream
//! X     the layer is not to be used: why (postcard)
//! ```
//!
//! The reader of frames trusts the writer no more than the layer itself: the writer has had the layer's bytes
//! in its hands. Every length has a limit, and entries are checked again when their files are made.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use tar::EntryType;

use crate::entry::{EntryPath, LayerEntry, shown};
use crate::unpack::UnpackError;

/// Most bytes of a frame of data.
pub const MAX_DATA: usize = 64 << 10;
/// Most bytes of any other frame.
const MAX_FRAME: u32 = 16 << 10;

/// One frame; for data, its length.
#[derive(Debug)]
pub enum Frame {
    /// An entry.
    Entry(LayerEntry),
    /// So many bytes of data follow.
    Data(usize),
    /// The data of the entry is complete.
    FileEnd,
    /// The end of the stream, with its SHA-256 as hex digits.
    End(String),
    /// The layer is not to be used.
    Failed(UnpackError),
}

#[derive(Serialize, Deserialize)]
struct WireEntry {
    path: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
}

#[derive(Serialize, Deserialize)]
enum WireFault {
    Refused { path: String, why: String },
    Damaged { why: String },
    TooLarge { limit: u64, what: String },
}

/// Writes frames.
pub struct FrameWriter<W>(pub W);

impl<W: Write> FrameWriter<W> {
    fn frame(&mut self, tag: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.0.write_all(&[tag])?;
        self.0.write_all(&length.to_le_bytes())?;
        self.0.write_all(bytes)
    }

    fn packed(&mut self, tag: u8, value: &impl Serialize) -> io::Result<()> {
        let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
        self.frame(tag, &bytes)
    }

    /// An entry.
    pub fn entry(&mut self, entry: &LayerEntry) -> io::Result<()> {
        let wire = WireEntry {
            path: entry.path.to_bytes(),
            kind: entry.kind.as_byte(),
            link: entry.link.clone(),
            size: entry.size,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        };
        self.packed(b'E', &wire)
    }

    /// Data of the last entry, at most [`MAX_DATA`] bytes.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(b'D', bytes)
    }

    /// The last entry's data is complete.
    pub fn file_end(&mut self) -> io::Result<()> {
        self.frame(b'F', &[])
    }

    /// The end of the stream.
    pub fn end(&mut self, sha256: &str) -> io::Result<()> {
        self.frame(b'Z', sha256.as_bytes())?;
        self.0.flush()
    }

    /// The layer is not to be used.
    pub fn failed(&mut self, error: &UnpackError) -> io::Result<()> {
        let cut = |text: &str| text.chars().take(400).collect::<String>();
        let fault = match error {
            UnpackError::Refused { path, why } => {
                WireFault::Refused { path: cut(path), why: cut(why) }
            }
            UnpackError::TooLarge { limit, what } => {
                WireFault::TooLarge { limit: *limit, what: cut(what) }
            }
            UnpackError::Damaged { why } => WireFault::Damaged { why: cut(why) },
            other => WireFault::Damaged { why: cut(&other.to_string()) },
        };
        self.packed(b'X', &fault)?;
        self.0.flush()
    }
}

/// Reads frames.
pub struct FrameReader<R>(pub R);

impl<R: Read> FrameReader<R> {
    /// The next frame. Of a frame of data the bytes are still to be read, by [`FrameReader::data`].
    pub fn frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let [tag, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        if tag == b'D' {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            return if length <= MAX_DATA { Ok(Frame::Data(length)) } else { Err(odd()) };
        }
        if length > MAX_FRAME {
            return Err(odd());
        }
        let mut bytes = Vec::new();
        (&mut self.0).take(u64::from(length)).read_to_end(&mut bytes)?;
        match tag {
            b'E' => entry(&bytes).map(Frame::Entry),
            b'F' => Ok(Frame::FileEnd),
            b'Z' => String::from_utf8(bytes).map(Frame::End).map_err(|_| odd()),
            b'X' => fault(&bytes).map(Frame::Failed),
            _ => Err(odd()),
        }
    }

    /// Bytes of a frame of data.
    pub fn data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

fn odd() -> io::Error {
    io::Error::other("a frame that is none")
}

fn entry(bytes: &[u8]) -> io::Result<LayerEntry> {
    let wire: WireEntry = postcard::from_bytes(bytes).map_err(io::Error::other)?;
    let path = EntryPath::parse(&wire.path).map_err(io::Error::other)?;
    if wire.uid == u32::MAX || wire.gid == u32::MAX {
        return Err(odd());
    }
    Ok(LayerEntry {
        path,
        kind: EntryType::new(wire.kind),
        link: wire.link,
        size: wire.size,
        mode: wire.mode,
        uid: wire.uid,
        gid: wire.gid,
        mtime: wire.mtime,
    })
}

fn fault(bytes: &[u8]) -> io::Result<UnpackError> {
    // The writer is not believed to have made them so.
    let printable = |text: String| shown(&text);
    Ok(match postcard::from_bytes(bytes).map_err(io::Error::other)? {
        WireFault::Refused { path, why } => {
            UnpackError::Refused { path: printable(path), why: printable(why).into() }
        }
        WireFault::Damaged { why } => UnpackError::Damaged { why: printable(why) },
        WireFault::TooLarge { limit, what } => {
            UnpackError::TooLarge { limit, what: printable(what).into() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_arrive_as_they_were_sent() {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter(&mut bytes);
        let sent = LayerEntry {
            path: EntryPath::parse(b"a/b\xff").unwrap(),
            kind: EntryType::Regular,
            link: Vec::new(),
            size: 3,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: 3,
        };
        writer.entry(&sent).unwrap();
        writer.data(b"abc").unwrap();
        writer.file_end().unwrap();
        writer.failed(&UnpackError::TooLarge { limit: 5, what: "bytes".into() }).unwrap();
        let mut reader = FrameReader(bytes.as_slice());
        let Frame::Entry(got) = reader.frame().unwrap() else { panic!("no entry") };
        assert_eq!((got.path, got.mode, got.size), (sent.path, sent.mode, sent.size));
        let Frame::Data(3) = reader.frame().unwrap() else { panic!("no data") };
        let mut data = [0; 3];
        assert_eq!((reader.data(&mut data).unwrap(), &data), (3, b"abc"));
        assert!(matches!(reader.frame().unwrap(), Frame::FileEnd));
        assert!(matches!(
            reader.frame().unwrap(),
            Frame::Failed(UnpackError::TooLarge { limit: 5, .. })
        ));
        assert!(reader.frame().is_err(), "the end");
    }

    #[test]
    fn lengths_and_paths_of_a_lying_writer_are_refused() {
        let raw = |tag: u8, length: u32, rest: &[u8]| {
            let mut bytes = vec![tag];
            bytes.extend(length.to_le_bytes());
            bytes.extend(rest);
            bytes
        };
        let wire = |path: &[u8], uid: u32| {
            let wire = WireEntry {
                path: path.to_vec(),
                kind: b'0',
                link: Vec::new(),
                size: 0,
                mode: 0,
                uid,
                gid: 0,
                mtime: 0,
            };
            let bytes = postcard::to_stdvec(&wire).unwrap();
            raw(b'E', u32::try_from(bytes.len()).unwrap(), &bytes)
        };
        for bytes in [
            raw(b'D', 1 << 20, &[]),
            raw(b'E', u32::MAX, &[]),
            raw(b'E', 3, b"abc"),
            raw(b'?', 0, &[]),
            raw(b'Z', 1, b"\xff"),
            wire(b"../x", 0),
            wire(b"/x", 0),
            wire(b"x", u32::MAX),
        ] {
            assert!(FrameReader(bytes.as_slice()).frame().is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_frames_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader(bytes.as_slice());
            while reader.frame().is_ok() {}
        }
    }
}
