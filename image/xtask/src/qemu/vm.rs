//! A running machine.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::QemuError;
use super::arguments::{Machine, Terminal};
use super::channel::{Channel, listen};
use super::qmp::Qmp;

const CONNECT: Duration = Duration::from_secs(30);

/// A running machine; dropping it pulls the plug.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    qmp: Qmp,
    serial: Option<Channel>,
    shell: Option<Channel>,
    commands: u32,
    saves: u32,
}

impl Vm {
    pub(super) fn start(machine: &Machine, more: &[&str]) -> Result<Self, QemuError> {
        let log = machine.qemu_log();
        let not_up = || QemuError::NotUp { log: machine.qemu_log() };
        let prepare = |source| QemuError::Prepare { path: log.clone(), source };
        let qmp = listen(&machine.socket("qmp"))?;
        let serial = (machine.terminal == Terminal::Program)
            .then(|| listen(&machine.socket("serial")))
            .transpose()?;
        let shell = machine.debug_shell.then(|| listen(&machine.socket("shell"))).transpose()?;
        let mut command = machine.builder.user_command("qemu-system-x86_64");
        command
            .args(machine.arguments())
            .args(more)
            .stderr(std::fs::File::create(&log).map_err(prepare)?);
        if machine.terminal == Terminal::Program {
            command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        let mut child = command
            .spawn()
            .map_err(|e| QemuError::Program { program: "bwrap".into(), reason: e.to_string() })?;
        let open = || {
            let channel = |awaited: Option<super::channel::Awaited>| {
                awaited
                    .map(|a| {
                        a.connected(CONNECT)
                            .and_then(|stream| Channel::new(stream).ok())
                            .ok_or_else(not_up)
                    })
                    .transpose()
            };
            let qmp = Qmp::new(qmp.connected(CONNECT).ok_or_else(not_up)?)?;
            Ok((qmp, channel(serial)?, channel(shell)?))
        };
        match open() {
            Ok((qmp, serial, shell)) => {
                Ok(Self { child, qmp, serial, shell, commands: 0, saves: 0 })
            }
            Err(error) => {
                // The reason matters more than whether the rest could be cleared away.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Waits until the serial line says `text` after what was last waited for; returns what came up to there.
    ///
    /// # Errors
    /// When it does not come in time, or the machine is off.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String, QemuError> {
        self.serial.as_mut().ok_or(QemuError::Gone)?.wait_for(text, limit)
    }

    /// Types on the serial line.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), QemuError> {
        self.serial.as_mut().ok_or(QemuError::Gone)?.send(bytes)
    }

    /// Everything the serial line said since this start.
    #[must_use]
    pub fn serial_text(&self) -> String {
        self.serial.as_ref().map(Channel::text).unwrap_or_default()
    }

    /// What the serial line said so far counts as seen: the next wait looks at what comes from now on.
    pub fn forget_serial(&mut self) {
        if let Some(serial) = &mut self.serial {
            serial.skip();
        }
    }

    /// Runs a command line in the root shell of a machine with `debug_shell`; returns its output and exit code.
    ///
    /// # Errors
    /// When there is no such shell or it does not answer in time.
    pub fn shell(&mut self, line: &str, limit: Duration) -> Result<(String, i32), QemuError> {
        let shell = self.shell.as_mut().ok_or(QemuError::Gone)?;
        if self.commands == 0 {
            // What is typed before the prompt would be eaten by the firmware.
            shell.wait_for("# ", limit)?;
        }
        self.commands += 1;
        let number = self.commands;
        // The shell repeats what is typed; the marks are typed in two halves so that only their printing matches.
        let typed = format!(
            "printf '\\n%s%s\\n' BEG IN-{number}; ( {line} ) 2>&1; printf '\\n%s%s %s.\\n' EN D-{number} $?\n"
        );
        shell.send(typed.as_bytes())?;
        shell.wait_for(&format!("BEGIN-{number}"), limit)?;
        let output = shell.wait_for(&format!("END-{number} "), limit)?;
        let code = shell.wait_for(".", limit)?;
        let output = output.replace('\r', "");
        let output = output
            .trim_start_matches('\n')
            .trim_end_matches(&format!("END-{number} "))
            .trim_end_matches('\n');
        Ok((output.to_owned(), code.trim_end_matches('.').trim().parse().unwrap_or(-1)))
    }

    /// Has the debug shell of a machine that was not booted but restored show its prompt anew.
    pub(super) fn wake_shell(&mut self) -> Result<(), QemuError> {
        self.shell.as_mut().map_or(Ok(()), |shell| shell.send(b"\n"))
    }

    /// Gives QEMU an order; see its QMP reference.
    ///
    /// # Errors
    /// When QEMU refuses or is gone.
    pub fn qmp(&mut self, order: &str, arguments: &Value) -> Result<Value, QemuError> {
        self.qmp.order(order, arguments)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn reset(&mut self) -> Result<(), QemuError> {
        self.qmp.order("system_reset", &json!({})).map(drop)
    }

    /// Presses the power button, to which the node answers by shutting down.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn power_button(&mut self) -> Result<(), QemuError> {
        self.qmp.order("system_powerdown", &json!({})).map(drop)
    }

    /// Cuts or restores the cable of the network card.
    ///
    /// # Errors
    /// When the machine is off or has no network card.
    pub fn link(&mut self, up: bool) -> Result<(), QemuError> {
        self.qmp.order("set_link", &json!({ "name": "uplink", "up": up })).map(drop)
    }

    /// Saves memory, disk and firmware variables under `name`; the machine stands still meanwhile.
    ///
    /// # Errors
    /// When it cannot be saved.
    pub fn save(&mut self, name: &str) -> Result<(), QemuError> {
        self.state_job("snapshot-save", name)?;
        self.resume()
    }

    /// Goes back to what was saved under `name`.
    ///
    /// # Errors
    /// When there is no such state.
    pub fn restore(&mut self, name: &str) -> Result<(), QemuError> {
        self.state_job("snapshot-load", name)?;
        self.resume()
    }

    fn resume(&mut self) -> Result<(), QemuError> {
        self.qmp.order("cont", &json!({})).map(drop)
    }

    fn state_job(&mut self, order: &str, name: &str) -> Result<(), QemuError> {
        self.saves += 1;
        let job = format!("{order}-{}", self.saves);
        self.qmp.order("stop", &json!({}))?;
        self.qmp.order(order, &json!({ "job-id": job, "tag": name, "vmstate": "disk", "devices": ["disk", "variables"] }))?;
        let ended = |event: &Value| {
            event.pointer("/data/id").and_then(Value::as_str) == Some(&job)
                && event.pointer("/data/status").and_then(Value::as_str) == Some("concluded")
        };
        self.qmp.event("JOB_STATUS_CHANGE", ended, Duration::from_secs(300))?;
        let jobs = self.qmp.order("query-jobs", &json!({}))?;
        let error = jobs
            .as_array()
            .into_iter()
            .flatten()
            .find(|j| j.get("id").and_then(Value::as_str) == Some(&job))
            .and_then(|j| j.get("error").cloned());
        self.qmp.order("job-dismiss", &json!({ "id": job }))?;
        match error {
            Some(reason) => {
                Err(QemuError::Refused { order: order.to_owned(), reason: reason.to_string() })
            }
            None => Ok(()),
        }
    }

    /// Pulls the plug. Start the [`Machine`] again for the next boot.
    ///
    /// # Errors
    /// When QEMU cannot be ended.
    pub fn power_cut(mut self) -> Result<(), QemuError> {
        self.end().map_err(|e| QemuError::Program {
            program: "qemu-system-x86_64".into(),
            reason: e.to_string(),
        })
    }

    /// Waits until the machine has switched itself off.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_off(mut self, limit: Duration) -> Result<(), QemuError> {
        match self.qmp.event("SHUTDOWN", |_| true, limit) {
            Ok(_) | Err(QemuError::Gone) => self.power_cut(),
            Err(error) => Err(error),
        }
    }

    /// Waits until the machine starts anew by itself: a reboot, or a reset by the watchdog.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_reset(&mut self, limit: Duration) -> Result<(), QemuError> {
        self.qmp.event("RESET", |_| true, limit).map(drop)
    }

    /// Waits until QEMU ends, which it does when the user says so or the machine is switched off.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn wait_end(&mut self) -> Result<(), QemuError> {
        self.child.wait().map(drop).map_err(|e| QemuError::Program {
            program: "qemu-system-x86_64".into(),
            reason: e.to_string(),
        })
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        // The child is bubblewrap; QEMU itself is gone when its end of the line is closed.
        let _ = self.qmp.event("NEVER", |_| false, Duration::from_secs(20));
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Already ended when the plug was pulled on purpose; then there is nothing to do.
        let _ = self.end();
    }
}
