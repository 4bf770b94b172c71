//! A checked board: every value present and usable.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BoardError;
use crate::raw::RawBoard;

/// A machine of a given make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// Name of the board and of its folder.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What the kernel is given.
    pub kernel: Kernel,
    /// The hardware watchdog.
    pub watchdog: Watchdog,
    /// Where people meet the node; the last serial console also gets the boot messages.
    pub consoles: Vec<Console>,
    /// Roles of network interfaces, first match wins.
    pub nics: Vec<Nic>,
}

/// Kernel command line and modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Words of the command line, without consoles and root hash, which the image build adds.
    pub command_line: Vec<String>,
    /// Regular expressions over paths below `kernel/`: the modules that stay in the image, with what they need.
    pub modules: Vec<String>,
    /// Names of the modules that find and mount the root partition.
    pub initrd_modules: Vec<String>,
    /// Whether the kernel image carries microcode updates for Intel's and AMD's processors.
    pub microcode: bool,
}

/// The hardware watchdog, fed by systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watchdog {
    /// Drivers to load, those without hardware are skipped.
    pub modules: Vec<String>,
    /// Time without a sign of life after which the machine is reset.
    pub timeout_s: u32,
}

/// A console of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Device that the kernel writes to, such as `ttyS0` or `tty0`.
    pub device: String,
    /// Terminal on which the menu runs, such as `ttyS0` or `tty1`.
    pub menu: String,
    /// Speed of a serial line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
}

/// What an interface is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Its role.
    pub role: NicRole,
    /// Which interfaces are meant.
    #[serde(rename = "match")]
    pub matches: NicMatch,
    /// What is printed beside the socket on the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Role of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicRole {
    /// Carries the API, the page and the way to the SMO, and workloads unless another one does.
    Management,
    /// Carries workloads only.
    Workload,
}

/// Conditions on an interface; all that are given must hold, and none given means any interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicMatch {
    /// Path of the device on its bus, such as `0000:01:00.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Kernel driver, such as `igb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

impl Board {
    /// Checks a merged description; `file` is named in errors.
    pub(crate) fn check(raw: RawBoard, file: &Path) -> Result<Self, BoardError> {
        let wrong = |key: &str, reason: &str| BoardError::Value {
            file: file.to_owned(),
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        let missing = |key: &str| {
            wrong(key, "is missing; say it here or in the board that this one inherits")
        };
        if raw.schema != Some(1) {
            return Err(wrong("schema", "must be 1"));
        }
        let kernel = raw.kernel.ok_or_else(|| missing("kernel"))?;
        let watchdog = raw.watchdog.ok_or_else(|| missing("watchdog"))?;
        let mut command_line = kernel.command_line.ok_or_else(|| missing("kernel.command_line"))?;
        command_line.extend(kernel.extra_command_line.unwrap_or_default());
        let board = Self {
            name: raw.name.ok_or_else(|| missing("name"))?,
            description: raw.description.ok_or_else(|| missing("description"))?,
            kernel: Kernel {
                command_line,
                modules: kernel.modules.ok_or_else(|| missing("kernel.modules"))?,
                initrd_modules: kernel
                    .initrd_modules
                    .ok_or_else(|| missing("kernel.initrd_modules"))?,
                microcode: kernel.microcode.ok_or_else(|| missing("kernel.microcode"))?,
            },
            watchdog: Watchdog {
                modules: watchdog.modules.ok_or_else(|| missing("watchdog.modules"))?,
                timeout_s: watchdog.timeout_s.ok_or_else(|| missing("watchdog.timeout_s"))?,
            },
            consoles: raw.consoles.ok_or_else(|| missing("console"))?,
            nics: raw.nics.unwrap_or_default(),
        };
        board.check_values(&wrong)?;
        Ok(board)
    }

    fn check_values(&self, wrong: &impl Fn(&str, &str) -> BoardError) -> Result<(), BoardError> {
        if !(10..=600).contains(&self.watchdog.timeout_s) {
            return Err(wrong("watchdog.timeout_s", "must be from 10 to 600 seconds"));
        }
        if self.consoles.is_empty() {
            return Err(wrong(
                "console",
                "a board needs at least one console, or nobody can read the claim code",
            ));
        }
        let is_device =
            |name: &str| name.starts_with("tty") && name.chars().all(|c| c.is_ascii_alphanumeric());
        for console in &self.consoles {
            if !is_device(&console.device) || !is_device(&console.menu) {
                return Err(wrong(
                    "console",
                    "device and menu are names of terminals such as ttyS0, without /dev",
                ));
            }
        }
        let reserved = |word: &str| {
            word.starts_with("console=")
                || word.starts_with("roothash=")
                || word.chars().any(char::is_whitespace)
                || word.is_empty()
        };
        if let Some(word) = self.kernel.command_line.iter().find(|w| reserved(w)) {
            return Err(wrong(
                "kernel.command_line",
                &format!(
                    "{word:?} is not allowed: one word each, consoles belong to [[console]], the root hash comes from the build"
                ),
            ));
        }
        Ok(())
    }

    /// The words that the consoles add to the kernel command line. The last one becomes `/dev/console`.
    #[must_use]
    pub fn console_arguments(&self) -> Vec<String> {
        let one = |c: &Console| {
            c.speed.map_or_else(
                || format!("console={}", c.device),
                |speed| format!("console={},{speed}", c.device),
            )
        };
        self.consoles.iter().map(one).collect()
    }
}
