//! Work inside another network namespace.
//!
//! A thread of its own enters the namespace and ends with the work: no other task of the process is ever in
//! it. Only the calling thread changes place (setns(2)), so this is safe in a threaded program.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use skerry_model::Binding;
use tokio::sync::oneshot;

use crate::error::NetError;

/// Where named namespaces are mounted.
pub const FOLDER: &str = "/run/netns";

/// The kernel's mark of namespace files; a mount point without a namespace has another.
const NSFS_MAGIC: nix::libc::c_long = 0x6e73_6673;

/// The file of a namespace.
pub fn path(namespace: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(namespace)
}

/// The file of the user namespace that owns a namespace of the same name, if that is not the machine's.
pub fn users_path(namespace: &str) -> PathBuf {
    Path::new(Binding::USERS_FOLDER).join(namespace)
}

/// Whether there is a namespace of that name, not only a leftover file.
pub fn is_there(namespace: &str) -> bool {
    is_namespace(&path(namespace))
}

/// Whether the file is a namespace.
pub fn is_namespace(path: &Path) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::FsType(NSFS_MAGIC))
}

/// The first of the users whose the namespace is that the calling thread is in; `None` if it is the machine's.
pub fn owner() -> Result<Option<u32>, NetError> {
    // The kernel gives a network's own settings to the root of the user namespace that owns it.
    let setting = "/proc/sys/net/ipv4/ping_group_range";
    let found = std::fs::metadata(setting).map_err(NetError::file(setting, "read"))?;
    Ok(Some(found.uid()).filter(|first| *first != 0))
}

/// Opens a namespace, to enter it or to move a device into it.
pub fn open(namespace: &str) -> Result<File, NetError> {
    File::open(path(namespace))
        .map_err(|source| NetError::Namespace { namespace: namespace.to_owned(), source })
}

/// Runs `work` on a thread inside the namespace and returns what it returns.
pub async fn inside<T, F, Fut>(namespace: &str, work: F) -> Result<T, NetError>
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, NetError>>,
{
    let entry = open(namespace)?;
    let name = namespace.to_owned();
    let (answer, wait) = oneshot::channel();
    let failed = {
        let namespace = namespace.to_owned();
        move |source| NetError::Namespace { namespace, source }
    };
    std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(move || {
            // Nobody waits any more if the answer cannot be given; the work was idempotent.
            let _ = answer.send(work_inside(&name, &entry, work));
        })
        .map_err(failed.clone())?;
    let gone = || failed(io::Error::other("the thread inside ended without an answer"));
    wait.await.map_err(|_| gone())?
}

fn work_inside<T, F, Fut>(namespace: &str, entry: &File, work: F) -> Result<T, NetError>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, NetError>>,
{
    let failed = |source| NetError::Namespace { namespace: namespace.to_owned(), source };
    setns(entry, CloneFlags::CLONE_NEWNET).map_err(|e| failed(e.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(failed)?;
    runtime.block_on(work())
}
