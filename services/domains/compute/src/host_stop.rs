//! The host goes down: every guest is shut down in its own way first.
//!
//! What was started last is stopped first: guests with the highest `start_order`, together, then those below them.
//! Each has its own `stop_timeout_s`, as far as the time for all allows, of which no group may use what those after it need.
//! What is wanted of the machines stays as it is. An error of one is logged and never keeps the others from their end.

use std::time::Duration;

use futures::future::join_all;
use skerry_model::{Id, Resource, Vm, VmPower, VmSpec, VmState, VmStatus};
use skerry_store::Transaction;
use tokio::time::{Instant, sleep_until};

use crate::disks::held_for_snapshot;
use crate::memory::ASK_EVERY;
use crate::{
    AgentLink, DomainObserved, DomainPower, Event, Target, VmController, VmStep, next, plan,
};

/// How often it is looked who has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a hypervisor that does not answer is waited for before anything is known of its guests.
const FIRST_LOOK: Duration = Duration::from_secs(20);

/// What each group of guests may count on, however long those before it take, if there is so much.
const AT_LEAST: Duration = Duration::from_secs(20);

/// How long it is tried to force a guest off.
const FORCE: Duration = Duration::from_secs(10);

/// What came of stopping the guests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostStop {
    /// Guests that were forced off, or had to be.
    pub forced: usize,
    /// Guests that still run, as far as can be told: forcing them failed.
    pub left: usize,
}

/// One guest that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guest {
    vm: Id<Vm>,
    order: u32,
    /// What it may take for its own shutdown.
    time: Duration,
    /// The node itself holds it, to copy its disks or to put its memory on disk: let go, it would spoil that.
    busy: bool,
    /// When it was last asked.
    asked: Option<Instant>,
    /// When it was first tried to force it off.
    forced: Option<Instant>,
}

impl Guest {
    /// When its own time is over, in a group whose turn is from `begun` to `end`.
    fn deadline(&self, (begun, end): (Instant, Instant)) -> Instant {
        begun.checked_add(self.time).map_or(end, |mine| mine.min(end))
    }
}

/// What is to be done about a guest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Wait,
    Ask(Target),
    Force,
}

/// Judges one guest that is up, `begun` being when its group's turn began, and `end` when that is over.
fn deed(guest: &Guest, power: DomainPower, agent: AgentLink, time: (Instant, Instant)) -> Deed {
    let now = Instant::now();
    if guest.busy && power != DomainPower::Running {
        return if now >= time.1 { Deed::Force } else { Deed::Wait };
    }
    if now >= guest.deadline(time) {
        return Deed::Force;
    }
    match guest.asked {
        None if agent == AgentLink::Connected => Deed::Ask(Target::AskedByAgent),
        None => Deed::Ask(Target::Asked),
        // It was let go to be asked, and is held again: it cannot hear, and will not.
        Some(_) if power != DomainPower::Running => Deed::Force,
        Some(last) if now >= last + ASK_EVERY => Deed::Ask(Target::Asked),
        Some(_) => Deed::Wait,
    }
}

/// Guests that end together, in the order of their ends.
fn groups(mut guests: Vec<Guest>) -> Vec<Vec<Guest>> {
    guests.sort_by_key(|guest| std::cmp::Reverse(guest.order));
    guests.chunk_by(|a, b| a.order == b.order).map(<[Guest]>::to_vec).collect()
}

/// How much of what is left the next group may take, with so many after it.
fn share(left: Duration, after: usize) -> Duration {
    let after = u32::try_from(after).unwrap_or(u32::MAX - 1);
    let kept = AT_LEAST.min(left / (after + 1));
    left.saturating_sub(kept * after)
}

