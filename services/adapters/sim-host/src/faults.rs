//! What is to go wrong, and when.

use std::collections::BTreeMap;
use std::time::Duration;

/// Faults that a test or a person has ordered.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    /// Steps that fail: how many more times, by step name.
    failing: BTreeMap<String, u32>,
    /// Power goes after this many more steps.
    power_cut_after: Option<u32>,
    /// Every step takes this long.
    pub delay: Duration,
    /// Steps taken since the last power-on.
    pub steps: u32,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Fails,
    /// The step has its effect, or not, and then the machine is dark.
    PowerLost,
}

impl FaultPlan {
    /// The named step fails so many times from now on. Names are those of the steps' variants, such as `EnsureBridge`.
    pub fn fail(&mut self, step: &str, times: u32) {
        self.failing.insert(step.to_owned(), times);
    }

    /// Power goes after so many more steps.
    pub fn cut_power_after(&mut self, steps: u32) {
        self.power_cut_after = Some(steps);
    }

    pub(crate) fn fate(&mut self, step: &str) -> Fate {
        self.steps = self.steps.saturating_add(1);
        if let Some(left) = &mut self.power_cut_after {
            if *left == 0 {
                self.power_cut_after = None;
                return Fate::PowerLost;
            }
            *left -= 1;
        }
        match self.failing.get_mut(step) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Fate::Fails
            }
            _ => Fate::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_when_ordered_and_then_end() {
        let mut plan = FaultPlan::default();
        plan.fail("Start", 2);
        assert_eq!(plan.fate("Start"), Fate::Fails);
        assert_eq!(plan.fate("Define"), Fate::Done);
        assert_eq!(plan.fate("Start"), Fate::Fails);
        assert_eq!(plan.fate("Start"), Fate::Done);
        plan.cut_power_after(1);
        assert_eq!(plan.fate("Start"), Fate::Done);
        assert_eq!(plan.fate("Start"), Fate::PowerLost);
        assert_eq!(plan.fate("Start"), Fate::Done);
    }
}
