//! The size of a machine that runs: processors are added where its definition leaves room for them.

use super::Pass;
use crate::report::Note;
use crate::{DomainDefinition, plan_size};

impl Pass<'_> {
    /// Gives a running guest the processors that are wanted for it. What fails is tried again by the next pass; the
    /// guest runs on as it is.
    pub(super) async fn keep_size(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let steps = plan_size(wanted, observed);
        if steps.is_empty() {
            return;
        }
        if let Err(error) = self.apply(steps).await {
            self.note = Some(Note::of("SizeNotChanged", &error));
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
    }

    /// Whether the guest has another number of processors than is wanted, which its definition does not tell.
    pub(super) fn size_differs(&self, wanted: &DomainDefinition) -> bool {
        let has = self.observed.as_ref().and_then(|domain| domain.vcpus);
        wanted.hardware.max_vcpus.is_some() && has.is_some_and(|has| has != wanted.vcpus)
    }
}