impl VmController {
    /// Shuts every guest down because the host goes down. Takes `budget` at most, and a little to force what is left
    /// then. What is wanted of the machines stays as it is, so they run again after the next boot, or after
    /// [`Self::release`].
    pub async fn stop_all_for_host(&self, budget: Duration) -> HostStop {
        self.hold();
        // Whoever comes second finds that all is done.
        let _turn = self.host_stop.lock().await;
        let end = Instant::now() + budget;
        let mut result = HostStop::default();
        let mut given_up: Vec<Id<Vm>> = Vec::new();
        let mut noted = false;
        let mut look_until = end.min(Instant::now() + FIRST_LOOK);
        loop {
            let mut guests =
                self.guests_up(std::mem::replace(&mut look_until, Instant::now())).await;
            guests.retain(|guest| !given_up.contains(&guest.vm));
            if guests.is_empty() || Instant::now() >= end + FORCE {
                result.left = given_up.len() + guests.len();
                return result;
            }
            if !std::mem::replace(&mut noted, true) {
                self.note_stopping(&guests).await;
            }
            let groups = groups(guests);
            let count = groups.len();
            for (number, group) in groups.into_iter().enumerate() {
                let now = Instant::now();
                let order = group.first().map(|guest| guest.order);
                tracing::info!(order, guests = group.len(), "guests are shut down for the host");
                let left = end.saturating_duration_since(now);
                let until = now + share(left, count - number - 1);
                let group = self.stop_group(group, now, until).await;
                result.forced += group.iter().filter(|guest| guest.forced.is_some()).count();
                // They are not tried without end, should they be up still.
                given_up.extend(group.iter().filter(|g| g.forced.is_some()).map(|g| g.vm));
            }
            if let Some(up) = self.look_at_all().await {
                given_up.retain(|vm| up.iter().any(|domain| domain.vm == *vm));
            }
        }
    }

    /// Those that are up. If the hypervisor tells nothing until then, those that are up by their records.
    async fn guests_up(&self, until: Instant) -> Vec<Guest> {
        let records = self.store.list::<Vm>().unwrap_or_default();
        let known: Vec<_> = records.iter().filter(|vm| has_process(vm.status.state)).collect();
        loop {
            match self.look_at_all().await {
                Some(up) => {
                    let guest = |domain: &DomainObserved| {
                        let record = records.iter().find(|vm| vm.id() == domain.vm);
                        self.guest(domain.vm, record)
                    };
                    return up.iter().map(guest).collect();
                }
                // Where nothing ran, the hypervisor's service may have ended itself.
                None if known.is_empty() => return Vec::new(),
                None if Instant::now() >= until => {
                    // Not to be waited for: nobody would see when they have ended.
                    let blind = |vm: &Resource<Vm>| Guest {
                        time: Duration::ZERO,
                        ..self.guest(vm.id(), Some(vm))
                    };
                    return known.into_iter().map(blind).collect();
                }
                None => sleep_until(until.min(Instant::now() + LOOK_EVERY)).await,
            }
        }
    }

    async fn look_at_all(&self) -> Option<Vec<DomainObserved>> {
        match self.hypervisor.observe().await {
            Ok(all) => Some(all.into_iter().filter(|domain| domain.power.is_up()).collect()),
            Err(error) => {
                tracing::warn!(%error, "it cannot be seen which guests still run");
                None
            }
        }
    }

    fn guest(&self, vm: Id<Vm>, record: Option<&Resource<Vm>>) -> Guest {
        let time = record.map_or(VmSpec::default_stop_timeout(), |vm| vm.spec.stop_timeout_s);
        Guest {
            vm,
            order: record.map_or(VmSpec::middle_order(), |vm| vm.spec.start_order),
            time: Duration::from_secs(time.into()),
            busy: record.is_some_and(|vm| {
                vm.spec.power == VmPower::Suspended
                    || held_for_snapshot(&self.store, vm).unwrap_or_default()
            }),
            asked: None,
            forced: None,
        }
    }

