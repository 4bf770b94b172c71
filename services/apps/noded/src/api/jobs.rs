//! Ending jobs, trying them again, and removing finished ones.

use skerry_ipc::{Action, Json, Refusal, RefusalClass};
use skerry_model::{Document, Id, Job, Kind, Resource};
use skerry_store::Transaction;

use super::read::{find, shown};
use super::refuse::{internal, store};
use super::write::resource;
use crate::jobs::JobError;
use crate::node::Node;

/// Aborts a job, or has a failed one tried again.
pub async fn act(node: &Node, key: &str, action: Action) -> Result<Json, Refusal> {
    let document = find(node, Kind::Job, key)?;
    let job: Resource<Job> = resource(&document)?;
    match action {
        Action::Abort => node.jobs.abort(&job).await.map_err(refused)?,
        Action::Retry => node.jobs.retry(&job).await.map_err(refused)?,
        _ => {
            let detail = "a job knows the actions abort and retry";
            return Err(Refusal::new(RefusalClass::NotFound, detail));
        }
    }
    shown(&*find(node, Kind::Job, &document.metadata.id.to_string())?)
}

/// Removes the record of a finished job.
pub fn delete(tx: &mut Transaction, present: &Document) -> Result<(), Refusal> {
    let job: Resource<Job> = resource(present)?;
    if !job.status.state.is_final() {
        let detail = format!("the job {} has not ended; abort it first", job.meta.name);
        return Err(Refusal::new(RefusalClass::Conflict, detail));
    }
    tx.remove(Id::<Job>::new(present.metadata.id));
    Ok(())
}

/// A job that cannot be made or changed, for callers.
pub fn refused(error: JobError) -> Refusal {
    match error {
        JobError::State { .. } => Refusal::new(RefusalClass::Conflict, error.to_string()),
        JobError::Store(error) => store(error),
        JobError::NoOperation { .. } | JobError::Name(_) => internal(error),
    }
}
