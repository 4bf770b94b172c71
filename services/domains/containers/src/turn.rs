//! When it is a pod's turn to start: after those it depends on, and after a boot of the node in the order of starts.
//!
//! Pure. Lower ones come first; equal ones go together, a few at a time, since each start is heavy on disk and
//! processor. A pod that cannot be started, or that waits for another one, is passed over, so nobody waits for it. What
//! runs is never held back.

use std::collections::HashSet;
use std::time::Duration;

use skerry_model::{
    Autostart, DependencyCondition, Id, Phase, Pod, PodDependency, PodState, Power, Resource,
};
use tokio::time::Instant;

use crate::decide::Missing;
use crate::memory::PodMemory;

/// Starts that may go on at once after a boot.
const AT_ONCE: usize = 4;
/// How often a pod that waits for its turn looks whether it has come.
const LOOK_AT_QUEUE: Duration = Duration::from_secs(1);
/// Nobody is held back longer than this by those before it.
const LONGEST_QUEUE: Duration = Duration::from_secs(600);

/// What holds a pod back that could start otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// Another pod, which it depends on.
    Dependency(Missing),
    /// Its turn has not come.
    Turn(Missing),
}

/// Whether the node was booted since a pod was last looked after.
pub(crate) fn is_of_another_boot(pod: &Resource<Pod>, boot: Option<&str>) -> bool {
    let known = pod.status.boot.as_deref();
    known.is_some() && boot.is_some() && known != boot
}

/// The power that a boot of the node changes a pod's to, if it does.
pub(crate) fn power_after_boot(pod: &Resource<Pod>) -> Option<Power> {
    match (pod.spec.autostart, pod.spec.power) {
        (Autostart::Always, Power::Stopped) => Some(Power::Running),
        (Autostart::Never, Power::Running) => Some(Power::Stopped),
        _ => None,
    }
}

/// What a pod that does not run has to wait for. `others` are the other pods; `let_on` those that were let on, whose
/// records may not say yet that they are started.
pub(crate) fn held(
    pod: &Resource<Pod>,
    others: &[Resource<Pod>],
    let_on: &HashSet<Id<Pod>>,
    boot: Option<&str>,
    memory: &mut PodMemory,
    now: Instant,
) -> Option<Held> {
    let unmet = pod.spec.depends_on.iter().find_map(|on| dependency(on, others, boot));
    if let Some(missing) = unmet {
        return Some(Held::Dependency(missing));
    }
    if !is_of_another_boot(pod, boot) {
        return None;
    }
    let queued = now - *memory.queued_since.get_or_insert(now);
    let first = queue(pod, others, let_on, boot).filter(|_| queued < LONGEST_QUEUE);
    if let Some(reason) = first {
        let again = Some(LOOK_AT_QUEUE);
        return Some(Held::Turn(Missing { again, ..Missing::new(None, reason) }));
    }
    let delay = Duration::from_secs(pod.spec.start_delay_s.into());
    let left = delay.saturating_sub(now - *memory.turn_since.get_or_insert(now));
    let reason = format!("is started {} s after those before it", delay.as_secs());
    let missing = Missing { again: Some(left), ..Missing::new(None, reason) };
    (!left.is_zero()).then_some(Held::Turn(missing))
}

fn dependency(on: &PodDependency, others: &[Resource<Pod>], boot: Option<&str>) -> Option<Missing> {
    let name = &on.pod;
    let Some(other) = others.iter().find(|other| other.meta.name == *name) else {
        return Some(Missing::new(None, format!("there is no pod `{name}`, which it depends on")));
    };
    // What stands there from before a boot says nothing.
    let known = !is_of_another_boot(other, boot);
    let (met, word) = match on.condition {
        DependencyCondition::Running => (other.status.state == PodState::Running, "running"),
        DependencyCondition::Ready => (other.status.conditions.holds("Ready"), "ready"),
    };
    let reason = || format!("waits for pod `{name}` to be {word}");
    (!(known && met)).then(|| Missing::new(Some(other.local_ref()), reason()))
}

fn queue(
    pod: &Resource<Pod>,
    others: &[Resource<Pod>],
    let_on: &HashSet<Id<Pod>>,
    boot: Option<&str>,
) -> Option<String> {
    let open = |other: &&Resource<Pod>| {
        let wanted = match other.spec.autostart {
            Autostart::LastState => other.spec.power == Power::Running,
            Autostart::Always => true,
            Autostart::Never => false,
        };
        wanted && other.meta.phase == Phase::Present && is_of_another_boot(other, boot)
    };
    let before = |other: &&Resource<Pod>| other.spec.start_order < pod.spec.start_order;
    let first = others.iter().filter(open).filter(before);
    if let Some(first) = first.min_by_key(|other| other.spec.start_order) {
        return Some(format!("waits for pod `{}`, which is started first", first.meta.name));
    }
    let starting = |other: &&Resource<Pod>| {
        let told = other.status.state == PodState::Starting && !is_of_another_boot(other, boot);
        told || let_on.contains(&other.id())
    };
    let starting = others.iter().filter(starting).count();
    (starting >= AT_ONCE).then(|| format!("waits while {starting} other pods are started"))
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
