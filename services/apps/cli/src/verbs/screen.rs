//! A virtual machine's screen for a VNC viewer on the person's own machine: a port that only this machine reaches, and
//! the node's stream behind it.

use std::net::SocketAddr;

use futures::StreamExt;
use skerry_ipc::{Input, Request, StreamItem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::shell::{Done, Failure, Shell};
use crate::transport::{Transport, TwoWay};

/// Bytes of one piece of what a viewer says.
const PIECE: usize = 16 * 1024;

pub(super) async fn screen(
    shell: &mut Shell<'_, '_>,
    name: String,
    listen: SocketAddr,
    once: bool,
) -> Done {
    if !shell.io.files {
        let detail =
            "a viewer cannot run here: use the skerry program on your own machine, or the page";
        return Err(Failure::Usage(detail.to_owned()));
    }
    if !listen.ip().is_loopback() {
        let detail = format!(
            "{listen} can be reached by others, who could look and type without a password: listen at 127.0.0.1"
        );
        return Err(Failure::Usage(detail));
    }
    greeted(shell.transport, &name).await?;
    let listener = TcpListener::bind(listen).await?;
    let at = listener.local_addr()?;
    shell.progress(&format!(
        "Point a VNC viewer at {at} (some want {}::{}). Ctrl-C ends.",
        at.ip(),
        at.port()
    ))?;
    loop {
        let (viewer, _) = listener.accept().await?;
        shell.progress("A viewer has connected.")?;
        let ended = bridge(shell.transport, &name, viewer).await;
        if once {
            return ended;
        }
        match ended {
            Ok(()) => shell.progress("The viewer has gone.")?,
            Err(error) => shell.progress(&format!("The screen was lost: {error}"))?,
        }
    }
}

/// Whether there is a screen at all, before anybody is told of it.
async fn greeted(transport: &dyn Transport, name: &str) -> Done {
    let request = Request::Screen { key: name.to_owned() };
    let TwoWay { mut items, .. } = transport.open_two_way(request).await?;
    match items.next().await {
        Some(Ok(StreamItem::Output { .. })) => Ok(()),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) | None => Err(Failure::Outcome(format!("the screen of {name} says nothing"))),
    }
}

/// Passes on what viewer and node say until either is done.
async fn bridge(transport: &dyn Transport, name: &str, mut viewer: TcpStream) -> Done {
    let request = Request::Screen { key: name.to_owned() };
    let TwoWay { input, mut items } = transport.open_two_way(request).await?;
    let (mut said, mut shown) = viewer.split();
    let to_viewer = async {
        while let Some(item) = items.next().await {
            if let StreamItem::Output { bytes, .. } = item? {
                shown.write_all(&bytes).await?;
            }
        }
        Ok(())
    };
    let to_node = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = said.read(&mut buffer).await?;
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if bytes.is_empty() {
                return Ok(());
            }
            if input.send(Input::Bytes(bytes)).await.is_err() {
                // The other direction tells why.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        ended = to_viewer => ended,
        ended = to_node => ended,
    }
}
