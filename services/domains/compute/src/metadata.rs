//! What a guest is told when it asks for its data over the network, as in clouds.
//!
//! Pure: a machine's record and its port become texts by path, in the two forms that cloud-init and others know:
//! that of EC2 (`latest/`) and that of OpenStack (`openstack/latest/`). Any program in the guest may ask, so the
//! password for the image's account is not among them: it is on the small disk only ([`crate::Seed`]), which only
//! the guest's root can read. A machine that does not ask for it by `spec.init.metadata` is told nothing.

use serde_json::{Map, Value, json};
use skerry_model::{GuestMetadata, Hidden, MetadataEntry, Port, Resource, Vm, VmInit};

use crate::cloud_init::{hostname, instance_id};

/// What the guest of a machine is told, if it is to be told anything. `ports` are those of its interfaces, in any order,
/// and `mtu` is that of its networks.
pub fn metadata(vm: &Resource<Vm>, ports: &[Resource<Port>], mtu: u32) -> Option<GuestMetadata> {
    let init = vm.spec.init.as_ref().filter(|init| init.metadata)?;
    let ports = in_order(vm, ports);
    let mut entries = ec2(vm, init, ports.first()?);
    entries.extend(openstack(vm, init, &ports, mtu));
    let user_data = init.user_data.as_ref().filter(|text| !text.reveal().is_empty());
    for path in ["latest/user-data", "openstack/latest/user_data"] {
        entries.extend(user_data.map(|text| (path.to_owned(), text.reveal().to_owned())));
    }
    entries.sort();
    let entry = |(path, text)| MetadataEntry { path, text: Hidden::new(text) };
    Some(GuestMetadata { vm: vm.meta.id, entries: entries.into_iter().map(entry).collect() })
}

/// The ports of a machine in the order of its interfaces.
fn in_order<'p>(vm: &Resource<Vm>, ports: &'p [Resource<Port>]) -> Vec<&'p Resource<Port>> {
    let named = |name| ports.iter().find(|port| port.spec.further.as_ref() == name);
    let further = vm.spec.nics.iter().map(|nic| Some(&nic.network));
    [None].into_iter().chain(further).filter_map(named).collect()
}

/// The form of EC2: one text for each path.
fn ec2(vm: &Resource<Vm>, init: &VmInit, port: &Resource<Port>) -> Vec<(String, String)> {
    let name = hostname(vm, init);
    let mut entries = vec![
        ("hostname", name.clone()),
        ("instance-id", instance_id(vm, init)),
        ("local-hostname", name),
        ("local-ipv4", port.spec.address.to_string()),
        ("mac", port.spec.mac.to_ascii_lowercase()),
    ]
    .into_iter()
    .map(|(key, text)| (format!("latest/meta-data/{key}"), text))
    .collect::<Vec<_>>();
    for (index, key) in init.ssh_keys.iter().enumerate() {
        let path = format!("latest/meta-data/public-keys/{index}/openssh-key");
        entries.push((path, format!("{}\n", key.trim_end())));
    }
    entries
}

