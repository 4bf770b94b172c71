//! Plain text for people: tables, indented values, ages, sizes.
//!
//! Everything a node or a workload says passes [`clean`], so that no log line can drive the terminal.

use serde_json::Value;
use skerry_model::Timestamp;

/// Without control characters: those become `?`, and tabs become blanks.
pub fn clean(text: &str) -> String {
    let replace = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(replace).collect()
}

/// Rows under a heading, columns as wide as their widest cell; the last column is not padded.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|h| h.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = heading.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A JSON value as indented `key: value` lines. Empty values are left out.
pub fn outline(value: &Value, indent: usize) -> String {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| entry(&pad, key, value, indent)).collect()
        }
        Value::Array(items) => items.iter().map(|item| list_item(&pad, item, indent)).collect(),
        other => format!("{pad}{}\n", scalar(other)),
    }
}

fn entry(pad: &str, key: &str, value: &Value, indent: usize) -> String {
    let key = clean(key);
    match value {
        Value::Null => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::Object(_) => match outline(value, indent.saturating_add(1)) {
            inner if inner.is_empty() => String::new(),
            inner => format!("{pad}{key}:\n{inner}"),
        },
        Value::Array(items) if items.iter().all(is_scalar) => {
            let words: Vec<_> = items.iter().map(scalar).collect();
            format!("{pad}{key}: {}\n", words.join(", "))
        }
        Value::Array(_) => format!("{pad}{key}:\n{}", outline(value, indent.saturating_add(1))),
        other => format!("{pad}{key}: {}\n", scalar(other)),
    }
}

/// An item of a list: its first line carries a dash.
fn list_item(pad: &str, item: &Value, indent: usize) -> String {
    let text = outline(item, indent.saturating_add(1));
    let inner = "  ".repeat(indent.saturating_add(1));
    match text.strip_prefix(&inner) {
        Some(rest) => format!("{pad}- {rest}"),
        None => format!("{pad}-\n"),
    }
}

fn is_scalar(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// A single value without quotes.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => clean(text),
        other => other.to_string(),
    }
}

/// The value at a JSON pointer, as a cell; `-` if there is none.
pub fn cell(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(value) => scalar(value),
    }
}

/// How long ago a moment was, in its largest unit.
pub fn age(moment: &str, now: Timestamp) -> String {
    let Ok(then) = moment.parse::<Timestamp>() else { return "-".to_owned() };
    duration(u64::try_from(now.as_second().saturating_sub(then.as_second())).unwrap_or(0))
}

/// Seconds in the two largest units that fit, such as `3d 4h`.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// Bytes in a unit that gives at most four digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = "B";
    for next in UNITS {
        if value < 10_000 {
            break;
        }
        value /= 1024;
        unit = next;
    }
    format!("{value} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_needed() {
        let rows =
            vec![vec!["web".to_owned(), "running".to_owned()], vec!["a-long-name".to_owned()]];
        assert_eq!(
            table(&["NAME", "STATE"], &rows),
            "NAME         STATE\nweb          running\na-long-name\n"
        );
    }

    #[test]
    fn values_are_outlined() {
        let value = json!({"a": 1, "b": {"c": "x", "none": null}, "bare": {"none": null}, "d": [1, 2], "e": [{"f": true, "g": "y"}], "h": []});
        assert_eq!(outline(&value, 0), "a: 1\nb:\n  c: x\nd: 1, 2\ne:\n  - f: yes\n    g: y\n");
    }

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!(duration(59), "59s");
        assert_eq!(duration(3_700), "1h 1m");
        assert_eq!(duration(90_000), "1d 1h");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(8 << 30), "8192 MiB");
        assert_eq!(size(u64::MAX), "16383 PiB");
        let now = "2026-01-01T00:01:05Z".parse().unwrap();
        assert_eq!(age("2026-01-01T00:00:00Z", now), "1m 5s");
        assert_eq!(age("2027-01-01T00:00:00Z", now), "0s", "a clock that is behind");
        assert_eq!(age("soon", now), "-");
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_drives_the_terminal(text in "\\PC*|[\\x00-\\x1f\\x7f-\\u{9f}]{0,9}") {
            let value = json!({ text.clone(): [text.clone(), { "x": text.clone() }], "k": text });
            prop_assert!(outline(&value, 0).chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
