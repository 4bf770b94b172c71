//! One pass over one virtual machine.
//!
//! Looks, decides, writes down, acts, and looks again, until there is nothing left to do or something
//! has to be waited for. What is about to be done is in the store before the hypervisor is touched.

mod agent;
mod deeds;
mod devices;
mod disks;
mod drives;
mod functions;
mod nics;
mod place;
mod size;
mod start;

use std::time::Duration;

use skerry_engine::{Failure, Outcome};
use skerry_model::{
    Autostart, CrashAction, Id, Phase, Resource, Vm, VmPower, VmRequestKind, VmState, VmStatus,
};
use skerry_store::Transaction;
use tokio::time::Instant;

pub use self::devices::LOOK_FOR_DEVICES;
pub use self::place::NoPlace;
use crate::controller::{FINALIZER, VmController, store_failure};
use crate::memory::{ASK_EVERY, Memory, SETTLE};
use crate::nics::Ports;
use crate::report::{Note, outcome, ready};
use crate::sources::{Missing, Sources, gather};
use crate::{
    DomainDefinition, DomainObserved, DomainPower, Effect, Event, Hold, HypervisorError, OffReason,
    Situation, Target, VmStep, actions, backoff, decide, next, pending, plan,
};

/// More events in a row than any path through the life cycle has.
const MOST_EVENTS: usize = 16;

/// Whether a pass goes on after an event.
enum Flow {
    GoOn,
    Wait,
}

/// The pass: what is known, and what has come of it so far.
pub struct Pass<'a> {
    controller: &'a VmController,
    vm: Resource<Vm>,
    status: VmStatus,
    memory: Memory,
    request: Option<VmRequestKind>,
    observed: Option<DomainObserved>,
    definition: Result<DomainDefinition, Missing>,
    define_error: Option<HypervisorError>,
    missing_device: Option<Missing>,
    ports: Option<Ports>,
    note: Option<Note>,
    /// Why it has no place on the machine, if that was just found out.
    no_place: Option<NoPlace>,
    /// What becomes of it after a boot of the node, until that has been done.
    boot: Option<Autostart>,
}

impl<'a> Pass<'a> {
    /// A pass over this machine.
    pub fn new(controller: &'a VmController, vm: Resource<Vm>) -> Self {
        let id = vm.id();
        let known = vm.status.boot.as_ref();
        let booted =
            known.is_some() && controller.boot.is_some() && known != controller.boot.as_ref();
        let boot = booted.then_some(vm.spec.autostart);
        let unknown = Missing { reason: "Creating", message: String::new(), on: None };
        Self {
            controller,
            status: vm.status.clone(),
            memory: controller.memory(id),
            request: pending(&vm.spec, &vm.status),
            vm,
            observed: None,
            definition: Err(unknown),
            define_error: None,
            missing_device: None,
            ports: None,
            note: None,
            no_place: None,
            boot,
        }
    }

    fn id(&self) -> Id<Vm> {
        self.vm.id()
    }

    /// Does it, and writes down what came of it, also when it fails.
    pub async fn run(mut self) -> Result<Outcome, Failure> {
        let worked = match self.vm.meta.phase {
            Phase::Present => self.work().await,
            Phase::Removing => return self.remove().await,
        };
        if let Err(failure) = &worked {
            self.note = Some(Note::broken_off(failure));
        }
        self.controller.remember(self.id(), self.memory);
        if self.controller.is_held() {
            return Ok(Outcome::Done);
        }
        if worked.is_ok() {
            // What could not be done now will not be done later either: whoever asked sees why.
            self.request_is_done();
        }
        self.commit().await?;
        worked?;
        // What has a deadline of its own must not wait for an operator.
        let urgent = matches!(self.status.state, VmState::Stopping | VmState::Backoff);
        if let Some(error) = self.define_error.take().filter(|_| !urgent) {
            return Err(failure(error));
        }
        outcome(&self.status, &self.memory, &self.vm.spec, self.note.as_ref())
    }

