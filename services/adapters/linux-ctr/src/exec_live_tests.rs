//! Programs that people run in real containers.

use skerry_containers::{ExecInput, ExecOutput, Size};

use super::*;
use crate::programs::{Program, Programs};

/// Everything below a process, and itself.
async fn kill_all(pid: u32) {
    let list = Command::new("ps").args(["-eo", "pid=,ppid="]).output().await.unwrap();
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    let pairs: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(|word| word.parse().unwrap());
            Some((words.next()?, words.next()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    for pid in found {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).output().await;
    }
}

#[async_trait]
impl Programs for Direct {
    async fn start(&self, program: Program) -> Result<(), RuntimeError> {
        let child = Command::new(&program.argv[0])
            .args(&program.argv[1..])
            .stdin(program.input.map_or(Stdio::null(), Stdio::from))
            .stdout(program.output.map_or(Stdio::null(), Stdio::from))
            .stderr(program.errors)
            .spawn()
            .unwrap();
        self.programs.lock().await.insert(program.unit, Arc::new(Mutex::new(child)));
        Ok(())
    }

    async fn ended(&self, unit: &str) -> Result<i32, RuntimeError> {
        let child = self.programs.lock().await.get(unit).cloned().unwrap();
        let status = child.lock().await.wait().await.unwrap();
        Ok(status.code().unwrap_or(137))
    }

    async fn end(&self, unit: &str) -> Result<(), RuntimeError> {
        let Some(child) = self.programs.lock().await.remove(unit) else { return Ok(()) };
        let pid = child.lock().await.id();
        if let Some(pid) = pid {
            kill_all(pid).await;
        }
        Ok(())
    }

    async fn left(&self) -> Result<Vec<String>, RuntimeError> {
        Ok(self.programs.lock().await.keys().cloned().collect())
    }
}

/// A program at work, with all that it wrote so far.
struct Talk {
    session: ExecSession,
    out: String,
    err: String,
}

impl Talk {
    async fn start(stage: &Stage, argv: &[&str], terminal: Option<Size>) -> Self {
        let session = stage.containers.exec(request(stage, argv, terminal)).await;
        let session = session.unwrap_or_else(|error| panic!("{}", error.chain()));
        Self { session, out: String::new(), err: String::new() }
    }

    async fn say(&self, text: &str) {
        self.send(ExecInput::Bytes(text.as_bytes().to_vec())).await;
    }

    async fn send(&self, input: ExecInput) {
        self.session.input.send(input).await.unwrap();
    }

    async fn next(&mut self) -> Option<i32> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.session.output.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing after `{}{}`", self.out, self.err));
        match next.expect("no exit").unwrap() {
            ExecOutput::Out(bytes) => self.out.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Err(bytes) => self.err.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Exit(code) => return Some(code),
        }
        None
    }

    async fn until(&mut self, text: &str) {
        while !self.out.contains(text) {
            assert_eq!(self.next().await, None, "`{}{}`", self.out, self.err);
        }
    }

    async fn end(&mut self) -> i32 {
        loop {
            if let Some(code) = self.next().await {
                return code;
            }
        }
    }
}

