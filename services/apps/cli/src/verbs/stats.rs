//! What the containers of a pod take, as a table.

use serde_json::Value;
use skerry_ipc::Request;

use crate::shell::{Done, Shell};
use crate::text::{cell, duration, size};

pub(super) async fn of_pod(shell: &mut Shell<'_, '_>, key: String) -> Done {
    let told = shell.document(Request::PodStats { key }).await?;
    shell.show(&told, |told| {
        let containers = told.pointer("/containers").and_then(Value::as_array);
        let lines: String = containers.into_iter().flatten().map(line).collect();
        if lines.is_empty() {
            return "None of its containers runs.\n".to_owned();
        }
        let heading = row(["NAME", "CPU TIME", "MEMORY", "LIMIT", "TASKS", "READ", "WRITTEN"]);
        format!("{heading}{lines}")
    })
}

fn line(container: &Value) -> String {
    let number = |pointer: &str| container.pointer(pointer).and_then(Value::as_u64);
    let bytes = |pointer: &str| number(pointer).map_or_else(|| "-".to_owned(), size);
    let cpu = number("/cpu_us").map_or_else(|| "-".to_owned(), |us| duration(us / 1_000_000));
    row([
        &cell(container, "/name"),
        &cpu,
        &bytes("/memory_bytes"),
        &bytes("/memory_limit_bytes"),
        &cell(container, "/tasks"),
        &bytes("/read_bytes"),
        &bytes("/written_bytes"),
    ])
}

fn row(cells: [&str; 7]) -> String {
    let [name, cpu, memory, limit, tasks, read, written] = cells;
    format!("{name:<20} {cpu:>9} {memory:>9} {limit:>9} {tasks:>6} {read:>9} {written:>9}\n")
}
