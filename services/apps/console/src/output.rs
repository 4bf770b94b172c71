//! Writing to the terminal from a thread of its own, so that a slow or stopped line never holds up the menu.
//!
//! What waits is bounded: a terminal that takes nothing loses output, and is told so.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Most bytes that wait: about twenty minutes at 9600 baud.
const MOST: usize = 1024 * 1024;
/// Bytes written at once: at 9600 baud half a second, so that Ctrl-C is felt.
const CHUNK: usize = 512;
/// Told in place of what was lost.
const LOST: &str = "\n[the terminal is too slow: some output was left out]\n";

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    /// Chunks of an earlier era are not written any more.
    era: AtomicU64,
    closed: AtomicBool,
}

/// The way to the terminal. Clones share it.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
    queue: Sender<(u64, Vec<u8>)>,
    /// Whether line ends need a return, and the screen can be cleared.
    raw: bool,
    lost: bool,
}

impl Output {
    /// Writes to `terminal` from a new thread. `raw`: it is a terminal in raw mode.
    pub fn to(terminal: impl Write + Send + 'static, raw: bool) -> Self {
        let shared = Arc::new(Shared::default());
        let (queue, chunks) = channel();
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || write_all(terminal, &chunks, &of_thread));
        Self { shared, queue, raw, lost: false }
    }

    /// Shows text; `\n` ends lines.
    pub fn text(&mut self, text: &str) {
        if self.shared.waiting.load(Ordering::Acquire).saturating_add(text.len()) > MOST {
            self.lost = true;
            return;
        }
        if std::mem::take(&mut self.lost) {
            self.queue(LOST);
        }
        self.queue(text);
    }

    fn queue(&self, text: &str) {
        let bytes = if self.raw {
            text.replace('\n', "\r\n").into_bytes()
        } else {
            text.as_bytes().to_vec()
        };
        let era = self.shared.era.load(Ordering::Acquire);
        for chunk in bytes.chunks(CHUNK) {
            self.shared.waiting.fetch_add(chunk.len(), Ordering::AcqRel);
            if self.queue.send((era, chunk.to_vec())).is_err() {
                self.shared.closed.store(true, Ordering::Release);
            }
        }
    }

    /// Empties the screen (VT100: home, erase all); a plain pipe gets an empty line.
    pub fn clear(&mut self) {
        self.text(if self.raw { "\x1b[H\x1b[2J" } else { "\n" });
    }

    /// Forgets what was not written yet.
    pub fn forget(&self) {
        self.shared.era.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.shared.waiting.load(Ordering::Acquire) == 0
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut terminal: impl Write, chunks: &Receiver<(u64, Vec<u8>)>, shared: &Shared) {
    while let Ok((era, chunk)) = chunks.recv() {
        let wanted = era == shared.era.load(Ordering::Acquire);
        let result = if wanted {
            terminal.write_all(&chunk).and_then(|()| terminal.flush())
        } else {
            Ok(())
        };
        shared.waiting.fetch_sub(chunk.len(), Ordering::AcqRel);
        if result.is_err() {
            shared.closed.store(true, Ordering::Release);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// A terminal that takes a byte for each permission.
    struct Stuck {
        permissions: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permissions.recv().map_err(io::Error::other)?;
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_terminal_holds_up_nobody_and_is_told_what_it_lost() {
        let (permit, permissions) = channel();
        let (written, read) = channel();
        let mut output = Output::to(Stuck { permissions, written }, true);
        for _ in 0..40 {
            output.text(&"x".repeat(64 * 1024));
        }
        let waiting = output.shared.waiting.load(Ordering::Acquire);
        assert!(waiting <= MOST, "{waiting}");
        permit.send(()).unwrap();
        assert_eq!(read.recv().unwrap().len(), CHUNK);
        output.forget();
        // One more chunk may be on its way; then comes what follows.
        for _ in 0..3 {
            permit.send(()).unwrap();
        }
        while !output.is_empty() {
            std::thread::yield_now();
        }
        output.text("next\n");
        let mut told = String::new();
        while !told.ends_with("next\r\n") {
            told.push_str(&String::from_utf8(read.recv().unwrap()).unwrap());
        }
        let told = told.trim_start_matches('x');
        assert_eq!(told, format!("{}next\r\n", LOST.replace('\n', "\r\n")));
    }
}
