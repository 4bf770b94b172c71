//! Memory that a virtual machine may be given while it runs.

use crate::{Invalid, VmSpec};

/// Memory comes in steps of so many MiB: a Linux guest of less than 64 GiB manages its memory in blocks of that size, and
/// leaves unused what does not fill one.
pub const MEMORY_STEP_MIB: u64 = 128;

impl VmSpec {
    /// How much more memory than at its start it may be given while it runs, in MiB.
    pub fn spare_memory_mib(&self) -> u64 {
        self.max_memory_mib.map_or(0, |most| most.saturating_sub(self.memory_mib))
    }

    pub(crate) fn validate_max_memory(&self, found: &mut Invalid) {
        let Some(most) = self.max_memory_mib else { return };
        if !(self.memory_mib..=1_048_576).contains(&most) {
            let least = self.memory_mib;
            let message = format!("must be {least} to 1048576, memory_mib being the least");
            found.add("spec.max_memory_mib", message);
        } else if !self.spare_memory_mib().is_multiple_of(MEMORY_STEP_MIB) {
            let message = format!(
                "must be memory_mib and a multiple of {MEMORY_STEP_MIB}, in which steps memory is given: {} and {} MiB are apart by {}",
                self.memory_mib,
                most,
                self.spare_memory_mib()
            );
            found.add("spec.max_memory_mib", message);
        }
        found.require(
            self.huge_pages.is_none(),
            "spec.max_memory_mib",
            "cannot be set with huge pages, which are given out when it starts",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Validate;

    fn spec(memory: u64, most: u64) -> VmSpec {
        let spec =
            serde_json::json!({"image": "tiny", "memory_mib": memory, "max_memory_mib": most});
        serde_json::from_value(spec).unwrap()
    }

    fn faults(spec: &VmSpec) -> Vec<String> {
        let mut found = Invalid::default();
        spec.validate(&mut found);
        let fault = |fault: &crate::Violation| format!("{}: {}", fault.field, fault.message);
        found.violations().iter().map(fault).collect()
    }

    #[test]
    fn memory_may_grow_in_steps_from_what_it_starts_with() {
        for (memory, most) in [(128, 128), (128, 256), (100, 228), (256, 1_048_576)] {
            assert_eq!(faults(&spec(memory, most)), Vec::<String>::new(), "{memory} {most}");
        }
        assert_eq!(spec(128, 512).spare_memory_mib(), 384);
        for (memory, most, told) in [
            (256, 128, "must be 256 to 1048576"),
            (256, 1_048_704, "must be 256 to 1048576"),
            (128, 200, "are apart by 72"),
        ] {
            let faults = faults(&spec(memory, most));
            let one = faults.len() == 1 && faults[0].starts_with("spec.max_memory_mib: ");
            assert!(one && faults[0].contains(told), "{faults:?}");
        }
    }

    #[test]
    fn huge_pages_are_given_out_at_the_start() {
        let spec = VmSpec { huge_pages: Some(crate::HugePageSize::Mib2), ..spec(128, 256) };
        assert!(faults(&spec)[0].contains("cannot be set with huge pages"));
    }

    #[test]
    fn unset_it_is_not_written() {
        let plain: VmSpec = serde_json::from_str(r#"{"image": "tiny"}"#).unwrap();
        assert!(!serde_json::to_string(&plain).unwrap().contains("max_memory"));
        assert_eq!(plain.spare_memory_mib(), 0);
    }
}
