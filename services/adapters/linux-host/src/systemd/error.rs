//! What can go wrong when asking the service manager for something.

use std::time::Duration;

/// A request to the service manager that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// The bus cannot be reached.
    #[error("the system bus cannot be reached; check that dbus.socket is active")]
    Connect {
        /// The bus library's error.
        source: zbus::Error,
    },
    /// The manager refused, or gave no answer.
    #[error("systemd did not carry out {method} {subject}")]
    Call {
        /// The manager's method.
        method: &'static str,
        /// The unit, if it was about one.
        subject: String,
        /// The bus library's error.
        source: zbus::Error,
    },
    /// The unit's job ended otherwise than wanted.
    #[error("{unit}: systemd reports `{result}`; see `journalctl -u {unit}`")]
    Job {
        /// The unit.
        unit: String,
        /// `failed`, `timeout`, `dependency`, `canceled`, `skipped`.
        result: String,
    },
    /// The unit's job did not end in time.
    #[error("{unit}: not done after {} s", deadline.as_secs())]
    Deadline {
        /// The unit.
        unit: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The bus went away while waiting.
    #[error("{unit}: the system bus went away while waiting")]
    Lost {
        /// The unit.
        unit: String,
    },
    /// Pipes to a command could not be made or used.
    #[error("{unit}: no pipe to the command")]
    Pipe {
        /// The unit.
        unit: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl SystemdError {
    pub(super) fn connect(source: zbus::Error) -> Self {
        Self::Connect { source }
    }

    pub(super) fn call(method: &'static str, subject: &str, source: zbus::Error) -> Self {
        Self::Call { method, subject: subject.to_owned(), source }
    }

    /// The name of the D-Bus error, if the manager answered with one.
    fn dbus_name(&self) -> Option<&str> {
        match self {
            Self::Call { source: zbus::Error::MethodError(name, ..), .. } => Some(name.as_str()),
            _ => None,
        }
    }

    /// The unit is not known to the manager.
    pub fn is_no_such_unit(&self) -> bool {
        self.dbus_name() == Some("org.freedesktop.systemd1.NoSuchUnit")
            || matches!(
                self,
                Self::Call { source: zbus::Error::FDO(inner), .. }
                    if matches!(**inner, zbus::fdo::Error::UnknownObject(_))
            )
    }

    /// A transient unit of that name is there already.
    pub fn is_unit_exists(&self) -> bool {
        self.dbus_name() == Some("org.freedesktop.systemd1.UnitExists")
    }
}
