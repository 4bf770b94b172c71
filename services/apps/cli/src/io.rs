//! Where a verb's words go and whom it can ask.

use std::io::{self, Write};

use crate::keyboard::Keyboard;

/// Answers questions of a verb: a person at a terminal, or nobody.
pub trait Asker: Send + Sync {
    /// A line that may be seen. `None` if there is nobody to ask.
    fn line(&self, prompt: &str) -> io::Result<Option<String>>;
    /// A line that must not be seen. `None` if there is nobody to ask.
    fn secret(&self, prompt: &str) -> io::Result<Option<String>>;
    /// The next line of standard input, for passwords that a program passes on.
    fn input(&self) -> io::Result<Option<String>>;
    /// All that is typed from now on; `raw` for a terminal that passes on every key. `None` if there is none.
    fn keyboard(&self, raw: bool) -> io::Result<Option<Keyboard>>;
}

/// Nobody: a verb that would ask says instead what to give.
pub struct Nobody;

impl Asker for Nobody {
    fn line(&self, _prompt: &str) -> io::Result<Option<String>> {
        Ok(None)
    }
    fn secret(&self, _prompt: &str) -> io::Result<Option<String>> {
        Ok(None)
    }
    fn input(&self) -> io::Result<Option<String>> {
        Ok(None)
    }
    fn keyboard(&self, _raw: bool) -> io::Result<Option<Keyboard>> {
        Ok(None)
    }
}

/// The surroundings of a verb.
pub struct Io<'a> {
    /// Results.
    pub out: &'a mut (dyn Write + Send + Sync),
    /// Progress, questions and errors.
    pub err: &'a mut (dyn Write + Send + Sync),
    /// Whom to ask.
    pub asker: &'a dyn Asker,
    /// Whether the verb may write files for its user.
    pub files: bool,
}
