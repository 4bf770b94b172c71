//! Tar streams of layers, byte by byte.

/// Writes a tar stream of entries that may be as wrong as wanted.
#[derive(Debug, Clone, Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    /// The header of an entry of this sort. Of path and link only the first 100 bytes fit.
    #[must_use]
    pub fn header(kind: u8, path: &[u8], link: &[u8], size: u64, mode: u32) -> [u8; 512] {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &path[..path.len().min(100)]);
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        // From 8 GiB up to 64 without the zero byte at the end, which readers take too.
        put(124, &format!("{size:011o}\0").as_bytes()[..12]);
        put(136, b"00000000017\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, &link[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        sum_up(&mut header);
        header
    }

    /// A header that says this size, whatever follows.
    #[must_use]
    pub fn announced(mut self, kind: u8, path: &str, size: u64) -> Self {
        self.0.extend(Self::header(kind, path.as_bytes(), b"", size, 0o644));
        self
    }

    /// An entry with data.
    #[must_use]
    pub fn raw(self, kind: u8, path: &[u8], link: &[u8], data: &[u8], mode: u32) -> Self {
        let header = Self::header(kind, path, link, data.len() as u64, mode);
        self.blocks(&header).blocks(data)
    }

    /// Bytes, filled up to whole blocks.
    #[must_use]
    pub fn blocks(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// A file.
    #[must_use]
    pub fn file(self, path: &str, data: &str) -> Self {
        self.raw(b'0', path.as_bytes(), b"", data.as_bytes(), 0o644)
    }

    /// A file that can be executed.
    #[must_use]
    pub fn program(self, path: &str, data: &[u8]) -> Self {
        self.raw(b'0', path.as_bytes(), b"", data, 0o755)
    }

    /// A file whose field for the owner holds these seven bytes at most.
    #[must_use]
    pub fn file_with_owner(self, owner: &str) -> Self {
        let mut header = Self::header(b'0', b"owned", b"", 0, 0o644);
        header[108..115].fill(0);
        header[108..108 + owner.len()].copy_from_slice(owner.as_bytes());
        header[148..156].fill(b' ');
        sum_up(&mut header);
        self.blocks(&header)
    }

    /// A folder.
    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.raw(b'5', path.as_bytes(), b"", b"", 0o755)
    }

    /// An entry without data: a link, a pipe, a device, or none of them.
    #[must_use]
    pub fn link(self, kind: u8, path: &str, target: &str) -> Self {
        self.raw(kind, path.as_bytes(), target.as_bytes(), b"", 0o777)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.link(b'2', path, target)
    }

    /// An extended header with these records, for the entry that follows.
    #[must_use]
    pub fn extended(self, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while length != rest.len() + length.to_string().len() {
                length += 1;
            }
            data.push_str(&format!("{length}{rest}"));
        }
        self.raw(b'x', b"pax", b"", data.as_bytes(), 0o644)
    }

    /// The stream with its end.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The stream as it breaks off here.
    #[must_use]
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// Writes the sum over a header whose field for it holds spaces.
fn sum_up(header: &mut [u8; 512]) {
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
