//! Huge pages of pods from the account that virtual machines have. It decides nothing.

use std::sync::Arc;

use async_trait::async_trait;
use skerry_compute::VmController;
use skerry_containers::PageAccount;
use skerry_model::{HugePageSize, HugePagesTaken, Id, Pod};

/// See the module.
pub struct SharedPages(pub Arc<VmController>);

#[async_trait]
impl PageAccount for SharedPages {
    async fn turn(&self) -> Box<dyn Send> {
        Box::new(self.0.turn_of_starts().await)
    }

    fn find(
        &self,
        pod: Id<Pod>,
        wanted: &[(HugePageSize, u64)],
        held: &[HugePagesTaken],
    ) -> Result<Vec<HugePagesTaken>, String> {
        match self.0.pages_for(pod, wanted, held) {
            Ok(found) => found.map_err(|refused| refused.to_string()),
            Err(error) => Err(format!("what others have of huge pages cannot be read: {error}")),
        }
    }
}
