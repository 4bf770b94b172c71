//! What of a pod's status is left out when its record cannot hold all of it.
//!
//! A record of the store has a limit. What is known of a pod must never keep it from being stopped or deleted, so
//! that what does not fit is left out: earlier revisions first, in the end all of them.

use skerry_model::{PodSpec, PodStatus, Timestamp};

use crate::rollout;
use crate::status::history_cut;

/// Most characters of a text that others wrote, such as a runtime's error.
const MOST_TEXT: usize = 1000;

/// A text, cut if it is too long for a status.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Ever smaller forms of a status, for a record that did not take the whole of it.
pub(crate) fn smaller(spec: &PodSpec, status: &PodStatus, now: Timestamp) -> [PodStatus; 2] {
    let most = spec.update.history;
    let mut needed = status.clone();
    rollout::prune(spec, &mut needed.history, 0);
    history_cut(&mut needed, &status.history, most, now);
    let mut least = PodStatus { history: Vec::new(), risks: Vec::new(), ..status.clone() };
    history_cut(&mut least, &status.history, most, now);
    [needed, least]
}
