//! Making resources as files describe them: this node's own documents and a part of Kubernetes' manifests.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};
use skerry_ipc::{Json, RefusalClass, Request};
use skerry_model::{ConfigSpec, Kind, PodSpec};

use crate::kubernetes;
use crate::shell::{Done, Failure, Shell};
use crate::text;

/// Most bytes of a file.
const MOST_BYTES: u64 = 4 << 20;

/// What is to be done for a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Change,
    Nothing,
}

/// Reads all documents first: one that cannot be read or is not supported keeps all from being applied.
pub(super) async fn apply(shell: &mut Shell<'_, '_>, file: &Path, dry_run: bool) -> Done {
    let documents = documents(&read(file)?)?;
    let mut planned = Vec::new();
    for (kind, document) in documents {
        let deed = plan(shell, kind, &document).await?;
        planned.push((kind, document, deed));
    }
    let mut done = Vec::new();
    for (kind, document, deed) in planned {
        let name = text::cell(&document, "/metadata/name");
        let result = carry_out(shell, kind, &document, deed, dry_run).await?;
        let words = match (deed, dry_run) {
            (Deed::Create, false) => "created",
            (Deed::Create, true) => "would be created",
            (Deed::Change, false) => "changed",
            (Deed::Change, true) => "would be changed",
            (Deed::Nothing, _) => "unchanged",
        };
        if !shell.json {
            shell.say(&format!("{} {name}: {words}", kind.name().to_lowercase()))?;
        }
        done.push(result);
    }
    if shell.json {
        let all = json!({ "items": done });
        return shell.show(&all, |_| String::new());
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Usage(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let opened = std::fs::File::open(file).map_err(failed)?;
        opened.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MOST_BYTES {
        return Err(Failure::Usage(format!("{}: is larger than 4 MiB", file.display())));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("{}: is not UTF-8 text", file.display())))
}

/// The documents of a text in YAML or JSON, as this node has them.
fn documents(text: &str) -> Result<Vec<(Kind, Value)>, Failure> {
    let found: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Failure::Usage(format!("this is neither YAML nor JSON: {error}")))?;
    let mut list = Vec::new();
    let mut bad = Vec::new();
    for (index, document) in found.into_iter().enumerate() {
        let place = format!("document {}", index + 1);
        let ours = if document.get("apiVersion").is_some() {
            match kubernetes::convert(document) {
                Ok(ours) => ours,
                Err(unsupported) => {
                    bad.extend(unsupported.into_iter().map(|line| format!("{place}: {line}")));
                    continue;
                }
            }
        } else {
            document
        };
        match ours.get("kind").and_then(Value::as_str).map(str::parse::<Kind>) {
            Some(Ok(kind)) => list.push((kind, ours)),
            Some(Err(error)) => bad.push(format!("{place}: {error}")),
            None => bad.push(format!("{place}: kind: must be given")),
        }
    }
    if bad.is_empty() && list.is_empty() {
        bad.push("there is no document in it".to_owned());
    }
    if bad.is_empty() {
        // Pods come after what they may name, as an import has it.
        list.sort_by_key(|(kind, _)| Kind::ALL.iter().position(|other| other == kind));
        return Ok(list);
    }
    Err(Failure::Usage(format!("nothing was applied:\n  {}", bad.join("\n  "))))
}

async fn plan(shell: &Shell<'_, '_>, kind: Kind, document: &Value) -> Result<Deed, Failure> {
    let key = text::cell(document, "/metadata/name");
    match shell.document(Request::Get { kind, key }).await {
        Ok(present) if same(kind, &present, document) => Ok(Deed::Nothing),
        Ok(_) => Ok(Deed::Change),
        Err(failure) if failure.refusal().is_some_and(|r| r.class == RefusalClass::NotFound) => {
            Ok(Deed::Create)
        }
        Err(failure) => Err(failure),
    }
}

/// Whether a document says what is there already, defaults filled in. What cannot be compared counts as different.
fn same(kind: Kind, present: &Value, document: &Value) -> bool {
    let labels = |of: &Value| of.pointer("/metadata/labels").cloned().unwrap_or(json!({}));
    let spec = |of: &Value| of.get("spec").cloned().unwrap_or_default();
    let (before, after) = (spec(present), spec(document));
    let specs = match kind {
        Kind::Pod => typed::<PodSpec>(before, after),
        Kind::Config => typed::<ConfigSpec>(before, after),
        _ => false,
    };
    specs && labels(present) == labels(document)
}

fn typed<T: serde::de::DeserializeOwned + PartialEq>(before: Value, after: Value) -> bool {
    match (serde_json::from_value::<T>(before), serde_json::from_value::<T>(after)) {
        (Ok(before), Ok(after)) => before == after,
        _ => false,
    }
}

async fn carry_out(
    shell: &Shell<'_, '_>,
    kind: Kind,
    document: &Value,
    deed: Deed,
    dry_run: bool,
) -> Result<Value, Failure> {
    let body = Json(document.to_string());
    let key = text::cell(document, "/metadata/name");
    match deed {
        Deed::Create => shell.document(Request::Create { kind, document: body, dry_run }).await,
        Deed::Change if !dry_run => {
            let request = Request::Replace { kind, key, document: body, if_revision: None };
            shell.document(request).await
        }
        // Of a secret not even what is on its way in is shown.
        _ if kind == Kind::Secret => Ok(json!({ "kind": kind, "metadata": { "name": key } })),
        Deed::Change | Deed::Nothing => Ok(document.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_sorted_and_refused_together() {
        let text = "kind: Pod\nmetadata: {name: web}\nspec: {containers: []}\n---\n\
            apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: b}\n---\n";
        let kinds: Vec<Kind> = documents(text).unwrap().iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Config, Kind::Pod]);
        let one = r#"{"kind": "Config", "metadata": {"name": "a"}, "spec": {"data": {}}}"#;
        assert_eq!(documents(one).unwrap().len(), 1, "JSON is YAML");
        let text = "kind: Nothing\n---\napiVersion: v1\nkind: Service\n---\na: b\n";
        let Err(Failure::Usage(message)) = documents(text) else { panic!("it is refused") };
        for part in ["nothing was applied", "document 1", "document 2", "document 3"] {
            assert!(message.contains(part), "{message}");
        }
        for bad in ["", "---", "[", "kind: [1"] {
            assert!(documents(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_there_already_is_unchanged_whatever_defaults_are_left_out() {
        let short = json!({"metadata": {"name": "web"},
            "spec": {"containers": [{"name": "a", "image": "tiny"}]}});
        let spec: PodSpec = serde_json::from_value(short["spec"].clone()).unwrap();
        let present = json!({"metadata": {"name": "web", "labels": {}}, "spec": spec});
        assert!(same(Kind::Pod, &present, &short));
        let mut other = short.clone();
        other["spec"]["containers"][0]["memory_mib"] = json!(65);
        assert!(!same(Kind::Pod, &present, &other));
        assert!(!same(Kind::Secret, &present, &short), "a secret is never known");
    }
}
