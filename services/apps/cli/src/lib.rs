//! The `skerry` command line: one set of verbs over HTTPS or the node's local socket.
//!
//! [`run`] does one line of words against any [`Transport`], so that the maintenance console offers the same
//! verbs as the program. Verbs know no resource's rules: they send requests and show what the node says.

mod args;
mod choose;
mod columns;
mod container_words;
pub mod exit;
mod files;
mod fingerprint;
mod https;
mod image_words;
mod io;
mod keyboard;
mod kubernetes;
mod local;
mod nodes;
mod pin;
mod placing_words;
mod power_words;
mod respond;
mod shell;
mod socket;
mod storage_words;
mod terminal;
mod text;
mod transport;
mod verbs;
mod vm_words;
mod workload_words;

use std::time::Duration;

use clap::Parser;

pub use args::{Arguments, Global, Verb};
pub use choose::choose;
pub use fingerprint::Fingerprint;
pub use https::Https;
pub use io::{Asker, Io, Nobody};
pub use keyboard::{Key, Keyboard};
pub use local::{BUILD, Local, SOCKET};
pub use nodes::{KnownNode, Nodes, NodesError};
pub use shell::Failure;
pub use terminal::Terminal;
pub use text::{clean, duration, size, table};
pub use transport::{CallError, InputSink, Items, Nowhere, Session, Transport, TwoWay};

/// Reads words (without the program's name). The error is the text to print and the exit code.
pub fn parse(words: &[String]) -> Result<Arguments, (String, u8)> {
    let words = std::iter::once("skerry".to_owned()).chain(words.iter().cloned());
    Arguments::try_parse_from(words).map_err(|error| {
        // Help and version come as errors too, but are what was asked for.
        let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
        (error.render().to_string(), code)
    })
}

/// Does one line of words at a node that the caller chose. Returns the exit code.
pub async fn run(words: &[String], transport: &dyn Transport, io: &mut Io<'_>) -> u8 {
    match parse(words) {
        Ok(arguments) if arguments.global.node.is_some() || arguments.global.socket.is_some() => {
            complain(
                io,
                false,
                &Failure::Usage("only this node can be reached from here".to_owned()),
            )
        }
        Ok(arguments) => run_parsed(arguments, transport, io).await,
        Err((text, code)) => {
            // Help is a result, a complaint is not. If the writer is gone, nobody is left to be told.
            let target = if code == exit::DONE { &mut *io.out } else { &mut *io.err };
            let _ = target.write_all(text.as_bytes());
            code
        }
    }
}

/// Does a verb at a node.
pub async fn run_parsed(arguments: Arguments, transport: &dyn Transport, io: &mut Io<'_>) -> u8 {
    let Global { json, timeout, .. } = arguments.global;
    let mut shell = shell::Shell { transport, io, json, timeout: Duration::from_secs(timeout) };
    match verbs::run(&mut shell, arguments.verb).await {
        Ok(()) => exit::DONE,
        Err(failure) => complain(io, json, &failure),
    }
}

/// Tells why a verb was not done; returns the exit code.
pub fn complain(io: &mut Io<'_>, json: bool, failure: &Failure) -> u8 {
    let code = failure.exit_code();
    if code != exit::DONE && !matches!(failure, Failure::Ended(_)) {
        let text = if json { complaint_json(failure) } else { complaint(failure) };
        // If even the error output is gone, the exit code has to do.
        let _ = io.err.write_all(text.as_bytes());
    }
    code
}

fn complaint_json(failure: &Failure) -> String {
    let refusal = failure.refusal();
    let class = refusal.map(|refusal| format!("{:?}", refusal.class));
    let violations = refusal.map(|refusal| &refusal.violations);
    let value = serde_json::json!({ "error": {
        "detail": failure.to_string(), "class": class, "violations": violations,
        "exit_code": failure.exit_code(),
    }});
    format!("{value}\n")
}

/// What happened, what is behind it, every fault of a document, and what to do next.
fn complaint(failure: &Failure) -> String {
    let said = failure.to_string();
    // Line ends of our own sentences stay.
    let lines: Vec<String> = said.lines().map(clean).collect();
    let mut text = format!("skerry: {}", lines.join("\n"));
    let mut source = std::error::Error::source(failure);
    while let Some(cause) = source {
        text.push_str(&format!(": {}", clean(&cause.to_string())));
        source = cause.source();
    }
    text.push('\n');
    let violations = failure.refusal().into_iter().flat_map(|refusal| &refusal.violations);
    // A refusal for a single fault tells it in its own sentence already.
    for violation in violations.filter(|violation| !said.contains(&violation.message)) {
        text.push_str(&format!("  {}: {}\n", clean(&violation.field), clean(&violation.message)));
    }
    if let Some(hint) = hint(failure) {
        text.push_str(&format!("{hint}\n"));
    }
    text
}

fn hint(failure: &Failure) -> Option<&'static str> {
    use skerry_ipc::RefusalClass;
    match failure.refusal()?.class {
        RefusalClass::Unauthenticated => Some("Log in first: skerry login"),
        RefusalClass::Forbidden => Some("Your account's role does not allow this."),
        RefusalClass::Internal => Some("The node's log says more: skerry node log"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
