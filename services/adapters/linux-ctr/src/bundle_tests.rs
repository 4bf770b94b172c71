use serde_json::{Value, json};
use skerry_model::{Hidden, Tmpfs, VolumeMount};

use super::*;
use crate::testing::{desired, record};

fn volumes() -> BTreeMap<Name, PathBuf> {
    BTreeMap::from([("conf".parse().unwrap(), PathBuf::from("/v/conf/tree"))])
}

fn places() -> Places {
    Places::below(Path::new("/var/lib/skerry/data"), Path::new("/run/skerry"))
}

fn config(desired: &ContainerDesired, image: &ImageRecord) -> Value {
    let user = User { uid: 33, gid: 34, groups: vec![7] };
    let bundle = Path::new("/run/skerry/pods/x/web");
    let spec = spec(desired, image, &user, bundle, &places(), &volumes()).unwrap();
    serde_json::to_value(spec).unwrap()
}

#[test]
fn nothing_is_looser_than_said() {
    let config = config(&desired("web"), &record());
    let process = &config["process"];
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(process["terminal"], false);
    assert_eq!(process["user"], json!({"uid": 33, "gid": 34, "additionalGids": [7]}));
    for set in ["bounding", "effective", "permitted"] {
        let list = process["capabilities"][set].as_array().unwrap();
        assert_eq!(list.len(), CAPABILITIES.len(), "{set}");
        for held_back in ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_MKNOD"] {
            assert!(!list.contains(&json!(held_back)), "{held_back}");
        }
    }
    for set in ["ambient", "inheritable"] {
        assert_eq!(process["capabilities"][set], json!([]), "{set}");
    }
    let linux = &config["linux"];
    assert!(linux.get("resources").is_none() && linux.get("cgroupsPath").is_none());
    let namespaces = linux["namespaces"].as_array().unwrap();
    assert_eq!(namespaces.len(), 6);
    assert!(
        namespaces.contains(&json!({"type": "network", "path": "/run/netns/skerry-pod-0b6d1a52"}))
    );
    assert!(linux["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert!(linux["readonlyPaths"].as_array().unwrap().contains(&json!("/proc/sys")));
    for mount in config["mounts"].as_array().unwrap() {
        let options = mount["options"].as_array().unwrap();
        assert!(options.contains(&json!("nosuid")), "{mount}");
        let bound = mount["type"] == "bind";
        assert!(!bound || options.contains(&json!("ro")), "{mount}");
    }
}

#[test]
fn a_privileged_container_is_held_by_its_namespaces_alone() {
    let mut desired = desired("web");
    desired.privileged = true;
    desired.capabilities.drop = vec!["SYS_BOOT".to_owned()];
    let config = config(&desired, &record());
    assert_eq!(config["process"]["noNewPrivileges"], false);
    let list = config["process"]["capabilities"]["bounding"].as_array().unwrap();
    assert_eq!(list.len(), powers::all().len() - 1);
    assert!(!list.contains(&json!("CAP_SYS_BOOT")));
    let linux = &config["linux"];
    for gone in ["seccomp", "maskedPaths", "readonlyPaths"] {
        assert!(linux.get(gone).is_none(), "{gone}");
    }
    assert_eq!(linux["namespaces"].as_array().unwrap().len(), 6);
}

#[test]
fn users_of_its_own_are_mapped_and_keep_their_files() {
    let mut desired = desired("web").with_users(Some(655_360));
    desired.mounts = vec![VolumeMount {
        volume: "conf".parse().unwrap(),
        path: "/conf".to_owned(),
        read_only: false,
    }];
    let config = config(&desired, &record());
    let linux = &config["linux"];
    let mapping = json!([{"containerID": 0, "hostID": 655_360, "size": 65_536}]);
    assert_eq!((&linux["uidMappings"], &linux["gidMappings"]), (&mapping, &mapping));
    let namespaces = linux["namespaces"].as_array().unwrap();
    let joined = |kind: &str, folder: &str| json!({"type": kind, "path": format!("{folder}/skerry-pod-0b6d1a52")});
    assert!(namespaces.contains(&joined("user", "/run/skerry/users")), "{namespaces:?}");
    assert!(namespaces.contains(&joined("network", "/run/netns")), "{namespaces:?}");
    // Groups that there are not could not be written.
    assert_eq!(linux["sysctl"]["net.ipv4.ping_group_range"], "0 65535");
    for mount in config["mounts"].as_array().unwrap() {
        let mapped = mount["options"].as_array().unwrap().contains(&json!("idmap"));
        assert_eq!(mapped, mount["type"] == "bind", "{mount}");
    }
}

#[test]
fn with_the_nodes_network_there_is_no_name_of_its_own() {
    let mut desired = desired("web");
    desired.network = skerry_containers::PodNetwork::of_node();
    let config = config(&desired, &record());
    assert!(config.get("hostname").is_none());
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    let kinds: Vec<_> = namespaces.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["pid", "mount", "ipc", "cgroup"]);
    // They would be the node's own.
    assert_eq!(config["linux"]["sysctl"], json!({}));
    assert!(config["linux"]["seccomp"].is_object());
    assert!(!etc_files(&desired)[0].1.trim().is_empty());
}

