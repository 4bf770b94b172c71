//! Finding what a path names among the texts that a guest is told.
//!
//! Pure. Paths are compared as they come: nothing in them is decoded, and `.` and `..` mean nothing.

use std::collections::BTreeSet;

use skerry_model::MetadataEntry;

/// A longer path names nothing.
const LONGEST_PATH: usize = 256;

/// The version by which cloud-init asks for what others call `latest`.
const OLDEST: &str = "2009-04-04";
const LATEST: &str = "latest";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// A text.
    Text(&'a MetadataEntry),
    /// A folder: one name a line.
    Folder(String),
}

/// What the path of a request names, if anything.
pub fn find<'a>(entries: &'a [MetadataEntry], path: &str) -> Option<Found<'a>> {
    if path.len() > LONGEST_PATH {
        return None;
    }
    let mut words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    if let Some(first) = words.first_mut().filter(|first| **first == OLDEST) {
        *first = LATEST;
    }
    let wanted = words.join("/");
    // Only a folder may be asked for with a slash at its end.
    let text = entries.iter().find(|entry| entry.path == wanted && !path.ends_with('/'));
    text.map(Found::Text).or_else(|| folder(entries, &words).map(Found::Folder))
}

fn folder(entries: &[MetadataEntry], words: &[&str]) -> Option<String> {
    let mut names = BTreeSet::new();
    for entry in entries {
        let mut rest = entry.path.split('/');
        if !words.iter().all(|word| rest.next() == Some(word)) {
            continue;
        }
        if let Some(name) = rest.next() {
            names.insert(line(words, name, rest.next().is_some()));
        }
    }
    if words.is_empty() && !names.is_empty() {
        names.insert(OLDEST.to_owned());
    }
    let lines: Vec<String> = names.into_iter().collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The line of a name in a folder. Those who read below `meta-data` go by the slash of a folder, and by the form
/// `number=name` of keys; those who choose a version compare whole lines.
fn line(folder: &[&str], name: &str, is_folder: bool) -> String {
    match folder {
        [_, "meta-data", "public-keys"] => format!("{name}=key-{name}"),
        [_, "meta-data", ..] if is_folder => format!("{name}/"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skerry_model::Hidden;

    use super::*;

    fn entries() -> Vec<MetadataEntry> {
        [
            "latest/meta-data/hostname",
            "latest/meta-data/instance-id",
            "latest/meta-data/public-keys/0/openssh-key",
            "latest/meta-data/public-keys/1/openssh-key",
            "latest/user-data",
            "openstack/latest/meta_data.json",
            "openstack/latest/user_data",
        ]
        .map(|path| MetadataEntry { path: path.to_owned(), text: Hidden::new(path) })
        .to_vec()
    }

    fn shown(path: &str) -> Option<String> {
        match find(&entries(), path)? {
            Found::Text(entry) => Some(format!("= {}", entry.path)),
            Found::Folder(lines) => Some(lines.replace('\n', " ")),
        }
    }

    #[test]
    fn folders_and_texts_are_found_as_cloud_init_looks_for_them() {
        for (path, wanted) in [
            ("/", "2009-04-04 latest openstack"),
            ("/latest", "meta-data user-data"),
            ("/latest/", "meta-data user-data"),
            ("/2009-04-04/", "meta-data user-data"),
            ("/latest/meta-data", "hostname instance-id public-keys/"),
            ("/latest/meta-data/", "hostname instance-id public-keys/"),
            ("/2009-04-04/meta-data/instance-id", "= latest/meta-data/instance-id"),
            ("/latest/meta-data/hostname", "= latest/meta-data/hostname"),
            ("//latest//meta-data/hostname", "= latest/meta-data/hostname"),
            ("/latest/meta-data/public-keys/", "0=key-0 1=key-1"),
            ("/latest/meta-data/public-keys/0/", "openssh-key"),
            ("/latest/meta-data/public-keys/0", "openssh-key"),
            (
                "/latest/meta-data/public-keys/1/openssh-key",
                "= latest/meta-data/public-keys/1/openssh-key",
            ),
            ("/latest/user-data", "= latest/user-data"),
            ("/openstack", "latest"),
            ("/openstack/", "latest"),
            ("/openstack/latest", "meta_data.json user_data"),
            ("/openstack/latest/user_data", "= openstack/latest/user_data"),
        ] {
            assert_eq!(shown(path).as_deref(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/latest/meta-data/hostname/",
            "/latest/meta-data/host",
            "/latest/meta-data/hostname/more",
            "/latest/meta-data/../user-data",
            "/./latest/user-data",
            "/latest/user%2ddata",
            "/LATEST/user-data",
            "/2021-03-23/meta-data/instance-id",
            "/openstack/2018-08-27/meta_data.json",
            "/openstack/2009-04-04/meta_data.json",
            "/latest/dynamic/instance-identity/document",
            "/latest/meta-data/public-keys/0=key-0",
            "/latest/api/token",
        ] {
            assert_eq!(shown(path), None, "{path}");
        }
        assert_eq!(find(&[], "/"), None, "who is told nothing is not told that either");
        assert_eq!(shown(&format!("/{}latest/user-data", "/".repeat(300))), None);
    }

    proptest! {
        /// Whatever is asked, nothing is shown that is not among the texts, and every text is found.
        #[test]
        fn any_path_is_looked_up(words in prop::collection::vec("(latest|2009-04-04|meta-data|public-keys|[0-9]|hostname|openstack|user-data|\\.\\.|%2e|\\PC{0,8})", 0..8), slash in any::<bool>()) {
            let path = format!("/{}{}", words.join("/"), if slash { "/" } else { "" });
            let all = entries();
            match find(&all, &path) {
                Some(Found::Text(entry)) => {
                    let plain = path.replace(OLDEST, LATEST);
                    let plain: Vec<_> = plain.split('/').filter(|w| !w.is_empty()).collect();
                    prop_assert_eq!(plain.join("/"), entry.path.clone());
                }
                Some(Found::Folder(lines)) => {
                    for line in lines.lines() {
                        let name = line.split_once('=').map_or(line, |(n, _)| n).trim_end_matches('/');
                        let below = format!("{}/{name}", path.trim_end_matches('/'));
                        prop_assert!(find(&all, &below).is_some(), "{} is listed and not there", below);
                    }
                }
                None => {}
            }
        }
    }
}
