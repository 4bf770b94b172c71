//! Paging with an opaque marker.
//!
//! A marker holds the sort key of the last item sent, so items that come or go between two pages make no other
//! item appear twice or be missed. It is sealed with a key of this node and with the question it belongs to: a
//! marker that was changed, or is used with another list or filter, is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const SEAL_BYTES: usize = 16;

/// Makes and reads markers.
#[derive(Clone)]
pub struct Markers {
    key: [u8; 32],
}

/// A marker that this node did not give out for this question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nextpage_opaque_marker does not belong to this list: ask for the first page again")]
pub struct MarkerError;

impl Markers {
    /// Markers of one node; they stay good when the service restarts.
    pub fn new(node_id: &str) -> Self {
        Self { key: blake3::derive_key("skerry o2 page markers", node_id.as_bytes()) }
    }

    fn seal(&self, question: &str, last: &str) -> [u8; SEAL_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // The length keeps a question that ends like a sort key apart from another question.
        hasher.update(&u64::try_from(question.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(question.as_bytes());
        hasher.update(last.as_bytes());
        let mut seal = [0; SEAL_BYTES];
        hasher.finalize_xof().fill(&mut seal);
        seal
    }

    /// The marker for going on after `last` in the answer to `question`.
    pub fn write(&self, question: &str, last: &str) -> String {
        let mut bytes = self.seal(question, last).to_vec();
        bytes.extend_from_slice(last.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The sort key in a marker.
    pub fn read(&self, question: &str, marker: &str) -> Result<String, MarkerError> {
        let bytes = URL_SAFE_NO_PAD.decode(marker).map_err(|_| MarkerError)?;
        let (seal, last) = bytes.split_first_chunk::<SEAL_BYTES>().ok_or(MarkerError)?;
        let last = std::str::from_utf8(last).map_err(|_| MarkerError)?;
        if *seal == self.seal(question, last) { Ok(last.to_owned()) } else { Err(MarkerError) }
    }
}

/// One page out of items that are ordered by `key`: those after `after`, at most `size`, and whether there are more.
pub fn page_of<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> &str,
    after: Option<&str>,
    size: usize,
) -> (Vec<T>, bool) {
    let mut rest = items.into_iter().filter(|item| after.is_none_or(|after| key(item) > after));
    let page: Vec<T> = rest.by_ref().take(size).collect();
    (page, rest.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_marker_is_read_only_for_its_own_question(question in ".{0,40}", other in ".{0,40}", last in ".{0,40}") {
            let markers = Markers::new("node");
            let marker = markers.write(&question, &last);
            prop_assert_eq!(markers.read(&question, &marker), Ok(last));
            if other != question {
                prop_assert_eq!(markers.read(&other, &marker), Err(MarkerError));
            }
            prop_assert_eq!(Markers::new("other").read(&question, &marker), Err(MarkerError));
        }

        #[test]
        fn no_marker_panics(marker in ".*") {
            prop_assert!(Markers::new("node").read("q", &marker).is_err());
        }

        #[test]
        fn pages_put_together_are_the_list(count in 0..40_usize, size in 1..9_usize) {
            let all: Vec<String> = (0..count).map(|n| format!("{n:03}")).collect();
            let mut seen: Vec<String> = Vec::new();
            loop {
                let after = seen.last().cloned();
                let (page, more) = page_of(all.clone(), |item| item.as_str(), after.as_deref(), size);
                prop_assert!(page.len() <= size);
                seen.extend(page);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(seen, all);
        }
    }
}
