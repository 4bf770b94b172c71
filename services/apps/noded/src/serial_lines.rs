//! A guest's serial output as lines. The bytes are the guest's: they are made printable here, once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use skerry_compute::{Hypervisor, HypervisorError, LogPosition};
use skerry_model::{Id, Vm};

const CHUNK: usize = 64 * 1024;
/// A longer line is cut into pieces, so that a guest that never ends its line cannot fill the memory.
const LONGEST: usize = 4096;
/// How often the log is looked at while nothing comes. The port has no news of single bytes.
const PAUSE: Duration = Duration::from_millis(250);

/// Reads lines of one virtual machine's serial log.
pub struct SerialLines {
    hypervisor: Arc<dyn Hypervisor>,
    vm: Id<Vm>,
    position: LogPosition,
    partial: Vec<u8>,
    ready: VecDeque<String>,
}

impl SerialLines {
    /// From this position on.
    pub fn new(hypervisor: Arc<dyn Hypervisor>, vm: Id<Vm>, position: LogPosition) -> Self {
        Self { hypervisor, vm, position, partial: Vec::new(), ready: VecDeque::new() }
    }

    /// Everything up to now; the last `tail` whole lines of it.
    pub async fn read_to_end(&mut self, tail: usize) -> Result<Vec<String>, HypervisorError> {
        while self.read_chunk().await? {
            while self.ready.len() > tail {
                self.ready.pop_front();
            }
        }
        Ok(self.ready.drain(..).collect())
    }

    /// What stands after the last line end, if anything.
    pub fn rest(&mut self) -> Option<String> {
        if self.partial.is_empty() {
            return None;
        }
        Some(printable(&std::mem::take(&mut self.partial)))
    }

    /// The next whole line, waiting for it.
    pub async fn next_line(&mut self) -> Result<String, HypervisorError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(line);
            }
            if !self.read_chunk().await? {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn read_chunk(&mut self) -> Result<bool, HypervisorError> {
        let chunk = self.hypervisor.serial_log(self.vm, self.position, CHUNK).await?;
        let more = !chunk.bytes.is_empty();
        self.position = chunk.next;
        for byte in chunk.bytes {
            if byte == b'\n' || self.partial.len() >= LONGEST {
                let line = printable(&std::mem::take(&mut self.partial));
                self.ready.push_back(line);
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        Ok(more)
    }
}

/// Text without control characters: a guest must not move the cursor of whoever reads its log.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\r')
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_lose_their_teeth() {
        assert_eq!(printable(b"\x1b[2Jhello\r"), "\u{fffd}[2Jhello");
        assert_eq!(printable(&[0xff, b'a', b'\t']), "\u{fffd}a\t");
    }
}