fn request(stage: &Stage, argv: &[&str], terminal: Option<Size>) -> ExecRequest {
    ExecRequest {
        pod: stage.pod,
        container: "main".parse().unwrap(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: vec![("SECRET".to_owned(), "word".to_owned())],
        terminal,
        memory_mib: 64,
        tasks: 32,
    }
}

/// A container that waits.
async fn waiting() -> Stage {
    let stage = Stage::new().await;
    run(&stage).await;
    stage
}

async fn run(stage: &Stage) {
    let desired = stage.desired(&["/bin/busybox", "sleep", "1000"]);
    stage.push(Want::Run(Box::new(desired)), false).await;
    stage.until("start", |run| matches!(run, Run::Running { pid: Some(_), .. })).await;
}

async fn finish(stage: Stage) {
    stage.push(Want::Down { kill: true }, false).await;
    stage.until("kill", |run| !run.is_live()).await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_program_without_a_terminal_keeps_its_outputs_apart() {
    let stage = waiting().await;
    let script = "/bin/busybox cat; echo \"$SECRET $A $B\"; echo wrong >&2; exit 5";
    let mut talk = Talk::start(&stage, &["/bin/sh", "-c", script], None).await;
    talk.say("one\n").await;
    talk.until("one\n").await;
    talk.say("two\n").await;
    talk.send(ExecInput::End).await;
    assert_eq!(talk.end().await, 5);
    assert_eq!((talk.out.as_str(), talk.err.as_str()), ("one\ntwo\nword image pod\n", "wrong\n"));

    let mut talk = Talk::start(&stage, &["/no/such/program"], None).await;
    assert_ne!(talk.end().await, 0);
    assert!(talk.err.contains("/no/such/program"), "{}", talk.err);
    // Files go after the end has been told.
    let folder = stage.folder.path().join("run/exec");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_dir(&folder).unwrap().count() > 0 {
        assert!(Instant::now() < deadline, "something is left behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finish(stage).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_terminal_has_a_size_that_changes_and_takes_keys() {
    let stage = waiting().await;
    let size = Some(Size { cols: 77, rows: 33 });
    // The runtime gives the terminal its size while the program starts, and tells it by SIGWINCH as any other change.
    let script = "b=/bin/busybox; until $b stty size | $b grep 33; do $b sleep 0.1; done; \
                  read x; echo got $x; $b stty size; $b tty; exit 3";
    let mut talk = Talk::start(&stage, &["/bin/sh", "-c", script], size).await;
    talk.until("33 77").await;
    talk.send(ExecInput::Resize(Size { cols: 100, rows: 40 })).await;
    talk.say("yes\r").await;
    assert_eq!(talk.end().await, 3);
    assert!(talk.out.contains("got yes") && talk.out.contains("40 100"), "{}", talk.out);
    assert!(talk.out.contains("/dev/pts/"), "{}", talk.out);

    // Ctrl-C reaches what runs, and the shell goes on.
    let mut talk = Talk::start(&stage, &["/bin/sh"], size).await;
    talk.until("# ").await;
    // What is typed is shown too, so the word is not typed in one piece.
    talk.say("/bin/busybox sh -c 'echo rea\"\"dy; /bin/busybox sleep 1000'\r").await;
    talk.until("ready").await;
    // Whatever is typed before the shell is back may go with what was interrupted.
    talk.out.clear();
    talk.say("\u{3}").await;
    talk.until("# ").await;
    talk.say("echo still $((20 + 3))\r").await;
    // With the next prompt: an end that comes before the shell reads again is nobody's.
    talk.until("still 23\r\n~ # ").await;
    talk.send(ExecInput::End).await;
    talk.end().await;

    let mut talk = Talk::start(&stage, &["/bin/busybox", "true"], size).await;
    assert_eq!(talk.end().await, 0, "one that ends at once");
    finish(stage).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_program_ends_when_nobody_listens_and_places_are_counted() {
    let stage = waiting().await;
    let lives = || async {
        let list = Command::new("ps").args(["-eo", "args="]).output().await.unwrap();
        String::from_utf8_lossy(&list.stdout).matches("sleep 4711").count()
    };
    let sleep = ["/bin/busybox", "sleep", "4711"];
    let talk = Talk::start(&stage, &sleep, None).await;
    let on_terminal = Talk::start(&stage, &sleep, Some(Size { cols: 80, rows: 24 })).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives().await < 2 {
        assert!(Instant::now() < deadline, "they do not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((talk, on_terminal));
    while lives().await > 0 {
        assert!(Instant::now() < deadline, "they live on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let mut talks = Vec::new();
    for _ in 0..16 {
        talks.push(Talk::start(&stage, &sleep, None).await);
    }
    let error = stage.containers.exec(request(&stage, &sleep, None)).await.err().unwrap();
    assert!(error.message.contains("16"), "{error}");
    drop(talks);
    let deadline = Instant::now() + Duration::from_secs(20);
    while stage.containers.exec(request(&stage, &sleep, None)).await.is_err() {
        assert!(Instant::now() < deadline, "no place becomes free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finish(stage).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_caller_who_goes_away_during_the_start_leaves_no_program() {
    let folder = tempfile::Builder::new().prefix("skerry-live-").tempdir_in("/var/tmp").unwrap();
    let places = below(&folder.path().join("data"), &folder.path().join("run"));
    let direct = Arc::new(Direct::default());
    let blobs = BlobStore::new(places.blobs());
    let containers =
        LinuxContainers::with_supervisor(places, blobs, Arc::clone(&direct), LogRate::default());
    let stage = Stage::over(folder, containers, "", Some(FIRST)).await;
    run(&stage).await;
    let sleep = ["/bin/busybox", "sleep", "4711"];
    let units = || async { direct.left().await.unwrap().len() };
    let started = async {
        while units().await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        // Quick enough to be there already: then it is dropped here.
        _ = stage.containers.exec(request(&stage, &sleep, Some(Size { cols: 80, rows: 24 }))) => {}
        () = started => {}
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while units().await > 0 {
        assert!(Instant::now() < deadline, "it lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finish(stage).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, crun, a static busybox, ip and mount of util-linux 2.39"]
async fn a_container_that_does_not_run_is_refused() {
    let stage = Stage::new().await;
    let error = stage.containers.exec(request(&stage, &["/bin/sh"], None)).await.err().unwrap();
    assert_eq!(error.fault, RuntimeFault::Refused);
    assert!(error.message.contains("does not run"), "{error}");
    stage.clear().await;
}
