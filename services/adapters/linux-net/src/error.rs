//! What can go wrong at the machine's network.

use std::io;
use std::path::PathBuf;

use skerry_engine::Failure;
use skerry_linux_host::systemd::SystemdError;

/// A step or a look that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused a request about links, addresses or routes.
    #[error("the kernel refused to {what}")]
    Netlink {
        /// What was asked.
        what: String,
        /// Its answer.
        source: rtnetlink::Error,
    },
    /// No netlink socket could be opened.
    #[error("no netlink socket could be opened; is CAP_NET_ADMIN missing?")]
    Socket {
        /// The system's answer.
        source: io::Error,
    },
    /// A device that a step builds on is not there.
    #[error("device {device} is not there")]
    NoDevice {
        /// The device.
        device: String,
    },
    /// A device has a name of ours but is something else.
    #[error("device {device} is not a {expected}: somebody else made it; remove it")]
    ForeignDevice {
        /// The device.
        device: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A namespace could not be entered.
    #[error("network namespace {namespace} could not be entered")]
    Namespace {
        /// Its name.
        namespace: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{path} could not be {action}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A program could not be run.
    #[error("{program} could not be run; is it installed?")]
    Start {
        /// The program.
        program: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed: {output}")]
    Program {
        /// The program.
        program: &'static str,
        /// The end of what it said.
        output: String,
    },
    /// A program did not end in time.
    #[error("{program} gave no answer within {seconds} s")]
    Stuck {
        /// The program.
        program: &'static str,
        /// How long it was given.
        seconds: u64,
    },
    /// The service manager did not do what was asked.
    #[error("the service manager could not {what}")]
    Systemd {
        /// What was asked.
        what: String,
        /// Its answer.
        source: Box<SystemdError>,
    },
    /// A value in a step is not of the form that the domain promises.
    #[error("`{text}` is not {expected}")]
    Value {
        /// The value.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl NetError {
    /// Wraps an answer of the kernel.
    pub(crate) fn netlink(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let what = what.into();
        move |source| Self::Netlink { what, source }
    }

    /// Wraps a failed access to a file.
    pub(crate) fn file(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, action, source }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        let message = error.to_string();
        match &error {
            NetError::ForeignDevice { .. } | NetError::Start { .. } => {
                Self::needs_operator(message)
            }
            // nft refusing our own text, or a malformed value, does not heal by waiting.
            NetError::Program { .. } | NetError::Value { .. } => Self::bug(message),
            _ => Self::retry(message),
        }
        .because(error)
    }
}