/// The form of OpenStack: a few JSON documents. Its data of vendors is the node's, which has none to tell.
fn openstack(
    vm: &Resource<Vm>,
    init: &VmInit,
    ports: &[&Resource<Port>],
    mtu: u32,
) -> Vec<(String, String)> {
    let named =
        |(index, key): (usize, &String)| (format!("key-{index}"), key.trim_end().to_owned());
    let keys: Vec<(String, String)> = init.ssh_keys.iter().enumerate().map(named).collect();
    let mut meta = json!({
        "uuid": vm.meta.id,
        "name": vm.meta.name,
        "hostname": hostname(vm, init),
        "launch_index": 0,
        "meta": {},
    });
    if let (Value::Object(meta), false) = (&mut meta, keys.is_empty()) {
        let by_name: Map<_, _> = keys.iter().map(|(n, k)| (n.clone(), json!(k))).collect();
        let listed =
            keys.iter().map(|(name, key)| json!({"name": name, "type": "ssh", "data": key}));
        meta.insert("keys".to_owned(), listed.collect());
        meta.insert("public_keys".to_owned(), Value::Object(by_name));
    }
    let numbered = || ports.iter().enumerate();
    let link = |(number, port): (usize, &&Resource<Port>)| {
        json!({
            "id": format!("port{number}"), "type": "phy", "mtu": mtu, "vif_id": port.meta.id,
            "ethernet_mac_address": port.spec.mac.to_ascii_lowercase(),
        })
    };
    let network = |(number, port): (usize, &&Resource<Port>)| {
        json!({
            "id": format!("network{number}"), "type": "ipv4_dhcp", "link": format!("port{number}"),
            "network_id": port.spec.network,
        })
    };
    let network = json!({
        "links": numbered().map(link).collect::<Vec<_>>(),
        "networks": numbered().map(network).collect::<Vec<_>>(),
        "services": [],
    });
    [
        ("meta_data.json", meta),
        ("network_data.json", network),
        ("vendor_data.json", json!({})),
        ("vendor_data2.json", json!({})),
    ]
    .map(|(name, value)| (format!("openstack/latest/{name}"), value.to_string()))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Seed;
    use crate::testing::vm_resource;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada\": x";

    fn port() -> Resource<Port> {
        Resource {
            meta: vm_resource(json!({"image": "debian"})).meta,
            spec: serde_json::from_value(json!({
                "network": "00000000-0000-0000-0000-000000000001",
                "workload": {"kind": "Vm", "id": "00000000-0000-0000-0000-000000000007"},
                "hostname": "web", "mac": "02:00:00:00:00:AA", "address": "10.88.0.2", "publish": [],
            }))
            .unwrap(),
            status: Default::default(),
        }
    }

    fn further() -> Resource<Port> {
        let mut port = port();
        port.spec.further = Some("lab".parse().unwrap());
        port.spec.mac = "02:00:00:00:00:BB".to_owned();
        port.spec.address = "10.89.0.2".parse().unwrap();
        port
    }

    fn told(init: Value) -> Option<BTreeMap<String, String>> {
        let nics = json!([{"network": "lab"}]);
        let vm = vm_resource(json!({"image": "debian", "init": init, "nics": nics}));
        let told = metadata(&vm, &[further(), port()], 1500)?;
        assert_eq!(told.vm, vm.meta.id);
        let paths: Vec<_> = told.entries.iter().map(|entry| entry.path.clone()).collect();
        assert!(paths.is_sorted());
        Some(told.entries.into_iter().map(|e| (e.path, e.text.reveal().to_owned())).collect())
    }

    #[test]
    fn who_did_not_ask_for_it_is_told_nothing() {
        assert_eq!(metadata(&vm_resource(json!({"image": "debian"})), &[port()], 1500), None);
        assert_eq!(told(json!({"user_data": "#!/bin/sh\n"})), None);
        assert_eq!(told(json!({"metadata": false})), None);
    }

    #[test]
    fn the_paths_are_those_that_cloud_init_asks_for() {
        let told = told(json!({"metadata": true})).unwrap();
        let paths: Vec<_> = told.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "latest/meta-data/hostname",
                "latest/meta-data/instance-id",
                "latest/meta-data/local-hostname",
                "latest/meta-data/local-ipv4",
                "latest/meta-data/mac",
                "openstack/latest/meta_data.json",
                "openstack/latest/network_data.json",
                "openstack/latest/vendor_data.json",
                "openstack/latest/vendor_data2.json",
            ]
        );
        assert_eq!(told["latest/meta-data/local-ipv4"], "10.88.0.2");
        assert_eq!(told["latest/meta-data/mac"], "02:00:00:00:00:aa");
        assert_eq!(told["latest/meta-data/hostname"], "web");
        let meta: Value = serde_json::from_str(&told["openstack/latest/meta_data.json"]).unwrap();
        assert_eq!(meta["uuid"], "00000000-0000-0000-0000-000000000007");
        assert_eq!(meta.get("public_keys"), None, "an empty list of keys is none");
    }

    #[test]
    fn every_value_arrives_as_itself_and_the_password_does_not() {
        let told = told(json!({
            "metadata": true, "user_data": "#!/bin/sh\necho hello\n", "ssh_keys": [KEY, KEY],
            "hostname": "db.lab", "password": "$6$salt$swordfish",
        }))
        .unwrap();
        for path in ["latest/user-data", "openstack/latest/user_data"] {
            assert_eq!(told[path], "#!/bin/sh\necho hello\n");
        }
        assert_eq!(told["latest/meta-data/public-keys/1/openssh-key"], format!("{KEY}\n"));
        assert_eq!(told["latest/meta-data/local-hostname"], "db.lab");
        let meta: Value = serde_json::from_str(&told["openstack/latest/meta_data.json"]).unwrap();
        assert_eq!(meta["public_keys"], json!({"key-0": KEY, "key-1": KEY}));
        assert_eq!(meta["keys"][1], json!({"name": "key-1", "type": "ssh", "data": KEY}));
        let network = &told["openstack/latest/network_data.json"];
        let network: Value = serde_json::from_str(network).unwrap();
        assert_eq!(network["links"][0]["ethernet_mac_address"], "02:00:00:00:00:aa");
        assert_eq!(network["networks"][0]["type"], "ipv4_dhcp");
        assert_eq!(network["links"][1]["ethernet_mac_address"], "02:00:00:00:00:bb");
        assert_eq!(network["networks"][1]["link"], "port1");
        assert!(!told.values().any(|text| text.contains("swordfish")));
    }

    #[test]
    fn the_small_disk_knows_the_instance_by_the_same_name_and_stays_as_it_is() {
        let of = |init: Value| vm_resource(json!({"image": "debian", "init": init}));
        let (off, on) =
            (of(json!({"hostname": "a"})), of(json!({"hostname": "a", "metadata": true})));
        assert_eq!(Seed::of(&off), Seed::of(&on), "no machine is defined anew for this");
        let told = metadata(&on, &[port()], 1500).unwrap();
        let instance = told.entries.iter().find(|e| e.path == "latest/meta-data/instance-id");
        let seed = Seed::of(&on).unwrap();
        let meta = &seed.files.iter().find(|(name, _)| name == "meta-data").unwrap().1;
        assert!(meta.reveal().contains(instance.unwrap().text.reveal()));
    }
}