    async fn work(&mut self) -> Result<(), Failure> {
        self.look().await?;
        let facts = self.controller.facts().await.map_err(failure)?;
        self.status.accelerator = Some(facts.accelerator);
        let seen = match self.vm.spec.host_devices.as_slice() {
            [] => Vec::new(),
            _ => self.controller.topology.devices(),
        };
        let Sources { ports, definition, missing_device } =
            gather(&self.controller.store, &self.vm, facts, &seen).map_err(store_failure)?;
        self.missing_device = missing_device;
        if let Some(port) = &ports.first {
            self.status.port = Some(port.id());
            let further = ports.further.iter().flatten();
            let all = [port].into_iter().chain(further);
            self.status.addresses = all.map(|port| port.spec.address.into()).collect();
        }
        self.ports = Some(ports);
        self.show_nics();
        self.definition = definition;
        self.take_up_waits();
        self.keep_disks().await;
        self.keep_drives().await;
        self.keep_nics().await;
        self.keep_devices().await;
        self.keep_size().await?;
        for _ in 0..MOST_EVENTS {
            if self.controller.is_held() {
                return Ok(());
            }
            self.keep_defined().await?;
            let flow = match decide(&self.situation()) {
                Some(event) => self.take(event).await?,
                None if self.start_is_open() => self.start().await?,
                None => Flow::Wait,
            };
            if matches!(flow, Flow::Wait) {
                self.come_to_rest();
                self.hear_guest().await;
                return self.ask_again().await;
            }
        }
        Err(Failure::bug(format!("the life cycle of {} does not come to rest", self.id())))
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let seen = self.controller.hypervisor.observe_one(self.id()).await.map_err(failure)?;
        let seen = self.without_snapshot_hold(seen)?;
        let up = seen.as_ref().is_some_and(|domain| domain.power.is_up());
        self.status.pid = seen.as_ref().and_then(|domain| domain.pid);
        if let (Some(size), Some(vcpus)) =
            (&mut self.status.running_size, seen.as_ref().and_then(|domain| domain.vcpus))
        {
            size.vcpus = vcpus;
        }
        if let (Some(size), Some(memory)) =
            (&mut self.status.running_size, seen.as_ref().and_then(|domain| domain.memory))
        {
            size.memory_mib = memory.given_mib;
        }
        self.observed = seen;
        self.show_nics();
        let now = Instant::now();
        if self.power() == DomainPower::Paused(Hold::DiskFault) {
            self.memory.held_since.get_or_insert(now);
        } else {
            self.memory.held_since = None;
        }
        if up {
            self.memory.seen_up = true;
            self.memory.off_since = None;
            self.memory.running_since.get_or_insert(now);
        } else {
            self.memory.running_since = None;
            self.memory.off_since.get_or_insert(now);
        }
        Ok(())
    }

    fn power(&self) -> DomainPower {
        self.observed.as_ref().map_or(DomainPower::Off(OffReason::Unknown), |domain| domain.power)
    }

    fn situation(&self) -> Situation {
        let changed = self.status.observed_generation != self.vm.meta.generation;
        Situation {
            state: self.status.state,
            wanted: self.vm.spec.power,
            saved: self.observed.as_ref().is_some_and(|domain| domain.saved),
            defined: self.observed.as_ref().is_some_and(|domain| domain.defined.is_some()),
            power: self.power(),
            request: self.request,
            seen_up: self.memory.seen_up,
            on_crash: self.on_crash(),
            on_off: self.vm.spec.on_guest_off,
            boot: self.boot,
            due: changed || Memory::past(self.memory.next_try),
            room: self.room(),
            stop_expired: Memory::past(self.memory.stop_by),
            settled: Memory::since(self.memory.off_since, SETTLE),
        }
    }

    /// What a crash that comes now would lead to.
    fn on_crash(&self) -> CrashAction {
        let policy = &self.vm.spec.crash_policy;
        if policy.give_up && self.status.crashes >= policy.max {
            return match policy.action {
                CrashAction::Restart => CrashAction::Alarm,
                other => other,
            };
        }
        policy.action
    }

    fn crash_window(&self) -> Duration {
        Duration::from_secs(self.vm.spec.crash_policy.window_s.into())
    }

    /// Waits that an earlier run of this service began.
    fn take_up_waits(&mut self) {
        let now = Instant::now();
        match self.status.state {
            VmState::Backoff | VmState::Failed => {
                let whole = self.wait_after_failure(self.status.state);
                let left =
                    backoff::remaining(self.status.next_try, (self.controller.clock)(), whole);
                self.memory.next_try.get_or_insert(now + left);
            }
            VmState::Stopping => {
                self.memory.stop_by.get_or_insert(now + self.stop_timeout());
            }
            _ => {}
        }
    }

    fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.vm.spec.stop_timeout_s.into())
    }

    fn wait_after_failure(&self, state: VmState) -> Duration {
        match state {
            VmState::Failed => backoff::REJECTED,
            _ => backoff::delay(self.status.crashes),
        }
    }

    /// Defines the machine as it is wanted now, whether it runs or not.
    async fn keep_defined(&mut self) -> Result<(), Failure> {
        let Ok(definition) = &self.definition else { return Ok(()) };
        if self.define_error.is_some() {
            return Ok(());
        }
        let steps = plan(Target::Defined, Some(definition), self.observed.as_ref());
        if steps.is_empty() {
            return Ok(());
        }
        self.status.machine.get_or_insert_with(|| definition.machine.clone());
        match self.apply(steps).await {
            Ok(()) => {}
            Err(
                error @ (HypervisorError::Unavailable { .. } | HypervisorError::TimedOut { .. }),
            ) => {
                return Err(failure(error));
            }
            Err(error) => {
                self.note = Some(Note::of("DefinitionRefused", &error));
                self.define_error = Some(error);
            }
        }
        self.look().await
    }

    /// Moves the life cycle by one event.
    async fn take(&mut self, event: Event) -> Result<Flow, Failure> {
        let from = self.status.state;
        let (to, effects) =
            next(from, event).map_err(|refused| Failure::bug(refused.to_string()))?;
        if event == Event::Start {
            return self.admit_start(to).await;
        }
        let mut wanted = None;
        for effect in effects {
            match effect {
                Effect::CountStart => {
                    self.status.starts = self.status.starts.saturating_add(1);
                    self.status.started_at = Some((self.controller.clock)());
                    // One that goes on with memory from disk has the size that it had.
                    self.status.running_size.get_or_insert(self.vm.spec.size());
                }
                Effect::CountCrash => self.count_crash(to),
                Effect::AskGuest => {
                    self.memory.stop_by = Some(Instant::now() + self.stop_timeout());
                    self.memory.asked_at = None;
                }
                Effect::ForceOff => self.reach(Target::Off).await?,
                Effect::Hold => self.reach(Target::Held).await?,
                Effect::LetGo => self.reach(Target::LetGo).await?,
                Effect::Reset => self.press(VmStep::Reset(self.id())).await?,
                Effect::AskReboot => self.press(VmStep::Reboot(self.id())).await?,
                Effect::KeepMemory => match self.keep_memory().await? {
                    Flow::GoOn => {}
                    Flow::Wait => return Ok(Flow::GoOn),
                },
                Effect::WantRunning => wanted = Some(VmPower::Running),
                Effect::WantStopped => wanted = Some(VmPower::Stopped),
            }
        }
        self.settle_in(from, event, to);
        match wanted {
            Some(power) => self.commit_wanted(power).await?,
            None => self.commit().await?,
        }
        Ok(Flow::GoOn)
    }

    /// Takes over the new state and drops what only meant something in the old one.
    fn settle_in(&mut self, from: VmState, event: Event, to: VmState) {
        tracing::info!(kind = "Vm", id = %self.id(), ?from, %event, ?to, "virtual machine");
        self.status.state = to;
        if matches!(to, VmState::Stopped | VmState::Crashed | VmState::Backoff | VmState::Failed) {
            self.status.running_size = None;
        }
        if matches!(event, Event::BootOn | Event::BootOff | Event::Start) {
            self.boot = None;
        }
        if to == VmState::Stopped && self.vm.spec.power == VmPower::Stopped {
            self.status.crashes = 0;
        }
        if to != VmState::Stopping {
            self.memory.stop_by = None;
            self.memory.asked_at = None;
        }
        if !matches!(to, VmState::Backoff | VmState::Failed) {
            self.memory.next_try = None;
            self.status.next_try = None;
        }
        // What the start itself said is worth more.
        let said = self.note.as_ref().is_some_and(|note| note.of_start());
        if !said && !matches!(event, Event::StartFailed | Event::StartRejected) {
            self.note = Note::after(from, event, self.vm.spec.power);
        }
        // A request has done its part once it has moved the machine.
        let done = match self.request {
            Some(VmRequestKind::Restart) => event == Event::Shutdown,
            Some(VmRequestKind::Start) => to == VmState::Starting,
            Some(VmRequestKind::ForceStop) => to == VmState::Stopped,
            Some(VmRequestKind::Reset) => event == Event::Reset,
            Some(VmRequestKind::Reboot) => event == Event::Reboot,
            Some(VmRequestKind::Resume) => event == Event::Resume,
            None => false,
        };
        if done {
            self.request_is_done();
        }
    }

    fn request_is_done(&mut self) {
        self.request = None;
        if let Some(request) = self.vm.spec.request {
            self.status.request_done = self.status.request_done.max(request.number);
        }
    }

    fn count_crash(&mut self, to: VmState) {
        self.status.crashes = self.status.crashes.saturating_add(1);
        let wait = self.wait_after_failure(to);
        self.memory.next_try = Some(Instant::now() + wait);
        self.status.next_try = (self.controller.clock)().checked_add(wait).ok();
    }

    /// Crashes are forgotten after a long enough run, and what is missing is named.
    fn come_to_rest(&mut self) {
        if let (VmState::Creating, Err(missing)) = (self.status.state, &self.definition) {
            self.note = Some(Note::missing(missing));
        }
        if self.note.as_ref().is_none_or(|note| note.again.is_none()) {
            self.boot = None;
        }
        self.note_io_pause();
        self.note_devices();
        let long = Memory::since(self.memory.running_since, self.crash_window());
        if self.status.state == VmState::Running && long {
            self.status.crashes = 0;
        }
    }

    /// Presses the power button of a guest that should shut down, if it is time to.
    async fn ask_again(&mut self) -> Result<(), Failure> {
        let stopping = self.status.state == VmState::Stopping && self.power().is_up();
        let asked = self.memory.asked_at.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if !stopping || asked {
            return Ok(());
        }
        // An agent that does not do it has had its turn: the power button comes next.
        let by_agent = self.agent_can_stop();
        self.memory.asked_at = Some(Instant::now());
        let mut asked = Ok(());
        if by_agent {
            let steps = plan(Target::AskedByAgent, None, self.observed.as_ref());
            asked = self.apply(steps).await;
        }
        if !by_agent || asked.is_err() {
            asked = self.apply(plan(Target::Asked, None, self.observed.as_ref())).await;
        }
        match asked {
            Ok(()) => self.look().await,
            Err(error @ HypervisorError::Unavailable { .. }) => Err(failure(error)),
            Err(error) => {
                // The guest is forced off when its time is over.
                tracing::warn!(id = %self.id(), %error, "the guest could not be asked to shut down");
                Ok(())
            }
        }
    }

    async fn reach(&mut self, target: Target) -> Result<(), Failure> {
        let steps = plan(target, None, self.observed.as_ref());
        self.apply(steps).await.map_err(failure)?;
        self.look().await
    }

    async fn apply(&self, steps: Vec<VmStep>) -> Result<(), HypervisorError> {
        for step in steps {
            let begun = Instant::now();
            let done = self.controller.hypervisor.apply(&step).await;
            let took_ms = begun.elapsed().as_millis();
            let (id, step) = (step.vm(), step.name());
            match done {
                Ok(()) => tracing::info!(kind = "Vm", %id, step, took_ms, "step done"),
                Err(error) => {
                    tracing::warn!(kind = "Vm", %id, step, took_ms, %error, "step failed");
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn remove(mut self) -> Result<Outcome, Failure> {
        if let Ok((to, _)) = next(self.status.state, Event::Delete) {
            self.settle_in(self.status.state, Event::Delete, to);
            self.commit().await?;
        }
        self.look().await?;
        self.reach(Target::Gone).await?;
        if self.observed.is_some() {
            return Ok(Outcome::Again(Duration::from_secs(1)));
        }
        let mut tx = Transaction::new();
        tx.drop_finalizer(self.id(), FINALIZER);
        self.controller.store.commit(tx).await.map_err(store_failure)?;
        Ok(Outcome::Done)
    }

    /// Writes the status down. Nothing is written if nothing changed.
    async fn commit(&mut self) -> Result<(), Failure> {
        let mut tx = Transaction::new();
        tx.put_status(self.id(), self.report());
        self.controller.store.commit(tx).await.map(drop).map_err(store_failure)
    }

    /// Writes down, in one, the state and that this is what is wanted now: the guest turned itself off,
    /// or there is nothing to hold any more. Another wish that came meanwhile stays.
    async fn commit_wanted(&mut self, power: VmPower) -> Result<(), Failure> {
        let fresh = self.controller.store.get::<Vm>(self.id()).map_err(store_failure)?;
        let mut tx = Transaction::new();
        let before = self.vm.spec.power;
        if let Some(fresh) = fresh.filter(|f| f.spec.power == before && before != power) {
            let mut spec = fresh.spec;
            spec.power = power;
            tx.put_spec(self.id(), Some(fresh.meta.revision), spec);
        }
        tx.put_status(self.id(), self.report());
        self.controller.store.commit(tx).await.map_err(store_failure)?;
        self.vm.spec.power = power;
        Ok(())
    }

    /// The status as it stands, with the conditions that follow from it.
    fn report(&mut self) -> VmStatus {
        self.status.observed_generation = self.vm.meta.generation;
        let live = self.observed.as_ref().and_then(|domain| domain.live.as_ref());
        let pending = match (&self.definition, live) {
            (Ok(wanted), Some(live)) => {
                !wanted.fingerprint().same_but_hot(live) || self.size_differs(wanted)
            }
            _ => false,
        };
        let now = (self.controller.clock)();
        if self.boot.is_none() {
            self.status.boot.clone_from(&self.controller.boot);
        }
        self.status.volumes = self.open_volumes();
        self.status.media = self.open_media();
        self.note_agent();
        self.note_place();
        self.note_memory();
        ready(&mut self.status, &self.vm.spec, self.note.as_ref(), pending, now);
        self.status.actions = actions(self.vm.meta.phase, self.vm.spec.power, self.status.state);
        self.status.clone()
    }
}

fn failure(error: HypervisorError) -> Failure {
    Failure { class: error.class(), message: error.to_string(), source: Some(Box::new(error)) }
}
