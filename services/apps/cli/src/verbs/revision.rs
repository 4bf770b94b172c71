//! Revisions of a pod: which there are, and going back to one.

use serde_json::{Map, Value, json};
use skerry_ipc::{Json, Request};
use skerry_model::{Kind, Timestamp};

use crate::shell::{self, Done, Failure, Shell};
use crate::text;
use crate::verbs::create::report;

pub(super) async fn history(shell: &mut Shell<'_, '_>, key: String) -> Done {
    let pod = shell.document(Request::Get { kind: Kind::Pod, key }).await?;
    let history = pod.pointer("/status/history").cloned().unwrap_or(json!([]));
    let running = pod.pointer("/status/revision").and_then(Value::as_u64);
    let now = shell::now();
    shell.show(&history, |history| table(history, running, now))
}

fn table(history: &Value, running: Option<u64>, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = history
        .as_array()
        .into_iter()
        .flatten()
        .map(|revision| {
            let number = revision.get("number").and_then(Value::as_u64);
            let images = revision.pointer("/template/containers").and_then(Value::as_array);
            let images: Vec<String> =
                images.into_iter().flatten().map(|c| text::cell(c, "/image")).collect();
            vec![
                text::cell(revision, "/number"),
                if number == running { "yes".to_owned() } else { String::new() },
                text::cell(revision, "/state"),
                text::age(&text::cell(revision, "/at"), now),
                images.join(", "),
                text::cell(revision, "/reason"),
            ]
        })
        .collect();
    text::table(&["REVISION", "RUNS", "STATE", "AGE", "IMAGES", "REASON"], &rows)
}

/// Makes what an earlier revision was the newest one.
pub(super) async fn rollback(shell: &mut Shell<'_, '_>, key: String, to: Option<u64>) -> Done {
    let pod = shell.document(Request::Get { kind: Kind::Pod, key: key.clone() }).await?;
    let (number, template) = find(&pod, to)?;
    let mut spec = Map::new();
    for part in ["containers", "init", "volumes"] {
        spec.insert(part.to_owned(), template.get(part).cloned().unwrap_or(json!([])));
    }
    let patch = Json(json!({ "spec": spec }).to_string());
    let if_revision = pod.pointer("/metadata/revision").and_then(Value::as_u64);
    let request = Request::Patch { kind: Kind::Pod, key, patch, if_revision };
    let changed = shell.document(request).await?;
    let name = text::cell(&changed, "/metadata/name");
    report(shell, &changed, &format!("{name} goes back to revision {number}."))
}

/// The revision to go back to: the one that is named, else the last good one before the newest.
fn find(pod: &Value, to: Option<u64>) -> Result<(u64, &Value), Failure> {
    let list = pod.pointer("/status/history").and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    let number = |revision: &Value| revision.get("number").and_then(Value::as_u64).unwrap_or(0);
    let found = match to {
        Some(to) => list.iter().find(|revision| number(revision) == to),
        None => {
            let before = list.split_last().map(|(_, before)| before).unwrap_or_default();
            let is_good =
                |revision: &&Value| revision.get("state").and_then(Value::as_str) == Some("good");
            before.iter().rev().find(is_good)
        }
    };
    let missing = || {
        let what = to.map_or_else(
            || "there is no good revision to go back to".to_owned(),
            |to| format!("there is no revision {to}"),
        );
        Failure::Usage(format!("{what}; see `skerry pod history`"))
    };
    let revision = found.ok_or_else(missing)?;
    Ok((number(revision), revision.get("template").ok_or_else(missing)?))
}

/// Holds changes of the containers back, or lets them through.
pub(super) async fn pause(shell: &mut Shell<'_, '_>, key: String, paused: bool) -> Done {
    let patch = Json(json!({ "spec": { "update": { "paused": paused } } }).to_string());
    let request = Request::Patch { kind: Kind::Pod, key, patch, if_revision: None };
    let changed = shell.document(request).await?;
    let name = text::cell(&changed, "/metadata/name");
    let what =
        if paused { "keeps its revision until it is resumed" } else { "takes changes again" };
    report(shell, &changed, &format!("{name} {what}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_one_before_the_newest_is_gone_back_to() {
        let one =
            |number: u64, state: &str| json!({"number": number, "state": state, "template": {}});
        let pod = json!({"status": {"history":
            [one(1, "good"), one(2, "good"), one(3, "failed"), one(4, "good")]}});
        assert_eq!(find(&pod, None).unwrap().0, 2);
        assert_eq!(find(&pod, Some(1)).unwrap().0, 1);
        assert!(find(&pod, Some(9)).is_err());
        assert!(find(&json!({}), None).is_err());
    }
}
