//! The guest of a virtual machine: through its agent, and what it is told; and the machine's own name.

use serde_json::{Value, json};
use skerry_ipc::{Answer, Json, Request};
use skerry_model::{Hidden, Kind, Name};

use crate::shell::{Done, Failure, Shell};
use crate::text::{self, cell};
use crate::verbs::create::report;
use crate::vm_words::GuestVerb;

pub(super) async fn run(shell: &mut Shell<'_, '_>, verb: GuestVerb) -> Done {
    match verb {
        GuestVerb::Guest { name } => show(shell, name).await,
        GuestVerb::Metadata { name } => metadata(shell, name).await,
        GuestVerb::Password { name, user, password_stdin } => {
            set_password(shell, name, user, password_stdin).await
        }
        GuestVerb::Rename { name, to } => rename(shell, name, &to).await,
    }
}

async fn show(shell: &mut Shell<'_, '_>, key: String) -> Done {
    let told = shell.document(Request::GuestReport { key }).await?;
    shell.show(&told, |told| {
        let interfaces = told.pointer("/interfaces").and_then(Value::as_array);
        let lines = interfaces.into_iter().flatten().map(|interface| {
            let addresses = interface.get("addresses").and_then(Value::as_array);
            let addresses: Vec<String> =
                addresses.into_iter().flatten().map(text::scalar).collect();
            let addresses =
                if addresses.is_empty() { "-".to_owned() } else { addresses.join(", ") };
            format!(
                "{:<12} {:<17} {addresses}\n",
                cell(interface, "/name"),
                cell(interface, "/mac")
            )
        });
        let lines: String = lines.collect();
        format!("agent        {}\n{lines}", cell(told, "/agent_version"))
    })
}

async fn metadata(shell: &mut Shell<'_, '_>, key: String) -> Done {
    let told = shell.document(Request::VmMetadata { key }).await?;
    shell.show(&told, |told| {
        if told.get("on") != Some(&Value::Bool(true)) {
            return "Its guest is told nothing: set `init.metadata` to change that.\n".to_owned();
        }
        let entries = told.get("entries").and_then(Value::as_array);
        let line = |entry: &Value| {
            let text = match entry.get("text").and_then(Value::as_str) {
                Some(text) => text.trim_end().to_owned(),
                None => format!("({} bytes, not shown)", cell(entry, "/bytes")),
            };
            format!("{:<45} {text}\n", cell(entry, "/path"))
        };
        entries.into_iter().flatten().map(line).collect()
    })
}

async fn set_password(shell: &mut Shell<'_, '_>, key: String, user: String, stdin: bool) -> Done {
    let password = Hidden::new(password(shell, &user, stdin)?);
    let request = Request::SetGuestPassword { key, user: user.clone(), password };
    match shell.transport.call(request).await? {
        Answer::Done => shell.say(&format!("{user} has a new password in the guest.")),
        other => Err(shell.odd("nothing", &other)),
    }
}

fn password(shell: &Shell<'_, '_>, user: &str, stdin: bool) -> Result<String, Failure> {
    let asker = shell.io.asker;
    let missing = || {
        let why = "there is no terminal to ask for the password: pass it with --password-stdin";
        Failure::Usage(why.to_owned())
    };
    if stdin {
        return asker.input()?.ok_or_else(missing);
    }
    let ask = |prompt: &str| asker.secret(prompt)?.ok_or_else(missing);
    let first = ask(&format!("New password of {user} in the guest: "))?;
    if first == ask("Once more: ")? {
        return Ok(first);
    }
    Err(Failure::Usage("the two passwords differ; nothing was sent".to_owned()))
}

async fn rename(shell: &mut Shell<'_, '_>, key: String, to: &Name) -> Done {
    let patch = Json(json!({ "metadata": { "name": to } }).to_string());
    let request = Request::Patch { kind: Kind::Vm, key: key.clone(), patch, if_revision: None };
    let changed = shell.document(request).await?;
    report(shell, &changed, &format!("{key} is called {to} now."))
}
