//! QEMU's command line, one function for each part of the machine.

use super::arguments::{DiskBus, Firmware, Machine, Terminal, kvm_is_usable};

type Words = Vec<(&'static str, String)>;

impl Machine {
    /// The whole command line after the name of the program.
    pub(super) fn arguments(&self) -> Vec<String> {
        let parts = [
            self.board(),
            self.storage(),
            self.uplink(),
            Self::watchdog_and_entropy(),
            self.lines(),
            self.kernel(),
        ];
        let plain = ["-nodefaults", "-no-user-config"].map(ToOwned::to_owned);
        let pairs =
            parts.concat().into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
        plain.into_iter().chain(pairs).chain(self.qemu_words.iter().cloned()).collect()
    }

    fn board(&self) -> Words {
        let accelerator = if kvm_is_usable() {
            "kvm"
        } else {
            // Twice QEMU's own translation cache: a node's boot and that of a guest in it translate more than 1 GiB, and a
            // cache that overflows is emptied and filled anew, which makes the guest's boot half as long again.
            "tcg,tb-size=2048"
        };
        // QEMU emulates AMD's virtualisation, on which the node's KVM runs guests; they only reset for ever where pages
        // have five levels.
        let processor = match (accelerator, self.virtualization) {
            ("kvm", _) => "max",
            (_, true) => "max,la57=off",
            (_, false) => "max,svm=off",
        };
        let uefi = self.firmware == Firmware::Uefi;
        let pflash = if uefi { ",pflash0=code,pflash1=variables" } else { "" };
        vec![
            ("-machine", format!("q35{pflash}")),
            ("-accel", accelerator.into()),
            ("-cpu", processor.into()),
            ("-smp", self.cpus.to_string()),
            ("-m", self.memory_mib.to_string()),
            ("-display", "none".into()),
            ("-rtc", "base=utc".into()),
            ("-boot", "menu=off".into()),
        ]
    }

    /// After disk and network card, whose places on the bus give them their names.
    fn watchdog_and_entropy() -> Words {
        vec![
            ("-device", "i6300esb".into()),
            ("-action", "watchdog=reset".into()),
            ("-device", "virtio-rng-pci".into()),
        ]
    }

    fn storage(&self) -> Words {
        let mut words = Words::new();
        if self.firmware == Firmware::Uefi {
            let code = "driver=raw,node-name=code,read-only=on,file.driver=file,file.filename=/usr/share/OVMF/OVMF_CODE_4M.fd";
            let variables = self.variables();
            words.push(("-blockdev", code.into()));
            words.push(("-blockdev", qcow2("variables", &variables.display().to_string())));
        }
        // Flushes stop at this machine's memory: that survives the end of QEMU, and a power cut of this machine is not tested.
        let disk = qcow2("disk", &self.disk().display().to_string());
        words.push(("-blockdev", format!("{disk},discard=unmap,cache.no-flush=on")));
        let device = match self.disk_bus {
            DiskBus::Virtio => "virtio-blk-pci",
            DiskBus::Nvme => "nvme",
            DiskBus::Sata => "ide-hd",
            DiskBus::Usb => {
                words.push(("-device", "qemu-xhci".into()));
                "usb-storage"
            }
        };
        words.push(("-device", format!("{device},drive=disk,bootindex=1,serial=skerry-disk")));
        words
    }

    fn uplink(&self) -> Words {
        if !self.network {
            return Words::new();
        }
        let one = |f: &super::Forward| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", f.host, f.guest);
        let forwards: String = self.forwards.iter().map(one).collect();
        let restrict = if self.restrict { "on" } else { "off" };
        vec![
            ("-netdev", format!("user,id=uplink,restrict={restrict}{forwards}")),
            ("-device", "virtio-net-pci,netdev=uplink,mac=52:54:00:5e:00:01,romfile=".into()),
        ]
    }

    /// Serial lines and QEMU's own protocol. The first serial line is the node's console.
    fn lines(&self) -> Words {
        let socket = |name: &str| format!("socket,id={name},path={}", self.socket(name).display());
        let log = format!("logfile={},logappend=on", self.serial_log().display());
        let mut words = match self.terminal {
            Terminal::Program => vec![("-chardev", format!("{},{log}", socket("serial")))],
            Terminal::User => vec![
                ("-chardev", format!("stdio,id=serial,mux=on,signal=off,{log}")),
                ("-mon", "chardev=serial,mode=readline".into()),
            ],
        };
        words.push(("-serial", "chardev:serial".into()));
        words.push(("-chardev", socket("qmp")));
        words.push(("-mon", "chardev=qmp,mode=control".into()));
        if self.debug_shell {
            words.push(("-chardev", socket("shell")));
            words.push(("-serial", "chardev:shell".into()));
        }
        words
    }

    /// Words for the kernel, which the boot stub takes from the firmware's tables.
    fn kernel(&self) -> Words {
        let mut kernel = self.kernel_words.clone();
        if self.debug_shell {
            kernel.push("systemd.debug_shell=ttyS1".into());
        }
        if kernel.is_empty() {
            return Words::new();
        }
        let text = kernel.join(" ").replace(',', ",,");
        vec![("-smbios", format!("type=11,value=io.systemd.stub.kernel-cmdline-extra={text}"))]
    }
}

fn qcow2(name: &str, file: &str) -> String {
    format!("driver=qcow2,node-name={name},file.driver=file,file.filename={file}")
}
