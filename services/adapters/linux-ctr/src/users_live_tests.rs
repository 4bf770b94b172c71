//! Containers with users of their own. These need a `mount` that can turn owners around (util-linux 2.39).

use std::os::unix::fs::MetadataExt;

use super::*;

const SCRIPT: &str = r#"
    b=/bin/busybox
    echo "map: $($b cat /proc/1/uid_map | $b tr -s ' ')"
    echo "groups: $($b cat /proc/1/gid_map | $b tr -s ' ')"
    echo "layer: $($b stat -c %u:%g /bin/busybox)"
    echo "hosts: $($b stat -c %u:%g /etc/hosts)"
    try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name: allowed"; else echo "$name: refused"; fi; }
    try upper $b sh -c 'echo mine > /mine && /bin/busybox chown 1000:1001 /mine'
    try copied-up $b sh -c 'echo more >> /etc/passwd'
    try volume $b sh -c 'echo mine > /v/root && echo web > /v/web && /bin/busybox chown 1000:1001 /v/web'
    try tmp $b sh -c 'echo x > /tmp/x'
    try keys $b cat /v/secret
    try mount $b mount -t tmpfs x /tmp
    try low-port $b httpd -p 80
    echo "links: $($b ls /sys/class/net | $b tr '\n' ' ')"
    echo "virtual: $($b ls /sys/devices/virtual/net | $b tr '\n' ' ')"
    try sys $b sh -c 'echo 1400 > /sys/class/net/lo/mtu'
    echo "pingers: $($b cat /proc/sys/net/ipv4/ping_group_range)"
    echo "owners: $($b stat -c %u:%g /v/root /v/web /v/secret /mine | $b tr '\n' ' ')"
    exit 7
"#;

/// Pushes a container with a volume.
async fn run(stage: &Stage, desired: &ContainerDesired, volume: &VolumeDesired) -> Exit {
    let want = Want::Run(Box::new(desired.clone()));
    let containers = vec![(desired.name.clone(), want)];
    let volumes = Some(vec![volume.clone()]);
    let wanted = PodWanted { pod: stage.pod, containers, gone: false, volumes, kill_strays: true };
    let observed = stage.containers.observe(stage.pod).await.unwrap();
    for step in plan(&wanted, &observed) {
        let done = stage.containers.apply(&step).await;
        done.unwrap_or_else(|error| panic!("{step}: {}", error.chain()));
    }
    let run = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    let Run::Ended { exit, .. } = run else { unreachable!() };
    exit
}

