//! What the manager says of a unit, and how unit names are written.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{Message, OwnedObjectPath, OwnedVariant, Variant};

use super::SystemdError;

/// `ActiveState` of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// Up; a service whose process has ended may still be up (`RemainAfterExit`).
    Active,
    /// Up and reading its configuration again.
    Reloading,
    /// Down.
    Inactive,
    /// Down after a failure.
    Failed,
    /// On its way up.
    Activating,
    /// On its way down.
    Deactivating,
    /// A word that this version does not know.
    Unknown,
}

impl Active {
    pub(super) fn from_reply(unit: &str, reply: &Message) -> Result<Self, SystemdError> {
        let body = reply.body();
        let word: OwnedVariant =
            body.deserialize().map_err(|source| SystemdError::call("Get", unit, source))?;
        match &*word {
            Variant::Str(word) => Ok(Self::parse(word)),
            _ => Ok(Self::Unknown),
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" | "refreshing" => Self::Reloading,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            "activating" => Self::Activating,
            "deactivating" | "maintenance" => Self::Deactivating,
            _ => Self::Unknown,
        }
    }
}

/// How the main process of a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainExit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What the manager knows of one unit. Fields that only services have are empty for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// The unit's full name.
    pub name: String,
    /// Whether it is up.
    pub active: Active,
    /// The finer state, such as `running` or `exited`.
    pub sub: String,
    /// 32 hex digits that name this run of the unit; empty if it never ran.
    pub invocation: String,
    /// The main process, while it runs.
    pub main_pid: Option<u32>,
    /// How the main process ended, once it has.
    pub main_exit: Option<MainExit>,
    /// The manager's verdict, such as `success`, `exit-code`, `signal` or `oom-kill`.
    pub result: String,
    /// When the main process started, in microseconds since 1970; 0 if it never did.
    pub started_usec: u64,
    /// How long the main process ran, once it has ended.
    pub ran_for: Option<Duration>,
}

impl UnitStatus {
    pub(super) fn from_reply(unit: &str, reply: &Message) -> Result<Self, SystemdError> {
        let body = reply.body();
        let all: HashMap<String, OwnedVariant> =
            body.deserialize().map_err(|source| SystemdError::call("GetAll", unit, source))?;
        Ok(Self::from_properties(unit, &all))
    }

    fn from_properties(unit: &str, all: &HashMap<String, OwnedVariant>) -> Self {
        let text = |name: &str| match all.get(name).map(|value| &**value) {
            Some(Variant::Str(text)) => text.as_str().to_owned(),
            _ => String::new(),
        };
        let number = |name: &str| match all.get(name).map(|value| &**value) {
            Some(Variant::U64(number)) => *number,
            Some(Variant::U32(number)) => u64::from(*number),
            _ => 0,
        };
        let signed = |name: &str| match all.get(name).map(|value| &**value) {
            Some(Variant::I32(number)) => *number,
            _ => 0,
        };
        let status = signed("ExecMainStatus");
        // The codes of waitid(2): 1 exited, 2 killed, 3 killed with a core file.
        let main_exit = match signed("ExecMainCode") {
            1 => Some(MainExit::Code(status)),
            2 | 3 => Some(MainExit::Signal(status)),
            _ => None,
        };
        let began = number("ExecMainStartTimestampMonotonic");
        let ended = number("ExecMainExitTimestampMonotonic");
        let ran = (began > 0).then(|| ended.checked_sub(began)).flatten();
        Self {
            name: unit.to_owned(),
            active: Active::parse(&text("ActiveState")),
            sub: text("SubState"),
            invocation: invocation(all.get("InvocationID")),
            main_pid: u32::try_from(number("MainPID")).ok().filter(|pid| *pid != 0),
            main_exit,
            result: text("Result"),
            started_usec: number("ExecMainStartTimestamp"),
            ran_for: main_exit.and(ran).map(Duration::from_micros),
        }
    }
}

fn invocation(value: Option<&OwnedVariant>) -> String {
    let Some(Variant::Array(bytes)) = value.map(|value| &**value) else {
        return String::new();
    };
    let mut text = String::new();
    for byte in bytes.iter() {
        if let Variant::U8(byte) = byte {
            text.push_str(&format!("{byte:02x}"));
        }
    }
    text
}

