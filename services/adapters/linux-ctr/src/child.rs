//! The work of the program that reads a layer: bytes in, frames out, nothing else.
//!
//! Decompression and the reading of tar headers, which is where a stranger's bytes meet complicated code, happen
//! here, in a process that can do nothing but read, write and end. See `jail` for how that is made sure.

use std::io::{self, BufReader, Read, Write};

use sha2::{Digest, Sha256};
use skerry_containers::oci::Compression;
use tar::EntryType;

use crate::entry::read_entries;
use crate::frames::{FrameWriter, MAX_DATA};
use crate::unpack::{Limits, UnpackError};

/// Largest window of a Zstandard stream, as a power of two: 128 MiB, what its own tool takes.
const ZSTD_WINDOW: u32 = 27;

/// Reads a layer and writes frames. An error is one of writing; what is wrong with the layer is a frame.
pub fn run(
    blob: impl Read,
    frames: impl Write,
    compression: Compression,
    limits: Limits,
) -> io::Result<()> {
    let mut frames = FrameWriter(frames);
    let mut blob = BufReader::with_capacity(MAX_DATA, blob);
    match layer(&mut blob, &mut frames, compression, limits) {
        Ok(sha256) => frames.end(&sha256),
        Err(UnpackError::System { source, .. }) => Err(source),
        Err(error) => frames.failed(&error),
    }
}

fn layer(
    blob: &mut impl io::BufRead,
    frames: &mut FrameWriter<impl Write>,
    compression: Compression,
    limits: Limits,
) -> Result<String, UnpackError> {
    let damaged = |error: io::Error| UnpackError::Damaged { why: error.to_string() };
    let sha256 = {
        let plain: Box<dyn Read + '_> = match compression {
            Compression::None => Box::new(&mut *blob),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(&mut *blob)),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(&mut *blob).map_err(damaged)?;
                decoder.window_log_max(ZSTD_WINDOW).map_err(damaged)?;
                Box::new(decoder)
            }
        };
        let mut stream = Hashing { inner: plain, hasher: Sha256::new() };
        let mut count = 0;
        read_entries(&mut stream, limits.bytes, |entry, data| {
            count += 1;
            if count > limits.entries {
                return Err(UnpackError::TooLarge {
                    limit: limits.entries,
                    what: "entries".into(),
                });
            }
            frames.entry(entry).map_err(cannot_tell)?;
            match entry.kind {
                EntryType::Regular | EntryType::Continuous => pass_on(data, frames, limits),
                _ => Ok(()),
            }
        })?;
        // What follows the end of the archive belongs to the digest too.
        drain(&mut stream, limits.bytes).map_err(damaged)?;
        hex::encode(stream.hasher.finalize())
    };
    drain(blob, limits.bytes).map_err(damaged)?;
    Ok(sha256)
}

fn pass_on(
    data: &mut dyn Read,
    frames: &mut FrameWriter<impl Write>,
    limits: Limits,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; MAX_DATA];
    loop {
        let got =
            data.read(&mut buffer).map_err(|error| match crate::entry::Malformed::of(&error) {
                Some(malformed) => malformed.to_error(limits.bytes),
                None => UnpackError::Damaged { why: error.to_string() },
            })?;
        if got == 0 {
            return frames.file_end().map_err(cannot_tell);
        }
        frames.data(buffer.get(..got).unwrap_or_default()).map_err(cannot_tell)?;
    }
}

fn cannot_tell(source: io::Error) -> UnpackError {
    UnpackError::System { action: "pass on", path: String::new(), source }
}

/// Reads to the end, up to a limit.
fn drain(stream: &mut impl Read, limit: u64) -> io::Result<()> {
    if io::copy(&mut stream.take(limit), &mut io::sink())? == limit {
        return Err(io::Error::other("bytes without end after the archive"));
    }
    Ok(())
}

/// A reader that hashes what passes.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..got).unwrap_or_default());
        Ok(got)
    }
}
