//! Against libvirt's own test driver, which keeps domains in memory and needs no QEMU.

use super::*;
use skerry_compute::{DomainPower, HardwareDefinition, Hold, NicDefinition, OffReason};
use skerry_model::UsbPlace;
use virt::connect::Connect;
use virt::domain::Domain;

/// Long enough for a loaded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    libvirt: Libvirt,
    vm: Id<Vm>,
    root: tempfile::TempDir,
    /// The test driver forgets everything when its last connection closes.
    direct: Connect,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.direct.close();
    }
}

/// A CD drive, empty without a path.
fn drive(device: &str, path: &str) -> DiskDefinition {
    DiskDefinition {
        kind: skerry_compute::DiskKind::Cdrom,
        path: path.into(),
        format: "raw",
        device: device.to_owned(),
        bus: skerry_model::DiskBus::Sata,
        serial: String::new(),
        boot: None,
        read_only: true,
        iops: None,
        bytes_per_s: None,
        queues: None,
        io_thread: None,
    }
}

impl Bench {
    fn new() -> Self {
        Self::at("test:///default")
    }

    fn at(uri: &str) -> Self {
        Self::with(uri, false)
    }

    /// One where memory of suspended guests would lie in a folder of its own.
    fn with(uri: &str, memory: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let direct = Connect::open(Some("test:///default")).unwrap();
        let libvirt = Libvirt::start(LibvirtConfig {
            uri: uri.into(),
            data: root.path().join("vm"),
            pids: root.path().join("run"),
            memory: memory.then(|| root.path().to_owned()),
            guests: None,
            // Without a device guests are emulated.
            probe: Probe { device: root.path().join("kvm"), ..Probe::system(root.path()) },
            poll: Duration::from_millis(20),
        })
        .unwrap();
        Self { libvirt, vm: Id::new(uuid::Uuid::new_v4()), root, direct }
    }

    fn definition(&self) -> DomainDefinition {
        DomainDefinition {
            vm: self.vm,
            title: "a <web> & \"more\"".into(),
            accelerator: Accelerator::Emulation,
            machine: "pc-q35-10.0".into(),
            vcpus: 1,
            memory_mib: 64,
            firmware: None,
            kernel: "/images/kernel".into(),
            initrd: "/images/initrd".into(),
            arguments: "console=ttyS0".into(),
            nic: NicDefinition {
                device: "skt0".into(),
                bridge: "skb0".into(),
                mac: "02:00:00:00:00:01".into(),
                model: skerry_model::NicModel::Virtio,
            },
            nics: Vec::new(),
            disks: Vec::new(),
            drives: vec![drive("sda", "/images/disc"), drive("sdb", "")],
            seed: None,
            off_on_reboot: false,
            display: true,
            guest_agent: true,
            tpm: false,
            usb: true,
            usb_devices: vec![UsbPlace { bus: 1, device: 12, vendor: 0x0403, product: 0x6001 }],
            lines: vec!["/dev/serial/by-id/usb-a".into()],
            hardware: HardwareDefinition::default(),
            generation: 1,
        }
    }

    async fn apply(&self, step: VmStep) {
        self.libvirt.apply(&step).await.unwrap();
    }

    async fn define(&self) {
        self.apply(VmStep::Define(Box::new(self.definition()))).await;
    }

    async fn look(&self) -> Option<DomainObserved> {
        self.libvirt.observe_one(self.vm).await.unwrap()
    }

    fn domain(&self) -> Domain {
        Domain::lookup_by_uuid(&self.direct, self.vm.uuid()).unwrap()
    }
}

#[tokio::test]
async fn a_machine_goes_through_its_life() {
    let bench = Bench::new();
    assert_eq!(bench.look().await, None);
    bench.define().await;
    let seen = bench.look().await.unwrap();
    assert!(!seen.power.is_up());
    assert_eq!(seen.defined, Some(bench.definition().fingerprint()));
    assert_eq!((seen.live, seen.files), (None, true));
    assert_eq!(bench.domain().get_name().unwrap(), DomainDefinition::domain_name(bench.vm));

    for _ in 0..2 {
        bench.apply(VmStep::Start(bench.vm)).await;
    }
    let seen = bench.look().await.unwrap();
    assert_eq!(seen.power, DomainPower::Running);
    assert_eq!(seen.live, Some(bench.definition().fingerprint()));

    for _ in 0..2 {
        bench.apply(VmStep::Shutdown(bench.vm)).await;
    }
    assert_eq!(bench.look().await.unwrap().power, DomainPower::Off(OffReason::Shutdown));

    bench.apply(VmStep::Start(bench.vm)).await;
    for _ in 0..2 {
        bench.apply(VmStep::Destroy(bench.vm)).await;
    }
    assert_eq!(bench.look().await.unwrap().power, DomainPower::Off(OffReason::Destroyed));

    for _ in 0..2 {
        bench.apply(VmStep::Undefine(bench.vm)).await;
    }
    assert_eq!(bench.look().await, Some(only_files(bench.vm, &bench.libvirt.places)));
    bench.apply(VmStep::Erase(bench.vm)).await;
    assert_eq!(bench.look().await, None);
}

