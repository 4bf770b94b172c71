//! Configs and secrets: set from words, files and standard input.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use skerry_ipc::{Json, RefusalClass, Request};
use skerry_model::Kind;

use crate::args::ValuesVerb;
use crate::shell::{Done, Failure, Shell};
use crate::text;
use crate::verbs::create::report;
use crate::verbs::{read, workload};

pub(super) async fn run(shell: &mut Shell<'_, '_>, kind: Kind, verb: ValuesVerb) -> Done {
    match verb {
        ValuesVerb::List { selection } => read::list(shell, kind, selection).await,
        ValuesVerb::Show { name } => read::show(shell, kind, name).await,
        ValuesVerb::Delete { target } => workload::delete(shell, kind, target).await,
        ValuesVerb::Set { name, value, file, remove } => {
            let mut data = Map::new();
            data.extend(value.into_iter().map(|(key, value)| (key, json!(value))));
            for (key, path) in file {
                data.insert(key, json!(content(&path)?));
            }
            data.extend(remove.into_iter().map(|key| (key, Value::Null)));
            set(shell, kind, name.as_str(), data).await
        }
    }
}

pub(super) fn content(path: &PathBuf) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Changes the keys that are given and leaves the others; makes the resource if there is none.
async fn set(shell: &mut Shell<'_, '_>, kind: Kind, name: &str, data: Map<String, Value>) -> Done {
    let patch = Json(json!({ "spec": { "data": &data } }).to_string());
    let request = Request::Patch { kind, key: name.to_owned(), patch, if_revision: None };
    let what = kind.name().to_lowercase();
    match shell.document(request).await {
        Err(failure) if failure.refusal().is_some_and(|r| r.class == RefusalClass::NotFound) => {
            let given: Map<String, Value> =
                data.into_iter().filter(|(_, value)| !value.is_null()).collect();
            let document = json!({ "metadata": { "name": name }, "spec": { "data": given } });
            let document = Json(document.to_string());
            let made = shell.document(Request::Create { kind, document, dry_run: false }).await?;
            report(shell, &made, &format!("Created {what} {name}."))
        }
        changed => {
            let changed = changed?;
            let name = text::cell(&changed, "/metadata/name");
            report(shell, &changed, &format!("Changed {what} {name}."))
        }
    }
}
