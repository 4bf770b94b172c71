//! Which program runs the containers of a node: an OCI runtime, and whose command line it understands.
//!
//! Only the setting and its rules; what the command lines are is the adapter's to know.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest path of a runtime, in bytes.
const LONGEST: usize = 255;

/// A sort of runtimes with one command line and one way to handle control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeFamily {
    /// crun: can leave control groups alone, and hands a terminal over while it stays.
    Crun,
    /// runc, and what takes its command line: hands a terminal over only when it does not stay.
    Runc,
}

impl RuntimeFamily {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Crun, Self::Runc];

    /// Its name, which is that of its best-known program.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Crun => "crun",
            Self::Runc => "runc",
        }
    }
}

impl fmt::Display for RuntimeFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for RuntimeFamily {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|family| family.word() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::word).join("` or `");
            let text: String = text.chars().take(40).collect();
            format!("`{text}` is no family of runtimes that is known here: say `{known}`")
        })
    }
}

/// A runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciRuntime {
    /// Whole path of the program.
    pub program: PathBuf,
    /// Whose command line it understands.
    pub family: RuntimeFamily,
}

/// A setting that names no runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRuntime {
    /// The path of the program cannot be one.
    #[error("`{path}` is not the whole path of a program, such as /usr/bin/crun")]
    Path {
        /// What was given.
        path: String,
    },
    /// The family is not known, or cannot be told from the program's name.
    #[error("{0}")]
    Family(String),
}

impl Default for OciRuntime {
    fn default() -> Self {
        Self { program: PathBuf::from("/usr/bin/crun"), family: RuntimeFamily::Crun }
    }
}

impl OciRuntime {
    /// The runtime at this path. The family need not be said where the program has the name of one. Whether the program is
    /// there is not looked at.
    ///
    /// # Errors
    /// When the path is no whole path, or the family is unknown.
    pub fn new(program: &str, family: Option<&str>) -> Result<Self, NoRuntime> {
        let good = |part: &str| !matches!(part, "" | "." | "..");
        let parts = program.strip_prefix('/').map(|rest| rest.split('/'));
        let whole = parts.is_some_and(|mut parts| parts.all(good));
        if !whole || program.len() > LONGEST || program.chars().any(char::is_control) {
            let path = program.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
            return Err(NoRuntime::Path { path });
        }
        let path = Path::new(program);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let found = match family {
            Some(family) => family.parse(),
            None => name.parse().map_err(|_| {
                let known = RuntimeFamily::ALL.map(RuntimeFamily::word).join("` or `");
                format!("cannot be told from the name `{name}`: say `{known}`")
            }),
        };
        let family = found.map_err(NoRuntime::Family)?;
        Ok(Self { program: path.to_owned(), family })
    }
}

impl fmt::Display for OciRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_that_of_the_name_unless_said() {
        let family = |program, family| OciRuntime::new(program, family).unwrap().family;
        assert_eq!(family("/usr/bin/crun", None), RuntimeFamily::Crun);
        assert_eq!(family("/usr/sbin/runc", None), RuntimeFamily::Runc);
        assert_eq!(family("/opt/own/runtime", Some("runc")), RuntimeFamily::Runc);
        assert_eq!(family("/usr/bin/crun", Some("runc")), RuntimeFamily::Runc, "as said");
        assert_eq!(OciRuntime::new("/usr/bin/crun", None), Ok(OciRuntime::default()));
    }

    #[test]
    fn what_names_no_runtime_is_refused_with_what_would() {
        for path in ["", "crun", "usr/bin/crun", "/", "/usr//crun", "/usr/../crun", "/a/", "/a\nb"]
        {
            let error = OciRuntime::new(path, Some("crun")).unwrap_err();
            assert!(error.to_string().contains("such as /usr/bin/crun"), "{path}: {error}");
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        assert!(matches!(OciRuntime::new(&long, Some("crun")), Err(NoRuntime::Path { .. })));
        for (path, family) in
            [("/usr/bin/youki", None), ("/usr/bin/crun", Some("docker")), ("/a", Some(""))]
        {
            let error = OciRuntime::new(path, family).unwrap_err();
            assert!(error.to_string().contains("say `crun` or `runc`"), "{error}");
        }
    }

    #[test]
    fn it_is_remembered_as_it_is() {
        let text = serde_json::to_string(&OciRuntime::default()).unwrap();
        assert_eq!(text, r#"{"program":"/usr/bin/crun","family":"crun"}"#);
        assert_eq!(serde_json::from_str::<OciRuntime>(&text).unwrap(), OciRuntime::default());
    }
}
