//! Probes: how a container is asked whether it has started, lives, and can do its work.
//!
//! The numbers and their defaults mean what they mean in Kubernetes.

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A question to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbeCheck {
    /// A program run in the container: success is exit code 0.
    Exec {
        /// Program and arguments. No shell is put around it.
        command: Vec<String>,
    },
    /// A connection to a port of the pod: success is that it opens.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A GET request to a port of the pod: success is an answer of 200 to 399.
    Http {
        /// The port.
        port: u16,
        /// Path and query, beginning with `/`.
        #[serde(default = "default_path")]
        path: String,
    },
}

fn default_path() -> String {
    "/".to_owned()
}

/// A question and how often it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The question.
    pub check: ProbeCheck,
    /// Seconds between the container's start and the first question, 0 to 3600.
    #[serde(default)]
    pub initial_delay_s: u32,
    /// Seconds between two questions, 1 to 3600.
    #[serde(default = "Probe::default_period")]
    pub period_s: u32,
    /// Seconds after which no answer is a failure, 1 to 600.
    #[serde(default = "Probe::one")]
    pub timeout_s: u32,
    /// So many failures in a row count, 1 to 1000.
    #[serde(default = "Probe::default_failures")]
    pub failure_threshold: u32,
    /// So many successes in a row count, 1 to 1000; 1 for startup and liveness.
    #[serde(default = "Probe::one")]
    pub success_threshold: u32,
}

impl Probe {
    const fn default_period() -> u32 {
        10
    }
    const fn default_failures() -> u32 {
        3
    }
    const fn one() -> u32 {
        1
    }

    /// Collects what is wrong, naming fields below `name`.
    pub(crate) fn validate_as(&self, name: &str, one_success: bool, found: &mut Invalid) {
        let field = |part: &str| format!("{name}.{part}");
        for (part, value, range) in [
            ("initial_delay_s", self.initial_delay_s, 0..=3600),
            ("period_s", self.period_s, 1..=3600),
            ("timeout_s", self.timeout_s, 1..=600),
            ("failure_threshold", self.failure_threshold, 1..=1000),
            ("success_threshold", self.success_threshold, 1..=1000),
        ] {
            if !range.contains(&value) {
                let (from, to) = range.into_inner();
                found.add(field(part), format!("must be {from} to {to}"));
            }
        }
        if one_success && self.success_threshold != 1 {
            found.add(field("success_threshold"), "must be 1 for this probe");
        }
        match &self.check {
            ProbeCheck::Exec { command } => {
                let good = command.first().is_some_and(|word| !word.is_empty())
                    && command.len() <= 64
                    && command.iter().all(|word| !word.contains('\0') && word.len() <= 4096);
                found.require(
                    good,
                    &field("check.exec.command"),
                    "must be a program and at most 63 arguments",
                );
            }
            ProbeCheck::Tcp { port } => {
                found.require(*port > 0, &field("check.tcp.port"), "must be 1 to 65535");
            }
            ProbeCheck::Http { port, path } => {
                found.require(*port > 0, &field("check.http.port"), "must be 1 to 65535");
                let good = path.starts_with('/')
                    && path.len() <= 1024
                    && path.chars().all(|c| c.is_ascii_graphic());
                found.require(
                    good,
                    &field("check.http.path"),
                    "must begin with `/` and be at most 1024 printable ASCII characters",
                );
            }
        }
    }
}
