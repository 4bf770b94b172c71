//! The machine as a whole: state, parts, log, power, export.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell as ShellKind;
use serde_json::Value;
use skerry_ipc::{Answer, ListQuery, PowerAction, Request};
use skerry_model::Kind;

use crate::args::{Arguments, NodeVerb};
use crate::shell::{Done, Failure, Shell};
use crate::text::{self, cell};
use crate::verbs::{log_query, logs};

pub(super) async fn status(shell: &mut Shell<'_, '_>) -> Done {
    let health = shell.transport.health().await?;
    shell.show(&health, |health| {
        let said = |pointer: &str, yes: &str, no: &str| {
            let holds = health.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
            if holds { yes.to_owned() } else { no.to_owned() }
        };
        format!(
            "{}: {}, {}\nversion {}, node {}\n",
            cell(health, "/hostname"),
            said("/ready", "ready", "starting"),
            said("/claimed", "claimed", "not claimed yet: see `skerry claim --help`"),
            cell(health, "/version"),
            cell(health, "/node_id"),
        )
    })
}

pub(super) async fn summary(shell: &mut Shell<'_, '_>) -> Done {
    let summary = shell.document(Request::Summary).await?;
    shell.show(&summary, summary_text)
}

/// The summary as it fits one screen.
pub(crate) fn summary_text(summary: &Value) -> String {
    let number = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let list = |pointer: &str, one: fn(&Value) -> String| {
        let items = summary.pointer(pointer).and_then(Value::as_array);
        let words: Vec<String> = items.into_iter().flatten().map(one).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    let yes = |pointer: &str| summary.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
    let mut rows: Vec<(&str, String)> = vec![
        ("host name", cell(summary, "/hostname")),
        ("state", if yes("/ready") { "ready".to_owned() } else { "starting".to_owned() }),
        ("version", format!("{} ({})", cell(summary, "/version"), cell(summary, "/build"))),
        ("node id", cell(summary, "/node_id")),
        ("board", cell(summary, "/board")),
        ("claimed", if yes("/claimed") { "yes".to_owned() } else { "no".to_owned() }),
        ("pages", list("/urls", text::scalar)),
        ("fingerprint", halves(&cell(summary, "/fingerprint"))),
        ("addresses", list("/addresses", address)),
        ("up for", text::duration(number("/uptime_s"))),
        ("memory", memory(number("/memory/total"), number("/memory/available"))),
        ("load", format!("{} on {} CPUs", cell(summary, "/load1"), number("/cpus"))),
        ("VMs run on", cell(summary, "/accelerator")),
        ("VMs", of(number("/workloads/vms_running"), number("/workloads/vms"))),
        ("pods", of(number("/workloads/pods_running"), number("/workloads/pods"))),
        ("alarms", alarms(summary)),
        (
            "store",
            if yes("/store_healthy") { "healthy".to_owned() } else { "not healthy".to_owned() },
        ),
    ];
    if summary.get("claim_code").is_some_and(|code| !code.is_null()) {
        rows.push(("claim code", cell(summary, "/claim_code")));
    }
    rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

/// A fingerprint on two lines, so that it fits a narrow screen.
fn halves(fingerprint: &str) -> String {
    let octets: Vec<&str> = fingerprint.split(':').collect();
    let lines: Vec<String> = octets.chunks(16).map(|half| half.join(":")).collect();
    lines.join(&format!(":\n{:13}", ""))
}

fn address(entry: &Value) -> String {
    format!(
        "{}/{} on {} ({})",
        cell(entry, "/address"),
        cell(entry, "/prefix"),
        cell(entry, "/device"),
        cell(entry, "/origin")
    )
}

fn memory(total: u64, available: u64) -> String {
    format!("{} of {} in use", text::size(total.saturating_sub(available)), text::size(total))
}

fn of(running: u64, all: u64) -> String {
    format!("{running} of {all} running")
}

fn alarms(summary: &Value) -> String {
    let count = |severity: &str| {
        let number = summary.pointer(&format!("/alarms/{severity}")).and_then(Value::as_u64);
        number.filter(|n| *n > 0).map(|n| format!("{n} {severity}"))
    };
    let words: Vec<String> =
        ["critical", "major", "minor", "warning"].into_iter().filter_map(count).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

pub(super) async fn inventory(shell: &mut Shell<'_, '_>) -> Done {
    let mut inventory = shell.document(Request::Inventory).await?;
    if !shell.json {
        // A hundred flags for each processor hide the rest.
        let processors = inventory.pointer_mut("/processors").and_then(Value::as_array_mut);
        for processor in processors.into_iter().flatten().filter_map(Value::as_object_mut) {
            processor.remove("flags");
        }
    }
    shell.show(&inventory, |inventory| text::outline(inventory, 0))
}

pub(super) async fn node(shell: &mut Shell<'_, '_>, verb: NodeVerb) -> Done {
    match verb {
        NodeVerb::Show => {
            let request = Request::List { kind: Kind::Node, query: ListQuery::default() };
            match shell.transport.call(request).await? {
                Answer::List { items, .. } => match items.first() {
                    Some(json) => {
                        let document = shell.parse(&json.0)?;
                        shell.show(&document, |document| text::outline(document, 0))
                    }
                    None => {
                        Err(Failure::Outcome("the node has no record of itself yet".to_owned()))
                    }
                },
                other => Err(shell.odd("a list", &other)),
            }
        }
        NodeVerb::Devices => {
            let mut inventory = shell.document(Request::Inventory).await?;
            let devices = inventory.get_mut("host_devices").map(Value::take).unwrap_or_default();
            shell.show(&devices, |devices| text::outline(devices, 0))
        }
        NodeVerb::Log { unit, tail, since } => {
            let unit = unit.unwrap_or_default();
            logs(shell, log_query(Kind::Node, unit, tail, since.since)).await
        }
        NodeVerb::Restart { yes } => power(shell, PowerAction::Restart, yes).await,
        NodeVerb::PowerOff { yes } => power(shell, PowerAction::PowerOff, yes).await,
    }
}

async fn power(shell: &mut Shell<'_, '_>, action: PowerAction, yes: bool) -> Done {
    let (verb, word, doing) = match action {
        PowerAction::Restart => ("restart", "restart", "restarts"),
        PowerAction::PowerOff => ("power off", "power off", "powers off"),
    };
    if !yes {
        let node = shell.transport.node();
        let question = format!("This will {verb} the machine at {node}. Type `{word}` to go on: ");
        match shell.io.asker.line(&question)? {
            Some(answer) if answer.trim() == word => {}
            Some(_) => return Err(Failure::Usage("nothing was done".to_owned())),
            None => {
                return Err(Failure::Usage(format!("to {verb} without being asked, add --yes")));
            }
        }
    }
    match shell.transport.call(Request::Power(action)).await? {
        Answer::Done => shell.say(&format!("The machine {doing}.")),
        other => Err(shell.odd("nothing", &other)),
    }
}

pub(super) async fn export(shell: &mut Shell<'_, '_>, output: &Path) -> Done {
    if !shell.io.files {
        return Err(Failure::Usage(
            "files cannot be written from here: use the skerry program on your own machine"
                .to_owned(),
        ));
    }
    let bytes = match shell.transport.call(Request::Export).await? {
        Answer::Bytes(bytes) => bytes,
        other => return Err(shell.odd("bytes", &other)),
    };
    // The state holds password hashes: nobody else may read it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(output);
    let written = file.and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written
        .map_err(|error| Failure::Outcome(format!("cannot write {}: {error}", output.display())))?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    shell.say(&format!("Wrote {} to {}.", text::size(length), output.display()))
}

pub(super) fn completion(shell: &mut Shell<'_, '_>, kind: ShellKind) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(kind, &mut Arguments::command(), "skerry", &mut script);
    shell.io.out.write_all(&script)?;
    Ok(())
}
