//! Reads serial logs as lines.
//!
//! What a guest writes is not to be trusted: it may be anything but text, may hold commands for the
//! terminal of whoever reads it, and may never end a line.

use std::collections::VecDeque;

use skerry_model::{Id, Vm};

use crate::{Hypervisor, HypervisorError, LogPosition};

/// Bytes asked for at once.
const CHUNK: usize = 64 * 1024;

/// A line longer than this is cut in pieces.
const LONGEST_LINE: usize = 4096;

/// Follows the serial log of one machine.
#[derive(Debug)]
pub struct SerialReader {
    vm: Id<Vm>,
    at: LogPosition,
    partial: Vec<u8>,
}

impl SerialReader {
    /// From the oldest byte that is kept.
    pub fn new(vm: Id<Vm>) -> Self {
        Self { vm, at: LogPosition::default(), partial: Vec::new() }
    }

    /// The last lines there are, at most `count`. A line that is not ended yet is the last one, and its
    /// rest comes as a line of its own.
    pub async fn tail(
        &mut self,
        hypervisor: &dyn Hypervisor,
        count: usize,
    ) -> Result<Vec<String>, HypervisorError> {
        let mut last = VecDeque::new();
        loop {
            let before = self.at;
            for line in self.read(hypervisor).await? {
                last.push_back(line);
                if last.len() > count {
                    last.pop_front();
                }
            }
            if self.at == before {
                break;
            }
        }
        if !self.partial.is_empty() && count > 0 {
            last.push_back(clean(&std::mem::take(&mut self.partial)));
            if last.len() > count {
                last.pop_front();
            }
        }
        Ok(last.into())
    }

    /// Lines that have come since; none if there is nothing new. Call it again after a pause.
    pub async fn read(
        &mut self,
        hypervisor: &dyn Hypervisor,
    ) -> Result<Vec<String>, HypervisorError> {
        let chunk = hypervisor.serial_log(self.vm, self.at, CHUNK).await?;
        self.at = chunk.next;
        let mut lines = Vec::new();
        for byte in chunk.bytes {
            if byte == b'\n' || self.partial.len() >= LONGEST_LINE {
                lines.push(clean(&std::mem::take(&mut self.partial)));
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        Ok(lines)
    }
}

/// Text without anything that a terminal would take as a command.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' && chars.peek() == Some(&'[') {
            // A control sequence (ECMA-48 5.4) goes as a whole, so that no rest of it stays as text.
            chars.next();
            while chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
            chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
        } else if char == '\t' || !char.is_control() {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn vm() -> Id<Vm> {
        Id::new(Uuid::from_u128(1))
    }

    #[tokio::test]
    async fn lines_come_whole_and_a_tail_keeps_the_last() {
        let fake = Fake::new();
        fake.write_serial(b"one\r\ntwo\nthr");
        let mut reader = SerialReader::new(vm());
        assert_eq!(reader.tail(&*fake, 2).await.unwrap(), ["two", "thr"]);
        fake.write_serial(b"ee\nfour\n");
        assert_eq!(reader.read(&*fake).await.unwrap(), ["ee", "four"]);
        assert_eq!(reader.read(&*fake).await.unwrap(), [""; 0]);
        assert_eq!(SerialReader::new(vm()).tail(&*fake, 0).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_cut() {
        let fake = Fake::new();
        fake.write_serial(&[b'x'; 10_000]);
        let lines = SerialReader::new(vm()).tail(&*fake, 100).await.unwrap();
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [4096, 4096, 1808]);
    }

    #[test]
    fn terminal_commands_are_taken_out() {
        assert_eq!(clean(b"\x1b[1;31mred\x1b[0m\tok\x07\x1b]0;title\x07"), "red\tok]0;title");
        assert_eq!(clean(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_bytes_leave_a_control_character(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(clean(&bytes).chars().all(|c| c == '\t' || !c.is_control()));
        }
    }
}
