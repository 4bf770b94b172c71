//! Why a pull failed, in words for an operator, and whether trying again may help.

use std::error::Error;
use std::io;

use reqwest::StatusCode;
use skerry_containers::oci::OciError;
use skerry_model::RegistryHost;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again later.
    Retry,
    /// Somebody has to change something first.
    NeedsOperator,
    /// A fault of this program.
    Bug,
}

/// Why a pull failed. No error names a password, a token, or the query of an address.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The settings for a registry cannot be used.
    #[error("the settings for registry {host} cannot be used: {why}")]
    Settings {
        /// The registry.
        host: RegistryHost,
        /// What is wrong.
        why: String,
    },
    /// No connection, or one that broke.
    #[error("registry {host} cannot be reached")]
    Unreachable {
        /// The registry.
        host: RegistryHost,
        /// What the network said.
        source: reqwest::Error,
    },
    /// Its certificate is not trusted.
    #[error(
        "registry {host} shows a certificate that is not trusted ({why}); give its CA in the registry's settings"
    )]
    Certificate {
        /// The registry.
        host: RegistryHost,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing came for too long.
    #[error("registry {host} sent nothing for {seconds} s")]
    Stalled {
        /// The registry.
        host: RegistryHost,
        /// How long was waited.
        seconds: u64,
    },
    /// It wants another name and password.
    #[error(
        "registry {host} does not let us read {what}; check that it exists and the user name and password in the registry's settings"
    )]
    Denied {
        /// The registry.
        host: RegistryHost,
        /// What was asked for.
        what: String,
    },
    /// It has no such thing.
    #[error("registry {host} has no {what}")]
    NotFound {
        /// The registry.
        host: RegistryHost,
        /// What was asked for.
        what: String,
    },
    /// Another status than those that mean something here.
    #[error("registry {host} answers {status} when asked for {what}")]
    Status {
        /// The registry.
        host: RegistryHost,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: StatusCode,
    },
    /// It does not keep to the protocol.
    #[error("registry {host} does not behave as a registry: {why}")]
    Protocol {
        /// The registry.
        host: RegistryHost,
        /// What it did.
        why: String,
    },
    /// Bytes are not those that a digest or a length names.
    #[error("registry {host} sent other bytes than {what} has")]
    WrongBytes {
        /// The registry.
        host: RegistryHost,
        /// Which part of the image.
        what: String,
    },
    /// The image is of no use here.
    #[error(transparent)]
    Unusable(#[from] OciError),
    /// It has no signature, and needs one.
    #[error(
        "the image sha256:{digest} has no signature, which the registry's settings require; sign it with cosign, and push the signature to the same repository"
    )]
    Unsigned {
        /// The digest of the image.
        digest: String,
    },
    /// The image is too large.
    #[error("the image has {size} bytes; {limit} are allowed")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no room for what is missing of the image.
    #[error(
        "{missing} bytes of the image are missing and there is room for {room}; delete images or volumes"
    )]
    NoRoom {
        /// Bytes that are still to come.
        missing: u64,
        /// Bytes that may be written.
        room: u64,
        /// Whether some of it has come already.
        begun: bool,
    },
    /// The folder for downloads.
    #[error("cannot {action} a downloaded file")]
    Spool {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl RegistryError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } => Class::Retry,
            Self::WrongBytes { .. } | Self::Protocol { .. } => Class::Retry,
            Self::Status { status, .. } => {
                let passing = status.is_server_error()
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT;
                if passing { Class::Retry } else { Class::NeedsOperator }
            }
            // What has come is not thrown away for want of room: some may become free.
            Self::NoRoom { begun, .. } => {
                if *begun {
                    Class::Retry
                } else {
                    Class::NeedsOperator
                }
            }
            Self::Spool { .. } => Class::Retry,
            Self::Settings { .. }
            | Self::Certificate { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Unusable(_)
            | Self::Unsigned { .. }
            | Self::TooLarge { .. } => Class::NeedsOperator,
        }
    }

    /// Whether it heals as soon as something outside has changed, so that any number of tries is right.
    pub fn waits(&self) -> bool {
        match self {
            Self::WrongBytes { .. } => false,
            Self::Spool { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => self.class() == Class::Retry,
        }
    }

    /// The message and everything behind it, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// From an error of the HTTP client, whose addresses may hold what is not for a log.
    pub(crate) fn http(host: &RegistryHost, error: reqwest::Error) -> Self {
        let host = host.clone();
        match certificate_fault(&error) {
            Some(why) => Self::Certificate { host, why },
            None => Self::Unreachable { host, source: error.without_url() },
        }
    }
}

/// What TLS says about the other side's certificate, if that is what went wrong.
fn certificate_fault(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
        return Some(why.to_string());
    }
    // An I/O error hides the error inside it from `source`.
    let hidden = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let hidden = hidden.and_then(|hidden| certificate_fault(hidden));
    hidden.or_else(|| error.source().and_then(certificate_fault))
}
