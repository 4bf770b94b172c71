//! The `skerry` program.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use skerry_cli::{Io, Terminal, Verb, choose, complain, parse, run_parsed};

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::from(skerry_cli::exit::REFUSED),
    };
    ExitCode::from(runtime.block_on(run(&words)))
}

async fn run(words: &[String]) -> u8 {
    let (mut out, mut err) = (stdout(), stderr());
    let mut io = Io { out: &mut out, err: &mut err, asker: &Terminal, files: true };
    let arguments = match parse(words) {
        Ok(arguments) => arguments,
        // Words that cannot be read need no node to be told so.
        Err(_) => return skerry_cli::run(words, &skerry_cli::Nowhere, &mut io).await,
    };
    if matches!(arguments.verb, Verb::Completion { .. }) {
        return run_parsed(arguments, &skerry_cli::Nowhere, &mut io).await;
    }
    let variable = |name: &str| std::env::var(name).ok();
    match choose(&arguments, &variable, &Terminal).await {
        Ok(transport) => tokio::select! {
            code = run_parsed(arguments, transport.as_ref(), &mut io) => code,
            _ = tokio::signal::ctrl_c() => skerry_cli::exit::INTERRUPTED,
        },
        Err(failure) => complain(&mut io, arguments.global.json, &failure),
    }
}
