//! Pulling images, and saying how to reach registries.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use skerry_ipc::{Answer, Json, ListQuery, Request};
use skerry_model::{ImageReference, Kind, Name, RegistryHost};

use crate::args::{RegistryVerb, Wait};
use crate::shell::{Done, Failure, Shell};
use crate::text;
use crate::verbs::create::report;
use crate::verbs::wait::{Goal, wait_for};
use crate::verbs::{read, workload};

/// Largest file of certificates or keys.
const MAX_PEM: u64 = 64 << 10;

pub(super) async fn registry(shell: &mut Shell<'_, '_>, verb: RegistryVerb) -> Done {
    match verb {
        RegistryVerb::Read(verb) => read(shell, Kind::Registry, verb).await,
        RegistryVerb::Delete { target } => workload::delete(shell, Kind::Registry, target).await,
        RegistryVerb::Create {
            name,
            host,
            mirrors,
            ca,
            username,
            password_stdin,
            signed_by,
            plain_http,
        } => {
            let password = match &username {
                Some(username) => Some(password(shell, username, password_stdin)?),
                None => None,
            };
            let new =
                NewRegistry { name, host, mirrors, ca, username, password, signed_by, plain_http };
            create(shell, new).await
        }
    }
}

pub(super) async fn pull(
    shell: &mut Shell<'_, '_>,
    reference: &ImageReference,
    name: Option<Name>,
    wait: Wait,
) -> Done {
    let name = match name {
        Some(name) => name,
        None => name_of(reference).ok_or_else(|| {
            Failure::Usage("no name can be made of this reference; give one with --name".to_owned())
        })?,
    };
    let document = json!({
        "metadata": { "name": name },
        "spec": {
            "format": "oci_archive",
            "architecture": "x86_64",
            "source": { "registry": { "reference": reference } },
        },
    });
    let document = Json(document.to_string());
    let request = Request::Create { kind: Kind::Image, document, dry_run: false };
    let made = shell.document(request).await?;
    if !wait.wait {
        let sentence =
            format!("{reference} is being pulled as image {name}; see `skerry job list`.");
        return report(shell, &made, &sentence);
    }
    let job = job_of(shell, &made).await?;
    let ended = wait_for(shell, Kind::Job, &job, Goal::Completed).await?;
    report(shell, &ended, &format!("{name}: {}", text::cell(&ended, "/status/message")))
}

/// The job that brings an image in.
async fn job_of(shell: &mut Shell<'_, '_>, image: &Value) -> Result<Value, Failure> {
    let query = ListQuery { limit: Some(1000), ..ListQuery::default() };
    let answer = shell.transport.call(Request::List { kind: Kind::Job, query }).await?;
    let Answer::List { items, .. } = answer else { return Err(shell.odd("a list", &answer)) };
    let id = text::cell(image, "/metadata/id");
    for item in items {
        let job = shell.parse(&item.0)?;
        if text::cell(&job, "/spec/subject/id") == id {
            return Ok(job);
        }
    }
    Err(Failure::Outcome("the job that pulls the image is gone already".to_owned()))
}

/// The last part of the path, with the tag behind it.
fn name_of(reference: &ImageReference) -> Option<Name> {
    let last = reference.path().rsplit('/').next()?;
    let tag = reference.tag().filter(|tag| *tag != "latest");
    let text = tag.map_or_else(|| last.to_owned(), |tag| format!("{last}-{tag}"));
    let plain: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    Name::new(plain.trim_matches('-')).ok()
}

struct NewRegistry {
    name: Name,
    host: RegistryHost,
    mirrors: Vec<RegistryHost>,
    ca: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    signed_by: Vec<PathBuf>,
    plain_http: bool,
}

async fn create(shell: &mut Shell<'_, '_>, new: NewRegistry) -> Done {
    let mut spec = Map::new();
    spec.insert("host".to_owned(), json!(new.host));
    spec.insert("mirrors".to_owned(), json!(new.mirrors));
    spec.insert("plain_http".to_owned(), json!(new.plain_http));
    if let Some(path) = &new.ca {
        spec.insert("ca_pem".to_owned(), json!(pem(path)?));
    }
    if let Some(username) = &new.username {
        spec.insert("username".to_owned(), json!(username));
    }
    if let Some(password) = &new.password {
        spec.insert("password".to_owned(), json!(password));
    }
    if !new.signed_by.is_empty() {
        let keys: Result<Vec<String>, Failure> =
            new.signed_by.iter().map(|path| pem(path)).collect();
        let rule = json!({ "require": true, "keys": keys? });
        spec.insert("signatures".to_owned(), json!([rule]));
    }
    let name = new.name;
    let document = Json(json!({ "metadata": { "name": name }, "spec": spec }).to_string());
    let request = Request::Create { kind: Kind::Registry, document, dry_run: false };
    let made = shell.document(request).await?;
    report(shell, &made, &format!("Created registry {name} for {}.", new.host))
}

/// Certificates or a key.
fn pem(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_PEM);
    if large {
        return Err(Failure::Usage(format!("{shown} is larger than 64 KiB")));
    }
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))
}

fn password(shell: &Shell<'_, '_>, username: &str, stdin: bool) -> Result<String, Failure> {
    let asker = shell.io.asker;
    let given = if stdin {
        asker.input()?
    } else {
        asker.secret(&format!("Password of {username} at the registry: "))?
    };
    given.ok_or_else(|| {
        let why = "there is no terminal to ask for the password: pass it with --password-stdin";
        Failure::Usage(why.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_gives_a_name() {
        for (text, name) in [
            ("busybox", Some("busybox")),
            ("busybox:1.36", Some("busybox-1-36")),
            ("x.y/a/b_c:V2", Some("b-c-v2")),
            ("x.y/a:_", Some("a")),
            (&format!("a@sha256:{}", "a".repeat(64)), Some("a")),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(name_of(&reference).map(String::from).as_deref(), name, "{text}");
        }
    }
}