#[tokio::test]
async fn a_new_definition_of_a_running_machine_waits_for_its_next_start() {
    let bench = Bench::new();
    bench.define().await;
    bench.apply(VmStep::Start(bench.vm)).await;
    let changed = DomainDefinition { memory_mib: 96, ..bench.definition() };
    bench.apply(VmStep::Define(Box::new(changed.clone()))).await;
    let seen = bench.look().await.unwrap();
    assert_eq!(seen.power, DomainPower::Running);
    assert_eq!(seen.defined, Some(changed.fingerprint()));
    assert_eq!(seen.live, Some(bench.definition().fingerprint()));
}

#[tokio::test]
async fn libvirt_takes_a_place_on_the_machine() {
    let bench = Bench::new();
    let hardware = HardwareDefinition {
        cpu_model: Some("EPYC".into()),
        topology: Some(skerry_model::CpuTopology { sockets: 1, cores: 1, threads: 2 }),
        cpus: vec![2, 6],
        emulator: "0,4".parse().unwrap(),
        numa_nodes: vec![0],
        huge_pages: Some(skerry_model::HugePageSize::Mib2),
        nic_queues: Some(2),
        max_vcpus: None,
        max_memory_mib: None,
        io_threads: Some(2),
        cpu_weight: Some(500),
        cpu_limit_percent: Some(150),
        cells: Vec::new(),
        pci: vec!["0000:3b:00.1".parse().unwrap()],
    };
    let definition = DomainDefinition { vcpus: 2, hardware, ..bench.definition() };
    bench.apply(VmStep::Define(Box::new(definition.clone()))).await;
    let xml = bench.domain().get_xml_desc(0).unwrap();
    for part in [
        "<vcpupin vcpu='1' cpuset='6'/>",
        "<emulatorpin cpuset='0,4'/>",
        "<page size='2048' unit='KiB'/>",
        "<source type='memfd'/>",
        "<memory mode='strict' nodeset='0'/>",
        "<topology sockets='1' dies='1'",
        "queues='2'",
        "<iothreads>2</iothreads>",
        "<hostdev mode='subsystem' type='pci' managed='yes'>",
        "<address domain='0x0000' bus='0x3b' slot='0x00' function='0x1'/>",
        "<iothreadpin iothread='2' cpuset='0,4'/>",
    ] {
        assert!(xml.contains(part), "{part} is not in {xml}");
    }
    assert_eq!(bench.look().await.unwrap().defined, Some(definition.fingerprint()));
}

#[tokio::test]
async fn libvirt_takes_numa_nodes_of_the_guest() {
    let bench = Bench::new();
    let cell = |node: u32| skerry_model::GuestCell {
        node,
        vcpus: [node].into_iter().collect(),
        memory_mib: 32,
    };
    let hardware = HardwareDefinition {
        cpus: vec![2, 6],
        numa_nodes: vec![0, 1],
        cells: vec![cell(0), cell(1)],
        ..HardwareDefinition::default()
    };
    let definition = DomainDefinition { vcpus: 2, hardware, ..bench.definition() };
    bench.apply(VmStep::Define(Box::new(definition))).await;
    let xml = bench.domain().get_xml_desc(0).unwrap();
    for part in [
        "<memnode cellid='1' mode='preferred' nodeset='1'/>",
        "<cell id='1' cpus='1' memory='32768' unit='KiB'/>",
    ] {
        assert!(xml.contains(part), "{part} is not in {xml}");
    }
}

