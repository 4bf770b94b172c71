//! How the verbs reach a node: one trait, so that each verb is written once for HTTPS and the local socket.

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_ipc::{Answer, Input, Refusal, RefusalClass, Request, StreamItem};

/// Why no answer came, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node answered, and said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody answered.
    #[error("cannot reach the node at {node}: {detail}")]
    Unreachable {
        /// Its URL or socket.
        node: String,
        /// What happened, and what to do.
        detail: String,
    },
    /// The node shows a certificate that is not the known one, or none is known yet.
    #[error("{detail}")]
    Untrusted {
        /// What happened, and what to do.
        detail: String,
    },
    /// An answer came that no node of this version gives.
    #[error("the node at {node} gave an answer that this program does not understand: {detail}")]
    Protocol {
        /// Its URL or socket.
        node: String,
        /// What was odd.
        detail: String,
    },
    /// This face does not offer the request.
    #[error("{detail}")]
    Unsupported {
        /// What to do instead.
        detail: String,
    },
}

impl CallError {
    /// The program's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(refusal) => match refusal.class {
                RefusalClass::Unauthenticated | RefusalClass::Forbidden => crate::exit::NOT_ALLOWED,
                _ => crate::exit::REFUSED,
            },
            Self::Untrusted { .. } => crate::exit::NOT_ALLOWED,
            Self::Unreachable { .. } => crate::exit::UNREACHABLE,
            Self::Protocol { .. } | Self::Unsupported { .. } => crate::exit::REFUSED,
        }
    }
}

/// Items of an open stream; dropping it ends the stream at the node.
pub type Items = BoxStream<'static, Result<StreamItem, CallError>>;

/// A step in bringing a file to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadStep {
    /// All uploads.
    List,
    /// Announces a file.
    Create {
        /// Its name, for people.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
    /// How far an upload is.
    Get {
        /// The upload.
        id: String,
    },
    /// Adds bytes.
    Append {
        /// The upload.
        id: String,
        /// Bytes that are there.
        offset: u64,
        /// What follows.
        bytes: Vec<u8>,
    },
}

/// The way into a two-way stream.
#[async_trait]
pub trait InputSink: Send + Sync {
    /// Sends one input, waiting while the node takes no more. An error means that the stream has ended; the
    /// items tell why.
    async fn send(&self, input: Input) -> Result<(), CallError>;
}

/// A two-way stream.
pub struct TwoWay {
    /// What goes in.
    pub input: Box<dyn InputSink>,
    /// What comes out; dropping it ends the stream at the node.
    pub items: Items,
}

/// A way to a node, on behalf of one user.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Asks, and waits for the answer.
    async fn call(&self, request: Request) -> Result<Answer, CallError>;

    /// Asks for a stream.
    async fn open(&self, request: Request) -> Result<Items, CallError>;

    /// One step of an upload: the upload as it is then, or the list of all.
    async fn upload(&self, _step: UploadStep) -> Result<serde_json::Value, CallError> {
        let detail = "files go over HTTPS only: give the node's address with --node https://…";
        Err(CallError::Unsupported { detail: detail.to_owned() })
    }

    /// Asks for a two-way stream.
    async fn open_two_way(&self, request: Request) -> Result<TwoWay, CallError>;

    /// What is known without a login: a report with at least `ready`, `claimed`, `hostname`, `version`.
    async fn health(&self) -> Result<serde_json::Value, CallError>;

    /// Uses this session from now on, and keeps it for later if the transport has a place for that.
    fn remember(&self, session: &Session) -> Result<(), String>;

    /// Forgets the session.
    fn forget(&self) -> Result<(), String>;

    /// The node's URL or socket, for messages.
    fn node(&self) -> String;
}

/// A session as the node gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What proves it.
    pub token: String,
    /// Account name.
    pub username: String,
}

/// No node at all: for what needs none, such as help.
pub struct Nowhere;

impl Nowhere {
    fn error(&self) -> CallError {
        CallError::Unsupported { detail: "no node was chosen".to_owned() }
    }
}

#[async_trait]
impl Transport for Nowhere {
    async fn call(&self, _request: Request) -> Result<Answer, CallError> {
        Err(self.error())
    }
    async fn open(&self, _request: Request) -> Result<Items, CallError> {
        Err(self.error())
    }
    async fn open_two_way(&self, _request: Request) -> Result<TwoWay, CallError> {
        Err(self.error())
    }
    async fn health(&self) -> Result<serde_json::Value, CallError> {
        Err(self.error())
    }
    fn remember(&self, _session: &Session) -> Result<(), String> {
        Ok(())
    }
    fn forget(&self) -> Result<(), String> {
        Ok(())
    }
    fn node(&self) -> String {
        "nowhere".to_owned()
    }
}
