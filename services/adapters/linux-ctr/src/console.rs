//! Noded's side of a container's own terminal: one of those who look at it, through the program that holds it.

use std::path::Path;

use futures::StreamExt;
use futures::stream;
use skerry_containers::{ExecInput, RuntimeError, RuntimeFault, TerminalLook};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::holder::{RESIZED, TYPED, connect};

/// Pieces that wait for a container that does not read.
const WAITING: usize = 4;
/// Bytes of a piece of what it writes.
const PIECE: usize = 16 << 10;

/// Looks at the terminal of the container with this bundle.
pub async fn look(bundle: &Path) -> Result<TerminalLook, RuntimeError> {
    let stream = connect(bundle).await.map_err(|error| {
        let message =
            "the container has no terminal: set its `tty` and `stdin`, and start the pod anew";
        RuntimeError::new(RuntimeFault::Refused, message).because(error)
    })?;
    let (from, to) = stream.into_split();
    let (input, inputs) = mpsc::channel(WAITING);
    // With what is shown goes the way to say something, and so the look.
    let saying = AbortOnDropHandle::new(tokio::spawn(say(to, inputs)));
    Ok(TerminalLook { input, output: stream::unfold((from, saying), next).boxed() })
}

type Look = (OwnedReadHalf, AbortOnDropHandle<()>);

async fn next((mut from, saying): Look) -> Option<(Vec<u8>, Look)> {
    let mut piece = vec![0; PIECE];
    match from.read(&mut piece).await {
        Ok(count @ 1..) => {
            piece.truncate(count);
            Some((piece, (from, saying)))
        }
        // With the container its terminal goes, however.
        _ => None,
    }
}

async fn say(mut to: OwnedWriteHalf, mut inputs: mpsc::Receiver<ExecInput>) {
    while let Some(input) = inputs.recv().await {
        if to.write_all(&frames(input)).await.is_err() {
            return;
        }
    }
    // Whoever only looks has nothing to say and keeps looking.
    std::future::pending().await
}

fn frames(input: ExecInput) -> Vec<u8> {
    let frame = |what: u8, bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        [&[what][..], &length.to_be_bytes(), bytes].concat()
    };
    match input {
        ExecInput::Bytes(bytes) => {
            bytes.chunks(usize::from(u16::MAX)).flat_map(|part| frame(TYPED, part)).collect()
        }
        ExecInput::Resize(size) => {
            frame(RESIZED, &[size.cols.to_be_bytes(), size.rows.to_be_bytes()].concat())
        }
        // The end of what somebody types is not that of the container's input.
        ExecInput::End => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_containers::Size;

    #[test]
    fn what_is_said_is_cut_to_what_its_length_can_tell() {
        let bytes = frames(ExecInput::Bytes(vec![b'x'; 65_536]));
        assert_eq!(bytes.get(..3), Some(&[TYPED, 0xff, 0xff][..]));
        assert_eq!(bytes.get(65_538..), Some(&[TYPED, 0, 1, b'x'][..]));
        let size = Size { cols: 100, rows: 40 };
        assert_eq!(frames(ExecInput::Resize(size)), [RESIZED, 0, 4, 0, 100, 0, 40]);
        assert!(frames(ExecInput::End).is_empty());
    }
}
