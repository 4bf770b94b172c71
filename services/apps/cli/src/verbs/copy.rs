//! Files in and out of containers, through the container's own `tar` and the stream of a program in it.
//!
//! What a container sends is not to be trusted: it says where files go below the place that the person named, never
//! where that place is, and brings nothing but files and folders.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use skerry_ipc::{Channel, ExecQuery, Input, Request, StreamItem};
use tokio::sync::mpsc;

use crate::files::{Copied, pack, unpack};
use crate::shell::{Done, Failure, Shell};
use crate::transport::{Items, TwoWay};
use crate::workload_words::Copying;

/// Pieces that wait between the stream and the disk.
const WAITING: usize = 8;
/// How much of a complaint is kept.
const LONGEST_COMPLAINT: usize = 4096;

pub(super) async fn copy(shell: &mut Shell<'_, '_>, copy: Copying) -> Done {
    if !shell.io.files {
        let detail = "there are no files here: use the skerry program on your own machine";
        return Err(Failure::Usage(detail.to_owned()));
    }
    let copied = match (inside(&copy.source), inside(&copy.target)) {
        (Some((pod, path)), None) => {
            let target = PathBuf::from(&copy.target);
            out(shell, (pod, path), &copy, target).await?
        }
        (None, Some((pod, path))) => {
            into(shell, Path::new(&copy.source), (pod, path), &copy).await?
        }
        _ => {
            let detail = "one of the two must be in a pod, as POD:/PATH, and the other here";
            return Err(Failure::Usage(detail.to_owned()));
        }
    };
    for left in &copied.left {
        shell.progress(&format!("Left out: {left}"))?;
    }
    shell.progress(&format!("Copied {} files, {} bytes.", copied.files, copied.bytes))
}

/// `POD:/PATH`.
fn inside(text: &str) -> Option<(&str, &str)> {
    let (pod, path) = text.split_once(':')?;
    (path.starts_with('/') && !pod.is_empty() && !pod.contains('/')).then_some((pod, path))
}

/// The folder of a path in a container, and the name in it; no name if the path is that of a folder.
fn parted(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => ("/", path),
    }
}

async fn out(
    shell: &mut Shell<'_, '_>,
    (pod, path): (&str, &str),
    copy: &Copying,
    target: PathBuf,
) -> Result<Copied, Failure> {
    let (folder, name) = parted(path.trim_end_matches('/'));
    let name = if name.is_empty() { "." } else { name }.to_owned();
    let member = format!("./{name}");
    let argv = ["tar", "-C", folder, "-c", "-f", "-", &member];
    let TwoWay { input, items } = open(shell, pod, copy, &argv).await?;
    let (pieces, received) = mpsc::channel(WAITING);
    let limit = copy.limit_bytes();
    let writing =
        tokio::task::spawn_blocking(move || unpack(Pieces::new(received), &name, &target, limit));
    // It reads nothing.
    let _ = input.send(Input::End).await;
    let ended = listen(items, Some(pieces)).await;
    let copied = writing.await.map_err(io::Error::other)?;
    match (ended, copied) {
        // What was not taken broke the stream; why is the better reason.
        (_, Err(error)) => Err(Failure::Outcome(error.to_string())),
        (Err(failure), Ok(_)) => Err(failure),
        (Ok(()), Ok(copied)) => Ok(copied),
    }
}

async fn into(
    shell: &mut Shell<'_, '_>,
    source: &Path,
    (pod, path): (&str, &str),
    copy: &Copying,
) -> Result<Copied, Failure> {
    let (folder, name) = parted(path);
    let own = || source.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match name {
        "" => own().ok_or_else(|| Failure::Usage("say what it is to be called".to_owned()))?,
        name => name.to_owned(),
    };
    if matches!(name.as_str(), "." | "..") {
        return Err(Failure::Usage(format!(
            "`{name}` is no name: end the path with / for a folder"
        )));
    }
    // Seen before anything is started elsewhere.
    std::fs::symlink_metadata(source)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", source.display())))?;
    let argv = ["tar", "-C", folder, "-x", "-f", "-"];
    let TwoWay { input, items } = open(shell, pod, copy, &argv).await?;
    let (pieces, mut made) = mpsc::channel::<Vec<u8>>(WAITING);
    let source = source.to_owned();
    let packing = tokio::task::spawn_blocking(move || pack(&source, &name, &pieces));
    let sending = async {
        while let Some(piece) = made.recv().await {
            if input.send(Input::Bytes(piece)).await.is_err() {
                // Why is told by the other direction.
                return;
            }
        }
        let _ = input.send(Input::End).await;
    };
    let ((), ended) = tokio::join!(sending, listen(items, None));
    drop(made);
    let packed = packing.await.map_err(io::Error::other)?;
    ended?;
    packed.map_err(|error| Failure::Outcome(error.to_string()))
}

async fn open(
    shell: &Shell<'_, '_>,
    pod: &str,
    copy: &Copying,
    argv: &[&str],
) -> Result<TwoWay, Failure> {
    let query = ExecQuery {
        key: pod.to_owned(),
        container: copy.container.clone(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        terminal: None,
    };
    Ok(shell.transport.open_two_way(Request::Exec(query)).await?)
}

/// Goes on until the program has ended well; passes on what it writes.
async fn listen(mut items: Items, pieces: Option<mpsc::Sender<Vec<u8>>>) -> Done {
    let mut complaint = Vec::new();
    while let Some(item) = items.next().await {
        match item? {
            StreamItem::Output { channel: Channel::Out, bytes } => {
                if let Some(sender) = &pieces
                    && sender.send(bytes).await.is_err()
                {
                    // The disk takes no more; it tells why.
                    return Err(Failure::Outcome("the copy was broken off".to_owned()));
                }
            }
            StreamItem::Output { channel: Channel::Err, bytes } => {
                let room = LONGEST_COMPLAINT.saturating_sub(complaint.len());
                complaint.extend(bytes.into_iter().take(room));
            }
            StreamItem::Exit(0) => return Ok(()),
            StreamItem::Exit(code) => return Err(failed(code, &complaint)),
            _ => {}
        }
    }
    Err(Failure::Outcome("the node ended the connection before the copy was done".to_owned()))
}

fn failed(code: i32, complaint: &[u8]) -> Failure {
    let said = String::from_utf8_lossy(complaint);
    let said = crate::text::clean(said.trim());
    Failure::Outcome(format!(
        "`tar` in the container ended with code {code}, and the copy is not whole: {said} (the container must have a \
         `tar` of its own)"
    ))
}

/// Pieces as they come, to be read.
struct Pieces {
    received: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Pieces {
    fn new(received: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { received, piece: io::Cursor::default() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.received.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_pod_is_told_from_what_is_here() {
        assert_eq!(inside("web:/etc/hosts"), Some(("web", "/etc/hosts")));
        for here in ["hosts", "./web:/x", "/web:/x", "web:etc", ":/x", "C:\\x"] {
            assert_eq!(inside(here), None, "{here}");
        }
        assert_eq!(parted("/www/a.html"), ("/www", "a.html"));
        assert_eq!(parted("/www/"), ("/www", ""));
        assert_eq!(parted("/a"), ("/", "a"));
        assert_eq!(parted(""), ("/", ""));
    }
}