#[test]
fn a_device_that_the_machine_lacks_is_named() {
    let mut desired = desired("web");
    let made = |desired: &ContainerDesired| {
        spec(desired, &record(), &User::default(), Path::new("/b"), &places(), &volumes())
    };
    assert!(
        made(&desired)
            .unwrap()
            .linux()
            .as_ref()
            .unwrap()
            .devices()
            .iter()
            .flatten()
            .next()
            .is_none()
    );
    desired.devices = vec!["/dev/null".to_owned()];
    let spec = made(&desired).unwrap();
    let devices = spec.linux().as_ref().unwrap().devices().as_ref().unwrap();
    assert_eq!((devices[0].major(), devices[0].minor()), (1, 3));
    desired.devices = vec!["/dev/vfio/9999".to_owned()];
    let error = made(&desired).unwrap_err().to_string();
    assert!(error.contains("/dev/vfio/9999"), "{error}");
}

#[test]
fn the_list_of_system_calls_allows_and_never_what_leads_out() {
    let profile: Value = serde_json::from_str(SECCOMP).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    let plainly_allowed = |call: &str| {
        rules.iter().any(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule.get("args").is_none()
                && rule["names"].as_array().unwrap().contains(&json!(call))
        })
    };
    for call in ["read", "execve", "accept4", "futex", "epoll_wait", "statx", "getrandom"] {
        assert!(plainly_allowed(call), "{call}");
    }
    for (call, index, mask) in [("mmap", 3, 0x40000), ("memfd_create", 1, 4), ("shmget", 2, 0x800)]
    {
        assert!(!plainly_allowed(call), "{call}");
        let of_call = rules.iter().filter(|rule| rule["names"] == json!([call]));
        let found: Vec<_> = of_call
            .map(|rule| (rule["action"].as_str().unwrap(), rule["args"][0].clone()))
            .collect();
        let arg = |wanted: u32| json!({"index": index, "value": mask, "valueTwo": wanted, "op": "SCMP_CMP_MASKED_EQ"});
        // Without huge pages yes, with them no.
        assert_eq!(found, [("SCMP_ACT_ALLOW", arg(0)), ("SCMP_ACT_ERRNO", arg(mask))], "{call}");
    }
    for call in [
        "mount",
        "umount2",
        "ptrace",
        "unshare",
        "setns",
        "clone",
        "clone3",
        "bpf",
        "keyctl",
        "add_key",
        "init_module",
        "kexec_load",
        "open_by_handle_at",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "reboot",
        "socket",
        "personality",
        "syslog",
    ] {
        assert!(!plainly_allowed(call), "{call}");
    }
}

#[test]
fn words_come_from_pod_and_image_by_rule() {
    let words = |command: &[&str], args: &[&str]| {
        let mut desired = desired("web");
        desired.command = command.iter().map(|word| (*word).to_owned()).collect();
        desired.args = args.iter().map(|word| (*word).to_owned()).collect();
        config(&desired, &record())["process"]["args"].clone()
    };
    assert_eq!(words(&[], &[]), json!(["/bin/httpd", "-f"]));
    assert_eq!(words(&[], &["-v"]), json!(["/bin/httpd", "-v"]));
    assert_eq!(words(&["/bin/sh"], &[]), json!(["/bin/sh"]));
    assert_eq!(words(&["/bin/sh"], &["-c", "x y"]), json!(["/bin/sh", "-c", "x y"]));
}

