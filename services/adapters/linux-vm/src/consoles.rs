//! Serial lines and screens of guests. QEMU listens on a socket in the machine's folder, and takes one connection at a
//! time; for the screen it listens in a folder of libvirt's, and takes many.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use roxmltree::Document;
use skerry_compute::{GuestConnection, GuestConsoles, HypervisorError};
use skerry_model::{Id, Vm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use virt::connect::Connect;

use crate::calls;
use crate::libvirt::Libvirt;

/// Bytes of one piece of a serial line.
const PIECE: usize = 4096;
/// The same of a screen.
const SCREEN_PIECE: usize = 32 * 1024;
/// How long libvirt may take to tell where the screen is.
const LOOK: Duration = Duration::from_secs(20);
/// Inputs that wait for the guest.
const WAITING: usize = 4;

#[async_trait]
impl GuestConsoles for Libvirt {
    async fn serial(&self, vm: Id<Vm>) -> Result<GuestConnection, HypervisorError> {
        let what = "connecting with the serial line";
        let failed = |source| HypervisorError::Files { what, vm, source };
        let stream = UnixStream::connect(self.places().serial_socket(vm)).await.map_err(failed)?;
        Ok(connection(stream, vm, "reading the serial line", PIECE))
    }

    async fn screen(&self, vm: Id<Vm>) -> Result<Option<GuestConnection>, HypervisorError> {
        let find = move |connection: &Connect| {
            calls::with_domain(connection, vm, "screen", |domain| {
                Ok(screen_socket(&domain.get_xml_desc(0)?))
            })
        };
        let Some(path) = self.look("screen", vm, LOOK, find).await? else { return Ok(None) };
        let what = "connecting with the screen";
        let failed = |source| HypervisorError::Files { what, vm, source };
        let stream = UnixStream::connect(path).await.map_err(failed)?;
        Ok(Some(connection(stream, vm, "reading the screen", SCREEN_PIECE)))
    }
}

/// Where a running guest shows its screen, from its description; `None` if it has none.
fn screen_socket(xml: &str) -> Option<PathBuf> {
    let document = Document::parse(xml).ok()?;
    let screen = document
        .descendants()
        .find(|node| node.has_tag_name("graphics") && node.attribute("type") == Some("vnc"))?;
    let listen = screen.children().find(|node| node.attribute("type") == Some("socket"))?;
    listen.attribute("socket").or_else(|| screen.attribute("socket")).map(PathBuf::from)
}

/// Both directions of a socket. The reader's end takes the writer with it.
fn connection(stream: UnixStream, vm: Id<Vm>, what: &'static str, piece: usize) -> GuestConnection {
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
        let mut buffer = vec![0; piece];
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

    #[test]
    fn the_screen_is_where_libvirt_says() {
        // As libvirt 11.3 tells it.
        let xml = r#"<domain><devices><graphics type="vnc" socket="/var/lib/libvirt/qemu/domain-1-x/vnc.sock">
            <listen type="socket" socket="/var/lib/libvirt/qemu/domain-1-x/vnc.sock"/></graphics></devices></domain>"#;
        let path = PathBuf::from("/var/lib/libvirt/qemu/domain-1-x/vnc.sock");
        assert_eq!(screen_socket(xml), Some(path));
        let port = r#"<domain><graphics type="vnc" port="5900"><listen type="address"/></graphics></domain>"#;
        for without in ["<domain/>", "", port] {
            assert_eq!(screen_socket(without), None);
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_guest_ends() {
        let (ours, mut guests) = UnixStream::pair().unwrap();
        let vm = "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".parse().unwrap();
        let GuestConnection { input, mut output } = connection(ours, vm, "reading", PIECE);
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
        let GuestConnection { input, output } = connection(ours, vm, "reading", PIECE);
        drop(output);
        let mut rest = Vec::new();
        let end = guests.read_to_end(&mut rest);
        tokio::time::timeout(std::time::Duration::from_secs(5), end).await.unwrap().unwrap();
        drop(input);
    }
}
