//! Lists, single resources, explanations and changes.

use futures::StreamExt;
use serde_json::{Value, json};
use skerry_ipc::{Answer, ListQuery, Request};
use skerry_model::Kind;

use crate::args::Selection;
use crate::columns;
use crate::shell::{Done, Failure, Shell, now};
use crate::text;

/// Most that one answer may hold.
const PAGE: u32 = 1000;

pub(super) async fn list(shell: &mut Shell<'_, '_>, kind: Kind, selection: Selection) -> Done {
    let (items, revision) = all(shell, kind, selection).await?;
    if shell.json {
        return shell.show(&json!({ "items": items, "revision": revision }), |_| String::new());
    }
    shell.print(&columns::list(kind, &items, now()))
}

/// Every page of a list.
async fn all(
    shell: &Shell<'_, '_>,
    kind: Kind,
    selection: Selection,
) -> Result<(Vec<Value>, u64), Failure> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let query = ListQuery {
            name_contains: selection.name.clone(),
            labels: selection.labels.clone(),
            limit: Some(PAGE),
            after,
        };
        match shell.transport.call(Request::List { kind, query }).await? {
            Answer::List { items, revision, next } => {
                for item in &items {
                    found.push(shell.parse(&item.0)?);
                }
                // A page that brings nothing new would go on for ever.
                match next {
                    Some(next) if !items.is_empty() => after = Some(next),
                    _ => return Ok((found, revision)),
                }
            }
            other => return Err(shell.odd("a list", &other)),
        }
    }
}

pub(super) async fn show(shell: &mut Shell<'_, '_>, kind: Kind, key: String) -> Done {
    let document = shell.document(Request::Get { kind, key }).await?;
    shell.show(&document, |document| text::outline(document, 0))
}

pub(super) async fn explain(shell: &mut Shell<'_, '_>, kind: Kind, key: String) -> Done {
    let report = shell.document(Request::Explain { kind, key }).await?;
    shell.show(&report, |report| text::outline(report, 0))
}

pub(super) async fn watch(shell: &mut Shell<'_, '_>, kinds: Vec<Kind>, after: Option<u64>) -> Done {
    let mut items = shell.items(Request::Watch { kinds, after }).await?;
    while let Some(item) = items.next().await {
        shell.item(&item?)?;
    }
    Ok(())
}
