//! Raising and clearing: how a noticed condition becomes an alarm resource.

use skerry_model::{
    Alarm, AlarmSpec, AlarmStatus, Id, LocalRef, Name, NameError, NewResource, Owner, Resource,
    Timestamp,
};
use skerry_store::{Store, StoreError, Transaction};
use uuid::Uuid;

use crate::catalogue::{Definition, definition};

/// An alarm that could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// The caller named an alarm that is not in the catalogue.
    #[error("there is no alarm `{key}` in the catalogue")]
    Unknown {
        /// What it named.
        key: String,
    },
    /// The catalogue key does not make a resource name.
    #[error("the alarm `{key}` has no usable name")]
    Name {
        /// The key.
        key: String,
        /// Why.
        source: NameError,
    },
    /// The store refused.
    #[error("the alarm `{key}` could not be recorded")]
    Store {
        /// The key.
        key: String,
        /// Why.
        source: StoreError,
    },
}

/// Records alarms in the store.
#[derive(Clone)]
pub struct Faults {
    store: Store,
    now: fn() -> Timestamp,
    draw: fn() -> Uuid,
}

impl Faults {
    /// `now` tells the time, `draw` gives a fresh id.
    pub fn new(store: Store, now: fn() -> Timestamp, draw: fn() -> Uuid) -> Self {
        Self { store, now, draw }
    }

    /// Raises an alarm, or counts it up if it stands already. The same message again changes nothing but
    /// the count of an alarm that had been cleared.
    pub async fn raise(
        &self,
        key: &str,
        object: Option<LocalRef>,
        message: &str,
    ) -> Result<(), FaultsError> {
        let row = definition(key).ok_or_else(|| FaultsError::Unknown { key: key.to_owned() })?;
        let failed = |source| FaultsError::Store { key: key.to_owned(), source };
        let now = (self.now)();
        let mut tx = Transaction::new();
        let status = if let Some(alarm) = self.standing(key, object).map_err(failed)? {
            let status = raised(&alarm.status, message, now);
            if status == alarm.status {
                return Ok(());
            }
            tx.put_status(alarm.id(), status.clone());
            status
        } else {
            let new = new_alarm(row, object, (self.draw)())?;
            let status = raised(&AlarmStatus::default(), message, now);
            let id = new.id;
            tx.create(new).put_status(id, status.clone());
            status
        };
        self.store.commit(tx).await.map_err(failed)?;
        tracing::warn!(alarm = key, count = status.count, message, "alarm raised");
        Ok(())
    }

    /// Ends an alarm if it stands.
    pub async fn clear(&self, key: &str, object: Option<LocalRef>) -> Result<(), FaultsError> {
        let failed = |source| FaultsError::Store { key: key.to_owned(), source };
        let Some(alarm) = self.standing(key, object).map_err(failed)? else { return Ok(()) };
        if alarm.status.cleared.is_some() {
            return Ok(());
        }
        let now = (self.now)();
        let mut tx = Transaction::new();
        tx.put_status(
            alarm.id(),
            AlarmStatus { cleared: Some(now), changed: Some(now), ..alarm.status },
        );
        self.store.commit(tx).await.map_err(failed)?;
        tracing::info!(alarm = key, "alarm cleared");
        Ok(())
    }

    fn standing(
        &self,
        key: &str,
        object: Option<LocalRef>,
    ) -> Result<Option<Resource<Alarm>>, StoreError> {
        let alarms = self.store.list::<Alarm>()?;
        Ok(alarms.into_iter().find(|a| a.spec.definition == key && a.spec.object == object))
    }
}

fn new_alarm(
    row: &Definition,
    object: Option<LocalRef>,
    id: Uuid,
) -> Result<NewResource<Alarm>, FaultsError> {
    let mut text = row.key.to_lowercase().replace('_', "-");
    if let Some(object) = object {
        text = format!("{text}-{}", Id::<()>::new(object.id).short());
    }
    let name =
        Name::new(text).map_err(|source| FaultsError::Name { key: row.key.to_owned(), source })?;
    let spec = AlarmSpec { definition: row.key.to_owned(), object, severity: row.severity };
    let mut new = NewResource::new(Id::new(id), name, spec);
    new.owner = Owner::System;
    Ok(new)
}

fn raised(before: &AlarmStatus, message: &str, now: Timestamp) -> AlarmStatus {
    let standing = before.raised.is_some() && before.cleared.is_none();
    if standing && before.message == message {
        return before.clone();
    }
    AlarmStatus {
        message: message.to_owned(),
        raised: if standing { before.raised } else { Some(now) },
        changed: Some(now),
        cleared: None,
        acknowledged: if standing { before.acknowledged } else { None },
        count: before.count.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_model::Kind;

    fn at_zero() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn faults() -> Faults {
        Faults::new(Store::in_memory(), at_zero, Uuid::new_v4)
    }

    fn alarms(faults: &Faults) -> Vec<Resource<Alarm>> {
        faults.store.list::<Alarm>().unwrap()
    }

    #[tokio::test]
    async fn an_alarm_counts_up_instead_of_multiplying() {
        let faults = faults();
        let object = Some(LocalRef { kind: Kind::Vm, id: Uuid::from_u128(5) });
        faults.raise("VM_CRASH_LOOP", object, "one").await.unwrap();
        let revision = faults.store.revision();
        faults.raise("VM_CRASH_LOOP", object, "one").await.unwrap();
        assert_eq!(faults.store.revision(), revision);
        faults.raise("VM_CRASH_LOOP", object, "two").await.unwrap();
        faults.raise("VM_CRASH_LOOP", None, "other object").await.unwrap();
        let all = alarms(&faults);
        assert_eq!(all.len(), 2);
        assert!(all.iter().any(|a| a.spec.object == object && a.status.count == 2));
    }

    #[tokio::test]
    async fn a_cleared_alarm_can_come_back() {
        let faults = faults();
        faults.clear("KVM_UNUSABLE", None).await.unwrap();
        faults.raise("KVM_UNUSABLE", None, "disk").await.unwrap();
        faults.clear("KVM_UNUSABLE", None).await.unwrap();
        assert!(alarms(&faults)[0].status.cleared.is_some());
        faults.raise("KVM_UNUSABLE", None, "disk").await.unwrap();
        let alarm = &alarms(&faults)[0];
        assert_eq!((alarm.status.cleared, alarm.status.count), (None, 2));
    }

    #[tokio::test]
    async fn an_unknown_alarm_is_refused() {
        assert!(matches!(faults().raise("NOPE", None, "").await, Err(FaultsError::Unknown { .. })));
    }
}
