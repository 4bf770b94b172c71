//! Huge pages of a pod: set aside before its first container starts, given back once it is down.
//!
//! What it has stands in its status, so that a restart of noded changes nothing and the account is worked out from records
//! alone. It must not choose them: others have some, too, and [`PageAccount`] knows of all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skerry_model::{HugePageSize, HugePagesTaken, Id, Phase, Pod, are_as_many};

use crate::decide::{Decision, Facts, Missing};
use crate::{PodEvent, Want};

/// How often a pod for which there are too few looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The account of the machine's huge pages, of pods and of whoever else has some.
#[async_trait]
pub trait PageAccount: Send + Sync + 'static {
    /// While what this gives is held, nobody else takes any.
    async fn turn(&self) -> Box<dyn Send>;

    /// Huge pages for a pod that is to start, `wanted` by size and number; `held` is what its status says. Otherwise a
    /// sentence on what is short, with the numbers.
    fn find(
        &self,
        pod: Id<Pod>,
        wanted: &[(HugePageSize, u64)],
        held: &[HugePagesTaken],
    ) -> Result<Vec<HugePagesTaken>, String>;
}

/// What a look at a pod's huge pages came to.
pub(crate) enum Pages {
    /// It has what it needs.
    Settled,
    /// These are to be written down as its own, before anything else. What comes with them is held until they are.
    Write(Vec<HugePagesTaken>, Option<Box<dyn Send>>),
    /// It has to wait.
    Short(Missing),
}

/// Looks whether a pod needs huge pages, or has some that it does not need. While a container has a process nothing is
/// changed; those of a pod that is to have others are taken down before.
pub(crate) async fn look(
    account: Option<&Arc<dyn PageAccount>>,
    facts: &Facts<'_>,
    decision: &Decision,
) -> Pages {
    let (held, wanted) = (&facts.pod.status.huge_pages, facts.pod.spec.huge_pages());
    if facts.observed.any_live() || facts.pod.meta.phase != Phase::Present {
        return Pages::Settled;
    }
    let free = !held.is_empty() && !facts.has_pages_in_folders();
    if free && (rests(decision.event) || !are_as_many(held, &wanted)) {
        return Pages::Write(Vec::new(), None);
    }
    let starts = decision.wanted.containers.iter().any(|(_, want)| matches!(want, Want::Run(_)));
    if !starts || wanted.is_empty() {
        return Pages::Settled;
    }
    let Some(account) = account else {
        return short("this node hands out no huge pages: ask for none in `huge_pages`".to_owned());
    };
    let turn = account.turn().await;
    match account.find(facts.pod.id(), &wanted, held) {
        Ok(found) if found == *held => Pages::Settled,
        Ok(found) => Pages::Write(found, Some(turn)),
        // What it cannot use is for others.
        Err(_) if free => Pages::Write(Vec::new(), Some(turn)),
        Err(why) => short(why),
    }
}

/// Whether nothing of the pod runs, or will by itself.
pub(crate) const fn rests(event: PodEvent) -> bool {
    matches!(event, PodEvent::Down | PodEvent::EndedWell | PodEvent::EndedBadly)
}

fn short(why: String) -> Pages {
    Pages::Short(Missing { again: Some(LOOK_AGAIN), ..Missing::new(None, why) })
}
