//! Properties of a transient unit, with the types that the manager expects.

use zbus::{OwnedVariant, Variant};

/// One program that a unit runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The program and its arguments; the first word is an absolute path.
    pub argv: Vec<String>,
    /// A failure of it does not count.
    pub ignore_failure: bool,
}

impl Exec {
    /// A program that must succeed.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ignore_failure: false }
    }

    /// A program whose failure does not count.
    #[must_use]
    pub fn may_fail(mut self) -> Self {
        self.ignore_failure = true;
        self
    }
}

/// Properties of a transient unit. Names are those of the bus interface, where times end in `USec`.
#[derive(Debug, Default)]
pub struct Properties(Vec<(String, OwnedVariant)>);

impl Properties {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a property from a value that holds no file descriptor, which therefore can be owned.
    fn with<'v>(mut self, name: &str, value: impl Into<Variant<'v>>) -> Self {
        if let Ok(value) = value.into().try_into_owned() {
            self.0.push((name.to_owned(), value));
        }
        self
    }

    /// Adds all of others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// A text, such as `Description` or `KillMode`.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.with(name, value.to_owned())
    }

    /// A switch, such as `RemainAfterExit`.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.with(name, value)
    }

    /// An unsigned number of 64 bits: sizes, counts and times in microseconds.
    #[must_use]
    pub fn number(self, name: &str, value: u64) -> Self {
        self.with(name, value)
    }

    /// An unsigned number of 32 bits, such as `LogRateLimitBurst`.
    #[must_use]
    pub fn count(self, name: &str, value: u32) -> Self {
        self.with(name, value)
    }

    /// A signed number of 32 bits, such as `KillSignal`.
    #[must_use]
    pub fn signal(self, name: &str, value: i32) -> Self {
        self.with(name, value)
    }

    /// A list of texts, such as `After` or `Environment`.
    #[must_use]
    pub fn texts<S: Into<String>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        self.with(name, values)
    }

    /// A list of byte strings, such as `LogExtraFields`.
    #[must_use]
    pub fn bytes<S: Into<Vec<u8>>>(self, name: &str, values: impl IntoIterator<Item = S>) -> Self {
        let values: Vec<Vec<u8>> = values.into_iter().map(Into::into).collect();
        self.with(name, values)
    }

    /// A list of pairs, such as `DeviceAllow`.
    #[must_use]
    pub fn pairs<S: Into<String>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = (S, S)>,
    ) -> Self {
        let values: Vec<(String, String)> =
            values.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self.with(name, values)
    }

    /// A list of texts with numbers, such as `IOReadBandwidthMax`.
    #[must_use]
    pub fn amounts<S: Into<String>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = (S, u64)>,
    ) -> Self {
        let values: Vec<(String, u64)> =
            values.into_iter().map(|(key, value)| (key.into(), value)).collect();
        self.with(name, values)
    }

    /// A list of bytes, such as `AllowedMemoryNodes`.
    #[must_use]
    pub fn octets(self, name: &str, bytes: Vec<u8>) -> Self {
        self.with(name, bytes)
    }

    /// Programs, such as `ExecStart` or `ExecStopPost`. Words are passed on as they are: the manager's own
    /// replacing of `$NAME` is switched off. A program without words is left out.
    #[must_use]
    pub fn exec(self, name: &str, programs: impl IntoIterator<Item = Exec>) -> Self {
        let programs: Vec<(String, Vec<String>, Vec<String>)> = programs
            .into_iter()
            .filter_map(|exec| {
                let path = exec.argv.first()?.clone();
                let mut flags = vec!["no-env-expand".to_owned()];
                if exec.ignore_failure {
                    flags.push("ignore-failure".to_owned());
                }
                Some((path, exec.argv, flags))
            })
            .collect();
        self.with(&format!("{name}Ex"), programs)
    }

    /// An open file, such as `StandardOutputFileDescriptor`.
    #[must_use]
    pub fn file(mut self, name: &str, file: std::os::fd::OwnedFd) -> Self {
        let value = Variant::Fd(zbus::Fd::from(file));
        if let Ok(value) = value.try_into_owned() {
            self.0.push((name.to_owned(), value));
        }
        self
    }

    pub(super) fn as_pairs(&self) -> &[(String, OwnedVariant)] {
        &self.0
    }

    /// The names set so far, for tests of those who build properties.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// One property in the bus library's text form, for tests of those who build properties.
    pub fn show(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_has_the_signature_that_the_manager_expects() {
        let properties = Properties::new()
            .text("KillMode", "mixed")
            .flag("RemainAfterExit", true)
            .number("MemoryMax", 1 << 20)
            .signal("KillSignal", 15)
            .texts("After", ["a.mount"])
            .bytes("LogExtraFields", ["POD=x"])
            .pairs("DeviceAllow", [("/dev/null", "rwm")])
            .amounts("IOReadBandwidthMax", [("/var", 1)])
            .exec("ExecStart", [Exec::new(["/bin/true", "x"]).may_fail()]);
        let signatures: Vec<String> = properties
            .as_pairs()
            .iter()
            .map(|(_, value)| value.value_signature().to_string())
            .collect();
        assert_eq!(signatures, ["s", "b", "t", "i", "as", "aay", "a(ss)", "a(st)", "a(sasas)"]);
    }

    #[test]
    fn a_program_without_words_is_left_out() {
        let properties = Properties::new().exec("ExecStart", [Exec::new(Vec::<String>::new())]);
        assert_eq!(properties.show("ExecStartEx").as_deref(), Some("@a(sasas) []"));
    }
}
