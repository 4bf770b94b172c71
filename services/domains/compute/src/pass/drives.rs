//! The CD drives of a machine that runs.

use std::collections::BTreeSet;
use std::path::Path;

use skerry_model::{Image, Name, Resource, VmState};

use super::Pass;
use crate::plan_drives;
use crate::report::{Note, TRY_AGAIN};

impl Pass<'_> {
    /// Changes discs while the guest runs. One that has its disc in use keeps the drive shut: that is said, and tried again.
    pub(super) async fn keep_drives(&mut self) {
        let (Ok(wanted), Some(observed)) = (&self.definition, &self.observed) else { return };
        let steps = plan_drives(wanted, observed);
        if steps.is_empty() {
            return;
        }
        // Each drive by itself: one that is shut is no reason to leave the other as it is.
        for step in steps {
            if let Err(error) = self.apply(vec![step]).await {
                let note = Note::of("DiscNotChanged", &error);
                self.note = Some(Note { again: Some(TRY_AGAIN), ..note });
            }
        }
        // What failed shows in the next look, too.
        let _ = self.look().await;
    }

    /// CD images that its process has open or may open any moment.
    pub(super) fn open_media(&self) -> Vec<Name> {
        let mut open = BTreeSet::new();
        let up = self.observed.as_ref().filter(|domain| domain.power.is_up());
        let may_be = matches!(self.status.state, VmState::Starting | VmState::Stopping);
        if self.status.state == VmState::Suspended {
            // Its memory goes on with what it had.
            open.extend(self.status.media.iter().cloned());
        } else if up.is_some() || may_be {
            open.extend(self.vm.spec.media.iter().filter_map(|drive| drive.image.clone()));
        }
        let drives = up.map(|domain| domain.drives.as_slice()).unwrap_or_default();
        let discs: Vec<&Path> = drives.iter().filter_map(|drive| drive.disc.as_deref()).collect();
        if discs.is_empty() {
            return open.into_iter().collect();
        }
        // What cannot be asked is as it was.
        let Ok(images) = self.controller.store.list::<Image>() else {
            return self.status.media.clone();
        };
        let lies_in = |image: &&Resource<Image>| {
            image.spec.file("iso").is_some_and(|file| discs.contains(&Path::new(&file.path)))
        };
        open.extend(images.iter().filter(lies_in).map(|image| image.meta.name.clone()));
        open.into_iter().collect()
    }
}
