//! Who keeps containers and their mounts once they are started: systemd, or a stand-in for tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use skerry_containers::{RuntimeError, RuntimeFault};
use skerry_linux_host::systemd::{
    Active, Command, KillWhom, Limits, Systemd, SystemdError, UnitEvent, UnitStatus,
    mount_unit_name,
};
use skerry_model::{Id, Pod};

use crate::input;
use crate::pages::{self, slice_of};
use crate::reserve::reserve;
use crate::runtime::io_failed;
use crate::service::ContainerUnit;

/// How long a start or a mount may take.
const DEADLINE: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;
/// Memory of a probe's program and of the runtime that starts it.
const PROBE_MEMORY: u64 = 64 << 20;
const PROBE_TASKS: u64 = 64;

/// A file system to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMount {
    /// `overlay`, `tmpfs`, or `none` for a folder that is to be seen elsewhere.
    pub kind: &'static str,
    /// That folder, or the kind once more.
    pub what: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// Its options.
    pub options: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The first of what it wrote to its error output, else to its output; for people.
    pub said: String,
}

impl Ended {
    /// From the exit code and the two outputs.
    pub fn new(code: Option<i32>, errors: &[u8], output: &[u8]) -> Self {
        let first = if errors.is_empty() { output } else { errors };
        let text = String::from_utf8_lossy(first.get(..first.len().min(400)).unwrap_or_default());
        let said = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
        Self { code, said }
    }
}

/// Keeps units and mounts. All calls are idempotent.
#[async_trait]
pub trait Supervisor: Send + Sync + 'static {
    /// Mounts a file system in the host's mount namespace.
    async fn mount(&self, mount: &HostMount) -> Result<(), RuntimeError>;
    /// Takes a mount away.
    async fn unmount(&self, target: &Path) -> Result<(), RuntimeError>;
    /// Whether something is mounted there.
    async fn is_mounted(&self, target: &Path) -> Result<bool, RuntimeError>;
    /// Starts a container. That it ended at once is no error here: it is seen by `services`.
    async fn start(&self, unit: &ContainerUnit) -> Result<(), RuntimeError>;
    /// Sends the stop signal and does not wait.
    async fn stop(&self, unit: &str) -> Result<(), RuntimeError>;
    /// Kills everything in a unit.
    async fn kill(&self, unit: &str) -> Result<(), RuntimeError>;
    /// Forgets a unit that ended.
    async fn forget(&self, unit: &str) -> Result<(), RuntimeError>;
    /// Takes away what was made for a pod as a whole, once all its containers are forgotten.
    async fn forget_pod(&self, pod: Id<Pod>) -> Result<(), RuntimeError>;
    /// Runs a program to its end in the host's namespaces, in this slice, with the memory and tasks of a small container. `None`
    /// if it had not ended at the deadline and was killed.
    async fn run(
        &self,
        argv: Vec<String>,
        slice: &str,
        deadline: Duration,
    ) -> Result<Option<Ended>, RuntimeError>;
    /// All services whose names start so.
    async fn services(&self, prefix: &str) -> Result<Vec<UnitStatus>, RuntimeError>;
    /// Names of units that something happened to. Ends when news may be missed.
    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, String>, RuntimeError>;
}

fn passing(what: String) -> impl FnOnce(SystemdError) -> RuntimeError {
    move |source| RuntimeError::new(RuntimeFault::Passing, what).because(source)
}

#[async_trait]
impl Supervisor for Systemd {
    async fn mount(&self, mount: &HostMount) -> Result<(), RuntimeError> {
        let (what, target) = (mount.what.to_string_lossy(), mount.target.to_string_lossy());
        let mounted =
            Systemd::mount(self, &what, &target, mount.kind, &mount.options, DEADLINE).await;
        match mounted {
            Err(error) if error.is_unit_exists() && self.is_mounted(&mount.target).await? => Ok(()),
            other => other.map_err(passing(format!("cannot mount {target}"))),
        }
    }

    async fn unmount(&self, target: &Path) -> Result<(), RuntimeError> {
        let target = target.to_string_lossy();
        Systemd::unmount(self, &target, DEADLINE)
            .await
            .map_err(passing(format!("cannot unmount {target}")))
    }

    async fn is_mounted(&self, target: &Path) -> Result<bool, RuntimeError> {
        let target = target.to_string_lossy();
        let active = self.active(&mount_unit_name(&target)).await;
        let active = active.map_err(passing(format!("cannot ask for the mount {target}")))?;
        // A mount that is on its way up or down is taken for one: what lies below it must stay.
        Ok(active.is_some_and(|active| !matches!(active, Active::Inactive | Active::Failed)))
    }

