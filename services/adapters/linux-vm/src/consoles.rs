//! Serial lines of guests: QEMU listens on a socket in the machine's folder, and takes one connection at a time.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use skerry_compute::{GuestConnection, GuestConsoles, HypervisorError};
use skerry_model::{Id, Vm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::libvirt::Libvirt;

/// Bytes of one piece.
const PIECE: usize = 4096;
/// Inputs that wait for the guest.
const WAITING: usize = 4;

#[async_trait]
impl GuestConsoles for Libvirt {
    async fn serial(&self, vm: Id<Vm>) -> Result<GuestConnection, HypervisorError> {
        let what = "connecting with the serial line";
        let failed = |source| HypervisorError::Files { what, vm, source };
        let stream = UnixStream::connect(self.places().serial_socket(vm)).await.map_err(failed)?;
        Ok(connection(stream, vm, "reading the serial line"))
    }
}

/// Both directions of a socket. The reader's end takes the writer with it.
fn connection(stream: UnixStream, vm: Id<Vm>, what: &'static str) -> GuestConnection {
    let (mut reader, mut writer) = stream.into_split();
    let (input, mut inputs) = mpsc::channel::<Vec<u8>>(WAITING);
    let writing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(bytes) = inputs.recv().await {
            if let Err(error) = writer.write_all(&bytes).await {
                // The reader tells of the end.
                tracing::debug!(%error, "a guest takes no more input");
                return;
            }
        }
        // Nobody writes any more; the other direction goes on.
        std::future::pending::<()>().await;
    }));
    let (pieces, received) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _writing = writing;
        let mut buffer = vec![0; PIECE];
        loop {
            let read = tokio::select! {
                () = pieces.closed() => return,
                read = reader.read(&mut buffer) => read,
            };
            let piece = match read {
                Ok(0) => return,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(source) => Err(HypervisorError::Files { what, vm, source }),
            };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    });
    let output = stream::unfold(received, |mut received| async move {
        received.recv().await.map(|piece| (piece, received))
    });
    GuestConnection { input, output: output.boxed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_guest_ends() {
        let (ours, mut guests) = UnixStream::pair().unwrap();
        let vm = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap();
        let GuestConnection { input, mut output } = connection(ours, vm, "reading");
        input.send(b"typed".to_vec()).await.unwrap();
        let mut typed = [0; 5];
        guests.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"typed");
        guests.write_all(&[b'x'; 10_000]).await.unwrap();
        let mut shown = 0;
        while shown < 10_000 {
            let piece = output.next().await.unwrap().unwrap();
            assert!(piece.len() <= PIECE);
            shown += piece.len();
        }
        drop(input);
        guests.write_all(b"still").await.unwrap();
        assert_eq!(output.next().await.unwrap().unwrap(), b"still");
        drop(guests);
        assert!(output.next().await.is_none_or(|piece| piece.is_err()));
    }

    #[tokio::test]
    async fn dropping_the_output_hangs_up() {
        let (ours, mut guests) = UnixStream::pair().unwrap();
        let vm = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap();
        let GuestConnection { input, output } = connection(ours, vm, "reading");
        drop(output);
        let mut rest = Vec::new();
        let end = guests.read_to_end(&mut rest);
        tokio::time::timeout(std::time::Duration::from_secs(5), end).await.unwrap().unwrap();
        drop(input);
    }
}
