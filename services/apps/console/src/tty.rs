//! The terminal's mode: keys one by one and without the kernel's echo, and back to what it was at the end.

use std::os::fd::AsFd;

use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// A terminal in raw mode; dropped, it is as before.
pub struct Raw<F: AsFd> {
    terminal: F,
    before: Termios,
}

impl<F: AsFd> Raw<F> {
    /// Puts a terminal into raw mode; `None` if it is none.
    pub fn new(terminal: F) -> Option<Self> {
        let before = tcgetattr(&terminal).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // A slow terminal may ask for a pause (Ctrl-S); any key ends it, so that noise cannot stop the line for good.
        raw.input_flags.insert(InputFlags::IXON | InputFlags::IXANY | InputFlags::IGNBRK);
        raw.local_flags.remove(LocalFlags::ISIG);
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl<F: AsFd> Drop for Raw<F> {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing left to restore.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}
