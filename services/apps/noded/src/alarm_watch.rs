//! Turns states of workloads and images into alarms, and ends them when the state is over.

use async_trait::async_trait;
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_faults::Faults;
use skerry_model::{
    Id, Image, Job, Kind, LocalRef, Pod, Pool, Resource, ResourceKind, Snapshot, Vm, Volume,
};
use skerry_store::{Change, Store};

use crate::alarm_images::of_image;
use crate::alarm_storage::{of_pool, of_snapshot, of_volume};
use crate::alarm_vms::of_vm;
use crate::pulls::PULL;

/// Raises and clears the alarms that follow from status alone.
pub struct AlarmController {
    store: Store,
    faults: Faults,
}

impl AlarmController {
    /// Over this store.
    pub const fn new(store: Store, faults: Faults) -> Self {
        Self { store, faults }
    }

    fn ids<K: ResourceKind>(&self) -> impl Iterator<Item = Key> {
        self.store
            .documents(K::KIND)
            .into_iter()
            .map(|document| LocalRef { kind: K::KIND, id: document.metadata.id })
    }

    /// The alarms that belong to this kind, each with its message if it stands now.
    fn verdicts(&self, key: Key) -> Result<Vec<Verdict>, Failure> {
        let failed = |error| Failure::retry("a resource could not be read").because(error);
        Ok(match key.kind {
            Kind::Vm => of_vm(self.store.get(Id::new(key.id)).map_err(failed)?),
            Kind::Pod => {
                let pod = self.store.get(Id::<Pod>::new(key.id)).map_err(failed)?;
                let rows = [
                    ("POD_CRASH_LOOP", "CrashLoop"),
                    ("POD_OOM", "OutOfMemory"),
                    ("POD_ROLLED_BACK", "RolledBack"),
                ];
                rows.map(|(alarm, condition)| (alarm, standing(pod.as_ref(), condition))).into()
            }
            Kind::Pool => of_pool(self.store.get(Id::new(key.id)).map_err(failed)?),
            Kind::Volume => of_volume(self.store.get(Id::new(key.id)).map_err(failed)?),
            Kind::Snapshot => vec![of_snapshot(self.store.get(Id::new(key.id)).map_err(failed)?)],
            _ => {
                let image = self.store.get(Id::<Image>::new(key.id)).map_err(failed)?;
                let mut jobs = self.store.list::<Job>().map_err(failed)?;
                jobs.retain(|job| job.spec.subject == Some(key) && job.spec.operation == PULL);
                of_image(image, &jobs)
            }
        })
    }
}

/// An alarm, and its message if it stands now.
pub(crate) type Verdict = (&'static str, Option<String>);

/// What a condition of a pod says, if it holds.
fn standing(pod: Option<&Resource<Pod>>, condition: &str) -> Option<String> {
    let pod = pod.filter(|pod| pod.status.conditions.holds(condition))?;
    let message = &pod.status.conditions.get(condition)?.message;
    Some(format!("pod `{}`: {message}", pod.meta.name))
}

#[async_trait]
impl Controller for AlarmController {
    fn name(&self) -> &'static str {
        "alarms"
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Vm, Kind::Pod, Kind::Image, Kind::Job, Kind::Pool, Kind::Volume, Kind::Snapshot]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Alarm]
    }

    fn keys(&self, change: &Change) -> Vec<Key> {
        if change.subject.kind != Kind::Job {
            return vec![change.subject];
        }
        let job = change.after.as_ref().and_then(|after| after.to_resource::<Job>().ok());
        let ended = job.filter(|job| job.status.state.is_final() && job.spec.operation == PULL);
        ended.and_then(|job| job.spec.subject).into_iter().collect()
    }

    fn all_keys(&self) -> Vec<Key> {
        let workloads = self.ids::<Vm>().chain(self.ids::<Pod>()).chain(self.ids::<Image>());
        let storage = self.ids::<Pool>().chain(self.ids::<Volume>()).chain(self.ids::<Snapshot>());
        workloads.chain(storage).collect()
    }

    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        for (alarm, message) in self.verdicts(key)? {
            let done = match message {
                Some(message) => self.faults.raise(alarm, Some(key), &message).await,
                None => self.faults.clear(alarm, Some(key)).await,
            };
            done.map_err(|error| Failure::retry("an alarm could not be recorded").because(error))?;
        }
        Ok(Outcome::Done)
    }
}
