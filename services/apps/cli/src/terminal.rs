//! Questions to a person at the terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::io::Asker;
use crate::keyboard::Keyboard;

/// The terminal that this program was started from, even if its input and output go elsewhere.
pub struct Terminal;

impl Terminal {
    fn open() -> Option<File> {
        OpenOptions::new().read(true).write(true).open("/dev/tty").ok()
    }

    fn ask(prompt: &str) -> io::Result<Option<String>> {
        let Some(mut terminal) = Self::open() else { return Ok(None) };
        terminal.write_all(prompt.as_bytes())?;
        terminal.flush()?;
        read_line(&mut BufReader::new(terminal))
    }
}

/// A line without its end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = input.read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
}

impl Asker for Terminal {
    fn line(&self, prompt: &str) -> io::Result<Option<String>> {
        Self::ask(prompt)
    }

    fn secret(&self, prompt: &str) -> io::Result<Option<String>> {
        let Some(mut terminal) = Self::open() else { return Ok(None) };
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &hidden)?;
        let line = Self::ask(prompt);
        // Whatever came of the question, the terminal must show again what is typed.
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &before)?;
        terminal.write_all(b"\n")?;
        line
    }

    fn input(&self) -> io::Result<Option<String>> {
        read_line(&mut io::stdin().lock())
    }

    fn keyboard(&self, raw: bool) -> io::Result<Option<Keyboard>> {
        Keyboard::standard(raw)
    }
}
