//! The door to `noded`, which holds all state. This service asks it and keeps nothing itself.

use async_trait::async_trait;
use futures::stream::BoxStream;
use skerry_ipc::{Answer, Auth, Refusal, Request, StreamItem, TwoWayInput};

use crate::problem::Problem;

/// Items of an open stream.
pub type Items = BoxStream<'static, Result<StreamItem, NodeError>>;

/// Why a request to the node daemon brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodeError {
    /// It refused.
    #[error("the node refused: {0}")]
    Refused(Refusal),
    /// There is no connection to it, so nothing was asked.
    #[error("the node daemon does not answer")]
    Away,
    /// It went away before it answered: whether it did what was asked is not known.
    #[error("the node daemon went away before it answered")]
    Lost,
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Refused(refusal) => refusal.into(),
            NodeError::Away => Self::away(),
            NodeError::Lost => Self::lost(),
        }
    }
}

/// What this service needs of the node daemon.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// One question, one answer.
    async fn call(&self, auth: Auth, request: Request) -> Result<Answer, NodeError>;

    /// Opens a stream. A refusal comes here, before the first item.
    async fn open(&self, auth: Auth, request: Request) -> Result<Items, NodeError>;

    /// Opens a two-way stream. A refusal comes here, before the first item.
    async fn open_two_way(
        &self,
        auth: Auth,
        request: Request,
    ) -> Result<(TwoWayInput, Items), NodeError>;
}
