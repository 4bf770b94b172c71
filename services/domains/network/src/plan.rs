//! The steps from what is to what should be.
//!
//! Pure. Removals come first, from the top down (service, wiring, bridge, uplink), then additions from the
//! bottom up (rules, forwarding, uplinks, bridges, wiring, services): nothing is reachable before its rules
//! are loaded. Equal sides give no steps. [`NetworkStep::waits_for`] says which later step must be left out
//! when an earlier one failed.

use crate::{Desired, NetworkObserved, NetworkStep, ServiceObserved};

/// What to do, in order.
pub fn plan(desired: &Desired, observed: &NetworkObserved) -> Vec<NetworkStep> {
    let mut steps = removals(desired, observed);
    steps.extend(base(desired, observed));
    steps.extend(networks(desired, observed));
    steps
}

fn removals(desired: &Desired, observed: &NetworkObserved) -> Vec<NetworkStep> {
    let mut steps = Vec::new();
    let unwanted = observed.services.keys().filter(|b| !desired.services.contains_key(*b));
    steps.extend(unwanted.map(|bridge| NetworkStep::StopService { bridge: bridge.clone() }));
    let unwanted =
        observed.attachments.iter().filter(|(ns, _)| !desired.attachments.contains_key(*ns));
    // A namespace takes its pair of devices along; others without a namespace are removed by name.
    let mut covered: Vec<&str> = desired.attachments.values().map(|a| a.device.as_str()).collect();
    for (namespace, found) in unwanted {
        covered.extend(found.as_ref().map(|a| a.device.as_str()));
        steps.push(NetworkStep::RemoveAttachment { namespace: namespace.clone() });
    }
    let stray = observed.veths.iter().filter(|device| !covered.contains(&device.as_str()));
    steps.extend(stray.map(|device| NetworkStep::RemoveVeth { device: device.clone() }));
    let unwanted = observed.bridges.keys().filter(|b| !desired.bridges.contains_key(*b));
    steps.extend(unwanted.map(|bridge| NetworkStep::RemoveBridge { bridge: bridge.clone() }));
    let unwanted = observed.nics.iter().filter(|(d, n)| n.managed && !desired.uplinks.contains(*d));
    steps.extend(unwanted.map(|(d, _)| NetworkStep::ReleaseUplink { device: d.clone() }));
    steps
}

fn base(desired: &Desired, observed: &NetworkObserved) -> Vec<NetworkStep> {
    let mut steps = Vec::new();
    if observed.rules.as_ref() != Some(&desired.rules.mark) {
        steps.push(NetworkStep::LoadRules(desired.rules.clone()));
    }
    if desired.forwarding && !observed.forwarding {
        steps.push(NetworkStep::EnableForwarding);
    }
    if desired.metadata && !observed.metadata {
        steps.push(NetworkStep::AnswerGuests);
    }
    let unmanaged = |device: &&String| observed.nics.get(*device).is_some_and(|nic| !nic.managed);
    let uplinks = desired.uplinks.iter().filter(unmanaged);
    steps.extend(uplinks.map(|device| NetworkStep::ManageUplink { device: device.clone() }));
    steps
}

fn networks(desired: &Desired, observed: &NetworkObserved) -> Vec<NetworkStep> {
    let mut steps = Vec::new();
    for (name, wanted) in &desired.bridges {
        if observed.bridges.get(name).and_then(Option::as_ref) != Some(wanted) {
            steps.push(NetworkStep::EnsureBridge(wanted.clone()));
        }
    }
    for (namespace, wanted) in &desired.attachments {
        if observed.attachments.get(namespace).and_then(Option::as_ref) != Some(wanted) {
            steps.push(NetworkStep::EnsureAttachment(wanted.clone()));
        }
    }
    for (bridge, wanted) in &desired.services {
        let (bridge, files) = (bridge.clone(), wanted.clone());
        match observed.services.get(&bridge) {
            Some(ServiceObserved { running: true, files: found }) if *found == files => {}
            Some(ServiceObserved { running: true, files: found })
                if found.config == files.config =>
            {
                steps.push(NetworkStep::ReloadService { bridge, files });
            }
            _ => steps.push(NetworkStep::StartService { bridge, files }),
        }
    }
    steps
}

impl NetworkStep {
    /// The bridge that the step is about, if it is about one.
    pub fn bridge(&self) -> Option<&str> {
        match self {
            Self::StopService { bridge }
            | Self::RemoveBridge { bridge }
            | Self::StartService { bridge, .. }
            | Self::ReloadService { bridge, .. } => Some(bridge),
            Self::EnsureBridge(bridge) => Some(&bridge.name),
            Self::EnsureAttachment(attachment) => Some(&attachment.bridge),
            Self::RemoveAttachment { .. }
            | Self::RemoveVeth { .. }
            | Self::ReleaseUplink { .. }
            | Self::LoadRules(_)
            | Self::EnableForwarding
            | Self::AnswerGuests
            | Self::ManageUplink { .. } => None,
        }
    }

    /// Whether this step must not be tried after `failed` has failed: it builds on it or collides with
    /// what `failed` left behind. Uplinks wait for nothing, not even for the rules: the only listener on
    /// them has its own authentication, and a node that cannot be reached cannot be repaired.
    pub fn waits_for(&self, failed: &Self) -> bool {
        match (self, failed) {
            (
                Self::EnsureAttachment(_) | Self::StartService { .. } | Self::AnswerGuests,
                Self::LoadRules(_),
            ) => true,
            (
                Self::EnsureAttachment(_) | Self::StartService { .. } | Self::ReloadService { .. },
                Self::EnsureBridge(bridge),
            ) => self.bridge() == Some(bridge.name.as_str()),
            // What could not be removed may still hold an address that is wanted elsewhere now.
            (
                Self::EnsureAttachment(_),
                Self::RemoveAttachment { .. } | Self::RemoveVeth { .. },
            )
            | (Self::EnsureBridge(_), Self::RemoveBridge { .. }) => true,
            (Self::RemoveBridge { bridge }, Self::StopService { bridge: left }) => bridge == left,
            _ => false,
        }
    }

    /// A few words for logs and conditions.
    pub fn summary(&self) -> String {
        match self {
            Self::StopService { bridge } => format!("stop DHCP and DNS on {bridge}"),
            Self::RemoveAttachment { namespace } => format!("remove namespace {namespace}"),
            Self::RemoveVeth { device } => format!("remove device {device}"),
            Self::RemoveBridge { bridge } => format!("remove bridge {bridge}"),
            Self::ReleaseUplink { device } => format!("release uplink {device}"),
            Self::LoadRules(_) => "load packet rules".to_owned(),
            Self::EnableForwarding => "enable forwarding".to_owned(),
            Self::AnswerGuests => "take the address at which guests ask for their data".to_owned(),
            Self::ManageUplink { device } => format!("look after uplink {device}"),
            Self::EnsureBridge(bridge) => format!("set up bridge {}", bridge.name),
            Self::EnsureAttachment(a) => format!("wire {} to {}", a.namespace, a.bridge),
            Self::StartService { bridge, .. } => format!("start DHCP and DNS on {bridge}"),
            Self::ReloadService { bridge, .. } => format!("reload DHCP and DNS on {bridge}"),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
