//! Takes from this process everything that reading a layer does not need.
//!
//! Limits of memory and processor time, no file may grow, no new privileges, and then a filter that lets
//! through reading, writing, memory and the end, and kills the process for any other system call: it can open
//! nothing, reach no network, start no program. It cannot be taken back. When memory runs short it is the first to go.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Bytes of address space: the largest Zstandard window twice over, and the program.
const MEMORY: u64 = 384 << 20;
/// Seconds of processor time: 8 GiB at 5 MiB per second.
const CPU_TIME: u64 = 1800;

/// Why the process could not be locked in; it must not go on then.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// A limit.
    #[error("a limit cannot be set")]
    Limit(#[from] Errno),
    /// The mark by which the kernel chooses whom to kill when memory runs short.
    #[error("it cannot be made the first to go when memory runs short")]
    Score(#[source] std::io::Error),
    /// The filter.
    #[error("the filter of system calls cannot be set")]
    Filter(#[from] seccompiler::Error),
    /// A rule of the filter.
    #[error("the filter of system calls cannot be made")]
    Rule(#[from] seccompiler::BackendError),
}

/// Locks the process in.
pub fn enter() -> Result<(), JailError> {
    // The one who starts it is the last to be killed when memory runs short; this is the first.
    std::fs::write("/proc/self/oom_score_adj", "1000").map_err(JailError::Score)?;
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CPU, CPU_TIME),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 3),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    seccompiler::apply_filter(&filter()?)?;
    Ok(())
}

fn filter() -> Result<BpfProgram, JailError> {
    let plain = [
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        plain.into_iter().map(|call| (call, Vec::new())).collect();
    // Memory, but none that can be executed.
    let executable = u64::try_from(libc::PROT_EXEC).unwrap_or(u64::MAX);
    let not_executable =
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![not_executable.clone()])?]);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?;
    Ok(filter.try_into()?)
}
