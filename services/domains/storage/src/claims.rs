//! One operation per volume at a time, within this process.
//!
//! Between processes, and for whoever looks, the operation is also written into the volume's status;
//! here is what keeps two passes of this service apart.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use skerry_model::{Id, Volume};

/// The volumes that passes work on.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<BTreeSet<Id<Volume>>>>);

/// Volumes that belong to one pass until this is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    volumes: Vec<Id<Volume>>,
}

impl Claims {
    /// Takes all of these volumes, or none if one of them is taken.
    pub fn take(&self, volumes: &[Id<Volume>]) -> Option<Claim> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if volumes.iter().any(|volume| taken.contains(volume)) {
            return None;
        }
        taken.extend(volumes);
        Some(Claim { claims: self.clone(), volumes: volumes.to_vec() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        for volume in &self.volumes {
            taken.remove(volume);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn all_or_none_and_given_back_on_drop() {
        let [a, b, c] = [1, 2, 3].map(|n| Id::<Volume>::new(Uuid::from_u128(n)));
        let claims = Claims::default();
        let first = claims.take(&[a, b]).unwrap();
        assert!(claims.take(&[c, b]).is_none());
        let other = claims.take(&[c]).unwrap();
        drop(first);
        assert!(claims.take(&[a, b]).is_some());
        drop(other);
        assert!(claims.take(&[c]).is_some());
    }
}
