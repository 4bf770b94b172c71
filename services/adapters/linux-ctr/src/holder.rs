//! The program `skerry-terminal`: holds the terminal of a container, for as long as the container lives.
//!
//! It is the main process of the container's unit and starts the runtime, which hands it the terminal that it makes in the
//! container. What the container writes goes to the log, and as it is to everybody who looks, through the socket
//! `terminal` in the bundle. So neither whoever leaves nor a restart of noded changes anything for the container. It
//! passes the stop signal on and ends as the runtime does. It must not know anything of pods, and trusts whoever may connect,
//! which the folder leaves to root alone.
//!
//! To it, on the socket: one byte that says what comes, two that say how long it is (big-endian), and that. From it:
//! first the last of what the container wrote, then the rest as it comes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skerry_containers::{ExecInput, Size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::oci::CONSOLE;
use crate::terminal::{ConsoleSocket, Terminal, feed};

/// The socket for those who look, in the bundle.
pub const SOCKET: &str = "terminal";
/// Bytes that follow: what is typed.
pub const TYPED: u8 = 0;
/// Columns and rows follow, each in two bytes.
pub const RESIZED: u8 = 1;
/// What of the past whoever comes is shown, in bytes.
const PAST: usize = 16 << 10;
/// Pieces that somebody who looks may be behind; then some are lost to them.
const BEHIND: usize = 256;
/// Bytes of a piece.
const PIECE: usize = 4096;
/// What may still come after the end, and may still be taken.
const REST: Duration = Duration::from_secs(1);
/// How long the runtime may take to end when it gives no terminal.
const FAREWELL: Duration = Duration::from_secs(5);
/// Nobody in the container has its terminal open. Somebody may open it again.
const UNUSED: Duration = Duration::from_millis(200);

