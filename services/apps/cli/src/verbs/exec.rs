//! Programs in containers, with the person's own terminal in front of them.

use futures::StreamExt;
use serde_json::Value;
use skerry_ipc::{Channel, ExecQuery, Input, Request, StreamItem, TerminalSize};
use skerry_model::Kind;

use crate::args::ExecTarget;
use crate::keyboard::{Key, Keyboard};
use crate::shell::{Done, Failure, Shell};
use crate::transport::{InputSink, TwoWay};

/// Ctrl-] ends a look at a serial line.
const LEAVE: u8 = 0x1d;
/// The size of a terminal that does not tell its own.
const USUAL: TerminalSize = TerminalSize { cols: 80, rows: 24 };

pub(super) async fn exec(shell: &mut Shell<'_, '_>, target: ExecTarget) -> Done {
    let ExecTarget { pod, container, interactive, tty, env, command } = target;
    let keyboard = match interactive {
        true => Some(keyboard(shell, tty)?),
        false => None,
    };
    let terminal = tty.then(|| keyboard.as_ref().and_then(Keyboard::size).unwrap_or(USUAL));
    let query = ExecQuery { key: pod, container, argv: command, env, terminal };
    let talk = shell.transport.open_two_way(Request::Exec(query)).await?;
    match converse(shell, talk, keyboard).await? {
        Some(0) => Ok(()),
        // Only the last eight bits of a code are a process's own.
        Some(code) => Err(Failure::Ended(u8::try_from(code & 0xff).unwrap_or(1))),
        None => {
            Err(Failure::Outcome("the node ended the connection before the program".to_owned()))
        }
    }
}

/// Speaks to a container's own program, until it ends. Whoever leaves ends nothing.
pub(super) async fn attach(
    shell: &mut Shell<'_, '_>,
    key: String,
    container: Option<String>,
    tty: bool,
) -> Done {
    let keyboard = keyboard(shell, tty)?;
    if tty {
        let key = key.clone();
        let pod = shell.document(Request::Get { kind: Kind::Pod, key }).await?;
        if !has_terminal(&pod, container.as_deref()) {
            let detail = "the container has no terminal (--tty when it was made): leave -t out";
            return Err(Failure::Usage(detail.to_owned()));
        }
    }
    let size = keyboard.size().filter(|_| tty);
    let talk = shell.transport.open_two_way(Request::Attach { key, container }).await?;
    let keyboard = match tty {
        true => {
            shell.progress("Attached. Ctrl-] leaves, and the container goes on.\r")?;
            // The terminal there is as large as the last one who sat at it had it.
            let size = Input::Resize(size.unwrap_or(USUAL));
            talk.input.send(size).await?;
            keyboard.leaving_with(LEAVE)
        }
        false => {
            shell.progress("Attached. Ctrl-C leaves, and the container goes on.")?;
            keyboard
        }
    };
    match converse(shell, talk, Some(keyboard)).await? {
        Some(0) | None => Ok(()),
        // Only the last eight bits of a code are a process's own.
        Some(code) => Err(Failure::Ended(u8::try_from(code & 0xff).unwrap_or(1))),
    }
}

/// Whether the container of a pod has a terminal; of several the one of that name.
fn has_terminal(pod: &Value, name: Option<&str>) -> bool {
    let all = pod.pointer("/spec/containers").and_then(Value::as_array);
    let asked = |it: &&Value| name.is_none() || it.get("name").and_then(Value::as_str) == name;
    let mut named = all.into_iter().flatten().filter(asked);
    named.any(|it| it.get("tty").and_then(Value::as_bool) == Some(true))
}

/// Sits down at a serial line, until it ends or Ctrl-] is typed.
pub(super) async fn console(shell: &mut Shell<'_, '_>, key: String) -> Done {
    let keyboard = match shell.io.asker.keyboard(true)? {
        Some(keyboard) => keyboard,
        None => shell.io.asker.keyboard(false)?.ok_or_else(|| {
            let detail = "there is nothing to type at from here: use the skerry program on your own machine, or \
                the page";
            Failure::Usage(detail.to_owned())
        })?,
    };
    let talk = shell.transport.open_two_way(Request::Serial { key }).await?;
    shell.progress("Connected. Ctrl-] leaves.\r")?;
    converse(shell, talk, Some(keyboard.leaving_with(LEAVE))).await?;
    shell.progress("\r\nLeft the serial line.")
}

fn keyboard(shell: &mut Shell<'_, '_>, raw: bool) -> Result<Keyboard, Failure> {
    let none = || {
        Failure::Usage(match raw {
            true => "-t needs a terminal to type at; leave it out for a pipe".to_owned(),
            false => "there is nothing to type at from here; leave out -i".to_owned(),
        })
    };
    shell.io.asker.keyboard(raw)?.ok_or_else(none)
}

/// Prints what comes and sends what is typed, until the end or until the person leaves. The program's code, if it
/// told one.
async fn converse(
    shell: &mut Shell<'_, '_>,
    talk: TwoWay,
    keyboard: Option<Keyboard>,
) -> Result<Option<i32>, Failure> {
    let TwoWay { input, mut items } = talk;
    let mut typing = std::pin::pin!(send_all(input.as_ref(), keyboard));
    loop {
        // Taking an item loses nothing when the other arm wins.
        let item = tokio::select! {
            item = items.next() => item,
            () = &mut typing => return Ok(None),
        };
        match item {
            Some(Ok(StreamItem::Output { channel, bytes })) => {
                let target = match channel {
                    Channel::Out => &mut *shell.io.out,
                    Channel::Err => &mut *shell.io.err,
                };
                target.write_all(&bytes)?;
                target.flush()?;
            }
            Some(Ok(StreamItem::Exit(code))) => return Ok(Some(code)),
            // Items of other streams.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(None),
        }
    }
}

/// Sends what is typed, until the person leaves: the end of the input is not the end of the program.
pub(crate) async fn send_all(input: &dyn InputSink, keyboard: Option<Keyboard>) {
    if let Some(mut keyboard) = keyboard {
        while let Some(key) = keyboard.next().await {
            let said = match key {
                Key::Bytes(bytes) => Input::Bytes(bytes),
                Key::Resized(size) => Input::Resize(size),
                Key::Leave => return,
            };
            if input.send(said).await.is_err() {
                // Why is told by the other direction. The terminal stays raw until then.
                return std::future::pending().await;
            }
        }
    }
    // Likewise.
    let _ = input.send(Input::End).await;
    std::future::pending().await
}
