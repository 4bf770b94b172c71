//! Huge pages of containers under the machine's own service manager. These set a few pages of 2 MiB aside for as long as
//! they run.

use skerry_model::{ContainerPages, HugePageSize, HugePagesTaken};

use super::*;

const SIZE: HugePageSize = HugePageSize::Mib2;
const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// Pages beyond those that were there.
struct Pool(u64);

impl Pool {
    fn with(more: u64) -> Self {
        let before: u64 = fs::read_to_string(POOL).unwrap().trim().parse().unwrap();
        fs::write(POOL, (before + more).to_string()).unwrap();
        Self(before)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::write(POOL, self.0.to_string());
    }
}

fn free() -> u64 {
    let file = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// A container with so many pages that sees the pod's folder of them, in a pod that has one more.
fn with_pages(stage: &Stage, script: &str, count: u64) -> ContainerDesired {
    let spec = json!({"name": "main", "image": "tiny", "command": ["/bin/sh", "-c", script],
        "mounts": [{"volume": "huge", "path": "/huge"}]});
    let mut spec: skerry_model::Container = serde_json::from_value(spec).unwrap();
    spec.huge_pages = vec![ContainerPages { size: SIZE, mib: 2 * count }];
    let taken = [HugePagesTaken { node: 0, size: SIZE, count: count + 1 }];
    ContainerDesired::new(&spec, stage.image.clone(), stage.network.clone(), 5, vec![])
        .with_pages(vec![(SIZE, count + 1)], &taken)
}

async fn push(stage: &Stage, want: Want, gone: bool) {
    let volume = VolumeDesired::empty("huge".parse().unwrap(), Medium::HugePages2Mi, None);
    let volumes = Some(if gone { Vec::new() } else { vec![volume] });
    let containers = vec![("main".parse().unwrap(), want)];
    let containers = if gone { Vec::new() } else { containers };
    let wanted = PodWanted { pod: stage.pod, containers, gone, volumes, kill_strays: true };
    let observed = stage.containers.observe(stage.pod).await.unwrap();
    for step in plan(&wanted, &observed) {
        let done = stage.containers.apply(&step).await;
        done.unwrap_or_else(|error| panic!("{step}: {}", error.chain()));
    }
}

async fn run(stage: &Stage, desired: ContainerDesired) -> Exit {
    push(stage, Want::Run(Box::new(desired)), false).await;
    let run = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    let Run::Ended { exit, .. } = run else { unreachable!() };
    exit
}

/// A program that asks for so much in huge pages by memory of its own, as words of a shell; see the system's tests of pods.
fn mapper(mib: u32) -> String {
    let head = "7f454c4602010100000000000000000002003e0001000000780040000000000040000000000000000000000000000000\
        0000000040003800010000000000000001000000050000000000000000000000000040000000000000004000000000\
        00b200000000000000b2000000000000000010000000000000";
    let size = hex::encode((mib << 20).to_le_bytes());
    let rest = "ba0300000041ba2200040049c7c0ffffffff4531c90f054885c07807c6000131ffeb04f7d889c7b83c0000000f05";
    let bytes = hex::decode(format!("{head}b80900000031ffbe{size}{rest}")).unwrap();
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("/bin/busybox printf '{octal}' > /map; /bin/busybox chmod +x /map; /map")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, systemd, crun, a static busybox and ip"]
async fn under_systemd_a_container_gets_its_huge_pages_and_no_more() {
    let _pool = Pool::with(6);
    let all = free();
    let folder =
        tempfile::Builder::new().prefix("skerry-live-").tempdir_in("/var/lib/skerry").unwrap();
    let places = below(&folder.path().join("data"), Path::new("/run/skerry-pages"));
    let blobs = BlobStore::new(places.blobs());
    let containers = LinuxContainers::start(places, blobs, Systemd::system(), LogRate::default());
    let other_folder = tempfile::tempdir_in("/var/lib/skerry").unwrap();
    let stage = Stage::over(other_folder, containers, "", None).await;

    // Who has none gets none, whatever the machine has.
    let none = stage.shell(&mapper(2));
    assert_eq!(stage.run_to_end(none.clone()).await, Exit::Code(12), "held by its system calls");
    let mut mighty = none;
    mighty.privileged = true;
    mighty.bundle.push_str(".privileged");
    assert_eq!(stage.run_to_end(mighty).await, Exit::Code(12), "held by its limit");
    assert_eq!(free(), all);

    assert_eq!(run(&stage, with_pages(&stage, &mapper(4), 2)).await, Exit::Code(0));
    assert_eq!(run(&stage, with_pages(&stage, &mapper(6), 2)).await, Exit::Code(12));
    assert_eq!(free(), all, "what a process had goes with it");
    let script = "cd /huge; /bin/busybox fallocate -l 4M two || exit 1; \
        /bin/busybox fallocate -l 2M three && exit 2; exit 7";
    assert_eq!(run(&stage, with_pages(&stage, script, 2)).await, Exit::Code(7));
    assert_eq!(free(), all - 2, "a folder keeps what is in it");

    // The next run has the container's limit anew, and the pod's holds for both: one page is left of it.
    let script = "cd /huge; /bin/busybox fallocate -l 2M four || exit 1; \
        /bin/busybox fallocate -l 2M five && exit 2; echo up; exec /bin/busybox sleep 1000";
    push(&stage, Want::Run(Box::new(with_pages(&stage, script, 2))), false).await;
    let up = |run: &Run| matches!(run, Run::Running { pid: Some(_), .. });
    let Run::Running { pid: Some(pid), .. } = stage.until("start", up).await else {
        unreachable!()
    };
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let group = Path::new("/sys/fs/cgroup").join(group);
    let read = |path: &Path, file: &str| {
        let text = fs::read_to_string(path.join(format!("hugetlb.{file}"))).unwrap();
        text.trim().parse::<u64>().unwrap() >> 20
    };
    let limits = |path: &Path| (read(path, "2MB.max"), read(path, "2MB.rsvd.max"));
    let above = group.parent().unwrap();
    let place = Path::new("skerry.slice/skerry-pods.slice");
    let slice = crate::pages::slice_of(stage.pod);
    assert!(above.ends_with(place.join(&slice)), "{}", above.display());
    assert_eq!((limits(&group), limits(above)), ((4, 4), (6, 6)));
    assert_eq!(read(&group, "1GB.max"), 0, "a size that it has not asked for");
    let deadline = Instant::now() + Duration::from_secs(20);
    while read(above, "2MB.current") < 6 {
        assert!(Instant::now() < deadline, "the folder is not filled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The manager does not know of the limits, and leaves them alone.
    succeed(&["systemctl", "daemon-reload"]).await;
    succeed(&["systemctl", "set-property", "--runtime", &slice, "TasksMax=5000"]).await;
    succeed(&["systemctl", "set-property", "--runtime", "skerry-pods.slice", "TasksMax=9000"])
        .await;
    assert_eq!((limits(&group), limits(above)), ((4, 4), (6, 6)));

    // Programs of people and probes share what the pod has.
    let argv = ["/bin/busybox", "fallocate", "-l", "2M", "/huge/six"].map(str::to_owned);
    let request = ExecRequest {
        pod: stage.pod,
        container: "main".parse().unwrap(),
        argv: argv.to_vec(),
        env: vec![],
        terminal: None,
        memory_mib: 64,
        tasks: 8,
    };
    let mut session = stage.containers.exec(request).await.unwrap();
    let mut code = None;
    while let Some(Ok(said)) = session.output.next().await {
        if let skerry_containers::ExecOutput::Exit(exit) = said {
            code = Some(exit);
        }
    }
    assert_eq!(code, Some(1), "a page beyond the pod's");

    push(&stage, Want::Down { kill: true }, false).await;
    stage.until("end", |run| !run.is_live()).await;
    push(&stage, Want::Down { kill: true }, false).await;
    assert_eq!(free(), all - 3);
    let step = PodStep::RemoveVolume { pod: stage.pod, volume: "huge".parse().unwrap() };
    stage.containers.apply(&step).await.unwrap();
    assert_eq!(free(), all, "all is given back with the folder");
    stage.clear().await;
    let left = succeed(&["systemctl", "list-units", "--all", "--no-legend", &slice]).await;
    assert_eq!(left, "", "the slice goes with the pod");
}
