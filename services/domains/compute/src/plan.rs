//! Which steps lead from what is to what is wanted.
//!
//! [`plan`] is pure: it compares and orders, and does nothing. When nothing differs it gives no steps,
//! and after its steps have been done it gives none either; only asking a guest to shut down is worth
//! repeating until the guest does.

use crate::{AgentLink, DomainDefinition, DomainObserved, DomainPower, VmStep};

/// What the steps should come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// Defined as wanted; on or off as it is.
    Defined,
    /// Defined as wanted, and on.
    On,
    /// Off by the guest's own shutdown.
    Asked,
    /// The same, with the agent in the guest asked instead of its power button pressed, if there is one.
    AskedByAgent,
    /// On and held, if it is on.
    Held,
    /// On and not held, if it is on.
    LetGo,
    /// Off, with its memory on disk, if it is on.
    Saved,
    /// Off at once, without memory on disk.
    Off,
    /// No trace left.
    Gone,
}

/// The steps to a target, in order.
///
/// Without a definition, because the image or the port is missing, nothing is defined anew and what is
/// there is used. A running guest is never restarted for a new definition: it takes effect at its next
/// start. A held domain is left so, unless its guest is asked to shut down.
pub fn plan(
    target: Target,
    definition: Option<&DomainDefinition>,
    observed: Option<&DomainObserved>,
) -> Vec<VmStep> {
    if target == Target::Gone {
        return observed.map(removal).unwrap_or_default();
    }
    let mut steps = Vec::new();
    let defined = observed.and_then(|domain| domain.defined.as_ref());
    if let Some(wanted) = definition
        && defined != Some(&wanted.fingerprint())
    {
        steps.push(VmStep::Define(Box::new(wanted.clone())));
    }
    let up = observed.filter(|domain| domain.power.is_up());
    match (target, up) {
        (Target::On, None) => {
            let vm = definition.map(|d| d.vm).or(observed.map(|o| o.vm));
            if let Some(vm) = vm.filter(|_| definition.is_some() || defined.is_some()) {
                steps.push(VmStep::Start(vm));
            }
        }
        (Target::Asked | Target::AskedByAgent, Some(domain)) => {
            if domain.power != DomainPower::Running {
                steps.push(VmStep::Resume(domain.vm));
            }
            steps.push(match (target, domain.agent) {
                (Target::AskedByAgent, AgentLink::Connected) => VmStep::ShutdownByAgent(domain.vm),
                _ => VmStep::Shutdown(domain.vm),
            });
        }
        (Target::Held, Some(domain)) if domain.power == DomainPower::Running => {
            steps.push(VmStep::Pause(domain.vm));
        }
        (Target::LetGo, Some(domain)) if domain.power != DomainPower::Running => {
            steps.push(VmStep::Resume(domain.vm));
        }
        (Target::Saved, Some(domain)) => steps.push(VmStep::Save(domain.vm)),
        (Target::Off, Some(domain)) => steps.push(VmStep::Destroy(domain.vm)),
        _ => {}
    }
    if let (Target::Off, Some(domain)) = (target, observed.filter(|domain| domain.saved)) {
        steps.push(VmStep::Discard(domain.vm));
    }
    steps
}

/// The steps that give a running guest more processors and memory, if it was started with room for them. Less of them it
/// gets at its next start: a guest need not let go of any, and may stop when it is taken.
pub fn plan_size(wanted: &DomainDefinition, observed: &DomainObserved) -> Vec<VmStep> {
    let same = observed.live.as_ref().is_some_and(|live| wanted.fingerprint().same_but_hot(live));
    if !same || !observed.power.is_up() {
        return Vec::new();
    }
    let (vm, hardware) = (wanted.vm, &wanted.hardware);
    let mut steps = Vec::new();
    if hardware.max_vcpus.is_some() && observed.vcpus.is_some_and(|has| has < wanted.vcpus) {
        steps.push(VmStep::SetVcpus { vm, count: wanted.vcpus });
    }
    let memory = observed.memory.filter(|_| hardware.max_memory_mib.is_some());
    if memory.is_some_and(|memory| memory.given_mib < wanted.memory_mib) {
        steps.push(VmStep::SetMemory { vm, mib: wanted.memory_mib });
    }
    steps
}

