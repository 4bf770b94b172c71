//! A real writer process is killed two hundred times; no write that it acknowledged may be missing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use skerry_model::Job;
use skerry_store::Transaction;

use crate::support::{Random, block_on, id, job, open, spec};

const KILLS: u64 = 200;
const SEED: u64 = 0x5eed;
const DIRECTORY: &str = "SKERRY_TEST_WRITER_DIRECTORY";
const START: &str = "SKERRY_TEST_WRITER_START";
const KEYS: u64 = 40;

/// Not a test of its own: the process that [`no_acknowledged_write_is_lost`] starts and kills. It says
/// what it finds, then for each write what it is about to do and that it is done.
#[test]
#[ignore = "run as a child by no_acknowledged_write_is_lost"]
fn writer_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let start: u64 = std::env::var(START).unwrap().parse().unwrap();
    let mut out = std::io::stdout().lock();
    block_on(async {
        let (store, report) = open(Path::new(&directory));
        for found in store.list::<Job>().unwrap() {
            writeln!(out, "\nhave {} {}", found.meta.name, found.spec.operation).unwrap();
        }
        let verdict = if report.is_clean() { String::new() } else { format!("{report:?}") };
        writeln!(out, "\nopen {verdict}").unwrap();
        let mut random = Random(start);
        for round in start.. {
            let n = random.below(KEYS);
            let value = format!("value-{round}-{}", random.filler(2000));
            let exists = store.get(id(n)).unwrap().is_some();
            let mut tx = Transaction::new();
            let text = match (exists, random.below(5)) {
                (true, 0) => {
                    tx.remove(id(n));
                    String::new()
                }
                (true, _) => {
                    tx.put_spec(id(n), None, spec(&value));
                    value
                }
                (false, _) => {
                    tx.create(job(n, &value));
                    value
                }
            };
            writeln!(out, "try job-{n} {text}").unwrap();
            store.commit(tx).await.unwrap();
            writeln!(out, "done").unwrap();
            if random.below(25) == 0 {
                store.checkpoint().await.unwrap();
            }
        }
    });
}

#[derive(Debug)]
enum Line {
    Have(String, String),
    Open(String),
    Try(String, String),
    Done,
}

fn parse(line: &str) -> Option<Line> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
    match word {
        "have" => Some(Line::Have(name.to_owned(), value.to_owned())),
        "open" => Some(Line::Open(rest.to_owned())),
        "try" => Some(Line::Try(name.to_owned(), value.to_owned())),
        "done" => Some(Line::Done),
        // The test harness of the child talks too.
        _ => None,
    }
}

/// Runs a writer until it has acknowledged `writes`, or for `time` after it is open, then kills it. Gives all it said.
fn run_and_kill(directory: &Path, round: u64, writes: Option<u64>, time: Duration) -> Vec<Line> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer_process", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(START, (round * 1_000_000).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            // A line that the kill cut off was never said.
            let Ok(line) = line else { break };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut said = Vec::new();
    let (mut opened, mut acknowledged) = (false, 0);
    // Long enough for any machine; from the moment the store is open, as long as this round gets.
    let mut deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let enough = writes.is_some_and(|writes| opened && acknowledged >= writes);
        if enough {
            break;
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(wait) {
            Ok(line) => {
                let line = parse(&line);
                if matches!(line, Some(Line::Open(_))) {
                    opened = true;
                    if writes.is_none() {
                        deadline = Instant::now() + time;
                    }
                }
                acknowledged += u64::from(matches!(line, Some(Line::Done)));
                said.extend(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) if opened => break,
            Err(error) => panic!("the writer of round {round} said nothing more: {error}"),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died counts.
    said.extend(lines.iter().filter_map(|line| parse(&line)));
    reader.join().unwrap();
    said
}

#[test]
fn no_acknowledged_write_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let mut random = Random(SEED);
    let mut truth: BTreeMap<String, String> = BTreeMap::new();
    // The write that was under way at the last kill: it may be there or not.
    let mut open_write: Option<(String, String)> = None;
    let mut acknowledged = 0;
    for round in 1..=KILLS {
        // Half of the kills come right after an answer, half at any moment: mostly inside a write.
        let writes = (round % 2 == 0).then(|| random.below(40));
        let time = Duration::from_micros(random.below(30_000));
        let said = run_and_kill(root.path(), round, writes, time);
        let mut found = BTreeMap::new();
        for line in said {
            match line {
                Line::Have(name, value) => {
                    found.insert(name, value);
                }
                Line::Open(verdict) => {
                    assert_eq!(verdict, "", "round {round}, seed {SEED:#x}: not a clean open");
                    if let Some((name, value)) = open_write.take() {
                        let happened = found.get(&name).map_or("", String::as_str) == value;
                        if happened {
                            apply(&mut truth, name, value);
                        }
                    }
                    assert_eq!(found, truth, "round {round}, seed {SEED:#x}");
                }
                Line::Try(name, value) => open_write = Some((name, value)),
                Line::Done => {
                    let (name, value) = open_write.take().unwrap();
                    apply(&mut truth, name, value);
                    acknowledged += 1;
                }
            }
        }
    }
    println!("{KILLS} kills, {acknowledged} acknowledged writes, none lost");
    assert!(acknowledged > KILLS * 5, "only {acknowledged} writes: the test proves little");
}

fn apply(truth: &mut BTreeMap<String, String>, name: String, value: String) {
    if value.is_empty() {
        truth.remove(&name);
    } else {
        truth.insert(name, value);
    }
}
