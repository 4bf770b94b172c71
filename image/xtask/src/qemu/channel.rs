//! A byte stream to the machine: everything received is kept, and can be waited for.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::QemuError;

/// What came so far.
#[derive(Debug, Default)]
struct Received {
    text: String,
    closed: bool,
}

/// A connected stream with its history.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    shared: Arc<(Mutex<Received>, Condvar)>,
    seen: usize,
}

/// Waits for QEMU to connect to a socket. Made before QEMU is started, so nobody has to look again and again.
#[derive(Debug)]
pub(super) struct Awaited(Receiver<std::io::Result<UnixStream>>);

/// Opens the socket that QEMU will connect to.
pub(super) fn listen(path: &Path) -> Result<Awaited, QemuError> {
    let prepare = |source| QemuError::Prepare { path: path.to_owned(), source };
    if path.exists() {
        std::fs::remove_file(path).map_err(prepare)?;
    }
    let listener = UnixListener::bind(path).map_err(prepare)?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // Nobody listens any more when QEMU was given up; then the connection is not wanted either.
        let _ = sender.send(listener.accept().map(|(stream, _)| stream));
    });
    Ok(Awaited(receiver))
}

impl Awaited {
    /// The connection, or nothing when it does not come.
    pub(super) fn connected(self, limit: Duration) -> Option<UnixStream> {
        match self.0.recv_timeout(limit) {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(_)) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Self> {
        let shared: Arc<(Mutex<Received>, Condvar)> = Arc::default();
        let mut input = stream.try_clone()?;
        let filled = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            loop {
                let read = input.read(&mut buffer).unwrap_or(0);
                let mut received = filled.0.lock().unwrap_or_else(PoisonError::into_inner);
                received
                    .text
                    .push_str(&String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()));
                received.closed = read == 0;
                filled.1.notify_all();
                if received.closed {
                    return;
                }
            }
        });
        Ok(Self { stream, shared, seen: 0 })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), QemuError> {
        self.stream.write_all(bytes).map_err(|_| QemuError::Gone)
    }

    /// Waits until `text` comes after what was last waited for, and returns everything up to and with it.
    pub(super) fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String, QemuError> {
        let deadline = Instant::now() + limit;
        let (lock, wake) = &*self.shared;
        let mut received = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let new = received.text.get(self.seen..).unwrap_or_default();
            if let Some(at) = new.find(text) {
                let end = at + text.len();
                let found = new.get(..end).unwrap_or_default().to_owned();
                self.seen += end;
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || received.closed {
                let lines: Vec<&str> = new.lines().rev().take(30).collect();
                let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(QemuError::Timeout { what: text.to_owned(), limit, tail });
            }
            received = wake.wait_timeout(received, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that came so far.
    pub(super) fn text(&self) -> String {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    /// What came so far counts as seen.
    pub(super) fn skip(&mut self) {
        self.seen = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Channel::new(ours).unwrap(), theirs)
    }

    #[test]
    fn each_wait_starts_after_the_last_one() {
        let (mut channel, mut machine) = pair();
        machine.write_all(b"one login: two login: ").unwrap();
        assert_eq!(channel.wait_for("login:", Duration::from_secs(5)).unwrap(), "one login:");
        assert_eq!(channel.wait_for("login:", Duration::from_secs(5)).unwrap(), " two login:");
    }

    #[test]
    fn a_closed_line_ends_the_wait_at_once_and_shows_what_came() {
        let (mut channel, mut machine) = pair();
        machine.write_all(b"half a mess").unwrap();
        drop(machine);
        let started = Instant::now();
        let error = channel.wait_for("message", Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("half a mess"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
