//! Programs that people run inside containers, through the runtime's `exec`.
//!
//! The program's words and environment go to the runtime in a file that only root can read, never on a command line. A
//! terminal is made inside the container by the runtime, which hands our end over a socket. Whatever comes of the program
//! passes through a task that ends the unit as soon as nobody listens any more.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use nix::fcntl::OFlag;
use serde_json::{Value, json};
use skerry_containers::{
    ExecInput, ExecOutput, ExecRequest, ExecSession, RuntimeError, RuntimeFault,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::folders;
use crate::oci::Oci;
use crate::pages::Allotment;
use crate::places::Places;
use crate::programs::{PREFIX, Program, Programs};
use crate::runtime::io_failed;
use crate::terminal::{self, ConsoleSocket, Terminal};

/// Programs at a time on the whole node.
const MOST: usize = 16;
/// Outputs that wait to be taken.
const WAITING: usize = 4;
/// Bytes of one output.
const CHUNK: usize = 16 * 1024;
/// What may still come after the program's end.
const REST: Duration = Duration::from_secs(3);

type Outputs = mpsc::Sender<Result<ExecOutput, RuntimeError>>;

/// All programs of people on this machine.
pub struct Executor {
    places: Places,
    programs: Arc<dyn Programs>,
    room: Arc<Semaphore>,
    /// What an earlier process of ours left has been ended.
    swept: OnceCell<()>,
    count: AtomicU64,
}

/// Our ends of a program's input and outputs.
enum Ends {
    Pipes { input: pipe::Sender, output: pipe::Receiver },
    Terminal(Terminal),
}

impl Executor {
    pub fn new(places: Places, programs: Arc<dyn Programs>) -> Self {
        let room = Arc::new(Semaphore::new(MOST));
        Self { places, programs, room, swept: OnceCell::new(), count: AtomicU64::new(0) }
    }

    /// Ends what an earlier process of ours left running, and removes its files. Done once.
    pub async fn sweep(&self) -> Result<(), RuntimeError> {
        let sweep = async {
            for unit in self.programs.left().await? {
                tracing::info!(unit, "ending a program that an earlier run left in a container");
                self.programs.end(&unit).await?;
            }
            let folder = self.places.programs();
            folders::absent_is_fine(std::fs::remove_dir_all(&folder))
                .and_then(|()| folders::make_all(&folder))
                .map_err(io_failed("cannot clear the folder of programs"))
        };
        self.swept.get_or_try_init(|| sweep).await.copied()
    }

    /// Starts a program. The container is known to run.
    pub async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.sweep().await?;
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let message = format!("{MOST} programs run in containers already: end one first");
            RuntimeError::new(RuntimeFault::Passing, message)
        })?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let short = request.pod.short();
        let name = format!("{short}-{}-{number}", std::process::id());
        let files = Files { process: self.places.programs().join(format!("{number}.json")) };
        let bundle = self.places.bundle(request.pod, &request.container);
        let text = process(&bundle, &request)?;
        folders::write(&files.process, &text, 0o600)
            .map_err(io_failed("cannot write what is to run"))?;
        let unit = format!("{PREFIX}{name}.service");
        let (ends, errors) = self.start(&unit, &files, number, &request).await?;
        let (input, inputs) = mpsc::channel(WAITING);
        let (outputs, received) = mpsc::channel(WAITING);
        let work = Work { unit, programs: Arc::clone(&self.programs), files, _place: place };
        tokio::spawn(work.run(ends, errors, inputs, outputs));
        let output = stream::unfold(received, |mut received| async move {
            received.recv().await.map(|item| (item, received))
        });
        Ok(ExecSession { input, output: output.boxed() })
    }

    async fn start(
        &self,
        unit: &str,
        files: &Files,
        number: u64,
        request: &ExecRequest,
    ) -> Result<(Ends, pipe::Receiver), RuntimeError> {
        let broken = || io_failed("cannot make the pipes of a program");
        let (errors, errors_end) = pipe_pair().map_err(broken())?;
        let errors = pipe::Receiver::from_owned_fd(errors).map_err(broken())?;
        let socket = match request.terminal {
            Some(_) => Some(
                ConsoleSocket::bind(self.places.programs().join(format!("{number}.sock")))
                    .map_err(io_failed("cannot make the socket for a terminal"))?,
            ),
            None => None,
        };
        let bundle = self.places.bundle(request.pod, &request.container);
        let oci = Oci::of_bundle(&bundle, &self.places)?;
        let console = socket.as_ref().map(ConsoleSocket::path);
        let argv = oci.exec(request.pod, &request.container, &files.process, console);
        let (slice, argv) = Allotment::hold(&bundle, argv)?;
        let overhead = oci.overhead();
        let mut program = Program {
            unit: unit.to_owned(),
            slice,
            argv,
            input: None,
            output: None,
            errors: errors_end,
            memory: request.memory_mib.saturating_mul(1 << 20).saturating_add(overhead.memory),
            tasks: u64::from(request.tasks).saturating_add(overhead.tasks),
        };
        let Some(socket) = socket else {
            let (input_end, input) = pipe_pair().map_err(broken())?;
            let (output, output_end) = pipe_pair().map_err(broken())?;
            program.input = Some(input_end);
            program.output = Some(output_end);
            let input = pipe::Sender::from_owned_fd(input).map_err(broken())?;
            let output = pipe::Receiver::from_owned_fd(output).map_err(broken())?;
            self.launch(unit, program).await?;
            return Ok((Ends::Pipes { input, output }, errors));
        };
        self.launch(unit, program).await?;
        let received = tokio::select! {
            terminal = socket.receive() => terminal.ok(),
            // A program that ended at once has left its terminal there all the same.
            _ = self.programs.ended(unit) => timeout(REST, socket.receive()).await.ok().and_then(Result::ok),
        };
        match received {
            Some(terminal) => Ok((Ends::Terminal(terminal), errors)),
            None => {
                self.programs.end(unit).await?;
                Err(unstarted(errors).await)
            }
        }
    }

    async fn launch(&self, unit: &str, program: Program) -> Result<(), RuntimeError> {
        let started = self.programs.start(program).await;
        if started.is_err() {
            // It may come up all the same, after the time that it had.
            if let Err(error) = self.programs.end(unit).await {
                let error = error.chain();
                tracing::warn!(unit, error, "a program that did not start is not ended");
            }
        }
        started
    }
}

