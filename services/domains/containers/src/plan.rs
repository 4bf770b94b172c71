//! The plan of a pod: a pure function of what is wanted and what is there.
//!
//! Order: first what must go, top-down (process, mount, bundle, layer, volume), then what must come, bottom-up
//! (volume, image, layer, bundle, mount, process). A container whose process is still there keeps everything below
//! it: the next plan, made after the process has ended, goes on. Equal wanted and observed give no steps.
//!
//! A container that is only to be prepared, since its network is still being wired, comes up as far as its mount.

use skerry_model::{Id, Name, Pod};

use crate::{
    ContainerDesired, ContainerObserved, Part, PodObserved, PodStep, PodWanted, Run, Want,
};

/// What to do next.
pub fn plan(wanted: &PodWanted, observed: &PodObserved) -> Vec<PodStep> {
    let mut steps = Vec::new();
    let pod = wanted.pod;
    let listed = |name: &Name| wanted.containers.iter().any(|(other, _)| other == name);
    for (name, found) in observed.containers.iter().filter(|(name, _)| !listed(name)) {
        take_down(pod, name, found, wanted.kill_strays, true, &mut steps);
    }
    // Stopped in the reverse of the order in which they start.
    for (name, want) in wanted.containers.iter().rev() {
        let found = observed.container(name);
        match want {
            Want::Down { kill } => take_down(pod, name, &found, *kill, false, &mut steps),
            Want::Gone { kill } => take_down(pod, name, &found, *kill, true, &mut steps),
            Want::Run(_) | Want::Prepare(_) | Want::Hold => {}
        }
    }
    volumes(wanted, observed, &mut steps);
    for (name, want) in &wanted.containers {
        let found = observed.container(name);
        match want {
            Want::Run(desired) => {
                import(desired, observed, &mut steps);
                bring_up(pod, desired, &found, &mut steps);
            }
            Want::Prepare(desired) => {
                import(desired, observed, &mut steps);
                prepare(pod, desired, &found, &mut steps);
            }
            Want::Down { .. } | Want::Gone { .. } | Want::Hold => {}
        }
    }
    let left = observed.containers.values().any(ContainerObserved::is_there)
        || !observed.volumes.is_empty();
    if wanted.gone && observed.folders && !left {
        steps.push(PodStep::RemoveFolders { pod });
    }
    steps
}

/// Volumes come before the first container and go after the last. While containers look at them, only files are
/// exchanged.
fn volumes(wanted: &PodWanted, observed: &PodObserved, steps: &mut Vec<PodStep>) {
    let Some(list) = &wanted.volumes else { return };
    let pod = wanted.pod;
    let live = observed.any_live();
    let comes_up = |want: &Want| matches!(want, Want::Run(_) | Want::Prepare(_));
    let starts = wanted.containers.iter().any(|(_, want)| comes_up(want));
    let there = observed.containers.values().any(ContainerObserved::is_there);
    for (name, part) in &observed.volumes {
        let found = list.iter().find(|volume| volume.name == *name);
        let strange = found.is_none_or(|volume| match part {
            Part::Made(from) => !volume.fits(from),
            Part::Absent | Part::Broken => false,
        });
        // In a pod that goes, a bundle or layer that is still to be removed goes first.
        let in_use = live || (wanted.gone && there);
        if strange && !in_use {
            steps.push(PodStep::RemoveVolume { pod, volume: name.clone() });
        }
    }
    for volume in list {
        let part = observed.volumes.get(&volume.name).cloned().unwrap_or_default();
        let fits = matches!(&part, Part::Made(from) if volume.fits(from));
        let present = part.is(&volume.made_from);
        let exchange = fits && (live || starts);
        let make = !fits && !live && starts;
        // One that was added while containers run, or never was whole, is for those that start now.
        let add = starts && !matches!(part, Part::Made(_));
        if !present && (exchange || make || add) {
            steps.push(PodStep::MakeVolume { pod, volume: Box::new(volume.clone()) });
        }
    }
}

fn take_down(
    pod: Id<Pod>,
    name: &Name,
    found: &ContainerObserved,
    kill: bool,
    layer_too: bool,
    steps: &mut Vec<PodStep>,
) {
    let container = name.clone();
    match (&found.run, kill) {
        (Run::Starting | Run::Running { .. } | Run::Stopping, true) => {
            return steps.push(PodStep::Kill { pod, container });
        }
        (Run::Starting | Run::Running { .. }, false) => {
            return steps.push(PodStep::Stop { pod, container });
        }
        (Run::Stopping, false) => return,
        (Run::Ended { .. }, _) => steps.push(PodStep::Forget { pod, container }),
        (Run::Absent, _) => {}
    }
    remove_bundle(pod, name, found, steps);
    if layer_too && found.layer.is_there() {
        steps.push(PodStep::RemoveLayer { pod, container: name.clone() });
    }
}

fn remove_bundle(pod: Id<Pod>, name: &Name, found: &ContainerObserved, steps: &mut Vec<PodStep>) {
    if found.mounted {
        steps.push(PodStep::UnmountRoot { pod, container: name.clone() });
    }
    if found.bundle.is_there() {
        steps.push(PodStep::RemoveBundle { pod, container: name.clone() });
    }
}

fn import(desired: &ContainerDesired, observed: &PodObserved, steps: &mut Vec<PodStep>) {
    let image = &desired.image;
    let queued = steps.iter().any(|step| {
        matches!(step, PodStep::ImportImage { image: other } if other.sha256 == image.sha256)
    });
    if !queued && !observed.images.contains(&image.sha256) {
        steps.push(PodStep::ImportImage { image: image.clone() });
    }
}

fn bring_up(
    pod: Id<Pod>,
    desired: &ContainerDesired,
    found: &ContainerObserved,
    steps: &mut Vec<PodStep>,
) {
    if found.run.is_live() {
        return;
    }
    let container = &desired.name;
    if let Run::Ended { .. } = found.run {
        steps.push(PodStep::Forget { pod, container: container.clone() });
    }
    make_ready(pod, desired, found, steps);
    steps.push(PodStep::Start { pod, container: Box::new(desired.clone()) });
}

/// What does not need the network. What runs or has run is left alone, and so is a layer of something else: what was
/// written to it goes when the container does start.
fn prepare(
    pod: Id<Pod>,
    desired: &ContainerDesired,
    found: &ContainerObserved,
    steps: &mut Vec<PodStep>,
) {
    let other = matches!(&found.layer, Part::Made(layer) if *layer != desired.layer);
    if found.run == Run::Absent && !other {
        make_ready(pod, desired, found, steps);
    }
}

/// All that a container is started on, where no process is.
fn make_ready(
    pod: Id<Pod>,
    desired: &ContainerDesired,
    found: &ContainerObserved,
    steps: &mut Vec<PodStep>,
) {
    let container = &desired.name;
    let layer_fits = found.layer.is(&desired.layer);
    let bundle_fits = found.bundle.is(&desired.bundle) && layer_fits;
    if !bundle_fits {
        remove_bundle(pod, container, found, steps);
    }
    if !layer_fits {
        if found.layer.is_there() {
            steps.push(PodStep::RemoveLayer { pod, container: container.clone() });
        }
        steps.push(PodStep::MakeLayer {
            pod,
            container: container.clone(),
            layer: desired.layer.clone(),
        });
    }
    let boxed = || Box::new(desired.clone());
    if !bundle_fits {
        steps.push(PodStep::WriteBundle { pod, container: boxed() });
    }
    if !bundle_fits || !found.mounted {
        steps.push(PodStep::MountRoot { pod, container: boxed() });
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
