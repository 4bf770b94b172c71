//! A client of the system's service manager over the system bus.
//!
//! Everything that must outlive noded, or must happen in the host's own mount namespace, is handed to
//! systemd: containers and their mounts as transient units, one-shot commands, dnsmasq, power. This module
//! speaks the manager's interface (`org.freedesktop.systemd1`) and nothing else: it knows no pods and no
//! networks, and it never runs a program itself.
//!
//! The connection is made on first use and again after it was lost, so that noded starts and goes on
//! while the bus is away.

mod command;
mod error;
mod events;
mod property;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use zbus::{Connection, DynamicType, Type};

pub use command::{Command, CommandOutput, Limits};
pub use error::SystemdError;
pub use events::{UnitEvent, UnitWatch};
pub use property::{Exec, Properties};
pub use unit::{Active, MainExit, UnitStatus, UnitSummary, mount_unit_name};

use events::JobWait;

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long one call of the manager may take before the bus is taken for stuck.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Which processes of a unit a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillWhom {
    /// The unit's first process.
    Main,
    /// Every process in the unit's control group.
    All,
}

/// A handle on the service manager. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Systemd {
    address: Option<String>,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Default for Systemd {
    fn default() -> Self {
        Self::system()
    }
}

impl Systemd {
    /// The manager on the system bus. Nothing is connected yet.
    pub fn system() -> Self {
        Self { address: None, connection: Arc::default() }
    }

