//! The files by which cloud-init in a guest learns who it is (data source NoCloud).
//!
//! Pure: a machine's record becomes the content of four small files. What a caller wrote goes into them as it
//! is; what the node adds, it writes as JSON, which is YAML, so that no value can become another key.

use serde::Serialize;
use serde_json::{Value, json};
use skerry_model::{Hidden, Resource, Vm, VmInit};

/// What the small disk holds. Equal seeds are equal disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seed {
    /// Names of files, and what they hold.
    pub files: Vec<(String, Hidden)>,
}

impl Seed {
    /// The seed of a machine, if it is to have one.
    pub fn of(vm: &Resource<Vm>) -> Option<Self> {
        let init = vm.spec.init.as_ref()?;
        let mut files = told(init);
        let meta = json!({
            "instance-id": instance_id(vm, init),
            "local-hostname": hostname(vm, init),
            "public-keys": init.ssh_keys,
        });
        files.push(("meta-data", meta.to_string()));
        let files = files.into_iter().map(|(name, text)| (name.to_owned(), Hidden::new(text)));
        Some(Self { files: files.collect() })
    }
}

/// What is given to the guest, without what the node knows itself.
fn told(init: &VmInit) -> Vec<(&'static str, String)> {
    let user_data = init.user_data.as_ref().map(Hidden::reveal).unwrap_or_default();
    let mut files = vec![("user-data", user_data.to_owned()), ("vendor-data", vendor(init))];
    files.extend(init.network_data.clone().map(|network| ("network-config", network)));
    files
}

/// The guest's name.
pub(crate) fn hostname(vm: &Resource<Vm>, init: &VmInit) -> String {
    init.hostname.clone().unwrap_or_else(|| vm.meta.name.to_string())
}

/// By what cloud-init knows an instance: it does what it does once for each when this changes.
pub(crate) fn instance_id(vm: &Resource<Vm>, init: &VmInit) -> String {
    let parts = json!([told(init), hostname(vm, init), &init.ssh_keys]).to_string();
    let digest: String = blake3::hash(parts.as_bytes()).to_hex().chars().take(8).collect();
    format!("{}-{digest}", vm.id())
}

/// What the node itself asks of cloud-init. User-data goes before it.
fn vendor(init: &VmInit) -> String {
    let Some(password) = &init.password else { return "#cloud-config\n{}\n".to_owned() };
    let wanted = json!({
        "password": password.reveal(),
        "chpasswd": { "expire": false },
        "ssh_pwauth": true,
    });
    format!("#cloud-config\n{wanted}\n")
}

/// What is wrong with texts that have to be YAML: the field, and a sentence that quotes nothing of them.
pub fn check_yaml(init: &VmInit) -> Result<(), (&'static str, String)> {
    if let Some(text) = init.cloud_config() {
        const FIELD: &str = "spec.init.user_data";
        // Nothing but comments is nothing to do.
        if !matches!(mapping(FIELD, text)?, Value::Object(_) | Value::Null) {
            return Err((FIELD, "must be a mapping of keys to values".to_owned()));
        }
    }
    let Some(text) = &init.network_data else { return Ok(()) };
    const FIELD: &str = "spec.init.network_data";
    let value = mapping(FIELD, text)?;
    let config = value.get("network").unwrap_or(&value);
    match config.get("version").and_then(Value::as_u64) {
        Some(1 | 2) => Ok(()),
        _ => Err((FIELD, "must be a mapping with `version: 1` or `version: 2`".to_owned())),
    }
}

fn mapping(field: &'static str, text: &str) -> Result<Value, (&'static str, String)> {
    serde_saphyr::from_str(text).map_err(|error| {
        // Its own words could quote a secret.
        let message = error.location().map_or_else(
            || "is no YAML".to_owned(),
            |at| format!("is no YAML: see line {}, column {}", at.line(), at.column()),
        );
        (field, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::vm_resource;

    fn file<'a>(seed: &'a Seed, name: &str) -> &'a str {
        seed.files.iter().find(|(file, _)| file == name).unwrap().1.reveal()
    }

    fn machine(init: Value) -> Resource<Vm> {
        vm_resource(json!({"image": "debian", "init": init}))
    }

    #[test]
    fn a_machine_without_data_has_no_seed() {
        assert_eq!(Seed::of(&vm_resource(json!({"image": "debian"}))), None);
    }

    #[test]
    fn every_value_arrives_as_itself() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ada\": x";
        let seed = Seed::of(&machine(json!({
            "user_data": "#!/bin/sh\necho hello\n", "ssh_keys": [key], "password": "$6$a$b",
            "network_data": "version: 2\n",
        })))
        .unwrap();
        assert_eq!(file(&seed, "user-data"), "#!/bin/sh\necho hello\n");
        assert_eq!(file(&seed, "network-config"), "version: 2\n");
        let meta: Value = serde_saphyr::from_str(file(&seed, "meta-data")).unwrap();
        assert_eq!(meta["public-keys"], json!([key]));
        assert_eq!(meta["local-hostname"], "web");
        let vendor = file(&seed, "vendor-data");
        assert!(vendor.starts_with("#cloud-config\n"));
        let vendor: Value = serde_saphyr::from_str(vendor).unwrap();
        assert_eq!(vendor["password"], "$6$a$b");
        assert_eq!(vendor["chpasswd"]["expire"], false);
    }

    #[test]
    fn another_content_is_another_instance_and_the_same_is_the_same() {
        let of = |name: &str| Seed::of(&machine(json!({"hostname": name}))).unwrap();
        assert_eq!(of("a"), of("a"));
        let instance = |seed: &Seed| {
            let meta: Value = serde_json::from_str(file(seed, "meta-data")).unwrap();
            meta["instance-id"].as_str().unwrap().to_owned()
        };
        assert_ne!(instance(&of("a")), instance(&of("b")));
        assert!(instance(&of("a")).starts_with("00000000-0000-0000-0000-000000000007-"));
    }

    #[test]
    fn what_has_to_be_yaml_is_and_a_fault_quotes_nothing() {
        let check = |value: Value| {
            let init: VmInit = serde_json::from_value(value).unwrap();
            check_yaml(&init)
        };
        for good in [
            json!({"user_data": "#cloud-config\npackages: [nginx]\n"}),
            json!({"user_data": "#cloud-config\n# nothing yet\n"}),
            json!({"user_data": "#!/bin/sh\n: [\n"}),
            json!({"network_data": "network:\n  version: 2\n"}),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        let (field, message) =
            check(json!({"user_data": "#cloud-config\npassword: [swordfish\n"})).unwrap_err();
        assert_eq!(field, "spec.init.user_data");
        assert!(message.contains("line") && !message.contains("swordfish"), "{message}");
        assert!(check(json!({"user_data": "#cloud-config\n- a\n"})).is_err());
        for bad in ["version: 3\n", "a: [\n", "- version: 2\n", ""] {
            let (field, _) = check(json!({ "network_data": bad })).unwrap_err();
            assert_eq!(field, "spec.init.network_data", "{bad}");
        }
    }
}