fn removal(domain: &DomainObserved) -> Vec<VmStep> {
    let mut steps = Vec::new();
    if domain.power.is_up() {
        steps.push(VmStep::Destroy(domain.vm));
    }
    if domain.saved {
        steps.push(VmStep::Discard(domain.vm));
    }
    if domain.defined.is_some() {
        steps.push(VmStep::Undefine(domain.vm));
    }
    if domain.files {
        steps.push(VmStep::Erase(domain.vm));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ModelHypervisor, definition};
    use crate::{Fingerprint, Hold, OffReason};
    use proptest::prelude::*;

    fn names(steps: &[VmStep]) -> Vec<&'static str> {
        steps.iter().map(VmStep::name).collect()
    }

    fn any_observed() -> impl Strategy<Value = Option<DomainObserved>> {
        let power = prop_oneof![
            Just(DomainPower::Running),
            Just(DomainPower::Paused(Hold::Asked)),
            Just(DomainPower::Off(OffReason::Unknown)),
            Just(DomainPower::Off(OffReason::Crashed)),
        ];
        let print = prop_oneof![
            Just(None),
            Just(Some(Fingerprint::recorded(""))),
            Just(Some(definition(1).fingerprint())),
        ];
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        (any::<bool>(), power, print, flags).prop_map(|(there, power, defined, flags)| {
            let (files, saved, agent) = flags;
            let up = power.is_up();
            // A domain that runs without a definition is one that was undefined under it.
            there.then(|| DomainObserved {
                power,
                defined,
                live: up.then(|| definition(1).fingerprint()),
                pid: up.then_some(7),
                agent: if agent && up { AgentLink::Connected } else { AgentLink::Silent },
                saved: saved && !up,
                files,
                ..DomainObserved::nothing(definition(1).vm)
            })
        })
    }

    fn any_target() -> impl Strategy<Value = Target> {
        prop_oneof![
            Just(Target::Defined),
            Just(Target::On),
            Just(Target::Asked),
            Just(Target::AskedByAgent),
            Just(Target::Held),
            Just(Target::LetGo),
            Just(Target::Saved),
            Just(Target::Off),
            Just(Target::Gone),
        ]
    }

    #[test]
    fn a_new_machine_is_defined_then_started() {
        let wanted = definition(1);
        assert_eq!(names(&plan(Target::On, Some(&wanted), None)), ["define", "start"]);
        assert_eq!(names(&plan(Target::Defined, Some(&wanted), None)), ["define"]);
        assert!(plan(Target::On, None, None).is_empty(), "nothing to start without a definition");
    }

    #[test]
    fn a_change_while_it_runs_only_redefines() {
        let mut domain = DomainObserved {
            power: DomainPower::Running,
            defined: Some(definition(1).fingerprint()),
            live: Some(definition(1).fingerprint()),
            pid: Some(7),
            files: true,
            ..DomainObserved::nothing(definition(1).vm)
        };
        let mut wanted = definition(1);
        wanted.generation = 9;
        assert!(plan(Target::On, Some(&wanted), Some(&domain)).is_empty(), "generation alone");
        wanted.memory_mib *= 2;
        assert_eq!(names(&plan(Target::On, Some(&wanted), Some(&domain))), ["define"]);
        domain.power = DomainPower::Off(OffReason::Shutdown);
        assert_eq!(names(&plan(Target::On, Some(&wanted), Some(&domain))), ["define", "start"]);
    }

    #[test]
    fn a_held_guest_is_let_go_before_it_is_asked() {
        let domain = DomainObserved {
            power: DomainPower::Paused(Hold::Other),
            defined: Some(definition(1).fingerprint()),
            pid: Some(7),
            files: true,
            ..DomainObserved::nothing(definition(1).vm)
        };
        assert_eq!(names(&plan(Target::Asked, None, Some(&domain))), ["resume", "shutdown"]);
        let domain = DomainObserved { agent: AgentLink::Connected, ..domain };
        let by_agent = plan(Target::AskedByAgent, None, Some(&domain));
        assert_eq!(names(&by_agent), ["resume", "shutdown by agent"]);
        let gone = ["destroy", "undefine", "erase"];
        assert_eq!(names(&plan(Target::Gone, None, Some(&domain))), gone);
    }

    #[test]
    fn processors_are_only_added_where_there_is_room() {
        let sized = |vcpus, max| {
            let mut definition = definition(1);
            definition.vcpus = vcpus;
            definition.hardware.max_vcpus = max;
            definition
        };
        let runs = |with: &DomainDefinition| {
            let mut hypervisor = ModelHypervisor::default();
            hypervisor.apply(&VmStep::Define(Box::new(with.clone())));
            hypervisor.apply(&VmStep::Start(with.vm));
            hypervisor
        };
        for (before, after, added) in [
            (sized(1, Some(4)), sized(3, Some(4)), true),
            (sized(3, Some(4)), sized(1, Some(4)), false),
            (sized(1, Some(4)), sized(1, Some(4)), false),
            (sized(1, None), sized(2, None), false),
            (sized(1, Some(4)), sized(2, Some(8)), false),
            (sized(1, None), sized(2, Some(4)), false),
        ] {
            let mut hypervisor = runs(&before);
            let steps = plan_size(&after, &hypervisor.look().unwrap());
            assert_eq!(!steps.is_empty(), added, "{before:?} {after:?}");
            steps.iter().for_each(|step| hypervisor.apply(step));
            assert_eq!(plan_size(&after, &hypervisor.look().unwrap()), []);
            hypervisor.end(OffReason::Shutdown);
            assert_eq!(plan_size(&after, &hypervisor.look().unwrap()), []);
        }
    }

    #[test]
    fn memory_is_only_added_where_there_is_room() {
        let sized = |memory_mib, max| {
            let mut definition = definition(1);
            definition.memory_mib = memory_mib;
            definition.hardware.max_memory_mib = max;
            definition
        };
        for (before, after, added) in [
            (sized(128, Some(512)), sized(384, Some(512)), true),
            (sized(384, Some(512)), sized(128, Some(512)), false),
            (sized(128, Some(512)), sized(128, Some(512)), false),
            (sized(128, None), sized(256, None), false),
            (sized(128, Some(512)), sized(256, Some(640)), false),
            (sized(128, None), sized(256, Some(512)), false),
        ] {
            let mut hypervisor = ModelHypervisor::default();
            hypervisor.apply(&VmStep::Define(Box::new(before.clone())));
            hypervisor.apply(&VmStep::Start(before.vm));
            let steps = plan_size(&after, &hypervisor.look().unwrap());
            let wanted = VmStep::SetMemory { vm: after.vm, mib: after.memory_mib };
            assert_eq!(steps, if added { vec![wanted] } else { vec![] }, "{before:?} {after:?}");
            steps.iter().for_each(|step| hypervisor.apply(step));
            assert_eq!(plan_size(&after, &hypervisor.look().unwrap()), []);
            hypervisor.end(OffReason::Shutdown);
            assert_eq!(plan_size(&after, &hypervisor.look().unwrap()), []);
        }
    }

    #[test]
    fn sizes_that_may_change_are_no_part_of_what_is_fixed() {
        let sized = |vcpus, memory_mib| {
            let mut definition = definition(1);
            (definition.vcpus, definition.memory_mib) = (vcpus, memory_mib);
            definition.hardware.max_vcpus = Some(4);
            definition.hardware.max_memory_mib = Some(512);
            definition.fingerprint()
        };
        for other in [sized(2, 128), sized(1, 256), sized(2, 256)] {
            assert_ne!(other, sized(1, 128));
            assert!(other.same_but_hot(&sized(1, 128)));
        }
        let mut fixed = definition(1);
        fixed.memory_mib = 256;
        assert!(!fixed.fingerprint().same_but_hot(&definition(1).fingerprint()));
    }

    proptest! {
        #[test]
        fn after_its_steps_there_are_none_left(
            target in any_target(), observed in any_observed(), with_definition in any::<bool>(),
        ) {
            let definition = with_definition.then(|| definition(1));
            let mut hypervisor = ModelHypervisor::with(observed);
            for step in plan(target, definition.as_ref(), hypervisor.look().as_ref()) {
                hypervisor.apply(&step);
            }
            let seen = hypervisor.look();
            prop_assert_eq!(plan(target, definition.as_ref(), seen.as_ref()), vec![]);
            prop_assert!(hypervisor.wrong.is_empty(), "{:?}", hypervisor.wrong);
        }
    }
}