#[test]
fn the_pods_variables_win() {
    let mut desired = desired("web");
    desired.env = vec![("A".into(), Hidden::new("pod")), ("B".into(), Hidden::new("x=y"))];
    let env = config(&desired, &record())["process"]["env"].clone();
    assert_eq!(env, json!([DEFAULT_PATH, "HOSTNAME=web", "A=pod", "B=x=y"]));
}

#[test]
fn an_image_without_a_command_or_with_an_odd_folder_is_refused() {
    let try_it = |image: &ImageRecord| {
        spec(&desired("web"), image, &User::default(), Path::new("/b"), &places(), &volumes())
    };
    let mut image = record();
    image.entrypoint.clear();
    image.cmd.clear();
    assert!(matches!(try_it(&image), Err(BundleError::NoCommand { .. })));
    let mut image = record();
    image.working_dir = "relative".to_owned();
    assert!(matches!(try_it(&image), Err(BundleError::WorkingDirectory { .. })));
}

#[test]
fn the_gateway_is_the_name_server() {
    let files = etc_files(&desired("web"));
    assert_eq!(files[0], ("hostname", "web\n".to_owned()));
    assert!(files[1].1.contains("10.0.0.5\tweb\n"));
    assert_eq!(files[2], ("resolv.conf", "nameserver 10.0.0.1\n".to_owned()));
}

#[test]
fn what_the_pod_says_of_place_user_and_powers_holds() {
    let mut desired = desired("web");
    desired.working_dir = "/srv".to_owned();
    desired.read_only_root = true;
    desired.tmpfs = vec![Tmpfs { path: "/tmp".to_owned(), size_mib: 8 }];
    desired.capabilities.add = vec!["NET_RAW".to_owned()];
    desired.capabilities.drop = vec!["CHOWN".to_owned()];
    let mut image = record();
    image.working_dir = "/image".to_owned();
    let made = config(&desired, &image);
    assert_eq!(made["process"]["cwd"], "/srv");
    assert_eq!(made["root"]["readonly"], true);
    let tmp = made["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/tmp");
    let options = tmp.unwrap()["options"].as_array().unwrap();
    for option in ["nosuid", "nodev", "size=8m"] {
        assert!(options.contains(&json!(option)), "{option}");
    }
    let powers = |desired: &ContainerDesired| {
        let made = config(desired, &record());
        made["process"]["capabilities"]["bounding"].as_array().unwrap().clone()
    };
    let list = powers(&desired);
    assert!(list.contains(&json!("CAP_NET_RAW")) && !list.contains(&json!("CAP_CHOWN")));
    assert_eq!(list.len(), CAPABILITIES.len());
    desired.capabilities.drop = vec!["ALL".to_owned()];
    assert_eq!(powers(&desired), [json!("CAP_NET_RAW")]);
    desired.capabilities.add = vec!["NONSENSE".to_owned()];
    let made = spec(&desired, &record(), &User::default(), Path::new("/b"), &places(), &volumes());
    assert!(matches!(made, Err(BundleError::Capability { .. })), "{made:?}");
}

#[test]
fn volumes_are_bound_as_the_container_says() {
    let mut desired = desired("web");
    let path = "/etc/app".to_owned();
    desired.mounts = vec![VolumeMount { volume: "conf".parse().unwrap(), path, read_only: true }];
    let made = config(&desired, &record());
    let bound = made["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/etc/app");
    assert_eq!(bound.unwrap()["source"], "/v/conf/tree");
    assert_eq!(bound.unwrap()["options"], json!(["bind", "ro", "nosuid", "nodev"]));
    desired.mounts[0].volume = "other".parse().unwrap();
    let none = spec(&desired, &record(), &User::default(), Path::new("/b"), &places(), &volumes());
    assert!(matches!(none, Err(BundleError::NoVolume { .. })), "{none:?}");
}
