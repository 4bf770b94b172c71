//! From the node's own facts to O2 inventory objects.
//!
//! Pure: the same facts give the same objects. Nothing is stored, and nothing that the machine does not tell is
//! made up: a vendor that is not known is `unknown`.

mod manager;
mod parts;

use serde_json::{Value, json};
use skerry_upkeep::{Inventory, Summary};

use crate::identity::Identities;
use crate::wire::{
    CloudInfo, DeploymentManagerInfo, Pairs, ResourceInfo, ResourcePoolInfo, ResourceTypeInfo,
};
use parts::Part;

/// What the objects are made from.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Live facts.
    pub summary: Summary,
    /// The machine's parts.
    pub inventory: Inventory,
}

/// The text for what is not known but must be there.
const UNKNOWN: &str = "unknown";

/// All objects of the inventory API; every list is ordered by id.
pub struct Objects {
    /// The O-Cloud.
    pub cloud: CloudInfo,
    /// Types.
    pub types: Vec<ResourceTypeInfo>,
    /// Pools.
    pub pools: Vec<ResourcePoolInfo>,
    /// Resources of the one pool: the server, and each of its parts.
    pub resources: Vec<ResourceInfo>,
    /// Deployment managers.
    pub managers: Vec<DeploymentManagerInfo>,
}

impl Objects {
    /// Makes the objects. `api_root` is where the caller reached the node, without a slash at the end.
    pub fn new(facts: &Facts, api_root: &str) -> Self {
        let ids = Identities::new(&facts.summary.node_id);
        let parts = parts::of(&facts.inventory);
        Self {
            cloud: cloud(&facts.summary, &ids, api_root),
            types: types(&parts),
            pools: vec![pool(&facts.summary, &ids)],
            resources: resources(&parts, &ids),
            managers: vec![manager::etsi(facts, &ids, api_root)],
        }
    }
}

fn cloud(summary: &Summary, ids: &Identities, api_root: &str) -> CloudInfo {
    let alarms = &summary.alarms;
    CloudInfo {
        o_cloud_id: ids.cloud(),
        // Until an SMO has given the node another one.
        global_cloud_id: ids.cloud(),
        name: summary.hostname.clone(),
        description: format!("Skerry node {}", summary.hostname),
        service_uri: api_root.to_owned(),
        extensions: Some(pairs(json!({
            "softwareVersion": summary.version,
            "ready": summary.ready,
            "uptimeSeconds": summary.uptime_s,
            "alarms": {
                "critical": alarms.critical,
                "major": alarms.major,
                "minor": alarms.minor,
                "warning": alarms.warning,
            },
        }))),
    }
}

fn pool(summary: &Summary, ids: &Identities) -> ResourcePoolInfo {
    ResourcePoolInfo {
        resource_pool_id: ids.pool(),
        name: summary.hostname.clone(),
        o_cloud_site_id: ids.site(),
        description: format!("The machine of {}", summary.hostname),
        extensions: Some(pairs(json!({ "board": summary.board }))),
    }
}

fn types(parts: &[Part]) -> Vec<ResourceTypeInfo> {
    let mut types: Vec<ResourceTypeInfo> = parts.iter().map(Part::resource_type).collect();
    types.sort_by(|a, b| a.resource_type_id.cmp(&b.resource_type_id));
    types.dedup_by(|a, b| a.resource_type_id == b.resource_type_id);
    types
}

/// The server with all parts as its elements, and each part by itself so that it can be found by filters.
fn resources(parts: &[Part], ids: &Identities) -> Vec<ResourceInfo> {
    let mut single: Vec<ResourceInfo> = Vec::with_capacity(parts.len());
    for part in parts {
        // Two parts that claim the same identity (a disk on two paths, a board without serial numbers) are
        // told apart by their place in the list.
        let mut key = part.key.clone();
        let mut copy = 1;
        while single.iter().any(|r| r.resource_id == ids.resource(part.sort.name(), &key)) {
            copy += 1;
            key = format!("{}\n{copy}", part.key);
        }
        single.push(part.resource(ids.resource(part.sort.name(), &key), ids.pool()));
    }
    let elements: Vec<ResourceInfo> = single.iter().skip(1).cloned().collect();
    if let Some(server) = single.first_mut() {
        server.elements = elements;
    }
    single.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
    single
}

/// An object without its `null` members.
fn pairs(value: Value) -> Pairs {
    let Value::Object(mut map) = value else { return Pairs::new() };
    map.retain(|_, value| !value.is_null());
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skerry_upkeep::{Disk, MemoryModule, Nic, Processor};
    use std::collections::BTreeSet;

    fn inventory(disks: Vec<Disk>) -> Inventory {
        Inventory {
            processors: vec![Processor { cores: 2, threads: 4, ..Processor::default() }],
            disks,
            nics: vec![Nic {
                name: "eth0".into(),
                mac: "52:54:00:00:00:01".into(),
                ..Nic::default()
            }],
            ..Inventory::default()
        }
    }

    fn objects(inventory: Inventory) -> Objects {
        Objects::new(&Facts { inventory, ..Facts::default() }, "https://node")
    }

    #[test]
    fn the_server_holds_its_parts_and_each_has_a_type() {
        let objects = objects(inventory(vec![Disk { name: "vda".into(), ..Disk::default() }]));
        let names: Vec<_> = objects.types.iter().map(|t| t.name.as_str()).collect();
        for sort in ["server", "processor", "memory", "disk", "nic"] {
            assert!(names.contains(&sort), "{sort} in {names:?}");
        }
        let servers: Vec<_> = objects.resources.iter().filter(|r| !r.elements.is_empty()).collect();
        assert_eq!(servers.len(), 1);
        assert_eq!(servers[0].elements.len(), 4);
        assert_eq!(objects.resources.len(), 5);
        for resource in &objects.resources {
            assert!(objects.types.iter().any(|t| t.resource_type_id == resource.resource_type_id));
            assert_eq!(resource.resource_pool_id, objects.pools[0].resource_pool_id);
        }
    }

    #[test]
    fn modules_take_the_place_of_the_memory_as_a_whole() {
        let mut with_modules = inventory(vec![]);
        let module = |slot: &str| MemoryModule { locator: slot.into(), ..MemoryModule::default() };
        with_modules.memory.modules = vec![module("DIMM 0"), module("DIMM 1")];
        assert_eq!(objects(with_modules).resources.len(), 5);
    }

    proptest! {
        /// Every part has an identity of its own, however alike parts are.
        #[test]
        fn identities_are_unique(serials in prop::collection::vec("[ab]{0,1}", 0..6)) {
            let disks = serials.iter().map(|serial| Disk {
                name: "sd".into(),
                serial: (!serial.is_empty()).then(|| serial.clone()),
                ..Disk::default()
            });
            let objects = objects(inventory(disks.collect()));
            let ids: BTreeSet<_> = objects.resources.iter().map(|r| &r.resource_id).collect();
            prop_assert_eq!(ids.len(), objects.resources.len());
            prop_assert_eq!(ids.len(), serials.len() + 4);
        }
    }
}
