//! All capabilities that this machine may give: those of its first process, which starts containers.

use std::fs;

use oci_spec::runtime::Capability;

/// All that there are, each at the place of its number (`linux/capability.h`).
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// All that a container can be given here. One more, and the runtime could not start it.
pub fn all() -> Vec<Capability> {
    // What cannot be read says nothing against any.
    let status = fs::read_to_string("/proc/1/status").unwrap_or_default();
    within(&status)
}

fn within(status: &str) -> Vec<Capability> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bound = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(u64::MAX);
    let list = ALL.into_iter().enumerate();
    list.filter(|(number, _)| bound >> number & 1 == 1).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_first_process_may_have() {
        assert_eq!(within(""), ALL);
        assert_eq!(
            within("Name:\tsystemd\nCapBnd:\t0000000000200001\n"),
            [Capability::Chown, Capability::SysAdmin]
        );
        assert_eq!(within("CapBnd:\t000001ffffffffff\n"), ALL);
    }
}