/// The program itself: `skerry-terminal <number of the stop signal> <bundle> <runtime> <its arguments>`.
pub fn program(words: impl Iterator<Item = String>) -> ExitCode {
    let words: Vec<String> = words.collect();
    let [stop, bundle, runtime @ ..] = words.as_slice() else { return usage() };
    let Some(stop) = stop.parse().ok().filter(|_| !runtime.is_empty()) else { return usage() };
    let held = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|it| {
        // A socket's path may not be long, and the bundle's is.
        std::env::set_current_dir(bundle)?;
        it.block_on(hold(stop, runtime))
    });
    match held {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            say(&format!("the container's terminal cannot be held: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    say("usage: skerry-terminal SIGNAL BUNDLE RUNTIME ARGUMENTS");
    ExitCode::from(2)
}

fn say(text: &str) {
    // It is for the log; without one there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The last eight bits of the runtime's own code, which is already 128 and a signal if one ended the container.
fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.code().unwrap_or(137) & 0xff).unwrap_or(1)
}

async fn hold(stop: i32, words: &[String]) -> io::Result<ExitStatus> {
    let mut stops = signal(SignalKind::from_raw(stop))?;
    crate::folders::absent_is_fine(std::fs::remove_file(SOCKET))?;
    crate::folders::absent_is_fine(std::fs::remove_file(CONSOLE))?;
    let listener = UnixListener::bind(SOCKET)?;
    let console = ConsoleSocket::bind(PathBuf::from(CONSOLE))?;
    let mut runtime = start(words)?;
    let pass = Pass { stop, pid: runtime.id() };
    let terminal = loop {
        tokio::select! {
            terminal = console.receive() => break terminal,
            // What it said stands in the log.
            ended = runtime.wait() => return ended,
            _ = stops.recv() => pass.on(),
        }
    };
    match terminal {
        Ok(terminal) => Held::new(terminal, listener).until_end(runtime, stops, pass).await,
        Err(error) => {
            // Usually it could not make the container, and is just saying why.
            if let Ok(ended) = timeout(FAREWELL, runtime.wait()).await {
                return ended;
            }
            runtime.start_kill()?;
            runtime.wait().await?;
            Err(error)
        }
    }
}

fn start(words: &[String]) -> io::Result<Child> {
    let (runtime, rest) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(runtime).args(rest).stdin(Stdio::null()).spawn()
}

/// Passes the stop signal on to the runtime, and so to the container.
#[derive(Clone, Copy)]
struct Pass {
    stop: i32,
    pid: Option<u32>,
}

impl Pass {
    fn on(self) {
        let pid = self.pid.and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid else { return };
        // One of the real-time signals, which have no names here, is asked for by few.
        let stop = Signal::try_from(self.stop).unwrap_or(Signal::SIGTERM);
        if let Err(error) = kill(Pid::from_raw(pid), stop) {
            say(&format!("the stop signal cannot be passed on: {error}"));
        }
    }
}

/// What everybody who looks gets.
type News = broadcast::Sender<Arc<[u8]>>;

struct Held {
    terminal: tokio::net::unix::pipe::Receiver,
    listener: UnixListener,
    input: mpsc::Sender<ExecInput>,
    past: VecDeque<u8>,
    news: News,
    looks: JoinSet<()>,
    log: Log<io::Stdout>,
}

impl Held {
    fn new(terminal: Terminal, listener: UnixListener) -> Self {
        let Terminal { output, input: to } = terminal;
        // One typed piece at a time: whoever types waits for a container that does not read.
        let (input, inputs) = mpsc::channel(1);
        tokio::spawn(feed(to, inputs));
        Self {
            terminal: output,
            listener,
            input,
            past: VecDeque::with_capacity(PAST),
            news: broadcast::channel(BEHIND).0,
            looks: JoinSet::new(),
            log: Log::new(io::stdout()),
        }
    }

    async fn until_end(
        mut self,
        mut runtime: Child,
        mut stops: Signals,
        pass: Pass,
    ) -> io::Result<ExitStatus> {
        let mut piece = [0; PIECE];
        let status = loop {
            tokio::select! {
                read = self.terminal.read(&mut piece) => match read {
                    Ok(count @ 1..) => self.wrote(piece.get(..count).unwrap_or_default()),
                    _ => sleep(UNUSED).await,
                },
                come = self.listener.accept() => if let Ok((stream, _)) = come {
                    self.let_look(stream);
                },
                Some(_) = self.looks.join_next() => {}
                status = runtime.wait() => break status?,
                _ = stops.recv() => pass.on(),
            }
        };
        let rest = async {
            while let Ok(count @ 1..) = self.terminal.read(&mut piece).await {
                self.wrote(piece.get(..count).unwrap_or_default());
            }
        };
        // A process that it left behind may hold the terminal open.
        let _ = timeout(REST, rest).await;
        self.log.end();
        drop(self.news);
        let _ = timeout(REST, async { while self.looks.join_next().await.is_some() {} }).await;
        Ok(status)
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        let over = self.past.len().saturating_add(bytes.len()).saturating_sub(PAST);
        self.past.drain(..over.min(self.past.len()));
        self.past.extend(bytes);
        // Nobody looking is no error.
        let _ = self.news.send(bytes.into());
    }

    fn let_look(&mut self, stream: UnixStream) {
        let (from, to) = stream.into_split();
        let past: Vec<u8> = self.past.iter().copied().collect();
        let news = self.news.subscribe();
        let input = self.input.clone();
        self.looks.spawn(async move {
            // Whoever goes away ends both.
            tokio::select! {
                () = listen(from, input) => {}
                () = show(to, past, news) => {}
            }
        });
    }
}

/// Shows somebody the past and what comes, until they go or the container does.
async fn show(mut to: OwnedWriteHalf, past: Vec<u8>, mut news: broadcast::Receiver<Arc<[u8]>>) {
    if to.write_all(&past).await.is_err() {
        return;
    }
    loop {
        match news.recv().await {
            Ok(piece) => {
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
            // A screen that is drawn anew is whole again.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Takes what somebody types, until they go or say what cannot be understood.
async fn listen(mut from: OwnedReadHalf, input: mpsc::Sender<ExecInput>) {
    while let Ok(Some(said)) = heard(&mut from).await {
        if input.send(said).await.is_err() {
            return;
        }
    }
}

async fn heard(from: &mut OwnedReadHalf) -> io::Result<Option<ExecInput>> {
    let what = from.read_u8().await?;
    let length = usize::from(from.read_u16().await?);
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(match (what, bytes.as_slice()) {
        (TYPED, _) => Some(ExecInput::Bytes(bytes)),
        (RESIZED, &[a, b, c, d]) => Some(ExecInput::Resize(Size {
            cols: u16::from_be_bytes([a, b]),
            rows: u16::from_be_bytes([c, d]),
        })),
        _ => None,
    })
}

/// What goes to the log: lines without the carriage returns that a terminal puts before their ends.
struct Log<W> {
    to: W,
    held_back: bool,
    open: bool,
}

impl<W: Write> Log<W> {
    const fn new(to: W) -> Self {
        Self { to, held_back: false, open: false }
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut text = Vec::with_capacity(bytes.len().saturating_add(1));
        for byte in bytes {
            if std::mem::take(&mut self.held_back) && *byte != b'\n' {
                text.push(b'\r');
            }
            match byte {
                b'\r' => self.held_back = true,
                other => text.push(*other),
            }
        }
        self.open = text.last().map_or(self.open, |last| *last != b'\n');
        // The container goes on without a log, as without one it would not be held back either.
        let _ = self.to.write_all(&text).and_then(|()| self.to.flush());
    }

    /// The last line ends here, whether it has an end or not.
    fn end(&mut self) {
        if self.open {
            self.write(b"\n");
        }
    }
}

/// The way to a container's terminal from noded: its socket, by a path that is short enough.
pub async fn connect(bundle: &Path) -> io::Result<UnixStream> {
    let folder = std::fs::File::open(bundle)?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", std::os::fd::AsRawFd::as_raw_fd(&folder));
    UnixStream::connect(short).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_plain_lines_and_an_end() {
        let mut log = Log::new(Vec::new());
        for piece in [&b"one\r"[..], b"\ntwo\rthree\r\n", b"$ "] {
            log.write(piece);
        }
        log.end();
        log.end();
        assert_eq!(String::from_utf8(log.to).unwrap(), "one\ntwo\rthree\n$ \n");
    }

    #[tokio::test]
    async fn what_is_said_is_understood_or_the_end() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let (mut from, _to) = other.into_split();
        one.write_all(&[TYPED, 0, 2, b'h', b'i', RESIZED, 0, 4, 0, 100, 0, 40, 7, 0, 0])
            .await
            .unwrap();
        assert_eq!(heard(&mut from).await.unwrap(), Some(ExecInput::Bytes(b"hi".to_vec())));
        let size = Size { cols: 100, rows: 40 };
        assert_eq!(heard(&mut from).await.unwrap(), Some(ExecInput::Resize(size)));
        assert_eq!(heard(&mut from).await.unwrap(), None);
        drop(one);
        assert!(heard(&mut from).await.is_err());
    }
}
