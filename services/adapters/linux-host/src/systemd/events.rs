//! Signals of the manager: the end of a job, and changes of units.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::StreamExt;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, message};

use super::unit::unit_name_of_path;
use super::{DESTINATION, MANAGER, MANAGER_PATH, PROPERTIES, SystemdError};

/// Signals kept for a listener that is busy; the oldest wait in the socket beyond that.
const QUEUE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

async fn stream(
    connection: &Connection,
    rule: MatchRule<'_>,
    unit: &str,
) -> Result<MessageStream, SystemdError> {
    MessageStream::for_match_rule(rule, connection, Some(QUEUE))
        .await
        .map_err(|source| SystemdError::call("AddMatch", unit, source))
}

fn rule<'m>(
    path: Option<&'static str>,
    interface: &'static str,
    member: &'static str,
) -> zbus::Result<MatchRule<'m>> {
    let builder = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(DESTINATION)
        .interface(interface)
        .member(member);
    match path {
        Some(path) => builder.path(path).build(),
        None => builder.path_namespace("/org/freedesktop/systemd1/unit").build(),
    }
}

/// Waits for the end of one job. Made before the job is asked for, so that a quick end is not missed.
pub(super) struct JobWait {
    unit: String,
    removed: MessageStream,
}

impl JobWait {
    pub(super) async fn new(connection: &Connection, unit: &str) -> Result<Self, SystemdError> {
        let rule = rule(Some(MANAGER_PATH), MANAGER, "JobRemoved")
            .map_err(|source| SystemdError::call("AddMatch", unit, source))?;
        Ok(Self { unit: unit.to_owned(), removed: stream(connection, rule, unit).await? })
    }

    pub(super) async fn until_done(
        mut self,
        job: &OwnedObjectPath,
        deadline: Duration,
    ) -> Result<(), SystemdError> {
        let end = tokio::time::timeout(deadline, self.result_of(job)).await;
        match end {
            Err(_) => Err(SystemdError::Deadline { unit: self.unit, deadline }),
            Ok(None) => Err(SystemdError::Lost { unit: self.unit }),
            // `skipped` is how the manager says that there was nothing to do.
            Ok(Some(result)) if result == "done" || result == "skipped" => Ok(()),
            Ok(Some(result)) => Err(SystemdError::Job { unit: self.unit, result }),
        }
    }

    async fn result_of(&mut self, job: &OwnedObjectPath) -> Option<String> {
        while let Some(message) = self.removed.next().await {
            let Ok(message) = message else { continue };
            let body = message.body();
            // Id, path, unit, result.
            let parsed: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
            if let Ok((_, path, _, result)) = parsed
                && path == *job
            {
                return Some(result);
            }
        }
        None
    }
}

/// Something happened to a unit; look at it for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitEvent {
    /// Its state changed, or it appeared.
    Changed(String),
    /// The manager has forgotten it.
    Removed(String),
}

/// A stream of what happens to some units.
pub struct UnitWatch {
    prefix: String,
    changed: MessageStream,
    removed: MessageStream,
}

impl UnitWatch {
    pub(super) async fn new(connection: &Connection, prefix: &str) -> Result<Self, SystemdError> {
        let failed = |source| SystemdError::call("AddMatch", prefix, source);
        let changed = rule(None, PROPERTIES, "PropertiesChanged").map_err(failed)?;
        let removed = rule(Some(MANAGER_PATH), MANAGER, "UnitRemoved").map_err(failed)?;
        Ok(Self {
            prefix: prefix.to_owned(),
            changed: stream(connection, changed, prefix).await?,
            removed: stream(connection, removed, prefix).await?,
        })
    }

    /// The next event; `None` once the bus is gone, after which a new watch and a fresh look are needed.
    ///
    /// May be dropped at any await without losing an event.
    pub async fn next(&mut self) -> Option<UnitEvent> {
        loop {
            // Both arms only take a message off a queue, so the losing arm loses nothing.
            let event = tokio::select! {
                message = self.changed.next() => changed_unit(&message?.ok()?),
                message = self.removed.next() => removed_unit(&message?.ok()?),
            };
            let name = match &event {
                Some(UnitEvent::Changed(name) | UnitEvent::Removed(name)) => name,
                None => continue,
            };
            if name.starts_with(&self.prefix) {
                return event;
            }
        }
    }
}

fn changed_unit(message: &zbus::Message) -> Option<UnitEvent> {
    let header = message.header();
    unit_name_of_path(header.path()?.as_str()).map(UnitEvent::Changed)
}

fn removed_unit(message: &zbus::Message) -> Option<UnitEvent> {
    let body = message.body();
    let (name, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
    Some(UnitEvent::Removed(name))
}
