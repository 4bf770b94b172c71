//! What a person types into a program elsewhere, byte by byte.

use std::fs::File;
use std::io::{self, Read, stdin};
use std::os::fd::AsFd;

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rustix::termios::tcgetwinsize;
use skerry_ipc::TerminalSize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Bytes as they come, and the size of the terminal that they come from, if it is one.
pub struct Keyboard {
    /// Bytes; its end is the end of the input.
    pub bytes: mpsc::Receiver<Vec<u8>>,
    terminal: Option<RawTerminal>,
    leave: Option<u8>,
}

impl Keyboard {
    /// From a source of bytes that is no terminal.
    pub fn of(bytes: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { bytes, terminal: None, leave: None }
    }

    /// The standard input; `raw` if it is a terminal whose keys are passed on one by one, Ctrl-C included. `None`
    /// if it should be a terminal and is none. The terminal is as before when the keyboard is dropped.
    pub fn standard(raw: bool) -> io::Result<Option<Self>> {
        let terminal = match raw {
            true => match RawTerminal::open()? {
                Some(terminal) => Some(terminal),
                None => return Ok(None),
            },
            false => None,
        };
        Ok(Some(Self { bytes: read_all(), terminal, leave: None }))
    }

    /// This byte is not passed on but means that the person leaves.
    #[must_use]
    pub fn leaving_with(mut self, byte: u8) -> Self {
        self.leave = Some(byte);
        self
    }

    /// The terminal's size now.
    pub fn size(&self) -> Option<TerminalSize> {
        self.terminal.as_ref().and_then(RawTerminal::size)
    }

    /// The next bytes or the next size. `None` at the end of the input. May be dropped without losing either.
    pub async fn next(&mut self) -> Option<Key> {
        let Self { bytes, terminal, leave } = self;
        tokio::select! {
            bytes = bytes.recv() => bytes.map(|bytes| match leave {
                Some(leave) if bytes.contains(leave) => Key::Leave,
                _ => Key::Bytes(bytes),
            }),
            size = resized(terminal) => Some(Key::Resized(size)),
        }
    }
}

/// What comes from a keyboard.
pub enum Key {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The terminal has this size now.
    Resized(TerminalSize),
    /// The person leaves.
    Leave,
}

async fn resized(terminal: &mut Option<RawTerminal>) -> TerminalSize {
    let Some(terminal) = terminal else { return std::future::pending().await };
    loop {
        if terminal.changes.recv().await.is_none() {
            return std::future::pending().await;
        }
        if let Some(size) = terminal.size() {
            return size;
        }
    }
}

/// Reads on a thread that may wait for ever; it has nothing to clean up.
fn read_all() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match stdin().read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    if sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// A terminal in raw mode; dropped, it is as before.
struct RawTerminal {
    terminal: File,
    before: Termios,
    changes: Signal,
}

impl RawTerminal {
    fn open() -> io::Result<Option<Self>> {
        let terminal = File::from(stdin().as_fd().try_clone_to_owned()?);
        let Ok(before) = tcgetattr(&terminal) else { return Ok(None) };
        let changes = signal(SignalKind::window_change())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(Some(Self { terminal, before, changes }))
    }

    fn size(&self) -> Option<TerminalSize> {
        let size = tcgetwinsize(&self.terminal).ok()?;
        let given = size.ws_col > 0 && size.ws_row > 0;
        given.then_some(TerminalSize { cols: size.ws_col, rows: size.ws_row })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing left to restore.
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}
