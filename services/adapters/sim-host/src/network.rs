//! The simulated network: links, bridges, namespaces, rules and services.

use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use skerry_engine::Failure;
use skerry_network::{
    AddressObserved, NetworkHost, NetworkObserved, NetworkStep, NicObserved, Origin,
    ServiceObserved,
};
use tokio::sync::watch;

use crate::world::SimHost;

/// Networks as they are after power-on: two cards, of which the first has a cable and a DHCP server.
pub(crate) fn at_power_on() -> NetworkObserved {
    let card = |mac: &str, path: &str, carrier| NicObserved {
        mac: mac.to_owned(),
        path: Some(path.to_owned()),
        driver: Some("simulated".to_owned()),
        carrier,
        ..NicObserved::default()
    };
    let mut observed = NetworkObserved::default();
    observed.nics.insert("eth0".to_owned(), card("52:54:00:00:00:01", "0000:01:00.0", true));
    observed.nics.insert("eth1".to_owned(), card("52:54:00:00:00:02", "0000:02:00.0", false));
    observed
}

#[async_trait]
impl NetworkHost for SimHost {
    async fn observe(&self) -> Result<NetworkObserved, Failure> {
        Ok(self.world().network.clone())
    }

    async fn apply(&self, step: &NetworkStep) -> Result<(), Failure> {
        self.step(step_name(step), |world| take(&mut world.network, step))
            .await
            .map_err(Failure::retry)?
            .map_err(Failure::retry)?;
        self.network_changed();
        Ok(())
    }

    fn events(&self) -> watch::Receiver<u64> {
        self.network_events()
    }
}

const fn step_name(step: &NetworkStep) -> &'static str {
    match step {
        NetworkStep::StopService { .. } => "StopService",
        NetworkStep::RemoveAttachment { .. } => "RemoveAttachment",
        NetworkStep::RemoveVeth { .. } => "RemoveVeth",
        NetworkStep::RemoveBridge { .. } => "RemoveBridge",
        NetworkStep::ReleaseUplink { .. } => "ReleaseUplink",
        NetworkStep::LoadRules(_) => "LoadRules",
        NetworkStep::EnableForwarding => "EnableForwarding",
        NetworkStep::AnswerGuests => "AnswerGuests",
        NetworkStep::ManageUplink { .. } => "ManageUplink",
        NetworkStep::EnsureBridge(_) => "EnsureBridge",
        NetworkStep::EnsureAttachment(_) => "EnsureAttachment",
        NetworkStep::StartService { .. } => "StartService",
        NetworkStep::ReloadService { .. } => "ReloadService",
    }
}

/// The step's effect, or why the kernel would refuse it.
fn take(network: &mut NetworkObserved, step: &NetworkStep) -> Result<(), String> {
    match step {
        NetworkStep::StopService { bridge } => {
            network.services.remove(bridge);
        }
        NetworkStep::RemoveAttachment { namespace } => {
            if let Some(Some(attachment)) = network.attachments.remove(namespace) {
                network.veths.remove(&attachment.device);
            }
        }
        NetworkStep::RemoveVeth { device } => {
            network.veths.remove(device);
        }
        NetworkStep::RemoveBridge { bridge } => {
            network.bridges.remove(bridge);
        }
        NetworkStep::ReleaseUplink { device } => nic(network, device)?.managed = false,
        NetworkStep::LoadRules(rules) => network.rules = Some(rules.mark.clone()),
        NetworkStep::EnableForwarding => network.forwarding = true,
        NetworkStep::AnswerGuests => network.metadata = true,
        NetworkStep::ManageUplink { device } => manage(nic(network, device)?),
        NetworkStep::EnsureBridge(bridge) => {
            network.bridges.insert(bridge.name.clone(), Some(bridge.clone()));
        }
        NetworkStep::EnsureAttachment(attachment) => {
            if !network.bridges.contains_key(&attachment.bridge) {
                return Err(format!("there is no bridge {}", attachment.bridge));
            }
            network.veths.insert(attachment.device.clone());
            network.attachments.insert(attachment.namespace.clone(), Some(attachment.clone()));
        }
        NetworkStep::StartService { bridge, files }
        | NetworkStep::ReloadService { bridge, files } => {
            if !network.bridges.contains_key(bridge) {
                return Err(format!("there is no bridge {bridge} to listen on"));
            }
            let service = ServiceObserved { running: true, files: files.clone() };
            network.services.insert(bridge.clone(), service);
        }
    }
    Ok(())
}

fn nic<'a>(network: &'a mut NetworkObserved, device: &str) -> Result<&'a mut NicObserved, String> {
    network.nics.get_mut(device).ok_or_else(|| format!("there is no card {device}"))
}

fn manage(nic: &mut NicObserved) {
    nic.up = true;
    nic.managed = true;
    if nic.carrier && nic.addresses.is_empty() {
        nic.addresses.push(AddressObserved {
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            prefix: 24,
            origin: Origin::Dhcp,
        });
        nic.gateway = Some(Ipv4Addr::new(192, 0, 2, 1));
        nic.dns = vec![Ipv4Addr::new(192, 0, 2, 1)];
    }
}
