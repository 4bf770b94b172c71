//! Making resources as files describe them: this node's own documents and a part of Kubernetes' manifests.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use skerry_ipc::{Json, Request};
use skerry_model::Kind;

use crate::kubernetes;
use crate::shell::{Done, Failure, Shell};
use crate::text;

/// Most bytes of a file.
const MOST_BYTES: u64 = 1 << 20;

/// The node checks all documents first: one that is refused keeps all from being applied.
pub(super) async fn apply(shell: &mut Shell<'_, '_>, file: &Path, dry_run: bool) -> Done {
    let documents = documents(&read(file)?)?;
    let documents = documents.into_iter().map(|document| Json(document.to_string())).collect();
    let answer = shell.document(Request::Apply { documents, dry_run }).await?;
    let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    shell.show(&answer, |_| items.iter().map(|item| line(item, dry_run)).collect())
}

fn line(item: &Value, dry_run: bool) -> String {
    let (kind, name) = (text::cell(item, "/kind").to_lowercase(), text::cell(item, "/name"));
    let result = text::cell(item, "/result");
    let words = match (result.as_str(), dry_run) {
        ("created", true) => "would be created",
        ("changed", true) => "would be changed",
        (other, _) => other,
    };
    format!("{kind} {name}: {words}\n")
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
        return Err(Failure::Usage(format!("{}: is larger than 1 MiB", file.display())));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("{}: is not UTF-8 text", file.display())))
}

/// The documents of a text in YAML or JSON, as this node has them.
fn documents(text: &str) -> Result<Vec<Value>, Failure> {
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
            Some(Ok(_)) => list.push(ours),
            Some(Err(error)) => bad.push(format!("{place}: {error}")),
            None => bad.push(format!("{place}: kind: must be given")),
        }
    }
    if bad.is_empty() && list.is_empty() {
        bad.push("there is no document in it".to_owned());
    }
    if bad.is_empty() {
        return Ok(list);
    }
    Err(Failure::Usage(format!("nothing was applied:\n  {}", bad.join("\n  "))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read_and_refused_together() {
        let text = "kind: Pod\nmetadata: {name: web}\nspec: {containers: []}\n---\n\
            apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: b}\n---\n";
        let found = documents(text).unwrap();
        assert_eq!((&found[0]["kind"], &found[1]["kind"]), (&json!("Pod"), &json!("Config")));
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
}