#[tokio::test]
async fn a_running_guest_is_given_processors_up_to_its_most() {
    let bench = Bench::new();
    let hardware = HardwareDefinition { max_vcpus: Some(4), ..HardwareDefinition::default() };
    let definition = DomainDefinition { hardware, ..bench.definition() };
    bench.apply(VmStep::Define(Box::new(definition))).await;
    assert_eq!(bench.look().await.unwrap().vcpus, None);
    bench.apply(VmStep::Start(bench.vm)).await;
    assert_eq!(bench.look().await.unwrap().vcpus, Some(1));
    for _ in 0..2 {
        bench.apply(VmStep::SetVcpus { vm: bench.vm, count: 3 }).await;
        assert_eq!(bench.look().await.unwrap().vcpus, Some(3));
    }
    let beyond = VmStep::SetVcpus { vm: bench.vm, count: 5 };
    assert!(bench.libvirt.apply(&beyond).await.is_err());
}

#[tokio::test]
async fn libvirt_takes_room_for_memory_and_tells_of_it() {
    let bench = Bench::new();
    let hardware =
        HardwareDefinition { max_memory_mib: Some(192), ..HardwareDefinition::default() };
    let definition = DomainDefinition { hardware, ..bench.definition() };
    bench.apply(VmStep::Define(Box::new(definition.clone()))).await;
    let seen = bench.look().await.unwrap();
    assert_eq!((seen.defined, seen.memory), (Some(definition.fingerprint()), None));
    bench.apply(VmStep::Start(bench.vm)).await;
    let memory = bench.look().await.unwrap().memory.unwrap();
    assert_eq!((memory.given_mib, memory.taken_mib), (64, 64));
    // The test driver changes no devices; that it is asked to is all that can be seen here.
    let more = VmStep::SetMemory { vm: bench.vm, mib: 192 };
    assert!(bench.libvirt.apply(&more).await.is_err());
}

#[tokio::test]
async fn a_held_guest_goes_on() {
    let bench = Bench::new();
    bench.define().await;
    bench.apply(VmStep::Start(bench.vm)).await;
    for _ in 0..2 {
        bench.apply(VmStep::Pause(bench.vm)).await;
    }
    assert_eq!(bench.look().await.unwrap().power, DomainPower::Paused(Hold::Asked));
    for _ in 0..2 {
        bench.apply(VmStep::Resume(bench.vm)).await;
    }
    assert_eq!(bench.look().await.unwrap().power, DomainPower::Running);
}

#[tokio::test]
async fn a_guest_is_let_go_only_without_its_memory_on_disk() {
    let bench = Bench::with("test:///default", true);
    bench.define().await;
    bench.apply(VmStep::Start(bench.vm)).await;
    // As one that was started with it, when this service ended before it had removed that.
    bench.apply(VmStep::Pause(bench.vm)).await;
    let name = DomainDefinition::domain_name(bench.vm);
    let file = bench.root.path().join(format!("{name}.save"));
    std::fs::write(&file, "LibvirtQemudSave and more").unwrap();
    bench.apply(VmStep::Resume(bench.vm)).await;
    assert!(!file.exists(), "it could be gone on with a second time");
    assert_eq!(bench.look().await.unwrap().power, DomainPower::Running);

    bench.apply(VmStep::Destroy(bench.vm)).await;
    std::fs::write(&file, "LibvirtQemudSave and more").unwrap();
    assert!(bench.look().await.unwrap().saved);
    // It is to be started held, which this driver does not know: then it is not started at all, and nothing is lost.
    let refused = bench.libvirt.apply(&VmStep::Start(bench.vm)).await.unwrap_err().to_string();
    assert!(refused.contains("unsupported flags (0x1)"), "{refused}");
    assert!(file.exists() && !bench.look().await.unwrap().power.is_up());
}

#[tokio::test]
async fn a_guest_is_saved_and_goes_on_or_is_dropped() {
    let bench = Bench::new();
    bench.define().await;
    bench.apply(VmStep::Start(bench.vm)).await;
    bench.apply(VmStep::Pause(bench.vm)).await;
    for _ in 0..2 {
        bench.apply(VmStep::Save(bench.vm)).await;
    }
    let seen = bench.look().await.unwrap();
    assert!(seen.saved && !seen.power.is_up(), "{seen:?}");
    bench.apply(VmStep::Start(bench.vm)).await;
    let seen = bench.look().await.unwrap();
    assert_eq!((seen.power, seen.saved), (DomainPower::Running, false));
    bench.apply(VmStep::Save(bench.vm)).await;
    for _ in 0..2 {
        bench.apply(VmStep::Discard(bench.vm)).await;
    }
    assert!(!bench.look().await.unwrap().saved);
}

#[tokio::test]
async fn a_reboot_keeps_the_domain_up() {
    let bench = Bench::new();
    bench.define().await;
    bench.apply(VmStep::Start(bench.vm)).await;
    bench.apply(VmStep::Reset(bench.vm)).await;
    bench.apply(VmStep::Reboot(bench.vm)).await;
    assert_eq!(bench.look().await.unwrap().power, DomainPower::Running);
}

