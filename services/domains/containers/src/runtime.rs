//! The port to whatever runs containers on a machine.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_model::{ContainerStats, Id, Name, Pod, ProbeCheck, Timestamp};
use tokio::sync::broadcast;

use crate::{PodNetwork, PodObserved, PodStep};

/// What sort of trouble a runtime met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeFault {
    /// May heal by itself: a busy or restarting service.
    Passing,
    /// The image or the container's definition cannot work as it is.
    Refused,
    /// The disk is full.
    NoSpace,
    /// The runtime does not behave as it should.
    Broken,
}

/// A step or an observation that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RuntimeError {
    /// What sort of trouble.
    pub fault: RuntimeFault,
    /// What happened, to what, and what to do.
    pub message: String,
    /// What lies behind it.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl RuntimeError {
    /// An error of this sort.
    pub fn new(fault: RuntimeFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), source: None }
    }

    /// Adds what lies behind.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The message and everything behind it, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// News from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Something happened to a container of this pod.
    Pod(Id<Pod>),
    /// News may have been missed: look at all pods.
    All,
}

/// Which log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// The pod.
    pub pod: Id<Pod>,
    /// Only this container; all of them if not given.
    pub container: Option<Name>,
    /// This many last lines.
    pub tail: u32,
    /// Of these only lines that are not older than this.
    pub since: Option<Timestamp>,
    /// Each line begins with its moment (RFC 3339, in UTC) and a space.
    pub timestamps: bool,
    /// Go on with new lines as they come.
    pub follow: bool,
}

/// A probe to ask a container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The pod.
    pub pod: Id<Pod>,
    /// The container.
    pub container: Name,
    /// Which of its probes: `startup`, `liveness` or `readiness`.
    pub probe: &'static str,
    /// What to ask.
    pub check: ProbeCheck,
    /// The pod's network; ports are asked from within its namespace, at its address.
    pub network: PodNetwork,
    /// No answer within this time is a bad one.
    pub timeout: Duration,
}

/// What came of asking a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As it should be.
    Good,
    /// Not as it should be, with the reason.
    Bad(String),
    /// It could not be asked, with the reason; this says nothing of the container.
    Unknown(String),
}

/// Log lines as they come, without line ends.
pub type LogLines = BoxStream<'static, Result<String, RuntimeError>>;

/// Runs containers on a machine. Containers live on when the implementation is dropped, and are found again
/// by their names and labels.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// What is there of a pod. A pod of which nothing is there is an empty observation, not an error.
    async fn observe(&self, pod: Id<Pod>) -> Result<PodObserved, RuntimeError>;

    /// Every pod of which anything is there, known to the node or not.
    async fn present(&self) -> Result<Vec<Id<Pod>>, RuntimeError>;

    /// Does one step. Done already is done.
    async fn apply(&self, step: &PodStep) -> Result<(), RuntimeError>;

    /// What the containers wrote.
    async fn logs(&self, request: LogRequest) -> Result<LogLines, RuntimeError>;

    /// What the pod's running containers take of the machine.
    async fn stats(&self, pod: Id<Pod>) -> Result<Vec<ContainerStats>, RuntimeError>;

    /// Asks a probe once. Ends soon after the question's timeout at the latest.
    async fn ask(&self, question: &Question) -> Answer;

    /// News from now on. A receiver that lags has to look at everything.
    fn events(&self) -> broadcast::Receiver<RuntimeEvent>;
}
