//! Containers with a terminal of their own.

use skerry_containers::{ExecInput, Size, TerminalLook};

use super::*;

/// What somebody who looks has been shown, and the means to type.
struct Looking {
    look: TerminalLook,
    shown: String,
}

impl Looking {
    async fn at(stage: &Stage) -> Self {
        let name = "main".parse().unwrap();
        let look = stage.containers.terminal(stage.pod, &name).await.unwrap();
        Self { look, shown: String::new() }
    }

    async fn send(&self, input: ExecInput) {
        self.look.input.send(input).await.unwrap();
    }

    async fn types(&self, text: &str) {
        self.send(ExecInput::Bytes(text.as_bytes().to_vec())).await;
    }

    async fn until(&mut self, text: &str) {
        let come = async {
            while !self.shown.contains(text) {
                let piece = self.look.output.next().await;
                let piece = piece.unwrap_or_else(|| panic!("no `{text}` in `{}`", self.shown));
                self.shown.push_str(&String::from_utf8_lossy(&piece));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), come).await.unwrap();
        let after = self.shown.find(text).unwrap() + text.len();
        self.shown.drain(..after);
    }

    async fn end(mut self) -> String {
        while let Some(piece) = self.look.output.next().await {
            self.shown.push_str(&String::from_utf8_lossy(&piece));
        }
        self.shown
    }
}

fn with_terminal(mut desired: ContainerDesired) -> ContainerDesired {
    (desired.stdin, desired.tty) = (true, true);
    desired
}

async fn start(stage: &Stage, desired: ContainerDesired) -> u32 {
    stage.push(Want::Run(Box::new(desired)), false).await;
    let run = stage.until("start", |run| matches!(run, Run::Running { pid: Some(_), .. })).await;
    let Run::Running { pid: Some(pid), .. } = run else { unreachable!() };
    pid
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn people_sit_down_at_a_containers_terminal_and_leave_it_as_it_was() {
    let stage = Stage::new().await;
    let shell = with_terminal(stage.desired(&["/bin/busybox", "sh"]));
    let pid = start(&stage, shell.clone()).await;
    let mut first = Looking::at(&stage).await;
    first.until("# ").await;
    first.send(ExecInput::Resize(Size { cols: 101, rows: 43 })).await;
    first.types("/bin/busybox stty size; /bin/busybox test -t 1 && echo is a terminal\r").await;
    first.until("43 101").await;
    first.until("is a terminal").await;

    // Another one sees what was, and what comes.
    let mut second = Looking::at(&stage).await;
    second.until("43 101").await;
    first.types("echo $((6 * 7))\r").await;
    second.until("\r\n42\r\n").await;
    first.until("\r\n42\r\n").await;

    // Whoever leaves ends nothing, nor does the end of what they typed.
    first.send(ExecInput::End).await;
    drop((first, second));
    let mut third = Looking::at(&stage).await;
    third.types("echo again $$\r").await;
    third.until("\r\nagain 1\r\n").await;
    assert!(
        matches!(stage.observed().await.run, Run::Running { pid: Some(same), .. } if same == pid)
    );
    // A key, not a signal to whoever looks.
    third.types("/bin/busybox sh -c 'echo rea\"\"dy; /bin/busybox sleep 1000'\r").await;
    third.until("ready").await;
    third.types("\u{3}").await;
    third.until("# ").await;
    third.types("exit 7\r").await;
    third.end().await;
    let ended = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(ended, Run::Ended { exit: Exit::Code(7), .. }), "{ended:?}");
    let log = stage.log();
    assert!(log.contains("again 1\n") && !log.contains("again 1\r"), "{log}");
    let name = "main".parse().unwrap();
    assert!(stage.containers.terminal(stage.pod, &name).await.is_err());
    stage.clear().await;
}

/// What noded has of a container may be made anew at any time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn the_terminal_outlives_whoever_started_it() {
    let stage = Stage::new().await;
    let script =
        "trap 'echo asked to end; exit 5' TERM; read a; echo heard $a; while :; do read b; done";
    let pid = start(&stage, with_terminal(stage.shell(script))).await;
    let bundle = stage.containers.inner.places.bundle(stage.pod, &"main".parse().unwrap());
    // As a new noded would, knowing nothing but where the bundle is.
    let look = crate::console::look(&bundle).await.unwrap();
    let mut looking = Looking { look, shown: String::new() };
    looking.types("it\r").await;
    looking.until("heard it").await;
    assert!(
        matches!(stage.observed().await.run, Run::Running { pid: Some(same), .. } if same == pid)
    );
    stage.push(Want::Down { kill: false }, false).await;
    // The shell hears of the signal when it has read a line.
    looking.types("\r").await;
    let ended = stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    assert!(matches!(ended, Run::Ended { exit: Exit::Code(5), .. }), "{ended:?}");
    assert!(looking.end().await.contains("asked to end"));
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_container_without_a_terminal_has_none_and_a_failed_start_is_told() {
    let stage = Stage::new().await;
    start(&stage, stage.desired(&["/bin/busybox", "sleep", "1000"])).await;
    let name = "main".parse().unwrap();
    let error = stage.containers.terminal(stage.pod, &name).await.err().unwrap();
    assert_eq!(error.fault, RuntimeFault::Refused);
    assert!(error.message.contains("`tty`"), "{error}");
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("end", |run| matches!(run, Run::Ended { .. })).await;
    let mut absent = with_terminal(stage.desired(&["/no/such/program"]));
    absent.layer = "absent".to_owned();
    absent.bundle = "absent".to_owned();
    stage.run_to_end(absent).await;
    assert!(stage.log().contains("/no/such/program"), "{}", stage.log());
    stage.clear().await;
}