#[tokio::test]
async fn domains_of_others_are_neither_seen_nor_touched() {
    let bench = Bench::new();
    let foreign = format!(
        "<domain type='test'><name>foreign-{0}</name><uuid>{0}</uuid><memory>1024</memory>\
         <os><type>hvm</type></os></domain>",
        bench.vm
    );
    Domain::define_xml(&bench.direct, &foreign).unwrap();
    bench.domain().create().unwrap();
    assert_eq!(bench.look().await, None);
    let all = bench.libvirt.observe().await.unwrap();
    assert!(all.iter().all(|domain| domain.vm != bench.vm));
    for step in [
        VmStep::Define(Box::new(bench.definition())),
        VmStep::Start(bench.vm),
        VmStep::Shutdown(bench.vm),
        VmStep::Pause(bench.vm),
        VmStep::Save(bench.vm),
        VmStep::Reset(bench.vm),
        VmStep::Destroy(bench.vm),
        VmStep::Undefine(bench.vm),
    ] {
        let error = bench.libvirt.apply(&step).await.unwrap_err();
        assert!(matches!(error, HypervisorError::Refused { .. }), "{step:?}: {error:?}");
    }
    assert!(bench.domain().is_active().unwrap());
}

#[tokio::test]
async fn a_poll_tells_what_changed_behind_our_back() {
    let bench = Bench::new();
    let mut events = bench.libvirt.events();
    bench.define().await;
    bench.apply(VmStep::Start(bench.vm)).await;
    // Polling begins with the first look.
    bench.look().await;
    bench.domain().destroy().unwrap();
    let hear = async {
        loop {
            if events.recv().await.unwrap() == HypervisorEvent::Changed(bench.vm)
                && !bench.look().await.unwrap().power.is_up()
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hear).await.unwrap();
}

#[tokio::test]
async fn errors_say_who_has_to_act() {
    let bench = Bench::new();
    let error = bench.libvirt.apply(&VmStep::Start(bench.vm)).await.unwrap_err();
    assert!(matches!(error, HypervisorError::Failed { .. }), "not defined: {error:?}");
    let mut odd = bench.definition();
    odd.nic.mac = "not an address".into();
    let error = bench.libvirt.apply(&VmStep::Define(Box::new(odd))).await.unwrap_err();
    assert!(matches!(error, HypervisorError::Refused { .. }), "{error:?}");

    let away = Bench::at("qemu+unix:///system?socket=/nonexistent/socket");
    let error = away.libvirt.observe().await.unwrap_err();
    assert!(matches!(error, HypervisorError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_later_ones_still_work() {
    let bench = Bench::new();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let hang = move |_: &Connect| {
        // Ends when the other side is dropped.
        let _ = held.lock().unwrap().recv();
        Ok(())
    };
    let short = Duration::from_millis(50);
    let error = bench.libvirt.look.call("hang", None, short, hang).await.unwrap_err();
    assert!(matches!(error, HypervisorError::TimedOut { call: "hang", .. }), "{error:?}");
    let error = bench.libvirt.look.call("wait", None, short, |_| Ok(())).await.unwrap_err();
    assert!(matches!(error, HypervisorError::TimedOut { call: "wait", .. }), "{error:?}");
    drop(release);
    bench.libvirt.look.call("after", None, PATIENCE, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_the_bindings_is_an_error_and_not_the_end() {
    let bench = Bench::new();
    let panics = |_: &Connect| -> Result<(), CallError> { panic!("as the bindings do") };
    let error = bench.libvirt.look.call("panics", None, PATIENCE, panics).await.unwrap_err();
    assert!(matches!(error, HypervisorError::Unavailable { .. }), "{error:?}");
    bench.libvirt.look.call("after", None, PATIENCE, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn the_serial_log_lies_in_the_machines_folder() {
    let bench = Bench::new();
    bench.define().await;
    let xml = bench.domain().get_xml_desc(0).unwrap();
    let log = bench.root.path().join("vm").join(bench.vm.to_string()).join("serial.log");
    assert!(xml.contains(log.to_str().unwrap()), "{xml}");
    std::fs::write(&log, "hello\n").unwrap();
    let chunk = bench.libvirt.serial_log(bench.vm, LogPosition::default(), 100).await.unwrap();
    assert_eq!(chunk.bytes, b"hello\n");
}
