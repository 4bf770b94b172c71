//! Telling a damaged journal from a sound one that cannot be opened just now.

use std::io::{self, ErrorKind};

use super::JournalError;

/// What keeps a journal from opening that is not the journal's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The partition is full.
    Full,
    /// It is in use, or the system does not give access, memory or file descriptors.
    Denied,
}

/// The words of sled's own error for a database that another process has open.
pub(super) const LOCKED: &str = "could not acquire lock";

/// `ENFILE` and `EMFILE` (errno(3)), which have no kind of their own.
const TOO_MANY_FILES: [i32; 2] = [23, 24];

/// Why a journal did not open, if it is not damaged.
pub(crate) fn trouble(error: &JournalError) -> Option<Trouble> {
    match error {
        JournalError::File { source, .. }
        | JournalError::Database { source: ::sled::Error::Io(source), .. } => of_system(source),
        _ => None,
    }
}

fn of_system(error: &io::Error) -> Option<Trouble> {
    let few_files = error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code));
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(Trouble::Full),
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::ResourceBusy
        | ErrorKind::WouldBlock
        | ErrorKind::OutOfMemory => Some(Trouble::Denied),
        _ if few_files || error.to_string().contains(LOCKED) => Some(Trouble::Denied),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: io::Error) -> Option<Trouble> {
        trouble(&JournalError::Database { action: "open", source: ::sled::Error::Io(source) })
    }

    #[test]
    fn a_full_disk_and_a_lock_are_no_damage_and_bad_bytes_are() {
        assert_eq!(of(io::Error::from_raw_os_error(28)), Some(Trouble::Full));
        assert_eq!(of(io::Error::from_raw_os_error(24)), Some(Trouble::Denied));
        assert_eq!(of(io::Error::from_raw_os_error(30)), Some(Trouble::Denied));
        assert_eq!(of(io::Error::other("could not acquire lock on x")), Some(Trouble::Denied));
        assert_eq!(of(io::Error::from_raw_os_error(5)), None);
        assert_eq!(of(ErrorKind::UnexpectedEof.into()), None);
        let corrupt = ::sled::Error::Corruption { at: None, bt: () };
        assert_eq!(trouble(&JournalError::Database { action: "open", source: corrupt }), None);
    }
}
