//! QEMU's machine protocol: one JSON object a line, answers and events mixed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::QemuError;

/// An open connection, ready for orders.
#[derive(Debug)]
pub(super) struct Qmp {
    input: BufReader<UnixStream>,
    output: UnixStream,
    events: VecDeque<Value>,
}

impl Qmp {
    pub(super) fn new(stream: UnixStream) -> Result<Self, QemuError> {
        let output = stream.try_clone().map_err(|_| QemuError::Gone)?;
        let mut qmp = Self { input: BufReader::new(stream), output, events: VecDeque::new() };
        qmp.read(Duration::from_secs(60))?;
        qmp.order("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Gives an order and waits for the answer.
    pub(super) fn order(&mut self, order: &str, arguments: &Value) -> Result<Value, QemuError> {
        let mut line = json!({ "execute": order, "arguments": arguments }).to_string();
        line.push('\n');
        self.output.write_all(line.as_bytes()).map_err(|_| QemuError::Gone)?;
        loop {
            let answer = self.read(Duration::from_secs(120))?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(QemuError::Refused {
                    order: order.to_owned(),
                    reason: error.to_string(),
                });
            }
            self.events.push_back(answer);
        }
    }

    /// Waits for an event that fits; events before it are dropped.
    pub(super) fn event(
        &mut self,
        name: &str,
        fits: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> Result<Value, QemuError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QemuError::Timeout {
                    what: format!("event {name}"),
                    limit,
                    tail: String::new(),
                });
            }
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => self.read(left)?,
            };
            if event.get("event").and_then(Value::as_str) == Some(name) && fits(&event) {
                return Ok(event);
            }
        }
    }

    fn read(&mut self, limit: Duration) -> Result<Value, QemuError> {
        self.input.get_ref().set_read_timeout(Some(limit)).map_err(|_| QemuError::Gone)?;
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => Err(QemuError::Gone),
            Ok(_) => serde_json::from_str(&line).map_err(|_| QemuError::Gone),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                Err(QemuError::Timeout { what: "an answer of QEMU".into(), limit, tail: line })
            }
            Err(_) => Err(QemuError::Gone),
        }
    }
}
