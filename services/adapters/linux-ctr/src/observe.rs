//! What a unit's state says of a container's process.

use skerry_containers::{Exit, Run};
use skerry_linux_host::systemd::{Active, MainExit, UnitStatus};
use skerry_model::Timestamp;

/// The process behind a unit. `pid` is what the runtime wrote once it had made the container.
pub fn run_of(unit: &UnitStatus, pid: Option<u32>) -> Run {
    match unit.active {
        Active::Activating => Run::Starting,
        Active::Deactivating => Run::Stopping,
        Active::Active | Active::Reloading | Active::Unknown if unit.main_exit.is_none() => {
            Run::Running {
                run: unit.invocation.clone(),
                pid,
                started_at: started_at(unit.started_usec),
            }
        }
        Active::Inactive => Run::Absent,
        _ => Run::Ended {
            run: unit.invocation.clone(),
            exit: exit_of(unit, pid.is_some()),
            ran_for: unit.ran_for.unwrap_or_default(),
        },
    }
}

fn started_at(usec: u64) -> Option<Timestamp> {
    let usec = i64::try_from(usec).ok().filter(|usec| *usec > 0)?;
    Timestamp::from_microsecond(usec).ok()
}

/// How it ended. The runtime ends with the container's code, or 128 and the signal that ended it.
fn exit_of(unit: &UnitStatus, was_made: bool) -> Exit {
    if unit.result == "oom-kill" {
        return Exit::OutOfMemory;
    }
    match unit.main_exit {
        Some(MainExit::Code(0)) => Exit::Code(0),
        Some(MainExit::Code(_)) if !was_made => Exit::NotStarted(
            "the container runtime could not make it, see the pod's log".to_owned(),
        ),
        Some(MainExit::Code(code)) if (129..=192).contains(&code) => Exit::Signal(code - 128),
        Some(MainExit::Code(code)) => Exit::Code(code),
        Some(MainExit::Signal(signal)) => Exit::Signal(signal),
        None => Exit::NotStarted(format!("systemd reports `{}`", unit.result)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn unit(active: Active, exit: Option<MainExit>, result: &str) -> UnitStatus {
        UnitStatus {
            name: "x.service".into(),
            active,
            sub: String::new(),
            invocation: "i".into(),
            main_pid: None,
            main_exit: exit,
            result: result.into(),
            started_usec: 1_000_000,
            ran_for: exit.map(|_| Duration::from_secs(7)),
        }
    }

    #[test]
    fn a_live_unit_runs_under_the_containers_own_process_id() {
        let started_at = Timestamp::from_second(1).ok();
        let run = Run::Running { run: "i".into(), pid: Some(42), started_at };
        assert_eq!(run_of(&unit(Active::Active, None, "success"), Some(42)), run);
        assert_eq!(run_of(&unit(Active::Activating, None, "success"), None), Run::Starting);
        assert_eq!(run_of(&unit(Active::Deactivating, None, "success"), None), Run::Stopping);
        assert_eq!(run_of(&unit(Active::Inactive, None, "success"), None), Run::Absent);
    }

    #[test]
    fn ends_are_told_apart() {
        let code = |code| Some(MainExit::Code(code));
        for (active, main, result, made, exit) in [
            // RemainAfterExit: a good end leaves the unit active.
            (Active::Active, code(0), "success", true, Exit::Code(0)),
            (Active::Failed, code(3), "exit-code", true, Exit::Code(3)),
            (Active::Failed, code(137), "exit-code", true, Exit::Signal(9)),
            (Active::Failed, code(255), "exit-code", true, Exit::Code(255)),
            (Active::Failed, Some(MainExit::Signal(9)), "signal", true, Exit::Signal(9)),
            (Active::Failed, Some(MainExit::Signal(9)), "oom-kill", true, Exit::OutOfMemory),
            (Active::Failed, code(137), "oom-kill", true, Exit::OutOfMemory),
        ] {
            let found = run_of(&unit(active, main, result), made.then_some(1));
            let ran_for = Duration::from_secs(7);
            assert_eq!(found, Run::Ended { run: "i".into(), exit, ran_for });
        }
        for (main, result) in [(code(1), "exit-code"), (None, "resources")] {
            let found = run_of(&unit(Active::Failed, main, result), None);
            assert!(matches!(found, Run::Ended { exit: Exit::NotStarted(_), .. }), "{found:?}");
        }
    }
}