/// One line of a list of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSummary {
    /// The unit's full name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Whether it is up.
    pub active: Active,
    /// The finer state.
    pub sub: String,
}

/// A line as the manager sends it: name, description, load, active and sub state, the unit it follows, its
/// path, and the queued job's id, type and path.
pub(super) type ListRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

impl From<ListRow> for UnitSummary {
    fn from(row: ListRow) -> Self {
        Self { name: row.0, description: row.1, active: Active::parse(&row.3), sub: row.4 }
    }
}

/// The name of the mount unit for a path, by the rule of systemd.unit(5): `/` becomes `-`, and every
/// byte that is not a letter, a digit or one of `:_.` becomes `\x` and two hex digits.
pub fn mount_unit_name(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-.mount".to_owned();
    }
    let mut name = String::new();
    for byte in parts.join("/").bytes() {
        match byte {
            b'/' => name.push('-'),
            b'.' if name.is_empty() => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    name.push_str(".mount");
    name
}

/// The unit's name out of its object path, where every byte but letters and digits is written `_` and two
/// hex digits.
pub(super) fn unit_name_of_path(path: &str) -> Option<String> {
    let escaped = path.strip_prefix("/org/freedesktop/systemd1/unit/")?;
    let mut bytes = escaped.bytes();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            name.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            name.push(byte);
        }
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_units_are_named_as_systemd_escape_does() {
        // Taken from `systemd-escape --path --suffix=mount`.
        assert_eq!(
            mount_unit_name("/run/skerry/pods/0b6d-4a/web/rootfs"),
            "run-skerry-pods-0b6d\\x2d4a-web-rootfs.mount"
        );
        assert_eq!(mount_unit_name("/"), "-.mount");
        assert_eq!(mount_unit_name("//a//b/"), "a-b.mount");
        assert_eq!(mount_unit_name("/.x"), "\\x2ex.mount");
    }

    #[test]
    fn object_paths_name_their_units() {
        let path = "/org/freedesktop/systemd1/unit/skerry_2dpod_2d1_2eservice";
        assert_eq!(unit_name_of_path(path).as_deref(), Some("skerry-pod-1.service"));
        assert_eq!(unit_name_of_path("/org/freedesktop/systemd1/unit/a_2"), None);
        assert_eq!(unit_name_of_path("/other"), None);
    }

    fn property<'v>(name: &str, value: impl Into<Variant<'v>>) -> (String, OwnedVariant) {
        (name.to_owned(), value.into().try_into_owned().unwrap())
    }

    #[test]
    fn an_ended_service_tells_how_and_after_how_long() {
        let all = HashMap::from([
            property("ActiveState", "failed"),
            property("SubState", "failed"),
            property("Result", "oom-kill"),
            property("MainPID", 0_u32),
            property("ExecMainCode", 2_i32),
            property("ExecMainStatus", 9_i32),
            property("ExecMainStartTimestampMonotonic", 1_000_000_u64),
            property("ExecMainExitTimestampMonotonic", 3_500_000_u64),
            property("InvocationID", vec![0xab_u8, 0x01]),
        ]);
        let status = UnitStatus::from_properties("x.service", &all);
        assert_eq!(status.active, Active::Failed);
        assert_eq!(status.main_exit, Some(MainExit::Signal(9)));
        assert_eq!(status.ran_for, Some(Duration::from_millis(2500)));
        assert_eq!((status.main_pid, status.invocation.as_str()), (None, "ab01"));
    }

    #[test]
    fn a_running_service_has_no_exit() {
        let all = HashMap::from([
            property("ActiveState", "active"),
            property("MainPID", 17_u32),
            property("ExecMainCode", 0_i32),
            property("ExecMainStartTimestampMonotonic", 5_u64),
            property("ExecMainExitTimestampMonotonic", 0_u64),
        ]);
        let status = UnitStatus::from_properties("x.service", &all);
        assert_eq!((status.main_pid, status.main_exit, status.ran_for), (Some(17), None, None));
    }
}