    async fn start(&self, unit: &ContainerUnit) -> Result<(), RuntimeError> {
        let name = &unit.name;
        if let Some(of_pod) = &unit.desired.pod_pages {
            let made = pages::make_slice(self, unit.slice(), of_pod).await;
            made.map_err(passing(format!("cannot make the slice of {name}")))?;
        }
        reserve(self, unit).await.map_err(passing(format!("cannot keep memory for {name}")))?;
        let mut properties = unit.properties();
        if let Some(path) = &unit.input {
            let input = input::end_of_container(path)
                .map_err(io_failed("cannot open a container's standard input"))?;
            properties = properties.file("StandardInputFileDescriptor", input);
        }
        let started = match self.start_transient(name, &properties, DEADLINE).await {
            // It is there and says itself how it ended.
            Err(SystemdError::Job { .. }) => Ok(()),
            Err(error) if error.is_unit_exists() => {
                let found = self.status(name).await;
                let found = found.map_err(passing(format!("cannot ask for {name}")))?;
                match found {
                    Some(_) => Ok(()),
                    None => Err(passing(format!("{name} is just going away"))(error)),
                }
            }
            other => other.map_err(passing(format!("cannot start {name}"))),
        };
        started?;
        if let Err(error) = reserve(self, unit).await {
            // It runs, and what is kept for it counts as far as it did before; the next start sets it right.
            tracing::warn!(unit = name, %error, "memory kept for containers could not be added up again");
        }
        Ok(())
    }

    async fn stop(&self, unit: &str) -> Result<(), RuntimeError> {
        self.begin_stop(unit).await.map_err(passing(format!("cannot stop {unit}")))
    }

    async fn kill(&self, unit: &str) -> Result<(), RuntimeError> {
        Systemd::kill(self, unit, KillWhom::All, SIGKILL)
            .await
            .map_err(passing(format!("cannot kill {unit}")))
    }

    async fn forget(&self, unit: &str) -> Result<(), RuntimeError> {
        let forgotten = async {
            Systemd::stop(self, unit, DEADLINE).await?;
            self.reset_failed(unit).await
        };
        forgotten.await.map_err(passing(format!("cannot forget {unit}")))
    }

    async fn forget_pod(&self, pod: Id<Pod>) -> Result<(), RuntimeError> {
        let slice = slice_of(pod);
        let stopped = Systemd::stop(self, &slice, DEADLINE).await;
        stopped.map_err(passing(format!("cannot take {slice} away")))
    }

    async fn run(
        &self,
        argv: Vec<String>,
        slice: &str,
        deadline: Duration,
    ) -> Result<Option<Ended>, RuntimeError> {
        let began = Instant::now();
        let command = Command::new("probe", argv).deadline(deadline).limits(Limits {
            slice: slice.to_owned(),
            memory: PROBE_MEMORY,
            tasks: PROBE_TASKS,
        });
        match Systemd::run(self, command).await {
            Ok(output) if output.code.is_some() => {
                Ok(Some(Ended::new(output.code, &output.stderr, &output.stdout)))
            }
            _ if began.elapsed() >= deadline => Ok(None),
            Ok(output) => Ok(Some(Ended::new(None, &output.stderr, &output.stdout))),
            Err(error) => Err(passing("cannot run a probe".to_owned())(error)),
        }
    }

    async fn services(&self, prefix: &str) -> Result<Vec<UnitStatus>, RuntimeError> {
        let pattern = format!("{prefix}*.service");
        let listed = self.list(&[&pattern]).await.map_err(passing("cannot list units".into()))?;
        let mut found = Vec::new();
        for unit in listed {
            let status = self.status(&unit.name).await;
            found.extend(status.map_err(passing(format!("cannot ask for {}", unit.name)))?);
        }
        Ok(found)
    }

    async fn watch(&self, prefix: &str) -> Result<BoxStream<'static, String>, RuntimeError> {
        let watch = Systemd::watch(self, prefix).await.map_err(passing("cannot watch".into()))?;
        Ok(Box::pin(stream::unfold(watch, |mut watch| async move {
            let (UnitEvent::Changed(name) | UnitEvent::Removed(name)) = watch.next().await?;
            Some((name, watch))
        })))
    }
}
