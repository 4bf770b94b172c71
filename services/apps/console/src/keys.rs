//! From bytes to keys.
//!
//! A serial line loses and adds bytes, and people paste anything: whatever makes no key is dropped, and no
//! state outlives the next few bytes.

/// What somebody pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character that can be shown.
    Char(char),
    /// Return.
    Enter,
    /// Backspace or delete.
    Backspace,
    /// Ctrl-U: empties the line.
    KillLine,
    /// Ctrl-W: takes the last word away.
    KillWord,
    /// Ctrl-L or Ctrl-R: shows everything again.
    Redraw,
    /// Ctrl-C: gives up.
    Cancel,
    /// Ctrl-D: ends.
    End,
}

/// Where an escape sequence stands (ECMA-48 5.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC [, with so many bytes since.
    Control(u8),
    /// After ESC O: one more byte.
    Single,
}

/// Longest control sequence; after that the line is taken at its word again.
const LONGEST_SEQUENCE: u8 = 16;

/// Turns bytes into keys.
#[derive(Debug, Default)]
pub struct Decoder {
    escape: Escape,
    after_return: bool,
    utf8: Vec<u8>,
}

impl Decoder {
    /// Takes one byte in; gives a key if it completes one.
    pub fn push(&mut self, byte: u8) -> Option<Key> {
        let after_return = std::mem::take(&mut self.after_return);
        if self.in_escape(byte) {
            return None;
        }
        if byte < 0x80 {
            self.utf8.clear();
            return self.ascii(byte, after_return);
        }
        self.utf8.push(byte);
        match std::str::from_utf8(&self.utf8) {
            Ok(text) => {
                let found = text.chars().next().filter(|c| !c.is_control()).map(Key::Char);
                self.utf8.clear();
                found
            }
            // Not complete yet: wait for more. Anything else is garbage.
            Err(error) if error.error_len().is_none() => None,
            Err(_) => {
                self.utf8.clear();
                None
            }
        }
    }

    fn ascii(&mut self, byte: u8, after_return: bool) -> Option<Key> {
        match byte {
            b'\r' => {
                self.after_return = true;
                Some(Key::Enter)
            }
            // Return and line feed together are one key.
            b'\n' => (!after_return).then_some(Key::Enter),
            0x08 | 0x7f => Some(Key::Backspace),
            0x03 => Some(Key::Cancel),
            0x04 => Some(Key::End),
            0x0c | 0x12 => Some(Key::Redraw),
            0x15 => Some(Key::KillLine),
            0x17 => Some(Key::KillWord),
            b'\t' => Some(Key::Char(' ')),
            0x1b => {
                self.escape = Escape::Begun;
                None
            }
            0x00..=0x1f => None,
            printable => Some(Key::Char(char::from(printable))),
        }
    }

    /// Whether the byte belongs to an escape sequence (arrow keys and the like), and is thereby dropped.
    fn in_escape(&mut self, byte: u8) -> bool {
        let (next, inside) = match (self.escape, byte) {
            (Escape::None, _) => return false,
            // A control character ends any sequence and counts for itself.
            (_, 0x00..=0x1f) => (Escape::None, false),
            (Escape::Begun, b'[') => (Escape::Control(0), true),
            (Escape::Begun, b'O') => (Escape::Single, true),
            (Escape::Begun | Escape::Single, _) => (Escape::None, true),
            (Escape::Control(_), 0x40..=0x7e) => (Escape::None, true),
            (Escape::Control(count), 0x20..=0x3f) if count < LONGEST_SEQUENCE => {
                (Escape::Control(count.saturating_add(1)), true)
            }
            (Escape::Control(_), _) => (Escape::None, false),
        };
        self.escape = next;
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte)).collect()
    }

    #[test]
    fn line_ends_of_all_terminals_are_one_key() {
        use Key::{Char, Enter};
        assert_eq!(
            keys(b"a\r\nb\nc\rd\n\n"),
            [Char('a'), Enter, Char('b'), Enter, Char('c'), Enter, Char('d'), Enter, Enter]
        );
    }

    #[test]
    fn arrow_and_function_keys_are_nothing() {
        assert_eq!(keys(b"\x1b[A\x1b[1;5C\x1bOP\x1b[15~x"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1b[\x03"), [Key::Cancel], "a lost end does not eat Ctrl-C");
        assert_eq!(keys(b"\x1b\r"), [Key::Enter]);
    }

    #[test]
    fn letters_beyond_ascii_and_garbage() {
        assert_eq!(keys("ü€".as_bytes()), [Key::Char('ü'), Key::Char('€')]);
        assert_eq!(keys(b"\xc3a\xff\xfe\x80b\xc2\x85"), [Key::Char('a'), Key::Char('b')]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_control_characters_and_a_return_always_gets_through(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut decoder = Decoder::default();
            for byte in bytes {
                if let Some(Key::Char(c)) = decoder.push(byte) {
                    prop_assert!(!c.is_control());
                }
            }
            let last = [decoder.push(b'\r'), decoder.push(b'\r')];
            prop_assert!(last.contains(&Some(Key::Enter)));
        }
    }
}
