//! The controller of pools, volumes and snapshots. It keeps the passes apart; what each does is in
//! `pools`, `volumes` and `snapshots`.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skerry_engine::{Controller, Failure, Key, Outcome};
use skerry_model::{
    Id, Kind, LocalRef, Name, Pod, PodTemplate, PodVolumeSource, Pool, Resource, ResourceKind,
    Snapshot, Timestamp, Vm, Volume, VolumeOperation, VolumeStatus,
};
use skerry_store::{Change, Store, StoreError, Transaction};
use tokio::sync::Semaphore;

use crate::admission::admit_demand;
use crate::bases::Reads;
use crate::claims::Claims;
use crate::{AdmissionError, Demand, Guests, PoolRef, StorageError, VolumeHost};

/// The name under which a record is kept until its files are gone.
pub const FINALIZER: &str = "storage";

/// Long work, such as copying or erasing, that may go on at a time. The engine has other passes to run.
const LONG_WORK: usize = 2;

/// Brings pools, volumes and snapshots to what their records want.
pub struct StorageController {
    pub(crate) store: Store,
    pub(crate) host: Arc<dyn VolumeHost>,
    pub(crate) guests: Arc<dyn Guests>,
    pub(crate) clock: fn() -> Timestamp,
    /// Identity of the node's current boot.
    pub(crate) boot: String,
    pub(crate) claims: Claims,
    pub(crate) long_work: Semaphore,
    /// Held while guests are brought to rest, copied and let go on: two snapshots of one guest would undo each
    /// other's rest.
    pub(crate) resting: tokio::sync::Mutex<()>,
    /// Read while a volume is made of something that may build on an image, written while unused images are removed.
    /// Until the volume is in its place nobody names the image's copy, which would be removed as unused.
    pub(crate) bases: tokio::sync::RwLock<()>,
    /// What was found of copies of images when they were last read.
    pub(crate) reads: Mutex<Reads>,
}

impl StorageController {
    /// A controller for the records in this store. `boot` identifies the node's current boot.
    pub fn new(
        store: Store,
        host: Arc<dyn VolumeHost>,
        guests: Arc<dyn Guests>,
        boot: String,
        clock: fn() -> Timestamp,
    ) -> Self {
        let (claims, long_work) = (Claims::default(), Semaphore::new(LONG_WORK));
        let bases = tokio::sync::RwLock::new(());
        let resting = tokio::sync::Mutex::new(());
        let reads = Mutex::default();
        Self { store, host, guests, clock, boot, claims, long_work, resting, bases, reads }
    }

    /// One over another store, to ask whether pools could hold what that has. It is not for running.
    #[must_use]
    pub fn rehearsal(&self, store: Store) -> Self {
        let (host, guests) = (Arc::clone(&self.host), Arc::clone(&self.guests));
        Self::new(store, host, guests, self.boot.clone(), self.clock)
    }

    /// To be done before any controller runs: no operation of an earlier run goes on, and after a boot
    /// no volume counts as checked. Removes the temporary files of what was broken off.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let mut tx = Transaction::new();
        for volume in self.store.list::<Volume>()? {
            let checked = volume.status.checked && volume.status.checked_in_boot == self.boot;
            let operation = VolumeOperation::None;
            let status = VolumeStatus { operation, checked, ..volume.status.clone() };
            if status != volume.status {
                tx.put_status(volume.id(), status);
            }
        }
        self.store.commit(tx).await?;
        for pool in self.store.list::<Pool>()? {
            if let Err(error) = self.host.recover(&pool_ref(&pool)).await {
                tracing::warn!(pool = %pool.meta.name, %error, "the pool could not be tidied");
            }
        }
        Ok(())
    }

    /// Whether a pool takes what a request asks for.
    pub fn admit(&self, pool: &Resource<Pool>, demand: Demand) -> Result<(), AdmissionError> {
        admit_demand(&self.store, pool, demand)
    }

    /// Where a volume lies: its pool's record.
    pub(crate) fn pool(&self, name: &Name) -> Result<Option<Resource<Pool>>, Failure> {
        self.store.find::<Pool>(name).map_err(store_failure)
    }

    pub(crate) fn volume(&self, name: &Name) -> Result<Option<Resource<Volume>>, Failure> {
        self.store.find::<Volume>(name).map_err(store_failure)
    }

    /// Writes what a volume's status is to be, if it is another than before.
    pub(crate) async fn put_volume(
        &self,
        id: Id<Volume>,
        status: &VolumeStatus,
    ) -> Result<(), Failure> {
        let mut tx = Transaction::new();
        tx.put_status(id, status.clone());
        self.commit(tx).await
    }

    pub(crate) async fn commit(&self, tx: Transaction) -> Result<(), Failure> {
        self.store.commit(tx).await.map(drop).map_err(store_failure)
    }

    fn ids(&self, kind: Kind) -> impl Iterator<Item = Key> + use<> {
        let documents = self.store.documents(kind);
        documents.into_iter().map(move |d| LocalRef { kind, id: d.metadata.id })
    }

    /// The volumes of a pool, and all snapshots, of which few are.
    fn of_pool(&self, pool: &Name) -> Vec<Key> {
        let volumes = self.store.list::<Volume>().unwrap_or_default();
        let volumes = volumes.iter().filter(|volume| volume.spec.pool == *pool);
        volumes.map(Resource::local_ref).chain(self.ids(Kind::Snapshot)).collect()
    }

    /// The volumes that a pod's record is about.
    fn of_pod(&self, pod: &Resource<Pod>) -> Vec<Key> {
        let wanted = pod.spec.template();
        let named = |template: &PodTemplate, name: &Name| {
            let is = |source: &PodVolumeSource| matches!(source, PodVolumeSource::Volume(of) if of.name == *name);
            template.volumes.iter().any(|volume| is(&volume.source))
        };
        let volumes = self.store.list::<Volume>().unwrap_or_default();
        let about = |volume: &&Resource<Volume>| {
            let name = &volume.meta.name;
            named(&wanted, name)
                || pod.status.template().is_some_and(|runs| named(runs, name))
                || volume.status.used_by.contains(&pod.local_ref())
        };
        volumes.iter().filter(about).map(Resource::local_ref).collect()
    }

    /// The volumes and snapshots that a virtual machine's record is about.
    fn of_vm(&self, vm: &Resource<Vm>) -> Vec<Key> {
        let named = |name: &Name| {
            vm.spec.disks.iter().any(|disk| disk.volume == *name)
                || vm.status.volumes.contains(name)
        };
        let volumes = self.store.list::<Volume>().unwrap_or_default();
        let snapshots = self.store.list::<Snapshot>().unwrap_or_default();
        let volumes = volumes
            .iter()
            .filter(|v| named(&v.meta.name) || v.status.attached_to.as_ref() == Some(&vm.meta.name))
            .map(Resource::local_ref);
        let waiting = |s: &&Resource<Snapshot>| s.spec.volumes.iter().any(named);
        let snapshots = snapshots.iter().filter(waiting).map(Resource::local_ref);
        volumes.chain(snapshots).collect()
    }
}