fn with_volume(stage: &Stage, script: &str, users: Option<u32>) -> ContainerDesired {
    let spec = json!({"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script],
        "mounts": [{"volume": "v", "path": "/v"}]});
    let spec = serde_json::from_value(spec).unwrap();
    let (image, network) = (stage.image.clone(), stage.network.clone());
    ContainerDesired::new(&spec, image, network, 5, vec![]).with_users(users)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn root_is_nobody_to_the_machine_and_files_keep_their_owners() {
    let mut stage = Stage::new().await;
    let volume = VolumeDesired::new("v".parse().unwrap(), VolumeContent::Disk);
    let before =
        "echo before > /v/secret; /bin/busybox chmod 600 /v/secret; echo up > /mine; exit 3";
    let plain = with_volume(&stage, before, None);
    assert_eq!(run(&stage, &plain, &volume).await, Exit::Code(3), "{}", stage.log());

    // The same layer and volume, now with users of its own: what was written stays readable.
    let mut own = with_volume(&stage, SCRIPT, stage.users);
    own.layer.clone_from(&plain.layer);
    assert_eq!(run(&stage, &own, &volume).await, Exit::Code(7), "{}", stage.log());
    let log = stage.log();
    for (name, value) in [
        ("map:", "0 655360 65536"),
        ("groups:", "0 655360 65536"),
        ("layer:", "0:0"),
        ("hosts:", "0:0"),
        ("upper:", "allowed"),
        ("copied-up:", "allowed"),
        ("volume:", "allowed"),
        ("tmp:", "allowed"),
        ("keys:", "allowed"),
        ("mount:", "refused"),
        ("low-port:", "allowed"),
        ("links:", "lo"),
        ("virtual:", "lo"),
        ("sys:", "refused"),
        ("pingers:", "0\t65535"),
        ("owners:", "0:0 1000:1001 0:0 1000:1001"),
    ] {
        assert_eq!(field(&log, name), value, "{name}\n{log}");
    }
    let places = &stage.containers.inner.places;
    let upper = places.layer(stage.pod, &own.name).join("upper");
    let tree = places.pod_disk_volumes(stage.pod).join("v/tree");
    let owner = |path: PathBuf| {
        let found =
            fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (found.uid(), found.gid())
    };
    assert_eq!(owner(upper.join("mine")), (1000, 1001));
    assert_eq!(owner(upper.join("etc/passwd")), (0, 0));
    assert_eq!(owner(tree.join("root")), (0, 0));
    assert_eq!(owner(tree.join("web")), (1000, 1001));

    // And back, in the network that is still theirs, or to another range, with one made for that.
    for users in [None, Some(FIRST + 65_536)] {
        if users.is_some() {
            stage.unwire().await;
            stage.users = users;
            stage.wire().await;
        }
        let script = "[ \"$(/bin/busybox stat -c %u:%g /v/web /mine | /bin/busybox tr '\\n' ' ')\" = '1000:1001 1000:1001 ' ] && \
            [ \"$(/bin/busybox ls /sys/class/net)\" = lo ] && exit 4";
        let mut back = with_volume(&stage, script, users);
        back.layer.clone_from(&plain.layer);
        assert_eq!(run(&stage, &back, &volume).await, Exit::Code(4), "{}", stage.log());
    }
    stage.clear().await;
}

/// The data is bound once for all starts of a pod: each mount is a job of the manager.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn what_a_pod_sees_of_the_data_stays_until_it_is_gone() {
    let stage = Stage::new().await;
    let places = stage.containers.inner.places.clone();
    let seen = places.seen(FIRST);
    let born = || fs::metadata(&seen).map(|found| found.dev()).unwrap();
    for (number, more) in ["", " ", "  "].into_iter().enumerate() {
        let script = format!("echo x >> /count; exit 5{more}");
        assert_eq!(stage.run_to_end(stage.shell(&script)).await, Exit::Code(5), "{number}");
        let marks = folders::names(&places.all_seen());
        assert_eq!(marks.len(), 2, "{marks:?}");
        assert_eq!(born(), fs::metadata(places.data()).unwrap().dev(), "the data is seen there");
        let mode = fs::metadata(places.all_seen()).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "by root alone");
    }
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_user_beyond_the_range_is_refused_and_people_come_in_as_usual() {
    let stage = Stage::new().await;
    let mut wrong = stage.desired(&["/bin/busybox", "sleep", "1000"]);
    wrong.user = "70000".to_owned();
    stage.containers.apply(&PodStep::ImportImage { image: stage.image.clone() }).await.unwrap();
    let step = PodStep::WriteBundle { pod: stage.pod, container: Box::new(wrong) };
    let error = stage.containers.apply(&step).await.unwrap_err();
    assert!(error.fault == RuntimeFault::Refused && error.message.contains("70000"), "{error}");

    // Nor would files of such an owner be anybody's.
    let mut owned = stage.desired(&["/bin/busybox", "true"]);
    let layer = Layer::default().file_with_owner("0210560").end();
    let bytes = OciArchive::new().layer(&layer).tar();
    let path = stage.folder.path().join("owned.tar");
    fs::write(&path, &bytes).unwrap();
    owned.image.sha256 = sha256(&bytes);
    owned.image.path = path.display().to_string();
    let import = PodStep::ImportImage { image: owned.image.clone() };
    stage.containers.apply(&import).await.unwrap();
    let step = PodStep::WriteBundle { pod: stage.pod, container: Box::new(owned.clone()) };
    let error = stage.containers.apply(&step).await.unwrap_err();
    let says = |word: &str| error.message.contains(word);
    assert!(error.fault == RuntimeFault::Refused, "{error}");
    assert!(says("owner 70000 ") && says("`user_namespace: host`"), "{error}");
    let with_nodes = Box::new(owned.with_users(None));
    let step = PodStep::WriteBundle { pod: stage.pod, container: with_nodes };
    stage.containers.apply(&step).await.unwrap();

    let sleeper = stage.desired(&["/bin/busybox", "sleep", "1000"]);
    stage.push(Want::Run(Box::new(sleeper)), false).await;
    let run = stage.until("start", |run| matches!(run, Run::Running { pid: Some(_), .. })).await;
    let Run::Running { pid: Some(pid), .. } = run else { unreachable!() };
    let owner = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_eq!(owner, FIRST, "to the machine its root is somebody else");
    let request = ExecRequest {
        pod: stage.pod,
        container: "main".parse().unwrap(),
        argv: ["/bin/busybox", "id", "-u"].map(str::to_owned).to_vec(),
        env: vec![],
        terminal: None,
        memory_mib: 64,
        tasks: 8,
    };
    let mut session = stage.containers.exec(request).await.unwrap();
    let mut said = Vec::new();
    while let Some(Ok(skerry_containers::ExecOutput::Out(bytes))) = session.output.next().await {
        said.extend(bytes);
    }
    assert_eq!(String::from_utf8_lossy(&said).trim(), "0");
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    stage.clear().await;
}
