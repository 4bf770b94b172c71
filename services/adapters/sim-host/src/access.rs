//! Programs in simulated containers: a few of them, enough to see that every way in and out works.
//!
//! `echo WORDS` prints, `cat` gives back what it is sent, `size` tells its terminal's size each time it changes,
//! `false` fails, `sleep` waits to be ended. Any other name is a program that is not there.

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use skerry_containers::{
    ContainerAccess, ExecInput, ExecOutput, ExecRequest, ExecSession, Run, RuntimeError,
    RuntimeFault, Size, TerminalLook,
};
use skerry_model::{Id, Name, Pod, Timestamp};
use tokio::sync::mpsc;

use crate::world::SimHost;

type Outputs = mpsc::Sender<Result<ExecOutput, RuntimeError>>;

/// Counts a program for as long as it lives.
struct Counted(SimHost);

impl Counted {
    fn new(host: SimHost) -> Self {
        host.world().programs += 1;
        Self(host)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut world = self.0.world();
        world.programs = world.programs.saturating_sub(1);
    }
}

impl SimHost {
    /// How many programs of people run in containers.
    pub fn programs(&self) -> usize {
        self.world().programs
    }
}

#[async_trait]
impl ContainerAccess for SimHost {
    async fn exec(&self, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        let fate = self.step("Exec", |world| world.containers.run(request.pod, &request.container));
        let run = fate.await.map_err(|m| RuntimeError::new(RuntimeFault::Passing, m))?;
        if !matches!(run, Run::Running { .. }) {
            let message = format!("container `{}` does not run", request.container);
            return Err(RuntimeError::new(RuntimeFault::Refused, message));
        }
        let (input, inputs) = mpsc::channel(4);
        let (outputs, received) = mpsc::channel(4);
        let counted = Counted::new(self.clone());
        tokio::spawn(async move {
            let gone = outputs.clone();
            tokio::select! {
                () = gone.closed() => {}
                () = program(request, inputs, outputs) => {}
            }
            drop(counted);
        });
        let output = stream::unfold(received, |mut received| async move {
            received.recv().await.map(|item| (item, received))
        });
        Ok(ExecSession { input, output: output.boxed() })
    }

    /// A simulated container repeats what it hears in its log.
    async fn input(
        &self,
        pod: Id<Pod>,
        container: &Name,
    ) -> Result<mpsc::Sender<Vec<u8>>, RuntimeError> {
        let open = self.started(pod, container).is_some_and(|desired| desired.stdin);
        if !open || !matches!(self.world().containers.run(pod, container), Run::Running { .. }) {
            let message = format!("container `{container}` does not run with an open input");
            return Err(RuntimeError::new(RuntimeFault::Refused, message));
        }
        let (input, mut inputs) = mpsc::channel::<Vec<u8>>(4);
        let (host, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            while let Some(bytes) = inputs.recv().await {
                let text = String::from_utf8_lossy(&bytes);
                let text = text.trim_end();
                host.write_line(pod, &container, Timestamp::now(), &format!("heard {text}"));
                if text == "sleep" {
                    // Its program does something else, and reads no more.
                    std::future::pending::<()>().await;
                }
            }
        });
        Ok(input)
    }

    /// Each look has a terminal of its own, which shows what is typed.
    async fn terminal(&self, pod: Id<Pod>, container: &Name) -> Result<TerminalLook, RuntimeError> {
        let has = self.started(pod, container).is_some_and(|desired| desired.tty);
        if !has || !matches!(self.world().containers.run(pod, container), Run::Running { .. }) {
            let message = format!("container `{container}` does not run with a terminal");
            return Err(RuntimeError::new(RuntimeFault::Refused, message));
        }
        let (input, inputs) = mpsc::channel(4);
        let (shows, shown) = mpsc::channel(4);
        tokio::spawn(terminal(inputs, shows));
        let output = stream::unfold(shown, |mut shown| async move {
            shown.recv().await.map(|piece| (piece, shown))
        });
        Ok(TerminalLook { input, output: output.boxed() })
    }
}

/// A simulated terminal: shows what is typed and each size.
async fn terminal(mut inputs: mpsc::Receiver<ExecInput>, shown: mpsc::Sender<Vec<u8>>) {
    let _ = shown.send(b"$ ".to_vec()).await;
    while let Some(input) = inputs.recv().await {
        let text = match input {
            ExecInput::Bytes(bytes) => bytes,
            ExecInput::Resize(size) => format!("{}x{}\r\n", size.cols, size.rows).into_bytes(),
            ExecInput::End => continue,
        };
        if shown.send(text).await.is_err() {
            return;
        }
    }
    shown.closed().await;
}

/// Does what the first word says. A reader that is gone ends it from outside.
async fn program(request: ExecRequest, mut inputs: mpsc::Receiver<ExecInput>, out: Outputs) {
    let text = |size: Size| format!("{}x{}\r\n", size.cols, size.rows).into_bytes();
    let mut words = request.argv.iter().map(String::as_str);
    let code = match words.next() {
        Some("echo") => {
            let line = format!("{}\n", words.collect::<Vec<_>>().join(" "));
            let _ = out.send(Ok(ExecOutput::Out(line.into_bytes()))).await;
            0
        }
        Some("cat") => {
            loop {
                match inputs.recv().await {
                    Some(ExecInput::Bytes(bytes)) => {
                        let _ = out.send(Ok(ExecOutput::Out(bytes))).await;
                    }
                    Some(ExecInput::Resize(_)) => {}
                    Some(ExecInput::End) | None => break,
                }
            }
            0
        }
        Some("size") => {
            if let Some(size) = request.terminal {
                let _ = out.send(Ok(ExecOutput::Out(text(size)))).await;
            }
            while let Some(input) = inputs.recv().await {
                match input {
                    ExecInput::Resize(size) => {
                        let _ = out.send(Ok(ExecOutput::Out(text(size)))).await;
                    }
                    ExecInput::Bytes(_) => {}
                    ExecInput::End => break,
                }
            }
            0
        }
        Some("false") => {
            let _ = out.send(Ok(ExecOutput::Err(b"it fails\n".to_vec()))).await;
            1
        }
        Some("sleep") => std::future::pending().await,
        _ => {
            let _ = out.send(Ok(ExecOutput::Err(b"there is no such program\n".to_vec()))).await;
            127
        }
    };
    let _ = out.send(Ok(ExecOutput::Exit(code))).await;
}
