//! Asks a container's probes: a program in it, a connection to it, a request to it.
//!
//! Connections are made by sockets of the pod's own network namespace. Of an answer no more is read than its
//! first line, and of that only the number counts.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use skerry_containers::{Answer, Question};
use skerry_model::ProbeCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::oci::Oci;
use crate::pages::Allotment;
use crate::places::Places;
use crate::supervisor::Supervisor;

/// Most bytes of an answer's first line.
const FIRST_LINE: u64 = 1024;

/// Asks once.
pub async fn ask(places: &Places, supervisor: &dyn Supervisor, question: &Question) -> Answer {
    match &question.check {
        ProbeCheck::Exec { command } => exec(places, supervisor, question, command).await,
        ProbeCheck::Tcp { port } => {
            within(question, async { connect(places, question, *port).await.map(|_| Answer::Good) })
                .await
        }
        ProbeCheck::Http { port, path } => {
            within(question, async {
                let stream = connect(places, question, *port).await?;
                request(stream, path).await.map_err(Trouble::Container)
            })
            .await
        }
    }
}

async fn exec(
    places: &Places,
    supervisor: &dyn Supervisor,
    question: &Question,
    command: &[String],
) -> Answer {
    let bundle = places.bundle(question.pod, &question.container);
    let held = Oci::of_bundle(&bundle, places).and_then(|oci| {
        Allotment::hold(&bundle, oci.probe(question.pod, &question.container, command))
    });
    let (slice, argv) = match held {
        Ok(held) => held,
        Err(error) => return Answer::Unknown(error.chain()),
    };
    match supervisor.run(argv, &slice, question.timeout).await {
        Err(error) => Answer::Unknown(error.chain()),
        Ok(None) => late(question),
        Ok(Some(ended)) if ended.code == Some(0) => Answer::Good,
        Ok(Some(ended)) => {
            let how = ended.code.map_or_else(
                || "the program was killed".to_owned(),
                |code| format!("the program ended with exit code {code}"),
            );
            let said = Some(ended.said).filter(|said| !said.is_empty());
            Answer::Bad(said.map_or_else(|| how.clone(), |said| format!("{how}: {said}")))
        }
    }
}

/// Why a port could not be asked.
enum Trouble {
    /// The node could not ask.
    Node(io::Error),
    /// The container did not answer as it should.
    Container(io::Error),
}

fn late(question: &Question) -> Answer {
    Answer::Bad(format!("no answer within {} s", question.timeout.as_secs()))
}

async fn within(
    question: &Question,
    work: impl Future<Output = Result<Answer, Trouble>>,
) -> Answer {
    match timeout(question.timeout, work).await {
        Err(_) => late(question),
        Ok(Ok(answer)) => answer,
        Ok(Err(Trouble::Container(error))) => Answer::Bad(error.to_string()),
        Ok(Err(Trouble::Node(error))) => {
            Answer::Unknown(format!("the pod's namespace cannot be entered: {error}"))
        }
    }
}

async fn connect(places: &Places, question: &Question, port: u16) -> Result<TcpStream, Trouble> {
    let socket = match question.network.is_of_node() {
        true => TcpSocket::new_v4(),
        false => socket_in(&places.namespaces.join(&question.network.namespace)).await,
    };
    let socket = socket.map_err(Trouble::Node)?;
    let address = SocketAddr::from((question.network.address, port));
    let what = |error: io::Error| io::Error::new(error.kind(), format!("port {port}: {error}"));
    socket.connect(address).await.map_err(|error| Trouble::Container(what(error)))
}

/// A socket of another network namespace. A thread of its own enters it, makes the socket, and ends: a socket
/// stays where it was made.
async fn socket_in(namespace: &Path) -> io::Result<TcpSocket> {
    let entry = File::open(namespace)?;
    let (answer, wait) = oneshot::channel();
    std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        let made = setns(&entry, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .and_then(|()| TcpSocket::new_v4());
        // Nobody waits any more if it cannot be given.
        let _ = answer.send(made);
    })?;
    wait.await.unwrap_or_else(|_| Err(io::Error::other("the thread ended without an answer")))
}

async fn request(mut stream: TcpStream, path: &str) -> io::Result<Answer> {
    let host = stream.peer_addr()?;
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: skerry-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut line = Vec::new();
    let mut limited = stream.take(FIRST_LINE);
    let mut part = [0; 256];
    while !line.contains(&b'\n') {
        let read = limited.read(&mut part).await?;
        if read == 0 {
            break;
        }
        line.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    Ok(judge(&line))
}

/// Whether the first line of an answer is one of HTTP with a status of 200 to 399.
fn judge(line: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(line);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|word| word.parse::<u16>().ok());
    match status {
        Some(200..=399) if version.starts_with("HTTP/1.") => Answer::Good,
        Some(status) if version.starts_with("HTTP/1.") => {
            Answer::Bad(format!("the answer was {status}"))
        }
        _ => Answer::Bad("the answer was not one of HTTP/1.1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_status_counts() {
        for good in ["HTTP/1.1 200 OK\r\nx", "HTTP/1.0 399", "HTTP/1.1 204 \r\n"] {
            assert_eq!(judge(good.as_bytes()), Answer::Good, "{good}");
        }
        for bad in [
            "HTTP/1.1 404 Not Found",
            "HTTP/1.1 199",
            "HTTP/1.1 400",
            "",
            "SSH-2.0-x",
            "HTTP/1.1",
            "HTTP/1.1 20000",
            "HTTP/2 200",
        ] {
            assert!(matches!(judge(bad.as_bytes()), Answer::Bad(_)), "{bad}");
        }
        assert!(matches!(judge(&[0xff; 100]), Answer::Bad(_)));
    }
}
