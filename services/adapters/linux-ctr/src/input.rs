//! The standard input of containers to which people may attach: a named pipe in the bundle.
//!
//! The container's own end is open for writing too. So it never reads an end, whoever comes and goes, and a restarted
//! noded finds the pipe by its path. Nothing here reads what a container writes: that goes to the journal.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::stat::Mode;
use skerry_containers::{RuntimeError, RuntimeFault};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::folders;

/// Pieces that wait for a container that does not read.
const WAITING: usize = 4;

/// Makes the pipe anew.
pub fn make(path: &Path) -> io::Result<()> {
    folders::absent_is_fine(std::fs::remove_file(path))?;
    Ok(nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// The container's end.
pub fn end_of_container(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).write(true).open(path)?.into())
}

/// The way into the pipe. It ends with the container.
pub fn sender(path: &Path) -> Result<mpsc::Sender<Vec<u8>>, RuntimeError> {
    let mut pipe = pipe::OpenOptions::new().open_sender(path).map_err(|error| {
        let message = "the container has no open input: set its `stdin`, and start the pod anew";
        RuntimeError::new(RuntimeFault::Refused, message).because(error)
    })?;
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(WAITING);
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            if pipe.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[tokio::test]
    async fn words_reach_the_container_and_nobody_who_leaves_ends_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdin");
        assert!(sender(&path).is_err(), "there is no pipe");
        make(&path).unwrap();
        assert!(sender(&path).is_err(), "nobody reads");
        let mut container = std::fs::File::from(end_of_container(&path).unwrap());
        for word in ["one", "two"] {
            let input = sender(&path).unwrap();
            input.send(word.as_bytes().to_vec()).await.unwrap();
            drop(input);
            let mut read = [0; 3];
            let (back, heard) = tokio::task::spawn_blocking(move || {
                container.read_exact(&mut read).unwrap();
                (container, read)
            })
            .await
            .unwrap();
            container = back;
            assert_eq!(heard, word.as_bytes());
        }
        make(&path).unwrap();
        assert!(sender(&path).is_err(), "a new pipe is another one");
    }
}