/// There is no terminal: what the runtime said of it.
async fn unstarted(errors: pipe::Receiver) -> RuntimeError {
    let mut text = Vec::new();
    // What cannot be read of a complaint only makes it shorter.
    let _ = timeout(REST, errors.take(1024).read_to_end(&mut text)).await;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    RuntimeError::new(RuntimeFault::Refused, format!("the program cannot be started: {text}"))
}

/// Files of one program, removed with it.
struct Files {
    process: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(error) = folders::absent_is_fine(std::fs::remove_file(&self.process)) {
            tracing::warn!(%error, "what a program was made from is left in memory");
        }
    }
}

/// What is to run (OCI runtime specification, `process`): the container's own, with other words.
fn process(bundle: &Path, request: &ExecRequest) -> Result<Vec<u8>, RuntimeError> {
    let broken = || RuntimeError::new(RuntimeFault::Broken, "the container has no configuration");
    let text = std::fs::read(bundle.join("config.json")).map_err(|e| broken().because(e))?;
    let config: Value = serde_json::from_slice(&text).map_err(|e| broken().because(e))?;
    let mut process = config.get("process").cloned().ok_or_else(broken)?;
    let object = process.as_object_mut().ok_or_else(broken)?;
    object.insert("args".to_owned(), json!(request.argv));
    object.insert("terminal".to_owned(), json!(request.terminal.is_some()));
    let mut env: Vec<String> = object
        .get("env")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let mut own = request.env.clone();
    if let Some(size) = request.terminal {
        object.insert("consoleSize".to_owned(), json!({"height": size.rows, "width": size.cols}));
        if !own.iter().any(|(name, _)| name == "TERM") {
            own.insert(0, ("TERM".to_owned(), "xterm".to_owned()));
        }
    }
    for (name, value) in own {
        let prefix = format!("{name}=");
        env.retain(|other| !other.starts_with(&prefix));
        env.push(format!("{name}={value}"));
    }
    object.insert("env".to_owned(), json!(env));
    serde_json::to_vec(&process).map_err(|e| broken().because(e))
}

fn pipe_pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from)
}

