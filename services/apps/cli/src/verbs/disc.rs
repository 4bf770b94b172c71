//! Discs in the CD drives of virtual machines.

use serde_json::{Value, json};

use crate::shell::{Done, Shell};
use crate::verbs::workload::change_list;
use crate::vm_words::DiscVerb;

pub(super) async fn run(shell: &mut Shell<'_, '_>, verb: DiscVerb) -> Done {
    match verb {
        DiscVerb::Insert { name, image, drive } => {
            let change = |media: &mut Vec<Value>| put(media, drive, json!(image));
            change_list(shell, &name, "media", change).await?;
            shell.say(&format!("{image} is to be in drive {drive} of {name}."))
        }
        DiscVerb::Eject { name, drive } => {
            let change = |media: &mut Vec<Value>| put(media, drive, Value::Null);
            change_list(shell, &name, "media", change).await?;
            shell.say(&format!("Drive {drive} of {name} is to be empty."))
        }
    }
}

/// Puts a disc into a drive, counted from 1. A drive that is not there yet is added for it.
fn put(media: &mut Vec<Value>, drive: usize, image: Value) {
    let index = drive.saturating_sub(1);
    match media.get_mut(index).and_then(Value::as_object_mut) {
        Some(drive) => drop(drive.insert("image".to_owned(), image)),
        None if image.is_null() => {}
        None => {
            media.resize_with(index, || json!({}));
            media.push(json!({ "image": image }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_keep_their_places() {
        let after = |media: Value, drive, image: Value| {
            let mut media = media.as_array().cloned().unwrap();
            put(&mut media, drive, image);
            Value::Array(media)
        };
        let cd = json!({"image": "a", "boot_index": 2});
        assert_eq!(after(json!([]), 1, json!("a")), json!([{"image": "a"}]));
        assert_eq!(after(json!([]), 2, json!("a")), json!([{}, {"image": "a"}]));
        assert_eq!(after(json!([cd]), 1, json!("b")), json!([{"image": "b", "boot_index": 2}]));
        assert_eq!(after(json!([cd]), 1, Value::Null), json!([{"image": null, "boot_index": 2}]));
        assert_eq!(after(json!([cd]), 2, Value::Null), json!([cd]));
    }
}