    /// The manager on the bus at this address, for tests.
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: Some(address.into()), connection: Arc::default() }
    }

    /// The live connection, made if there is none.
    async fn connection(&self) -> Result<Connection, SystemdError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.connect().await.map_err(SystemdError::connect)?;
        // Without it the manager sends no signal at all, and every wait for a job would run out.
        connection
            .call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), "Subscribe", &())
            .await
            .map_err(|source| SystemdError::call("Subscribe", "", source))?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> zbus::Result<Connection> {
        let builder = match &self.address {
            None => zbus::connection::Builder::system(),
            Some(address) => zbus::connection::Builder::address(address.as_str()),
        };
        builder.method_timeout(CALL_DEADLINE).build().await
    }

    /// Calls a method of the manager; `subject` is only for the error text.
    pub(crate) async fn manager<B, R>(
        &self,
        method: &'static str,
        subject: &str,
        body: &B,
    ) -> Result<R, SystemdError>
    where
        B: Serialize + DynamicType + Sync,
        R: DeserializeOwned + Type,
    {
        let connection = self.connection().await?;
        let failed = |source| SystemdError::call(method, subject, source);
        let reply = connection
            .call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), method, body)
            .await
            .map_err(failed)?;
        reply.body().deserialize().map_err(failed)
    }

    /// Starts a unit and waits until it is up. A unit that is up already is left alone.
    pub async fn start(&self, unit: &str, deadline: Duration) -> Result<(), SystemdError> {
        self.job("StartUnit", unit, deadline).await
    }

    /// Stops a unit and waits until it is down. An unknown unit counts as down.
    pub async fn stop(&self, unit: &str, deadline: Duration) -> Result<(), SystemdError> {
        match self.job("StopUnit", unit, deadline).await {
            Err(error) if error.is_no_such_unit() => Ok(()),
            other => other,
        }
    }

    /// Restarts a unit, or starts it, and waits until it is up.
    pub async fn restart(&self, unit: &str, deadline: Duration) -> Result<(), SystemdError> {
        self.job("RestartUnit", unit, deadline).await
    }

    /// Asks a unit to read its configuration again and waits until it has.
    pub async fn reload(&self, unit: &str, deadline: Duration) -> Result<(), SystemdError> {
        self.job("ReloadUnit", unit, deadline).await
    }

    /// Asks for a unit to be stopped and does not wait. An unknown unit counts as down.
    pub async fn begin_stop(&self, unit: &str) -> Result<(), SystemdError> {
        let queued: Result<zbus::OwnedObjectPath, _> =
            self.manager("StopUnit", unit, &(unit, "replace")).await;
        match queued {
            Err(error) if error.is_no_such_unit() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Sends a signal to processes of a unit. A unit that is gone is no error.
    pub async fn kill(&self, unit: &str, whom: KillWhom, signal: i32) -> Result<(), SystemdError> {
        let whom = match whom {
            KillWhom::Main => "main",
            KillWhom::All => "all",
        };
        match self.manager("KillUnit", unit, &(unit, whom, signal)).await {
            Err(error) if error.is_no_such_unit() => Ok(()),
            other => other,
        }
    }

    /// Forgets that a unit failed, which frees a transient one. A unit that is gone is no error.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        match self.manager("ResetFailedUnit", unit, &(unit,)).await {
            Err(error) if error.is_no_such_unit() => Ok(()),
            other => other,
        }
    }

    /// Lets go of a unit that was made with `AddRef`. One that is gone is no error.
    pub async fn release(&self, unit: &str) -> Result<(), SystemdError> {
        match self.manager("UnrefUnit", unit, &(unit,)).await {
            Err(error) if error.is_no_such_unit() => Ok(()),
            other => other,
        }
    }

    /// Makes a transient unit, starts it and waits until it is up.
    pub async fn start_transient(
        &self,
        unit: &str,
        properties: &Properties,
        deadline: Duration,
    ) -> Result<(), SystemdError> {
        let connection = self.connection().await?;
        let wait = JobWait::new(&connection, unit).await?;
        let auxiliary: Vec<(String, Vec<(String, zbus::OwnedVariant)>)> = Vec::new();
        let job: zbus::OwnedObjectPath = self
            .manager("StartTransientUnit", unit, &(unit, "fail", properties.as_pairs(), auxiliary))
            .await?;
        wait.until_done(&job, deadline).await
    }

    /// Changes properties of a unit, until the next boot.
    pub async fn set_properties(
        &self,
        unit: &str,
        properties: &Properties,
    ) -> Result<(), SystemdError> {
        self.manager("SetUnitProperties", unit, &(unit, true, properties.as_pairs())).await
    }

    /// Mounts through a transient mount unit, which lies in the host's mount namespace and outlives us.
    pub async fn mount(
        &self,
        what: &str,
        target: &str,
        kind: &str,
        options: &str,
        deadline: Duration,
    ) -> Result<(), SystemdError> {
        let properties = Properties::new()
            .text("What", what)
            .text("Where", target)
            .text("Type", kind)
            .text("Options", options)
            .text("CollectMode", "inactive-or-failed");
        self.start_transient(&mount_unit_name(target), &properties, deadline).await
    }

    /// Takes a mount away. A path that is not mounted is no error.
    pub async fn unmount(&self, target: &str, deadline: Duration) -> Result<(), SystemdError> {
        self.stop(&mount_unit_name(target), deadline).await
    }

    /// Queues a job for a unit and waits for its end.
    async fn job(
        &self,
        method: &'static str,
        unit: &str,
        deadline: Duration,
    ) -> Result<(), SystemdError> {
        let connection = self.connection().await?;
        let wait = JobWait::new(&connection, unit).await?;
        let job: zbus::OwnedObjectPath = self.manager(method, unit, &(unit, "replace")).await?;
        wait.until_done(&job, deadline).await
    }

    /// What the manager knows of a unit; `None` if it has not loaded it.
    pub async fn status(&self, unit: &str) -> Result<Option<UnitStatus>, SystemdError> {
        let path: zbus::OwnedObjectPath = match self.manager("GetUnit", unit, &(unit,)).await {
            Err(error) if error.is_no_such_unit() => return Ok(None),
            other => other?,
        };
        let connection = self.connection().await?;
        // An empty interface name asks for the properties of all interfaces at once.
        let reply = connection
            .call_method(Some(DESTINATION), &path, Some(PROPERTIES), "GetAll", &("",))
            .await;
        let reply = match reply.map_err(|source| SystemdError::call("GetAll", unit, source)) {
            // Collected between the two calls.
            Err(error) if error.is_no_such_unit() => return Ok(None),
            other => other?,
        };
        UnitStatus::from_reply(unit, &reply).map(Some)
    }

    /// Whether a unit is up; `None` if the manager has not loaded it. Far less work for the manager than all of its
    /// properties.
    pub async fn active(&self, unit: &str) -> Result<Option<Active>, SystemdError> {
        let path: zbus::OwnedObjectPath = match self.manager("GetUnit", unit, &(unit,)).await {
            Err(error) if error.is_no_such_unit() => return Ok(None),
            other => other?,
        };
        let connection = self.connection().await?;
        let reply = connection
            .call_method(Some(DESTINATION), &path, Some(PROPERTIES), "Get", &(UNIT, "ActiveState"))
            .await;
        let reply = match reply.map_err(|source| SystemdError::call("Get", unit, source)) {
            // Collected between the two calls.
            Err(error) if error.is_no_such_unit() => return Ok(None),
            other => other?,
        };
        Active::from_reply(unit, &reply).map(Some)
    }

    /// All loaded units whose names fit one of the patterns (`*` and `?`).
    pub async fn list(&self, patterns: &[&str]) -> Result<Vec<UnitSummary>, SystemdError> {
        let states: [&str; 0] = [];
        let rows: Vec<unit::ListRow> =
            self.manager("ListUnitsByPatterns", "", &(&states[..], patterns)).await?;
        Ok(rows.into_iter().map(UnitSummary::from).collect())
    }

    /// Hears of changes of all units whose names start with `prefix`.
    pub async fn watch(&self, prefix: &str) -> Result<UnitWatch, SystemdError> {
        UnitWatch::new(&self.connection().await?, prefix).await
    }
}