/// A program at work, and what ends with it.
struct Work {
    unit: String,
    programs: Arc<dyn Programs>,
    files: Files,
    _place: OwnedSemaphorePermit,
}

impl Work {
    async fn run(
        self,
        ends: Ends,
        errors: pipe::Receiver,
        inputs: mpsc::Receiver<ExecInput>,
        outputs: Outputs,
    ) {
        let gone = outputs.clone();
        let talk = async {
            match ends {
                Ends::Pipes { input, output } => {
                    let copies = async {
                        tokio::join!(
                            copy(output, &outputs, ExecOutput::Out),
                            copy(errors, &outputs, ExecOutput::Err)
                        );
                    };
                    self.until_end(feed(input, inputs), copies, &outputs).await;
                }
                Ends::Terminal(Terminal { output, input }) => {
                    let copies = async {
                        tokio::join!(
                            copy(output, &outputs, ExecOutput::Out),
                            copy(errors, &outputs, ExecOutput::Err)
                        );
                    };
                    self.until_end(terminal::feed(input, inputs), copies, &outputs).await;
                }
            }
        };
        tokio::select! {
            () = gone.closed() => {}
            () = talk => {}
        }
        if let Err(error) = self.programs.end(&self.unit).await {
            let error = error.chain();
            tracing::warn!(unit = self.unit, error, "a program in a container is not ended");
        }
        drop(self.files);
    }

    /// Goes on until the program has ended and all that it wrote is passed on.
    async fn until_end(
        &self,
        feed: impl Future<Output = ()>,
        copies: impl Future<Output = ()>,
        outputs: &Outputs,
    ) {
        let end = async {
            let mut copies = std::pin::pin!(copies);
            let mut end = std::pin::pin!(self.programs.ended(&self.unit));
            tokio::select! {
                code = &mut end => {
                    // A process that it left behind may hold the outputs open for good.
                    let _ = timeout(REST, copies).await;
                    code
                }
                () = &mut copies => end.await,
            }
        };
        let idle = async {
            feed.await;
            std::future::pending().await
        };
        let code = tokio::select! {
            code = end => code,
            () = idle => return,
        };
        // Whoever does not listen any more does not want to know.
        let _ = outputs.send(code.map(ExecOutput::Exit)).await;
    }
}

/// Passes on what comes until the end, or until nobody takes it.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    outputs: &Outputs,
    make: fn(Vec<u8>) -> ExecOutput,
) {
    let mut buffer = vec![0; CHUNK];
    // A terminal whose program has gone gives an error, which is its end.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
        if outputs.send(Ok(make(bytes))).await.is_err() {
            return;
        }
    }
}

/// Writes what is sent until there will be no more. A program that does not read any more swallows it.
async fn feed(mut to: pipe::Sender, mut inputs: mpsc::Receiver<ExecInput>) {
    while let Some(input) = inputs.recv().await {
        match input {
            ExecInput::Bytes(bytes) => {
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            ExecInput::Resize(_) => {}
            ExecInput::End => break,
        }
    }
    drop(to);
    while inputs.recv().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use skerry_containers::Size;

    fn request(terminal: Option<Size>) -> ExecRequest {
        ExecRequest {
            pod: pod(),
            container: "web".parse().unwrap(),
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "x".to_owned()],
            env: vec![("A".to_owned(), "mine".to_owned())],
            terminal,
            memory_mib: 64,
            tasks: 8,
        }
    }

    #[test]
    fn what_runs_is_the_containers_own_with_other_words() {
        let bundle = tempfile::tempdir().unwrap();
        let config = json!({"process": {
            "args": ["httpd"], "cwd": "/www", "terminal": false, "noNewPrivileges": true,
            "env": ["A=image", "B=image"], "user": {"uid": 1, "gid": 2},
        }});
        std::fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
        let made = process(bundle.path(), &request(Some(Size { cols: 80, rows: 24 }))).unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(
            made,
            json!({
                "args": ["/bin/sh", "-c", "x"], "cwd": "/www", "terminal": true,
                "noNewPrivileges": true, "env": ["B=image", "TERM=xterm", "A=mine"],
                "user": {"uid": 1, "gid": 2}, "consoleSize": {"height": 24, "width": 80},
            })
        );
        let made = process(bundle.path(), &request(None)).unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(made["env"], json!(["B=image", "A=mine"]));
        assert_eq!(made["terminal"], false);
    }
}