    /// Brings a group to its end.
    async fn stop_group(&self, group: Vec<Guest>, begun: Instant, end: Instant) -> Vec<Guest> {
        let mut open = group;
        let mut done = Vec::new();
        let last = end + FORCE;
        loop {
            let up = self.look_at_all().await;
            if let Some(up) = &up {
                let gone = |guest: &mut Guest| up.iter().all(|domain| domain.vm != guest.vm);
                done.extend(open.extract_if(.., gone));
            }
            let hopeless = |guest: &mut Guest| guest.forced.is_some_and(|at| at.elapsed() >= FORCE);
            done.extend(open.extract_if(.., hopeless));
            if open.is_empty() || Instant::now() >= last {
                done.append(&mut open);
                return done;
            }
            let up = up.unwrap_or_default();
            join_all(open.iter_mut().map(|guest| {
                let domain = up.iter().find(|domain| domain.vm == guest.vm);
                self.bring_down(guest, domain, (begun, end))
            }))
            .await;
            sleep_until(Instant::now() + LOOK_EVERY).await;
        }
    }

    /// One guest's next step. One that cannot be seen is only forced, when its time is over.
    async fn bring_down(
        &self,
        guest: &mut Guest,
        domain: Option<&DomainObserved>,
        time: (Instant, Instant),
    ) {
        let Some(domain) = domain else {
            if Instant::now() >= guest.deadline(time) {
                self.force_off(guest).await;
            }
            return;
        };
        match deed(guest, domain.power, domain.agent, time) {
            Deed::Wait => {}
            Deed::Force => self.force_off(guest).await,
            Deed::Ask(target) => {
                guest.asked = Some(Instant::now());
                let mut asked = self.ask_to_stop(domain, target).await;
                if !asked && target == Target::AskedByAgent {
                    asked = self.ask_to_stop(domain, Target::Asked).await;
                }
                if !asked {
                    tracing::warn!(id = %guest.vm, "a guest could not be asked to stop");
                }
            }
        }
    }

    async fn ask_to_stop(&self, domain: &DomainObserved, target: Target) -> bool {
        for step in plan(target, None, Some(domain)) {
            if let Err(error) = self.hypervisor.apply(&step).await {
                tracing::warn!(id = %domain.vm, step = step.name(), %error, "step failed");
                return false;
            }
        }
        true
    }

    async fn force_off(&self, guest: &mut Guest) {
        guest.forced.get_or_insert_with(Instant::now);
        let id = guest.vm;
        tracing::warn!(%id, "a guest did not shut down in its time and is forced off");
        if let Err(error) = self.hypervisor.apply(&VmStep::Destroy(id)).await {
            tracing::error!(%id, %error, "a guest could not be forced off");
        }
    }

    /// Writes down that it is not the guests who want to be off.
    async fn note_stopping(&self, guests: &[Guest]) {
        let mut tx = Transaction::new();
        for guest in guests {
            let Ok(Some(record)) = self.store.get::<Vm>(guest.vm) else { continue };
            if let Ok((state, _)) = next(record.status.state, Event::Shutdown) {
                let reason = "the host is going down".to_owned();
                tx.put_status(guest.vm, VmStatus { state, reason, ..record.status });
            }
        }
        if let Err(error) = self.store.commit(tx).await {
            tracing::error!(%error, "guests are stopped for the host without a note of it");
        }
    }
}

/// Whether a machine in this state may have a process.
const fn has_process(state: VmState) -> bool {
    matches!(state, VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_group_takes_what_those_after_it_need() {
        let s = Duration::from_secs;
        assert_eq!(share(s(180), 0), s(180));
        assert_eq!(share(s(180), 2), s(140));
        assert_eq!(share(s(30), 2), s(10), "not enough for all: the same for each");
        assert_eq!(share(Duration::ZERO, 5), Duration::ZERO);
        for groups in 1..200_usize {
            let mut left = s(180);
            for after in (0..groups).rev() {
                let taken = share(left, after);
                assert!(taken >= s(180) / 201 && taken <= left, "{groups} groups, {after} after");
                left -= taken;
            }
        }
    }
}