/// The pool as the port knows it.
pub(crate) fn pool_ref(pool: &Resource<Pool>) -> PoolRef {
    PoolRef { id: pool.id(), name: pool.meta.name.clone(), source: pool.spec.source.clone() }
}

/// A failure of the store, as the engine wants it.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    match error {
        StoreError::Document(_) => {
            Failure::bug("a record of the storage domain cannot be read").because(error)
        }
        _ => Failure::retry("the state of storage could not be saved").because(error),
    }
}

/// A failure of a port.
pub(crate) fn failure(error: StorageError) -> Failure {
    Failure { class: error.class(), message: error.to_string(), source: Some(Box::new(error)) }
}

/// The resource that a change is about.
fn subject<K: ResourceKind>(change: &Change) -> Option<Resource<K>> {
    let document = change.after.as_ref().or(change.before.as_ref())?;
    document.to_resource::<K>().ok()
}

#[async_trait]
impl Controller for StorageController {
    fn name(&self) -> &'static str {
        "storage"
    }

    fn watches(&self) -> &'static [Kind] {
        &[Kind::Pool, Kind::Volume, Kind::Snapshot, Kind::Vm, Kind::Pod, Kind::Image]
    }

    fn writes(&self) -> &'static [Kind] {
        &[Kind::Pool, Kind::Volume, Kind::Snapshot]
    }

    fn keys(&self, change: &Change) -> Vec<Key> {
        let gone = change.after.is_none();
        match change.subject.kind {
            Kind::Vm => {
                let mut keys = subject::<Vm>(change).map(|vm| self.of_vm(&vm)).unwrap_or_default();
                let before = change.before.as_ref().and_then(|d| d.to_resource::<Vm>().ok());
                keys.extend(before.map(|vm| self.of_vm(&vm)).unwrap_or_default());
                keys.sort();
                keys.dedup();
                keys
            }
            Kind::Pod => subject::<Pod>(change).map(|pod| self.of_pod(&pod)).unwrap_or_default(),
            Kind::Image => {
                let Some(image) = subject::<skerry_model::Image>(change) else { return Vec::new() };
                let volumes = self.store.list::<Volume>().unwrap_or_default();
                let from =
                    |v: &&Resource<Volume>| v.spec.source.image.as_ref() == Some(&image.meta.name);
                volumes.iter().filter(from).map(Resource::local_ref).collect()
            }
            // Volumes and snapshots wait for a pool that is away.
            Kind::Pool if !gone => {
                let Some(pool) = subject::<Pool>(change) else { return Vec::new() };
                let before = change.before.as_ref().and_then(|d| d.to_resource::<Pool>().ok());
                let same = before.is_some_and(|before| before.status.state == pool.status.state);
                let waiting = if same { Vec::new() } else { self.of_pool(&pool.meta.name) };
                waiting.into_iter().chain([change.subject]).collect()
            }
            // The pool's figures follow its volumes.
            Kind::Volume if gone => self.ids(Kind::Pool).chain([change.subject]).collect(),
            _ => vec![change.subject],
        }
    }

    fn all_keys(&self) -> Vec<Key> {
        [Kind::Pool, Kind::Volume, Kind::Snapshot].into_iter().flat_map(|k| self.ids(k)).collect()
    }

    async fn reconcile(&self, key: Key) -> Result<Outcome, Failure> {
        match key.kind {
            Kind::Pool => self.pool_pass(Id::new(key.id)).await,
            Kind::Volume => self.volume_pass(Id::new(key.id)).await,
            Kind::Snapshot => self.snapshot_pass(Id::new(key.id)).await,
            _ => Ok(Outcome::Done),
        }
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
