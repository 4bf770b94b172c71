//! A `board.toml` exactly as it was written, and the merge of two of them.
//!
//! Everything is optional here, because a board that inherits says only what differs. Nothing is checked but names
//! and types; that comes in `board`.

use serde::{Deserialize, Serialize};

use crate::board::{Console, Nic};

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawBoard {
    pub schema: Option<u32>,
    pub name: Option<String>,
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherit: Option<String>,
    pub kernel: Option<RawKernel>,
    pub watchdog: Option<RawWatchdog>,
    #[serde(rename = "console", skip_serializing_if = "Option::is_none")]
    pub consoles: Option<Vec<Console>>,
    #[serde(rename = "nic", skip_serializing_if = "Option::is_none")]
    pub nics: Option<Vec<Nic>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKernel {
    pub command_line: Option<Vec<String>>,
    pub extra_command_line: Option<Vec<String>>,
    pub modules: Option<Vec<String>>,
    pub initrd_modules: Option<Vec<String>>,
    pub microcode: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWatchdog {
    pub modules: Option<Vec<String>>,
    pub timeout_s: Option<u32>,
}

/// What `child` says wins, key by key; a list replaces the whole list, except `extra_command_line`, which adds up so
/// that a board need not repeat the command line of its parent to say one word more.
pub(crate) fn merge(base: RawBoard, child: RawBoard) -> RawBoard {
    RawBoard {
        schema: child.schema.or(base.schema),
        name: child.name.or(base.name),
        description: child.description.or(base.description),
        inherit: None,
        kernel: merge_with(base.kernel, child.kernel, merge_kernel),
        watchdog: merge_with(base.watchdog, child.watchdog, |base, child| RawWatchdog {
            modules: child.modules.or(base.modules),
            timeout_s: child.timeout_s.or(base.timeout_s),
        }),
        consoles: child.consoles.or(base.consoles),
        nics: child.nics.or(base.nics),
    }
}

fn merge_kernel(base: RawKernel, child: RawKernel) -> RawKernel {
    RawKernel {
        command_line: child.command_line.or(base.command_line),
        extra_command_line: merge_with(
            base.extra_command_line,
            child.extra_command_line,
            |mut base, child| {
                base.extend(child);
                base
            },
        ),
        modules: child.modules.or(base.modules),
        initrd_modules: child.initrd_modules.or(base.initrd_modules),
        microcode: child.microcode.or(base.microcode),
    }
}

fn merge_with<T>(base: Option<T>, child: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (base, child) {
        (Some(base), Some(child)) => Some(both(base, child)),
        (base, child) => child.or(base),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawBoard {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_child_replaces_only_what_it_says() {
        let base =
            raw("name = 'a'\ndescription = 'base'\n[watchdog]\nmodules = ['x']\ntimeout_s = 60\n");
        let child = raw("name = 'b'\n[watchdog]\ntimeout_s = 30\n");
        let merged = merge(base, child);
        assert_eq!(merged.name.as_deref(), Some("b"));
        assert_eq!(merged.description.as_deref(), Some("base"));
        let watchdog = merged.watchdog.unwrap();
        assert_eq!((watchdog.modules, watchdog.timeout_s), (Some(vec!["x".into()]), Some(30)));
    }

    #[test]
    fn merging_with_nothing_changes_nothing() {
        let base =
            raw("name = 'a'\n[kernel]\ncommand_line = ['quiet']\nextra_command_line = ['b']\n");
        assert_eq!(merge(base.clone(), RawBoard::default()), base);
        assert_eq!(merge(RawBoard::default(), base.clone()), base);
    }

    #[test]
    fn merging_is_associative() {
        let a = raw("name = 'a'\n[kernel]\nextra_command_line = ['1']\nmodules = ['m']\n");
        let b = raw("description = 'b'\n[kernel]\nextra_command_line = ['2']\n");
        let c = raw("name = 'c'\n[kernel]\nextra_command_line = ['3']\nmodules = []\n");
        let left = merge(merge(a.clone(), b.clone()), c.clone());
        let right = merge(a, merge(b, c));
        assert_eq!(left, right);
        assert_eq!(left.kernel.unwrap().extra_command_line.unwrap(), ["1", "2", "3"]);
    }
}
