//! Layers that were refused, so that none is unpacked again with every look at a pod that names it.
//!
//! A blob goes by its digest, so what is wrong with it stays wrong. Only what its bytes are to blame for is remembered:
//! a disk that was full or a reader that was killed may do better the next time. Kept in memory, since the next version of the
//! node may take what this one does not.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use skerry_containers::oci::Compression;

use crate::archive::LayerBlob;
use crate::unpack::UnpackError;

/// Most layers that are remembered.
const MOST: usize = 256;

/// A layer as an image names it: one blob may be right for one image and not for another.
type Named = (String, Compression, String);

/// Refusals. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<VecDeque<(Named, UnpackError)>>>);

fn named(layer: &LayerBlob) -> Named {
    (layer.digest.clone(), layer.compression, layer.diff_id.clone())
}

impl Refusals {
    /// Why this layer was refused before, if it was.
    pub fn of(&self, layer: &LayerBlob) -> Option<UnpackError> {
        let named = named(layer);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| *known == named)?.1.lasting()
    }

    /// Remembers why a layer is refused, if it always will be.
    pub fn remember(&self, layer: &LayerBlob, error: &UnpackError) {
        let Some(error) = error.lasting() else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.pop_front();
        }
        known.push_back((named(layer), error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: usize, compression: Compression) -> LayerBlob {
        LayerBlob { digest: number.to_string(), diff_id: "a".to_owned(), compression }
    }

    #[test]
    fn what_a_layer_is_to_blame_for_is_remembered_of_as_many_as_there_is_room_for() {
        let refusals = Refusals::default();
        let damaged = UnpackError::Damaged { why: "odd".to_owned() };
        for number in 0..=MOST {
            refusals.remember(&layer(number, Compression::None), &damaged);
        }
        assert!(refusals.of(&layer(0, Compression::None)).is_none(), "the oldest gave way");
        let known = refusals.of(&layer(1, Compression::None)).unwrap();
        assert_eq!(known.to_string(), damaged.to_string());
        assert!(refusals.of(&layer(1, Compression::Gzip)).is_none(), "read otherwise");
    }

    #[test]
    fn what_may_do_better_the_next_time_is_not_remembered() {
        let refusals = Refusals::default();
        let full = UnpackError::System {
            action: "write",
            path: "a".to_owned(),
            source: std::io::ErrorKind::StorageFull.into(),
        };
        let killed = UnpackError::CutShort { how: "signal 9".to_owned() };
        for error in [full, killed] {
            refusals.remember(&layer(1, Compression::None), &error);
            assert!(refusals.of(&layer(1, Compression::None)).is_none(), "{error}");
        }
    }
}
