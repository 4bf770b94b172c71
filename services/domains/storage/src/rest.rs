//! File systems of running guests at rest for the moment of a snapshot.
//!
//! A guest whose file systems are at rest stands still at its next write, so they are let go on whatever happens: who
//! is asked to rest is written down before, and every pass over the snapshot begins by letting those go on that are
//! written there, also in another run of the service. A guest that cannot or will not rest is copied all the same.

use skerry_engine::planned;
use skerry_model::{ConditionState, Id, Vm};

use crate::snapshots::Pass;
use crate::volumes::Stop;
use crate::{GuestPower, Rest};

impl Pass<'_> {
    /// Brings the file systems of these guests to rest, as far as they can. `asleep`: others are held by somebody
    /// else, so nothing can be asked of them.
    pub(crate) async fn freeze(&mut self, running: &[Id<Vm>], asleep: bool) -> Result<(), Stop> {
        self.status.frozen = running.to_vec();
        if !running.is_empty() {
            self.put().await?;
        }
        let mut why = asleep.then(|| "a guest was held by somebody else".to_owned());
        for vm in running {
            planned("freeze guest");
            match self.controller.guests.freeze(*vm).await {
                Rest::AtRest => {}
                Rest::NoAgent => {
                    self.status.frozen.retain(|other| other != vm);
                    why.get_or_insert_with(|| "its guest has no agent".to_owned());
                }
                Rest::Refused(reason) => {
                    self.status.frozen.retain(|other| other != vm);
                    why.get_or_insert(reason);
                }
                Rest::Unknown(reason) => {
                    why.get_or_insert(reason);
                }
            }
        }
        self.note_consistency(running.is_empty() && !asleep, why);
        Ok(())
    }

    fn note_consistency(&mut self, off: bool, why: Option<String>) {
        let (state, reason, message) = match why {
            Some(why) => {
                let message = format!(
                    "its file systems are as after a power cut of the guest, and may have to be repaired: {why}"
                );
                (ConditionState::False, "CrashConsistent", message)
            }
            None if off => (ConditionState::True, "GuestOff", String::new()),
            None => (ConditionState::True, "FileSystemsAtRest", String::new()),
        };
        let now = (self.controller.clock)();
        self.status.conditions.set("Consistent", state, reason, message, now);
    }

    /// Lets the file systems of all go on that are written down, and strikes those off that did.
    pub(crate) async fn thaw_all(&mut self) {
        for vm in self.status.frozen.clone() {
            planned("thaw guest");
            let guests = &self.controller.guests;
            let done = match guests.thaw(vm).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%vm, %error, "the file systems of a guest could not be let go on");
                    // With its process its file systems are gone from memory too.
                    matches!(guests.power(vm).await, Ok(GuestPower::Off))
                }
            };
            if done {
                self.status.frozen.retain(|other| *other != vm);
            }
        }
    }

    /// Tells of guests that have not let their file systems go on.
    pub(crate) fn note_frozen(&mut self) {
        if self.status.frozen.is_empty() {
            return self.status.conditions.clear("Frozen");
        }
        let message = "a guest's agent does not let its file systems go on; it is asked every half minute: \
                       reset the guest if it stands still";
        let now = (self.controller.clock)();
        let state = ConditionState::True;
        self.status.conditions.set("Frozen", state, "AgentDoesNotAnswer", message, now);
    }
}
